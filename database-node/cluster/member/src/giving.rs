//! With what a node gives others certificates: the cluster's authority, where it has it, and the tokens made here.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use pliantdb_cluster_transport::{Authority, CertificateError, Giver, JoinToken, JoinTokens, TokenError};

use crate::directory::Directory;

/// With what a node gives others certificates, when they are by the cluster's own authority.
pub(crate) struct Giving {
    folder: PathBuf,
    authority: RwLock<Option<Arc<Authority>>>,
    tokens: Arc<JoinTokens>,
    lifetime: Duration,
}

impl Giving {
    pub(crate) fn new(
        directory: &Directory,
        authority: Option<Authority>,
        lifetime: Duration,
    ) -> Result<Self, TokenError> {
        Ok(Self {
            folder: directory.authority(),
            authority: RwLock::new(authority.map(Arc::new)),
            tokens: Arc::new(JoinTokens::open(&directory.tokens())?),
            lifetime,
        })
    }

    /// For how long certificates are good that this node gives.
    pub(crate) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// The authority, if this node has it.
    pub(crate) fn authority(&self) -> Option<Arc<Authority>> {
        let authority = self.authority.read().unwrap_or_else(PoisonError::into_inner);
        authority.clone()
    }

    /// Keeps the authority that another node has told.
    pub(crate) fn keep(&self, authority: Authority) -> Result<(), CertificateError> {
        authority.keep(&self.folder)?;
        let mut current = self.authority.write().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Arc::new(authority));
        Ok(())
    }

    /// What gives certificates to those who have a token; `None` without the authority.
    pub(crate) fn giver(&self) -> Option<Giver> {
        let authority = self.authority()?;
        Some(Giver::new(authority, Arc::clone(&self.tokens), self.lifetime))
    }

    /// Makes a token; `None` without the authority. Not for tasks that must not wait.
    pub(crate) fn make_token(&self, lifetime: Duration) -> Option<Result<JoinToken, TokenError>> {
        let authority = self.authority()?;
        Some(
            self.tokens
                .make(authority.fingerprint(), lifetime, SystemTime::now()),
        )
    }

    /// Issues the certificate of a node of the cluster, in PEM; `None` without the authority.
    pub(crate) fn issue(&self, request: &[u8]) -> Option<Result<String, CertificateError>> {
        let authority = self.authority()?;
        Some(authority.issue(request, self.lifetime, SystemTime::now()))
    }
}
