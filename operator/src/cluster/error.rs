//! Why a reconciliation did not come to its end.

use thiserror::Error;

/// Why a reconciliation did not come to its end.
#[derive(Debug, Error)]
pub enum Error {
    /// A request to the API server failed.
    #[error("cannot {doing}: {source}")]
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
    /// An object is on its way out and must be gone before a new one can take its place.
    #[error("the {kind} {name} is being deleted")]
    Terminating {
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
    },
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

    /// Whether the API server refused the request for what it is, so that trying again alone will not help.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Api { source, .. } => is_refusal(source),
            Self::NameTaken { .. } => true,
            Self::Terminating { .. } => false,
        }
    }
}

/// Whether the API server refused a request for what it is: malformed, forbidden or invalid.
pub fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422))
}
