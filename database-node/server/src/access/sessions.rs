//! Sessions: what a password is exchanged for. They live in memory, so they end when the server does; in a cluster, when all
//! nodes that heard of them have.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pliantdb_core::protocol::Secret;
use pliantdb_core::{Error, UserName};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::secrets::{TokenHash, hash, new_token};

/// What the token of a session begins with.
pub(super) const PREFIX: &str = "session_";
/// A session that is not used for so long ends.
const IDLE: Duration = Duration::from_secs(12 * 60 * 60);
/// A session ends after so long, however it is used.
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// So many sessions there are at most; the one that was not used for longest makes room.
const MAX_SESSIONS: usize = 50_000;

/// A session, as one node tells another of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SharedSession {
    user: UserName,
    password: Secret,
    /// How long ago it began.
    age: Duration,
    /// For how long it was not used.
    idle: Duration,
}

/// The sessions that have begun.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    begun: Mutex<HashMap<TokenHash, Arc<Session>>>,
    /// Those that were ended before their time, and when: another node may not have heard of it.
    ended: Mutex<HashMap<TokenHash, Instant>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Session {
    hash: TokenHash,
    pub(super) user: UserName,
    /// The hash of the password that it was begun with: the session ends when the user has another.
    pub(super) password: Secret,
    began: Instant,
    /// When it was last used, in milliseconds after it began.
    used_ms: AtomicU64,
    is_ended: AtomicBool,
}

impl Session {
    /// Whether it goes on; it was used then.
    pub(super) fn goes_on(&self) -> bool {
        let goes_on = self.is_alive();
        if goes_on {
            self.used_ms.store(self.age_ms(), Ordering::Relaxed);
        }
        goes_on
    }

    fn is_alive(&self) -> bool {
        let idle = Duration::from_millis(self.age_ms().saturating_sub(self.used_ms.load(Ordering::Relaxed)));
        !self.is_ended.load(Ordering::Acquire) && self.began.elapsed() < LIFETIME && idle < IDLE
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// As another node is told of it.
    pub(super) fn shared(&self) -> SharedSession {
        SharedSession {
            user: self.user.clone(),
            password: self.password.clone(),
            age: self.began.elapsed(),
            idle: self.used().elapsed(),
        }
    }

    /// By what it is known, which tells nobody its token.
    pub(super) fn hash(&self) -> TokenHash {
        self.hash
    }

    /// When it was last used.
    fn used(&self) -> Instant {
        self.began + Duration::from_millis(self.used_ms.load(Ordering::Relaxed))
    }
}

impl Sessions {
    /// Begins one, and gives its token.
    ///
    /// # Errors
    /// [`Error::Storage`] when the system gives no random bytes.
    pub(super) fn begin(&self, user: UserName, password: Secret) -> Result<(Arc<Session>, Secret), Error> {
        let token = new_token(PREFIX)?;
        let session = Arc::new(Session {
            hash: hash(token.expose().as_bytes()),
            user,
            password,
            began: Instant::now(),
            used_ms: AtomicU64::new(0),
            is_ended: AtomicBool::new(false),
        });
        self.keep(&session);
        Ok((session, token))
    }

    /// Whether one was ended before its time, as far as is known here.
    pub(crate) fn was_ended(&self, hash: TokenHash) -> bool {
        self.ended().contains_key(&hash)
    }

    fn ended(&self) -> MutexGuard<'_, HashMap<TokenHash, Instant>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_ended(&self, hash: TokenHash) {
        let mut ended = self.ended();
        if ended.len() >= MAX_SESSIONS {
            ended.retain(|_, at| at.elapsed() < LIFETIME);
        }
        if ended.len() < MAX_SESSIONS {
            ended.insert(hash, Instant::now());
        }
    }

    /// Keeps one that another node has told of, unless it is known here or was ended.
    pub(crate) fn adopt(&self, hash: TokenHash, told: SharedSession) {
        if self.was_ended(hash) || self.sessions().contains_key(&hash) {
            return;
        }
        let SharedSession {
            user,
            password,
            age,
            idle,
        } = told;
        let used = age.saturating_sub(idle).as_millis();
        self.keep(&Arc::new(Session {
            hash,
            user,
            password,
            began: Instant::now().checked_sub(age).unwrap_or_else(Instant::now),
            used_ms: AtomicU64::new(u64::try_from(used).unwrap_or(u64::MAX)),
            is_ended: AtomicBool::new(false),
        }));
    }

    /// The one that is known by that, for another node.
    pub(crate) fn share(&self, hash: TokenHash) -> Option<SharedSession> {
        let session = self.sessions().get(&hash).cloned()?;
        session.is_alive().then(|| session.shared())
    }

    /// Ends the one that is known by that, as another node has done.
    pub(crate) fn end_known(&self, hash: TokenHash) {
        self.note_ended(hash);
        let mut sessions = self.sessions();
        if let Some(session) = sessions.get(&hash).cloned() {
            end(&mut sessions, &session);
        }
    }

    fn keep(&self, session: &Arc<Session>) {
        let mut sessions = self.sessions();
        if sessions.len() >= MAX_SESSIONS {
            sessions.retain(|_, session| session.is_alive());
        }
        if sessions.len() >= MAX_SESSIONS
            && let Some(oldest) = sessions.values().min_by_key(|session| session.used()).cloned()
        {
            end(&mut sessions, &oldest);
        }
        sessions.insert(session.hash, Arc::clone(session));
    }

    /// The session with that token, if there is one that goes on.
    pub(super) fn find(&self, token: &Secret) -> Option<Arc<Session>> {
        let hash = hash(token.expose().as_bytes());
        let mut sessions = self.sessions();
        let session = Arc::clone(sessions.get(&hash)?);
        if !session.goes_on() {
            end(&mut sessions, &session);
            return None;
        }
        Some(session)
    }

    /// Ends one.
    pub(super) fn end(&self, session: &Session) {
        self.note_ended(session.hash);
        end(&mut self.sessions(), session);
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<TokenHash, Arc<Session>>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end(sessions: &mut HashMap<TokenHash, Arc<Session>>, session: &Session) {
    session.is_ended.store(true, Ordering::Release);
    sessions.remove(&session.hash);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(sessions: &Sessions) -> (Arc<Session>, Secret) {
        sessions
            .begin("ada".parse().unwrap(), Secret::new("hash"))
            .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_used_goes_on_for_a_week() {
        let sessions = Sessions::default();
        let (session, token) = begin(&sessions);
        assert!(token.expose().len() > 43 && sessions.find(&Secret::new("session_x")).is_none());
        for _ in 0..15 {
            tokio::time::advance(Duration::from_secs(11 * 60 * 60)).await;
            assert!(sessions.find(&token).is_some());
        }
        tokio::time::advance(Duration::from_secs(4 * 60 * 60)).await;
        assert!(!session.goes_on() && sessions.find(&token).is_none());
        let (idle, token) = begin(&sessions);
        tokio::time::advance(IDLE).await;
        assert!(!idle.goes_on() && sessions.find(&token).is_none());
        assert!(sessions.sessions().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_ended_is_gone_for_whoever_has_it() {
        let sessions = Sessions::default();
        let (session, token) = begin(&sessions);
        sessions.end(&session);
        assert!(!session.goes_on() && sessions.find(&token).is_none());
    }
}
