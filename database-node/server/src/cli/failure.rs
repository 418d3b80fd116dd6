//! Why a command failed, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;

use pliantdb_core::Error;
use pliantdb_server::config::ConfigError;

/// What `--help` says of exit codes.
pub(crate) const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 done in part, some lines were rejected; 3 the \
                                     arguments, settings or input cannot be used; 4 the server cannot be reached; 5 \
                                     denied.";

/// How a command ended that did not do what it was to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It was tried.
    Failed,
    /// Only a part of it was done.
    Partly,
    /// What was given cannot be used; nothing was tried.
    Usage,
    /// Nobody answers.
    Unreachable,
    /// Whoever asks may not, or is not known.
    Denied,
}

impl Kind {
    /// As it stands in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Partly => "partly",
            Self::Usage => "usage",
            Self::Unreachable => "unreachable",
            Self::Denied => "denied",
        }
    }

    /// The process's exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Partly => 2,
            Self::Usage => 3,
            Self::Unreachable => 4,
            Self::Denied => 5,
        }
    }
}

/// Why a command failed, in one line.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) message: String,
}

impl Failure {
    /// What was given cannot be used.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub(crate) fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
        }
    }

    /// The same, with what was being done before it.
    pub(crate) fn within(self, what: impl fmt::Display) -> Self {
        Self {
            kind: self.kind,
            message: format!("{what}: {}", self.message),
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind.code())
    }
}

fn kind_of(error: &Error) -> Kind {
    match error {
        Error::Unreachable(_) | Error::Disconnected(_) | Error::TimedOut | Error::Unavailable(_) => {
            Kind::Unreachable
        }
        Error::Unauthenticated(_) | Error::Denied(_) => Kind::Denied,
        _ => Kind::Failed,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(kind_of(&error), &error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let kind = error.downcast_ref::<Error>().map_or(Kind::Failed, kind_of);
        Self::new(kind, format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_apart_what_scripts_want_to() {
        for (error, kind) in [
            (Error::Unreachable("x".to_owned()), Kind::Unreachable),
            (Error::Unauthenticated("x".to_owned()), Kind::Denied),
            (Error::invalid("x"), Kind::Failed),
        ] {
            assert_eq!(Failure::from(error.clone()).kind, kind);
            assert_eq!(Failure::from(anyhow::Error::from(error)).kind, kind);
        }
    }
}
