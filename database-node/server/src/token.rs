//! The bearer token.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use subtle::ConstantTimeEq;

/// The shortest token, in characters.
pub(crate) const MIN_LENGTH: usize = 16;
const MAX_LENGTH: usize = 4096;
/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// Why a token file cannot be used. Says nothing of its content.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read the token file {}: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// What it holds is not a token.
    #[error(
        "the token file {} does not hold a token: it must be one line of {MIN_LENGTH} to {MAX_LENGTH} printable ASCII \
         characters without spaces, and it has {length} bytes",
        .path.display()
    )]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The length of what it holds, without white space around it.
        length: usize,
    },
}

/// A secret text.
#[derive(Clone)]
struct Token(Vec<u8>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// The token that requests must carry, as the file has it now.
#[derive(Debug, Clone)]
pub(crate) struct TokenFile {
    path: PathBuf,
    current: Arc<RwLock<Token>>,
    /// How often it has changed.
    generation: Arc<AtomicU64>,
}

impl TokenFile {
    /// Reads the file for the first time.
    pub(crate) fn open(path: &Path) -> Result<Self, TokenError> {
        let token = read(path)?;
        Ok(Self {
            path: path.to_owned(),
            current: Arc::new(RwLock::new(token)),
            generation: Arc::default(),
        })
    }

    /// Whether `presented` is the token, and which one over time. Takes the same time wherever they differ.
    pub(crate) fn accepted(&self, presented: &[u8]) -> Option<u64> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let is_token: bool = current.0.ct_eq(presented).into();
        is_token.then(|| self.generation())
    }

    /// How often it has changed: a token that was accepted counts as long as this stays.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Reads the file again every few seconds, for ever. While it is missing or wrong, the last good token
    /// stays in force: a rotation that goes wrong must not lock everybody out.
    ///
    /// Reading is simpler than watching, and sees through the links by which Kubernetes swaps Secrets.
    pub(crate) async fn follow(self) {
        let mut was_wrong = false;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let path = self.path.clone();
            match tokio::task::spawn_blocking(move || read(&path)).await {
                Ok(Ok(token)) => {
                    was_wrong = false;
                    let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                    if current.0 != token.0 {
                        *current = token;
                        self.generation.fetch_add(1, Ordering::AcqRel);
                        tracing::info!("the token file has changed; the new token is in force");
                    }
                }
                Ok(Err(error)) if !was_wrong => {
                    was_wrong = true;
                    tracing::error!(%error, "the last good token stays in force");
                }
                _ => {}
            }
        }
    }
}

fn read(path: &Path) -> Result<Token, TokenError> {
    let unreadable = |reason| TokenError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(2 * MAX_LENGTH as u64)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let token = bytes.trim_ascii();
    let fits = (MIN_LENGTH..=MAX_LENGTH).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic);
    if fits {
        Ok(Token(token.to_vec()))
    } else {
        Err(TokenError::Invalid {
            path: path.to_owned(),
            length: token.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::TokenFile;

    #[test]
    fn accepts_its_token_only() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0123456789abcdef\n").unwrap();
        let token = TokenFile::open(file.path()).unwrap();
        assert_eq!(token.accepted(b"0123456789abcdef"), Some(0));
        for wrong in [
            &b""[..],
            b"0123456789abcdeF",
            b"0123456789abcdef0",
            b"0123456789abcdef\n",
        ] {
            assert_eq!(token.accepted(wrong), None);
        }
        assert!(!format!("{token:?}").contains("0123"));
    }

    #[test]
    fn refuses_files_without_a_token() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for content in [
            "",
            "\n",
            "tooshort",
            "two words of some length",
            "ünprintable-ünprintable",
            &"x".repeat(5000),
        ] {
            std::fs::write(file.path(), content).unwrap();
            let error = TokenFile::open(file.path()).unwrap_err().to_string();
            assert!(
                error.contains("16 to 4096") && !error.contains("words"),
                "{error}"
            );
        }
        assert!(TokenFile::open(std::path::Path::new("/not/there")).is_err());
    }
}
