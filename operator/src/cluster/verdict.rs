//! What a reconciliation came to. The status and the events are made from it.

use super::error::{Failure, FailureKind};
use super::failures::Pending;
use super::validate::FieldError;

/// Failures in a row after which a person is called, whatever they are.
const PATIENCE: u32 = 6;

/// What a reconciliation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What the operator is doing.
    pub doing: Doing,
    /// What needs a person.
    pub problem: Option<Problem>,
}

/// What the operator is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Nothing: everything is as the spec says, as far as the operator is concerned.
    Nothing,
    /// Nothing: this operator would run the nodes differently than the one before, but what their owner asked
    /// of them has not changed.
    Holding,
    /// Nothing: the owner asked it to.
    Pausing,
    /// Nothing: a person must help first.
    Blocked,
    /// A node was stopped, to start again with what the spec says.
    Restarting(String),
    /// A step waits for something else to happen first; here is what.
    Waiting(String),
    /// A request failed and is tried again; here is why.
    Retrying(String),
}

/// What needs a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The spec is wrong.
    InvalidSpec(Vec<FieldError>),
    /// The volumes cannot grow.
    ResizeRefused(String),
    /// A name belongs to somebody else.
    NameTaken(String),
    /// The API server refused something.
    Refused(String),
    /// Something has failed again and again.
    Failing(String),
}

impl Verdict {
    /// The operator is doing something, and nothing is wrong.
    pub fn doing(doing: Doing) -> Self {
        Self { doing, problem: None }
    }

    /// The spec is wrong.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self {
            doing: Doing::Blocked,
            problem: Some(Problem::InvalidSpec(errors)),
        }
    }
}

impl From<&Pending> for Verdict {
    fn from(pending: &Pending) -> Self {
        let Failure { kind, message } = pending.failure.clone();
        let blocked = |problem| Self {
            doing: Doing::Blocked,
            problem: Some(problem),
        };
        match kind {
            FailureKind::Waiting => Self::doing(Doing::Waiting(message)),
            FailureKind::NameTaken => blocked(Problem::NameTaken(message)),
            FailureKind::Refused => blocked(Problem::Refused(message)),
            FailureKind::Passing if pending.count >= PATIENCE => Self {
                doing: Doing::Retrying(message.clone()),
                problem: Some(Problem::Failing(message)),
            },
            FailureKind::Passing => Self::doing(Doing::Retrying(message)),
        }
    }
}
