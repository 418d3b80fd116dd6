//! Why a reconciliation did not finish.

use std::fmt;

use thiserror::Error;

/// The longest answer of the API server that is passed on, in characters.
const LONGEST_ANSWER: usize = 400;

/// Why a reconciliation did not finish.
#[derive(Debug, Error)]
pub enum Error {
    /// A request to the API server failed.
    #[error("cannot {doing}: {}", answer(source))]
    Api {
        /// What the request was for.
        doing: String,
        /// What the API server answered, or why it did not.
        source: Box<kube::Error>,
    },
    /// An object of the name that the cluster needs belongs to somebody else.
    #[error(
        "the {kind} {name} exists and does not belong to this PliantCluster; rename the PliantCluster or remove the {kind}"
    )]
    NameTaken {
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
    },
    /// An object of an earlier time must be gone before a new one can take its place.
    #[error("the {kind} {name} is still being deleted")]
    Terminating {
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
    },
}

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It may well succeed the next time.
    Passing,
    /// Something is being deleted; that takes its time.
    Waiting,
    /// The API server refused the request for what it is.
    Refused,
    /// A name belongs to somebody else.
    NameTaken,
}

/// A failure, to be remembered and reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure it was.
    pub kind: FailureKind,
    /// What happened, in one line.
    pub message: String,
}

impl Error {
    /// Makes an error of a failed request; for [`Result::map_err`].
    pub fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Api {
            doing,
            source: Box::new(source),
        }
    }

    /// The failure to remember.
    pub fn failure(&self) -> Failure {
        let kind = match self {
            Self::Api { source, .. } if is_namespace_terminating(source) => FailureKind::Waiting,
            Self::Api { source, .. } if is_refusal(source) => FailureKind::Refused,
            Self::Api { .. } => FailureKind::Passing,
            Self::NameTaken { .. } => FailureKind::NameTaken,
            Self::Terminating { .. } => FailureKind::Waiting,
        };
        Failure {
            kind,
            message: self.to_string(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}

/// Whether the API server refused a request for what it is: malformed, forbidden or invalid.
pub fn is_refusal(error: &kube::Error) -> bool {
    has_code(error, &[400, 403, 422])
}

/// Whether the object of a request was not there.
pub fn is_not_found(error: &kube::Error) -> bool {
    has_code(error, &[404])
}

/// Whether an object was there already, or was changed by somebody else in between.
pub fn is_conflict(error: &kube::Error) -> bool {
    has_code(error, &[409])
}

/// What the API server said, in one line and without a dump of its insides.
pub fn answer(error: &kube::Error) -> String {
    let text = match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    };
    // A difference between two objects, line by line, begins with such a line; it is of no use here.
    let words = text
        .split("\n")
        .take_while(|line| !line.trim_start().starts_with("core."));
    let line = words
        .flat_map(str::split_whitespace)
        .collect::<Vec<_>>()
        .join(" ");
    line.chars().take(LONGEST_ANSWER).collect()
}

fn has_code(error: &kube::Error, codes: &[u16]) -> bool {
    matches!(error, kube::Error::Api(status) if codes.contains(&status.code))
}

fn is_namespace_terminating(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403 && status.message.contains("because it is being terminated"))
}
