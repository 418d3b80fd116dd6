//! Somebody whose credentials were checked.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use pliantdb_core::access::{KeyHash, KeyOwner, Need, Permission, Permissions, needed};
use pliantdb_core::protocol::{Ask, Secret, WhoAmI};
use pliantdb_core::{ApiKeyName, Error, UserName};

use super::Access;
use super::sessions::Session;
use crate::audit::{Entry, Verdict};

/// Somebody whose credentials were checked. Clones are the same. What they may do is looked at each time, so a change of
/// users and roles counts at once, also on a connection that is there.
#[derive(Clone)]
pub(crate) struct Caller(Arc<Identity>);

struct Identity {
    access: Access,
    peer: SocketAddr,
    name: String,
    proof: Proof,
    known: RwLock<Known>,
}

/// By what somebody is known.
pub(super) enum Proof {
    /// Nothing: there are no credentials to ask for.
    Open,
    /// Nothing.
    Anonymous,
    /// The token of the token file, of this generation.
    Token(u64),
    /// A password, of which this is the hash, or a session that began with it.
    User {
        user: UserName,
        password: Secret,
        session: Option<Arc<Session>>,
    },
    /// An API key.
    ApiKey { name: ApiKeyName, hash: KeyHash },
    /// A JWT.
    Jwt { claims: super::jwt::Claims },
}

/// What was found out, of one version of the accounts.
struct Known {
    version: u64,
    permissions: Result<Arc<Permissions>, Error>,
}

impl Caller {
    pub(super) fn new(access: &Access, peer: SocketAddr, name: String, proof: Proof) -> Self {
        let (version, permissions) = access.permissions(&proof);
        Self(Arc::new(Identity {
            access: access.clone(),
            peer,
            name,
            proof,
            known: RwLock::new(Known { version, permissions }),
        }))
    }

    /// Whether they may ask that.
    ///
    /// # Errors
    /// [`Error::Denied`], which says what is missing; [`Error::Unauthenticated`] when their credentials count no longer, or
    /// they have none.
    pub(crate) fn check(&self, ask: &Ask) -> Result<(), Error> {
        let permissions = self.permissions()?;
        match needed(ask).into_iter().find(|need| !permissions.allow(need)) {
            None => Ok(()),
            Some(missing) => Err(self.deny(&missing)),
        }
    }

    /// Whether they may do what needs this.
    ///
    /// # Errors
    /// As [`Caller::check`].
    pub(crate) fn check_need(&self, need: &Need<'_>) -> Result<(), Error> {
        match self.permissions()?.allow(need) {
            true => Ok(()),
            false => Err(self.deny(need)),
        }
    }

    /// Whether their credentials count still.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`].
    pub(super) fn is_known(&self) -> Result<(), Error> {
        self.permissions().map(drop)
    }

    fn permissions(&self) -> Result<Arc<Permissions>, Error> {
        let Identity {
            access, proof, known, ..
        } = self.0.as_ref();
        access.still_counts(proof)?;
        let version = access.version();
        {
            let known = known.read().unwrap_or_else(PoisonError::into_inner);
            if known.version == version {
                return known.permissions.clone();
            }
        }
        let (version, permissions) = access.permissions(proof);
        let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
        *known = Known { version, permissions };
        known.permissions.clone()
    }

    fn deny(&self, missing: &Need<'_>) -> Error {
        let database = match missing {
            Need::Any(database) => Some(*database),
            Need::Action(_, resource) => resource.database(),
        };
        let permission = missing.to_string();
        self.0.access.audit().record(&Entry {
            caller: &self.0.name,
            peer: self.0.peer,
            action: "ask",
            database: database.map(|database| database.as_str()),
            resource: Some(&permission),
            result: Verdict::Denied,
            reason: None,
        });
        let who = &self.0.name;
        match self.0.proof {
            Proof::Anonymous => Error::Unauthenticated(format!(
                "this needs the permission {permission:?}, which is not given to everybody: give credentials"
            )),
            _ => Error::Denied(format!(
                "{who} may not do that: it needs the permission {permission:?}, which none of their roles has"
            )),
        }
    }

    /// Their name, for logs.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// Where they come from.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// What checks them.
    pub(crate) fn access(&self) -> &Access {
        &self.0.access
    }

    /// The user that they are, if they are one.
    pub(crate) fn user(&self) -> Option<UserName> {
        match &self.0.proof {
            Proof::User { user, .. } => Some(user.clone()),
            Proof::ApiKey { name, .. } => match &self.access().accounts().1.key(name)?.owner {
                KeyOwner::User(user) => Some(user.clone()),
                KeyOwner::Roles(_) => None,
            },
            Proof::Open | Proof::Anonymous | Proof::Token(_) | Proof::Jwt { .. } => None,
        }
    }

    /// Who they are.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`].
    pub(crate) fn who_am_i(&self) -> Result<WhoAmI, Error> {
        let permissions: Vec<Permission> = self.permissions()?.iter().cloned().collect();
        Ok(WhoAmI {
            name: self.0.name.clone(),
            user: self.user(),
            permissions,
        })
    }

    /// Ends their session.
    ///
    /// # Errors
    /// [`Error::Invalid`] when they have none.
    pub(crate) async fn log_out(&self) -> Result<(), Error> {
        match &self.0.proof {
            Proof::User {
                session: Some(session),
                ..
            } => {
                self.0.access.end(session).await;
                Ok(())
            }
            _ => Err(Error::invalid(
                "there is no session to end: only the token that a login gives can be logged out",
            )),
        }
    }

    /// Takes note of what they did.
    pub(crate) fn record(
        &self,
        action: &str,
        database: Option<&str>,
        resource: Option<&str>,
        failed: Option<&Error>,
    ) {
        let reason = failed.map(ToString::to_string);
        self.0.access.audit().record(&Entry {
            caller: &self.0.name,
            peer: self.0.peer,
            action,
            database,
            resource,
            result: match failed {
                None => Verdict::Allowed,
                Some(_) => Verdict::Failed,
            },
            reason: reason.as_deref(),
        });
    }
}
