//! Passwords: hashed with argon2id, by few threads at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use pliantdb_core::Error;
use pliantdb_core::protocol::Secret;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::secrets::{TokenHash, hash, random};

/// What OWASP advises for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// So many are hashed at once: each needs a processor and the memory.
const AT_ONCE: usize = 2;
/// So many wait for that; the next is told to come back.
const MAX_WAITING: usize = 64;
/// The shortest password, in characters.
const MIN_LENGTH: usize = 8;
/// The longest password, in bytes.
const MAX_BYTES: usize = 1024;
/// For how long a password that was right need not be hashed again: whoever sends it with every request would wait each
/// time.
const REMEMBERED: Duration = Duration::from_secs(300);
/// So many are remembered.
const MAX_REMEMBERED: usize = 1024;

/// Hashes passwords.
pub(super) struct Passwords {
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// Hashes, by a key of this process, of passwords that were right, with the hashes that they are the passwords of.
    right: Mutex<HashMap<TokenHash, Instant>>,
    key: [u8; 32],
}

impl Passwords {
    /// # Errors
    /// [`Error::Storage`] when the system gives no random bytes.
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self {
            places: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            right: Mutex::default(),
            key: random()?,
        })
    }

    /// The hash of a new password, as a PHC string.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a password that is too short or too long, and [`Error::Busy`].
    pub(super) async fn hash(&self, password: &Secret) -> Result<Secret, Error> {
        let (characters, bytes) = (password.expose().chars().count(), password.expose().len());
        if characters < MIN_LENGTH || bytes > MAX_BYTES {
            return Err(Error::Invalid(format!(
                "the password has {characters} characters and {bytes} bytes; choose one of at least {MIN_LENGTH} characters and \
                 at most {MAX_BYTES} bytes"
            )));
        }
        let (password, salt) = (password.clone(), random::<16>()?);
        self.run(move || {
            let hash: Result<PasswordHash, _> =
                argon2()?.hash_password_with_salt(password.expose().as_bytes(), &salt);
            let hash =
                hash.map_err(|error| Error::Storage(format!("the password cannot be hashed: {error}")))?;
            Ok(Secret::new(hash.to_string()))
        })
        .await
    }

    /// Whether it is the password with that hash. Without a hash it takes as long, and is not.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub(super) async fn verify(&self, password: &Secret, hash: Option<&Secret>) -> Result<bool, Error> {
        if password.expose().len() > MAX_BYTES {
            return Ok(false);
        }
        let (password, hash) = (password.clone(), hash.cloned());
        self.run(move || {
            let (argon2, bytes) = (argon2()?, password.expose().as_bytes());
            let Some(hash) = hash else {
                let _: Result<PasswordHash, _> = argon2.hash_password_with_salt(bytes, &[0; 16]);
                return Ok(false);
            };
            let hash = PasswordHash::new(hash.expose())
                .map_err(|error| Error::Storage(format!("the hash of a password cannot be read: {error}")))?;
            Ok(argon2.verify_password(bytes, &hash).is_ok())
        })
        .await
    }

    /// Whether a password was found to be the one with that hash lately.
    pub(super) fn was_right(&self, password: &Secret, hash: &Secret) -> bool {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        let at = right.get(&self.remembered_as(password, hash));
        at.is_some_and(|at| at.elapsed() < REMEMBERED)
    }

    /// Remembers that a password is the one with that hash.
    pub(super) fn is_right(&self, password: &Secret, hash: &Secret) {
        let remembered_as = self.remembered_as(password, hash);
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.len() >= MAX_REMEMBERED {
            right.retain(|_, at| at.elapsed() < REMEMBERED);
        }
        if right.len() >= MAX_REMEMBERED {
            right.clear();
        }
        right.insert(remembered_as, Instant::now());
    }

    fn remembered_as(&self, password: &Secret, of: &Secret) -> TokenHash {
        let (password, of) = (hash(password.expose().as_bytes()), hash(of.expose().as_bytes()));
        hash(&[self.key, password, of].concat())
    }

    /// Runs what takes a while on a thread that may.
    async fn run<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _waiting = Arc::clone(&self.waiting)
            .try_acquire_owned()
            .map_err(|_| Error::Busy)?;
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|_| Error::Closed)?;
        // The place is given back when it is done, also when nobody waits for it any more.
        let done = tokio::task::spawn_blocking(move || {
            let done = run();
            drop(place);
            done
        });
        done.await.unwrap_or(Err(Error::Closed))
    }
}

fn argon2() -> Result<Argon2<'static>, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| Error::Storage(format!("passwords cannot be hashed: {error}")))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_is_right() {
        let passwords = Passwords::new().unwrap();
        let secret = Secret::new("correct horse");
        let hash = passwords.hash(&secret).await.unwrap();
        assert!(
            hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{}",
            hash.expose()
        );
        assert_ne!(passwords.hash(&secret).await.unwrap(), hash, "salted");
        assert!(passwords.verify(&secret, Some(&hash)).await.unwrap());
        for wrong in ["", "correct hors", "correct horse "] {
            assert!(!passwords.verify(&Secret::new(wrong), Some(&hash)).await.unwrap());
        }
        assert!(!passwords.verify(&secret, None).await.unwrap());
        assert!(!passwords.was_right(&secret, &hash));
        passwords.is_right(&secret, &hash);
        assert!(passwords.was_right(&secret, &hash));
        assert!(!passwords.was_right(&Secret::new("another"), &hash));
        let new = passwords.hash(&Secret::new("another password")).await.unwrap();
        assert!(!passwords.was_right(&secret, &new), "it was changed");
    }

    #[tokio::test]
    async fn unfit_passwords_are_refused() {
        let passwords = Passwords::new().unwrap();
        for unfit in ["", "seven c", &"x".repeat(1025)] {
            let refused = passwords.hash(&Secret::new(unfit)).await.unwrap_err().to_string();
            assert!(
                refused.contains("at least 8") && !refused.contains("seven"),
                "{refused}"
            );
        }
    }
}
