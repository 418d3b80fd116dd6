//! A key, and what is sealed with it.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};
use rand::rngs::SysRng;
use rand::{Rng, TryRng};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a key.
pub(super) const KEY: usize = 32;
const NONCE: usize = 24;
const TAG: usize = 16;
/// How many bytes sealing adds.
pub(crate) const OVERHEAD: usize = NONCE + TAG;

/// A key of XChaCha20-Poly1305. It is wiped from memory when dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(
    // In a box, so that a move leaves no copy behind.
    Box<Zeroizing<[u8; KEY]>>,
);

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("SecretKey(…)")
    }
}

/// Sealed bytes that cannot be unsealed: damaged, moved to another place, or sealed with another key. That cannot be
/// told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsealing;

impl SecretKey {
    /// A new key, from the operating system's source of randomness.
    ///
    /// # Errors
    /// When the system has none, in its words.
    pub fn generate() -> Result<Self, String> {
        let mut key = Self(Box::new(Zeroizing::new([0; KEY])));
        SysRng
            .try_fill_bytes(key.0.as_mut_slice())
            .map_err(|error| format!("there is no randomness: {error}"))?;
        Ok(key)
    }

    /// Takes over the bytes of a key and wipes them; `None` when they are not of a key's length.
    pub(super) fn take(bytes: &mut [u8]) -> Option<Self> {
        let key = <[u8; KEY]>::try_from(&*bytes).map(|bytes| Self(Box::new(Zeroizing::new(bytes))));
        bytes.zeroize();
        key.ok()
    }

    /// The bytes of the key.
    pub(super) fn bytes(&self) -> &[u8; KEY] {
        &self.0
    }

    /// Encrypts `plain` and appends it to `sealed`: nonce, ciphertext, tag. It can be unsealed with the same
    /// `context` only.
    ///
    /// A nonce of 192 bits may be drawn at random for as many values as a disk can hold; that of AES-GCM, of 96,
    /// for 2^32 only (NIST SP 800-38D, 8.3), which a busy database writes in a day.
    pub(crate) fn seal(&self, context: &[u8], plain: &[u8], sealed: &mut Vec<u8>) -> Result<(), String> {
        let mut nonce = [0; NONCE];
        rand::rng().fill_bytes(&mut nonce);
        sealed.reserve_exact(plain.len() + OVERHEAD);
        sealed.extend_from_slice(&nonce);
        let start = sealed.len();
        sealed.extend_from_slice(plain);
        let tag = XChaCha20Poly1305::new(self.bytes().into())
            .encrypt_inout_detached(&XNonce::from(nonce), context, sealed[start..].as_mut().into())
            .map_err(|_| format!("{} bytes are too many to encrypt", plain.len()))?;
        sealed.extend_from_slice(&tag);
        Ok(())
    }

    /// The plain bytes of what [`SecretKey::seal`] appended, into `plain`, which is cleared first.
    pub(crate) fn unseal(&self, context: &[u8], sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), Unsealing> {
        plain.clear();
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or(Unsealing)?;
        let (text, tag) = rest.split_last_chunk::<TAG>().ok_or(Unsealing)?;
        plain.extend_from_slice(text);
        let opened = XChaCha20Poly1305::new(self.bytes().into()).decrypt_inout_detached(
            &XNonce::from(*nonce),
            context,
            plain.as_mut_slice().into(),
            &Tag::from(*tag),
        );
        opened.map_err(|_| {
            plain.clear();
            Unsealing
        })
    }

    /// Another key, sealed with this one.
    pub(crate) fn wrap(&self, context: &[u8], key: &Self) -> Result<Vec<u8>, String> {
        let mut wrapped = Vec::new();
        self.seal(context, key.bytes(), &mut wrapped)?;
        Ok(wrapped)
    }

    /// The key that [`SecretKey::wrap`] sealed.
    pub(crate) fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Self, Unsealing> {
        let mut plain = Zeroizing::new(Vec::with_capacity(wrapped.len()));
        self.unseal(context, wrapped, &mut plain)?;
        Self::take(&mut plain).ok_or(Unsealing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(key: &SecretKey, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        key.seal(context, plain, &mut sealed).unwrap();
        sealed
    }

    fn unseal(key: &SecretKey, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unsealing> {
        let mut plain = b"of before".to_vec();
        let unsealed = key.unseal(context, sealed, &mut plain);
        unsealed.map(|()| plain)
    }

    #[test]
    fn gives_back_what_was_sealed_and_nothing_else() {
        let key = SecretKey::generate().unwrap();
        for plain in [&b""[..], b"x", &[7; 100_000]] {
            let sealed = seal(&key, b"here", plain);
            assert_eq!(sealed.len(), plain.len() + OVERHEAD);
            assert_eq!(unseal(&key, b"here", &sealed).as_deref(), Ok(plain));
            assert_eq!(unseal(&key, b"there", &sealed), Err(Unsealing));
            let other = SecretKey::generate().unwrap();
            assert_eq!(unseal(&other, b"here", &sealed), Err(Unsealing));
            assert_ne!(seal(&key, b"here", plain), sealed, "every nonce is new");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let key = SecretKey::generate().unwrap();
        let sealed = seal(&key, b"here", b"0123456789");
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(&key, b"here", &damaged), Err(Unsealing), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(unseal(&key, b"here", &sealed[..length]), Err(Unsealing));
        }
    }

    /// The example of draft-irtf-cfrg-xchacha-03, appendix A.3.1: it is the cipher that it says it is.
    #[test]
    fn is_xchacha20_poly1305() {
        let mut bytes: Vec<u8> = (0x80..0xa0).collect();
        let key = SecretKey::take(&mut bytes).unwrap();
        assert_eq!(bytes, [0; KEY], "the bytes are wiped");
        let sealed = [
            (0x40..0x58).collect::<Vec<u8>>(),
            hex("bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39\
                 ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
                 21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49"),
        ]
        .concat();
        let plain = unseal(&key, &hex("50515253c0c1c2c3c4c5c6c7"), &sealed).unwrap();
        assert_eq!(
            String::from_utf8(plain).unwrap(),
            "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen \
             would be it."
        );
    }

    fn hex(text: &str) -> Vec<u8> {
        let pair = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(pair).collect()
    }

    #[test]
    fn is_not_printed() {
        let key = SecretKey::take(&mut [0x41; KEY]).unwrap();
        assert_eq!(format!("{key:?}"), "SecretKey(…)");
    }
}
