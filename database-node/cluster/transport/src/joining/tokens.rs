//! The tokens that were given out: what they hash to, until when they are good, and whether they were used.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::token::JoinToken;
use crate::certificates::{CertificateError, Fingerprint, files};

/// So many tokens are kept at most.
const MAX_TOKENS: usize = 1000;
/// How long a token that is not good any more is remembered, to say so.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest that a token may be good.
const MAX_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The version of the file.
const VERSION: u32 = 1;

/// Why a token is not taken, or cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nobody gave it out here, or that was long ago.
    #[error(
        "the token is not known here; it may be of another node or too old: have a new one made, and ask the node that made it"
    )]
    Unknown,
    /// Its time is over.
    #[error("the token has expired; have a new one made")]
    Expired,
    /// Another node has joined with it.
    #[error("the token was used already, by a node with another key; have a new one made for each node")]
    Used,
    /// It cannot be made.
    #[error("{0}")]
    NotMade(String),
    /// The file cannot be read or written.
    #[error("cannot {action} {}: {reason}", .path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// The tokens that a node with the authority's key has made, kept in a file as hashes. What was used stays used after a
/// restart. One process at a time may have the file open.
#[derive(Debug)]
pub struct JoinTokens {
    path: PathBuf,
    made: Mutex<Vec<Made>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    /// Of the secret, in hexadecimal digits. The secret has 32 random bytes, so nobody finds it by trying.
    sha256: String,
    /// Seconds since the Unix epoch.
    expires: u64,
    /// The hash of the public key that was certified for it: whoever has that key may ask again, for the answer may have
    /// been lost.
    used_by: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    tokens: Vec<Made>,
}

impl JoinTokens {
    /// Those in a file, which is made with the first.
    ///
    /// # Errors
    /// [`TokenError::File`].
    pub fn open(path: &Path) -> Result<Self, TokenError> {
        let failed = |action, reason: &dyn ToString| file_error(action, path, reason);
        let made = match files::read(path) {
            Ok(bytes) => {
                let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| failed("use", &error))?;
                if kept.version != VERSION {
                    let reason = format!(
                        "it has version {}, and this version knows {VERSION}",
                        kept.version
                    );
                    return Err(failed("use", &reason));
                }
                kept.tokens
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed("read", &error)),
        };
        Ok(Self {
            path: path.to_owned(),
            made: Mutex::new(made),
        })
    }

    /// Makes a token of an authority ([`crate::Authority::fingerprint`]) that is good for so long. It is on the disk when
    /// this returns: not for tasks that must not wait.
    ///
    /// # Errors
    /// [`TokenError::NotMade`] and [`TokenError::File`].
    pub fn make(
        &self,
        authority: Fingerprint,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<JoinToken, TokenError> {
        if lifetime.is_zero() || lifetime > MAX_LIFETIME {
            return Err(TokenError::NotMade(format!(
                "a token cannot be good for {lifetime:?}; choose up to {MAX_LIFETIME:?}"
            )));
        }
        let not_made = |error: CertificateError| TokenError::NotMade(error.to_string());
        let token = JoinToken::draw(authority).map_err(not_made)?;
        let made = Made {
            sha256: Fingerprint::of(&token.secret).to_string(),
            expires: seconds(now).saturating_add(lifetime.as_secs().max(1)),
            used_by: None,
        };
        self.change(now, |all| {
            if all.len() >= MAX_TOKENS {
                return Err(TokenError::NotMade(format!(
                    "there are {MAX_TOKENS} tokens already; wait until some have expired"
                )));
            }
            all.push(made);
            Ok(())
        })?;
        Ok(token)
    }

    /// Takes a token for a public key, of which `key` is a hash, and notes that on the disk before it returns. The same
    /// key may come again while the token has not expired.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(crate) fn redeem(&self, secret: &[u8], key: Fingerprint, now: SystemTime) -> Result<(), TokenError> {
        let (sha256, key) = (Fingerprint::of(secret).to_string(), key.to_string());
        {
            let all = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            // What need not be written is not.
            let found = all
                .iter()
                .find(|made| made.sha256 == sha256)
                .ok_or(TokenError::Unknown)?;
            if found.is_used_by(&key, now)? {
                return Ok(());
            }
        }
        self.change(now, |all| {
            let mut all = all.iter_mut();
            let found = all
                .find(|made| made.sha256 == sha256)
                .ok_or(TokenError::Unknown)?;
            if !found.is_used_by(&key, now)? {
                found.used_by = Some(key);
            }
            Ok(())
        })
    }

    /// Changes them on the disk, and then here.
    fn change(
        &self,
        now: SystemTime,
        change: impl FnOnce(&mut Vec<Made>) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = made.clone();
        let forgotten = seconds(now).saturating_sub(REMEMBERED.as_secs());
        changed.retain(|made| made.expires > forgotten);
        change(&mut changed)?;
        let kept = Kept {
            version: VERSION,
            tokens: changed,
        };
        let failed = |reason: &dyn ToString| file_error("write", &self.path, reason);
        let bytes = serde_json::to_vec(&kept).map_err(|error| failed(&error))?;
        files::write(&self.path, &bytes, files::SECRET).map_err(|error| failed(&error))?;
        *made = kept.tokens;
        Ok(())
    }
}

