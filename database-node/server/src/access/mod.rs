//! Who asks, and what they may do: the one place that decides it, for every door.

mod caller;
mod jwt;
mod passwords;
mod secrets;
mod sessions;
mod throttle;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pliantdb_core::access::{Accounts, KeyHash, KeyOwner, Permissions, User, anonymous};
use pliantdb_core::protocol::{Credentials, Secret};
use pliantdb_core::{Error, UserName};
use pliantdb_storage::SharedAccounts;

use crate::audit::{Audit, AuditError, Entry, Verdict};
use crate::config::Settings;
use crate::databases::Databases;
use crate::metrics::Metrics;
use crate::token::{TokenError, TokenFile};
use caller::Proof;
use jwt::Jwt;
use passwords::Passwords;
use sessions::Session;
pub(crate) use sessions::{Sessions, SharedSession};
use throttle::Throttle;

pub(crate) use caller::Caller;
pub use jwt::JwksError;

/// What an API key begins with.
const API_KEY_PREFIX: &str = "pliant_";

/// Why nobody could be told from anybody else.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The token file cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The file of keys cannot be used.
    #[error(transparent)]
    Jwks(#[from] JwksError),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The system gives no random bytes.
    #[error(transparent)]
    Random(#[from] Error),
}

/// Tells who somebody is, and what they may do. Clones are the same.
#[derive(Clone)]
pub(crate) struct Access(Arc<Inner>);

struct Inner {
    databases: Databases,
    accounts: Arc<SharedAccounts>,
    token: Option<TokenFile>,
    jwt: Option<Jwt>,
    sessions: Arc<Sessions>,
    passwords: Passwords,
    throttle: Throttle,
    audit: Audit,
    metrics: Arc<Metrics>,
    /// Held while users are changed on a server that has none, so that there is one first.
    first_user: tokio::sync::Mutex<()>,
}

/// The files that tell who somebody is, and where it is written down.
pub(crate) struct AccessFiles {
    token: Option<TokenFile>,
    jwt: Option<Jwt>,
    audit: Audit,
    passwords: Passwords,
}

impl AccessFiles {
    /// Reads them: before anything else is touched, so that a wrong one is found first.
    ///
    /// # Errors
    /// [`AccessError`], which names the setting or the file.
    pub(crate) fn open(settings: &Settings) -> Result<Self, AccessError> {
        let jwt = match (&settings.jwks_file, &settings.jwt_audience) {
            (Some(path), Some(audience)) => Some(Jwt::open(path, audience, settings.jwt_issuer.as_deref())?),
            _ => None,
        };
        Ok(Self {
            token: settings.token_file.as_deref().map(TokenFile::open).transpose()?,
            jwt,
            audit: Audit::open(settings.audit_log.as_deref())?,
            passwords: Passwords::new()?,
        })
    }
}

impl Access {
    /// Of whoever uses these databases.
    pub(crate) fn new(
        databases: Databases,
        sessions: Arc<Sessions>,
        files: AccessFiles,
        metrics: Arc<Metrics>,
    ) -> Self {
        let AccessFiles {
            token,
            jwt,
            audit,
            passwords,
        } = files;
        Self(Arc::new(Inner {
            accounts: databases.accounts(),
            databases,
            token,
            jwt,
            sessions,
            passwords,
            throttle: Throttle::default(),
            audit,
            metrics,
            first_user: tokio::sync::Mutex::default(),
        }))
    }

    /// Whether anybody may do anything: there is no token, no key of somebody who signs tokens, and no user.
    pub(crate) fn is_open(&self) -> bool {
        self.0.token.is_none() && self.0.jwt.is_none() && self.accounts().1.has_no_users()
    }

    /// Reads the files again when they change, for ever.
    pub(crate) async fn follow(self) {
        let token = async {
            match &self.0.token {
                Some(token) => token.clone().follow().await,
                None => std::future::pending().await,
            }
        };
        let keys = async {
            match &self.0.jwt {
                Some(jwt) => jwt.follow().await,
                None => std::future::pending().await,
            }
        };
        let audit = async {
            use tokio::signal::unix::{SignalKind, signal};
            if self.0.audit.has_file()
                && let Ok(mut hang_up) = signal(SignalKind::hangup())
            {
                while hang_up.recv().await.is_some() {
                    self.0.audit.reopen();
                }
            }
        };
        tokio::join!(token, keys, audit);
    }

    /// Who has these credentials.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when they are missing or not valid, or too many were wrong before; [`Error::Busy`].
    pub(crate) async fn identify(
        &self,
        credentials: Option<&Credentials>,
        peer: SocketAddr,
    ) -> Result<Caller, Error> {
        match credentials {
            None => self.nobody(peer),
            Some(Credentials::Token(token)) => self.bearer_anywhere(token, peer).await,
            Some(Credentials::Password { user, password }) => {
                let (user, hash) = self.password(user, password, peer).await?;
                let proof = Proof::User {
                    user: user.clone(),
                    password: hash,
                    session: None,
                };
                self.admit(user.as_str().to_owned(), proof, peer)
            }
        }
    }

    /// Who has these credentials; whoever gives a password is given a session, and its token.
    ///
    /// # Errors
    /// As [`Access::identify`].
    pub(crate) async fn enter(
        &self,
        credentials: Option<&Credentials>,
        peer: SocketAddr,
    ) -> Result<(Caller, Option<Secret>), Error> {
        let Some(Credentials::Password { user, password }) = credentials else {
            let caller = self.identify(credentials, peer).await?;
            if credentials.is_some() {
                self.login(caller.name(), peer, None);
            }
            return Ok((caller, None));
        };
        let (user, hash) = self.password(user, password, peer).await?;
        let (session, token) = self.0.sessions.begin(user.clone(), hash.clone())?;
        self.0.databases.share_session(session.hash(), session.shared());
        let proof = Proof::User {
            user: user.clone(),
            password: hash,
            session: Some(session),
        };
        let caller = self.admit(user.as_str().to_owned(), proof, peer)?;
        self.login(caller.name(), peer, None);
        Ok((caller, Some(token)))
    }

    /// The hash of a new password.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that is too short or too long, and [`Error::Busy`].
    pub(crate) async fn hash(&self, password: &Secret) -> Result<Secret, Error> {
        self.0.passwords.hash(password).await
    }

    /// Checks the password of a user.
    ///
    /// # Errors
    /// As [`Access::identify`].
    pub(crate) async fn check_password(
        &self,
        user: &UserName,
        password: &Secret,
        peer: SocketAddr,
    ) -> Result<(), Error> {
        self.password(user.as_str(), password, peer).await.map(drop)
    }

    /// A new API key, and its hash.
    ///
    /// # Errors
    /// [`Error::Storage`] when the system gives no random bytes.
    pub(crate) fn new_api_key(&self) -> Result<(Secret, KeyHash), Error> {
        let key = secrets::new_token(API_KEY_PREFIX)?;
        let hash = KeyHash(secrets::hash(key.expose().as_bytes()));
        Ok((key, hash))
    }

    /// The users, roles and API keys as they are now, and of which version that is.
    pub(crate) fn accounts(&self) -> (u64, Arc<Accounts>) {
        self.0.accounts.current()
    }

    /// Where it is written down.
    pub(crate) fn audit(&self) -> &Audit {
        &self.0.audit
    }

    /// Held while the first user is made.
    pub(crate) async fn first_user(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.first_user.lock().await
    }

    fn nobody(&self, peer: SocketAddr) -> Result<Caller, Error> {
        if self.is_open() {
            return self.admit("everybody".to_owned(), Proof::Open, peer);
        }
        self.admit("anonymous".to_owned(), Proof::Anonymous, peer)
    }

    /// As [`Access::bearer`], with sessions that have begun on other nodes; after a wrong token it takes longer.
    async fn bearer_anywhere(&self, token: &Secret, peer: SocketAddr) -> Result<Caller, Error> {
        let Inner {
            sessions,
            databases,
            throttle,
            ..
        } = self.0.as_ref();
        let hash = secrets::hash(token.expose().as_bytes());
        let is_elsewhere = token.expose().starts_with(sessions::PREFIX)
            && databases.cluster().is_some()
            && sessions.find(token).is_none()
            && !sessions.was_ended(hash);
        let mut asked = None;
        if is_elsewhere {
            let (attempt, _place) = throttle.question(canonical(peer)).await?;
            if let Some(found) = databases.session(hash).await {
                sessions.adopt(hash, found);
            }
            asked = Some(attempt);
        }
        match self.bearer(token, peer) {
            Err(wrong @ Error::Unauthenticated(_)) => {
                match asked {
                    // It has waited before the others were asked.
                    Some(attempt) => attempt.failed(),
                    None => throttle.wrong_token(canonical(peer)).await?,
                }
                Err(wrong)
            }
            admitted => admitted,
        }
    }

    fn bearer(&self, token: &Secret, peer: SocketAddr) -> Result<Caller, Error> {
        let text = token.expose();
        if let Some(file) = &self.0.token
            && let Some(generation) = file.accepted(text.as_bytes())
        {
            return self.admit("administrator".to_owned(), Proof::Token(generation), peer);
        }
        let refuse = |reason: String| {
            self.login("unknown", peer, Some(&reason));
            Err(Error::Unauthenticated(reason))
        };
        if text.starts_with(sessions::PREFIX) {
            let Some(session) = self.0.sessions.find(token) else {
                return refuse("the session has ended, or never began: log in again".to_owned());
            };
            let (name, password) = (session.user.as_str().to_owned(), session.password.clone());
            let proof = Proof::User {
                user: session.user.clone(),
                password,
                session: Some(session),
            };
            return self.admit(name, proof, peer);
        }
        if text.starts_with(API_KEY_PREFIX) {
            let hash = KeyHash(secrets::hash(text.as_bytes()));
            let (_, accounts) = self.accounts();
            let Some((name, _)) = accounts.key_by_hash(&hash) else {
                return refuse("there is no such API key; it may have been deleted".to_owned());
            };
            let name = name.clone();
            return self.admit(format!("key {name}"), Proof::ApiKey { name, hash }, peer);
        }
        match &self.0.jwt {
            Some(jwt) if text.split('.').count() == 3 => match jwt.verify(token) {
                Ok(claims) => {
                    let name = format!("jwt {}", pliantdb_core::shorten(&claims.sub));
                    self.admit(name, Proof::Jwt { claims }, peer)
                }
                Err(reason) => refuse(format!("the JWT is not taken: {reason}")),
            },
            _ if self.is_open() => self.nobody(peer),
            _ => refuse("the token is not the one that this server expects".to_owned()),
        }
    }

    /// Checks a password; gives the user and the password's hash.
    async fn password(
        &self,
        user: &str,
        password: &Secret,
        peer: SocketAddr,
    ) -> Result<(UserName, Secret), Error> {
        let wrong = || Error::Unauthenticated("the user does not exist, or the password is wrong".to_owned());
        let Ok(name) = user.parse::<UserName>() else {
            self.login("unknown", peer, Some("no name of a user"));
            return Err(wrong());
        };
        let hash = self.password_of(&name);
        if let Some(hash) = &hash
            && self.0.passwords.was_right(password, hash)
        {
            return Ok((name, hash.clone()));
        }
        let attempt = self.0.throttle.attempt(&name, canonical(peer)).await;
        let attempt =
            attempt.inspect_err(|_| self.login(name.as_str(), peer, Some("too many failed before")))?;
        // It may have been changed while this waited.
        let hash = self.password_of(&name);
        match (self.0.passwords.verify(password, hash.as_ref()).await?, hash) {
            (true, Some(hash)) => {
                attempt.succeeded();
                self.0.passwords.is_right(password, &hash);
                Ok((name, hash))
            }
            _ => {
                attempt.failed();
                self.login(
                    name.as_str(),
                    peer,
                    Some("the user does not exist, or the password is wrong"),
                );
                Err(wrong())
            }
        }
    }

    /// The hash of the password of a user who is let in.
    fn password_of(&self, name: &UserName) -> Option<Secret> {
        let (_, accounts) = self.accounts();
        let user = accounts.user(name).filter(|user| !user.is_disabled)?;
        user.password.clone()
    }

    fn admit(&self, name: String, proof: Proof, peer: SocketAddr) -> Result<Caller, Error> {
        let caller = Caller::new(self, peer, name, proof);
        caller.is_known()?;
        Ok(caller)
    }

    fn login(&self, name: &str, peer: SocketAddr, failed: Option<&str>) {
        if failed.is_some() {
            self.0.metrics.login_refused();
        }
        self.0.audit.record(&Entry {
            caller: name,
            peer,
            action: "login",
            database: None,
            resource: None,
            result: match failed {
                None => Verdict::Allowed,
                Some(_) => Verdict::Denied,
            },
            reason: failed,
        });
    }

    fn version(&self) -> u64 {
        self.0.accounts.version()
    }

    /// Ends a session, on every node that is there.
    async fn end(&self, session: &Session) {
        self.0.sessions.end(session);
        self.0.databases.end_session(session.hash()).await;
    }

    /// Whether a proof counts, as far as that does not depend on the accounts.
    fn still_counts(&self, proof: &Proof) -> Result<(), Error> {
        let (counts, why) = match proof {
            Proof::Token(generation) => (
                self.0
                    .token
                    .as_ref()
                    .is_some_and(|token| token.generation() == *generation),
                "the token was replaced by another",
            ),
            Proof::User {
                session: Some(session),
                ..
            } => (session.goes_on(), "the session has ended: log in again"),
            Proof::ApiKey { name, .. } => {
                let (_, accounts) = self.accounts();
                let expires = accounts.key(name).and_then(|key| key.expires_ms);
                (
                    expires.is_none_or(|expires| self.0.databases.now_ms() < expires),
                    "the API key has expired",
                )
            }
            Proof::Jwt { claims } => (claims.counts_at(now_s()), "the JWT has expired"),
            Proof::Open | Proof::Anonymous | Proof::User { session: None, .. } => (true, ""),
        };
        match counts {
            true => Ok(()),
            false => Err(Error::Unauthenticated(why.to_owned())),
        }
    }

    /// What a proof allows by the accounts as they are now, and of which version that is.
    fn permissions(&self, proof: &Proof) -> (u64, Result<Arc<Permissions>, Error>) {
        let (version, accounts) = self.accounts();
        let unknown = |why: &str| Err(Error::Unauthenticated(why.to_owned()));
        let of_user = |user: Option<&User>| match user {
            Some(user) if !user.is_disabled => Ok(accounts.permissions(&user.roles)),
            Some(_) => unknown("the user is disabled"),
            None => unknown("the user does not exist any more"),
        };
        let permissions = match proof {
            Proof::Open if self.is_open() => Ok(Permissions::everything()),
            Proof::Open => unknown("this server has users now: log in"),
            Proof::Anonymous => {
                let permissions = accounts.permissions([&anonymous()]);
                match permissions.is_empty() {
                    false => Ok(permissions),
                    true => {
                        unknown("this server asks for credentials: a token, or a user's name and password")
                    }
                }
            }
            Proof::Token(_) => Ok(Permissions::everything()),
            Proof::User { user, password, .. } => match accounts.user(user) {
                Some(now) if now.password.as_ref() != Some(password) => {
                    unknown("the user's password was changed: log in again")
                }
                user => of_user(user),
            },
            Proof::ApiKey { name, hash } => match accounts.key(name) {
                Some(key) if key.hash == *hash => match &key.owner {
                    KeyOwner::User(user) => of_user(accounts.user(user)),
                    KeyOwner::Roles(roles) => Ok(accounts.permissions(roles)),
                },
                _ => unknown("the API key was deleted"),
            },
            Proof::Jwt { claims } => Ok(accounts.permissions(&claims.roles())),
        };
        (version, permissions.map(Arc::new))
    }
}

/// The peer as those see it whom it must not surprise that an address of IPv4 can be written as one of IPv6.
fn canonical(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

fn now_s() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since_epoch.as_secs()
}
