//! The text that is handed to a node that is to join.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::certificates::{CertificateError, Fingerprint};

/// What a token's text begins with.
const PREFIX: &str = "pliant-join-v1.";
/// The bytes of a fingerprint, and of a secret.
const HALF: usize = 32;

/// What a node needs to get its certificate: the fingerprint of the cluster's authority, so that it knows whom to trust,
/// and a secret, so that it is trusted. It is good once.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    pub(crate) authority: Fingerprint,
    pub(crate) secret: [u8; HALF],
}

/// A text that is not a token. It is not repeated: most of it may be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a token to join with: one begins with {PREFIX:?}, followed by {} letters, digits, - and _; it is to be \
     copied whole",
    (2 * HALF * 4).div_ceil(3)
)]
pub struct MalformedToken;

impl JoinToken {
    pub(crate) fn draw(authority: Fingerprint) -> Result<Self, CertificateError> {
        let mut secret = [0; HALF];
        rand::fill(&mut secret).map_err(|_| CertificateError::making("no randomness"))?;
        Ok(Self { authority, secret })
    }

    /// Of whom its bearer takes a certificate.
    #[must_use]
    pub fn authority(&self) -> Fingerprint {
        self.authority
    }

    /// Its text: a secret.
    #[must_use]
    pub fn reveal(&self) -> String {
        let bytes = [self.authority.0, self.secret].concat();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for JoinToken {
    type Err = MalformedToken;

    fn from_str(text: &str) -> Result<Self, MalformedToken> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(MalformedToken)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| MalformedToken)?;
        let (authority, secret) = bytes.split_first_chunk::<HALF>().ok_or(MalformedToken)?;
        Ok(Self {
            authority: Fingerprint(*authority),
            secret: secret.try_into().map_err(|_| MalformedToken)?,
        })
    }
}

/// Without the secret.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_what_its_text_says_and_shows_no_secret_otherwise() {
        let token = JoinToken::draw(Fingerprint::of(b"authority")).unwrap();
        let text = token.reveal();
        assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
        let secret = text.strip_prefix(PREFIX).unwrap();
        assert!(!format!("{token:?}").contains(&secret[43..]));
        assert_ne!(JoinToken::draw(token.authority).unwrap(), token);
    }

    #[test]
    fn what_is_not_whole_is_no_token() {
        let text = JoinToken::draw(Fingerprint::of(b"authority")).unwrap().reveal();
        for end in 0..text.len() {
            assert_eq!(text[..end].parse::<JoinToken>(), Err(MalformedToken));
        }
        assert_eq!(format!("{text}AA").parse::<JoinToken>(), Err(MalformedToken));
    }

    proptest! {
        #[test]
        fn any_text_is_a_token_or_is_not(text in ".*", rest in "[A-Za-z0-9_-]{80,90}") {
            let _ = text.parse::<JoinToken>();
            let _ = format!("{PREFIX}{rest}").parse::<JoinToken>();
        }
    }
}