impl Made {
    /// Whether this key has used it already; it may when it is not an error.
    fn is_used_by(&self, key: &str, now: SystemTime) -> Result<bool, TokenError> {
        if seconds(now) >= self.expires {
            return Err(TokenError::Expired);
        }
        match &self.used_by {
            Some(used_by) if used_by != key => Err(TokenError::Used),
            used_by => Ok(used_by.is_some()),
        }
    }
}

fn seconds(now: SystemTime) -> u64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn file_error(action: &'static str, path: &Path, reason: &dyn ToString) -> TokenError {
    TokenError::File {
        action,
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn key(name: &str) -> Fingerprint {
        Fingerprint::of(name.as_bytes())
    }

    #[test]
    fn a_token_is_good_once_and_until_it_expires_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.json");
        let tokens = JoinTokens::open(&path).unwrap();
        let authority = key("authority");
        let used = tokens.make(authority, HOUR, now()).unwrap();
        let unused = tokens.make(authority, HOUR, now()).unwrap();
        assert_eq!(tokens.redeem(&used.secret, key("a"), now()), Ok(()));
        for tokens in [tokens, JoinTokens::open(&path).unwrap()] {
            assert_eq!(
                tokens.redeem(&used.secret, key("b"), now()),
                Err(TokenError::Used)
            );
            // Its answer may have been lost.
            assert_eq!(tokens.redeem(&used.secret, key("a"), now() + HOUR / 2), Ok(()));
            assert_eq!(
                tokens.redeem(&used.secret, key("a"), now() + HOUR),
                Err(TokenError::Expired)
            );
            assert_eq!(
                tokens.redeem(&unused.secret, key("b"), now() + HOUR),
                Err(TokenError::Expired)
            );
            assert_eq!(tokens.redeem(&[7; 32], key("b"), now()), Err(TokenError::Unknown));
        }
        let tokens = JoinTokens::open(&path).unwrap();
        assert_eq!(tokens.redeem(&unused.secret, key("b"), now()), Ok(()));

        // Hashes only, and nobody else reads them.
        let text = fs::read_to_string(&path).unwrap();
        for token in [&used, &unused] {
            let revealed = token.reveal();
            let (_, secret) = revealed.split_at(revealed.len() - 40);
            assert!(!text.contains(secret) && text.contains(&Fingerprint::of(&token.secret).to_string()));
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        // Those of long ago are forgotten.
        tokens
            .make(authority, HOUR, now() + REMEMBERED + 2 * HOUR)
            .unwrap();
        assert_eq!(
            tokens.redeem(&used.secret, key("a"), now()),
            Err(TokenError::Unknown)
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.json");
        let tokens = JoinTokens::open(&path).unwrap();
        for lifetime in [Duration::ZERO, 2 * MAX_LIFETIME] {
            let refused = tokens.make(key("authority"), lifetime, now());
            assert!(matches!(refused, Err(TokenError::NotMade(_))), "{refused:?}");
        }
        for text in ["", "{}", "[1]", r#"{"version":2,"tokens":[]}"#] {
            fs::write(&path, text).unwrap();
            let error = JoinTokens::open(&path).unwrap_err().to_string();
            assert!(error.contains("tokens.json"), "{error}");
        }
    }
}
