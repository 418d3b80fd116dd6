//! Random tokens, and their hashes.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pliantdb_core::Error;
use pliantdb_core::protocol::Secret;

/// SHA-256 of a token. The token has 256 random bits, so nobody finds it from the hash.
pub(super) type TokenHash = [u8; 32];

/// Bytes that nobody can guess.
///
/// # Errors
/// [`Error::Storage`] when the system has none.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Error::Storage("the system gives no random bytes".to_owned()))?;
    Ok(bytes)
}

/// A new token of 256 random bits behind a prefix that says what it is.
///
/// # Errors
/// As [`random`].
pub(super) fn new_token(prefix: &str) -> Result<Secret, Error> {
    Ok(Secret::new(format!(
        "{prefix}{}",
        URL_SAFE_NO_PAD.encode(random::<32>()?)
    )))
}

pub(super) fn hash(bytes: &[u8]) -> TokenHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}
