//! A key, and what is sealed with it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cmac;
use aws_lc_rs::error::Unspecified;
use rand::rngs::SysRng;
use rand::{Rng, TryRng};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a key.
pub(super) const KEY: usize = 32;
const NONCE: usize = 24;
const TAG: usize = 16;
/// How many bytes sealing adds.
pub(crate) const OVERHEAD: usize = NONCE + TAG;

/// A key of XAES-256-GCM (<https://c2sp.org/XAES-256-GCM>). It is wiped from memory when dropped, and never printed.
#[derive(Clone)]
pub struct SecretKey {
    /// In a box, so that a move leaves no copy behind.
    bytes: Box<Zeroizing<[u8; KEY]>>,
    /// The same, ready to derive keys with.
    derive: cmac::Key,
}

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
        let mut bytes = Zeroizing::new([0; KEY]);
        SysRng
            .try_fill_bytes(bytes.as_mut_slice())
            .map_err(|error| format!("there is no randomness: {error}"))?;
        Self::take(bytes.as_mut_slice()).ok_or_else(|| "there is no memory for a key".to_owned())
    }

    /// Takes over the bytes of a key and wipes them; `None` when they are not of a key's length.
    pub(super) fn take(bytes: &mut [u8]) -> Option<Self> {
        let taken = <[u8; KEY]>::try_from(&*bytes).map(|bytes| Box::new(Zeroizing::new(bytes)));
        bytes.zeroize();
        let bytes = taken.ok()?;
        let derive = cmac::Key::new(cmac::AES_256, bytes.as_slice()).ok()?;
        Some(Self { bytes, derive })
    }

    /// The bytes of the key.
    pub(super) fn bytes(&self) -> &[u8; KEY] {
        &self.bytes
    }

    /// The key for one nonce, of AES-256-GCM, and what of the nonce that one takes: all that XAES adds to it.
    fn derive(&self, nonce: &[u8; NONCE]) -> Result<(LessSafeKey, Nonce), Unspecified> {
        let (first, rest) = nonce.split_at(12);
        let mut derived = Zeroizing::new([0; KEY]);
        for (counter, half) in (1..).zip(derived.chunks_mut(16)) {
            let mut block = [0, counter, b'X', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            block[4..].copy_from_slice(first);
            half.copy_from_slice(cmac::sign(&self.derive, &block)?.as_ref());
        }
        let key = UnboundKey::new(&AES_256_GCM, derived.as_slice())?;
        Ok((LessSafeKey::new(key), Nonce::try_assume_unique_for_key(rest)?))
    }

    /// Encrypts `plain` and appends it to `sealed`: nonce, ciphertext, tag. It can be unsealed with the same
    /// `context` only.
    ///
    /// A nonce of 192 bits may be drawn at random for as many values as a disk can hold; that of AES-GCM alone, of 96,
    /// for 2^32 only (NIST SP 800-38D, 8.3), which a busy database writes in days.
    pub(crate) fn seal(&self, context: &[u8], plain: &[u8], sealed: &mut Vec<u8>) -> Result<(), String> {
        let mut nonce = [0; NONCE];
        rand::rng().fill_bytes(&mut nonce);
        sealed.reserve_exact(plain.len() + OVERHEAD);
        sealed.extend_from_slice(&nonce);
        let start = sealed.len();
        sealed.extend_from_slice(plain);
        let tag = self.derive(&nonce).and_then(|(key, nonce)| {
            let plain = sealed.get_mut(start..).unwrap_or_default();
            key.seal_in_place_separate_tag(nonce, Aad::from(context), plain)
        });
        let tag = tag.map_err(|_| format!("{} bytes cannot be encrypted", plain.len()))?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// The plain bytes of what [`SecretKey::seal`] appended, into `plain`, which is cleared first.
    pub(crate) fn unseal(&self, context: &[u8], sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), Unsealing> {
        plain.clear();
        let (nonce, text) = sealed.split_first_chunk::<NONCE>().ok_or(Unsealing)?;
        plain.extend_from_slice(text);
        let opened = self.derive(nonce).and_then(|(key, nonce)| {
            let length = key.open_in_place(nonce, Aad::from(context), plain)?.len();
            Ok(length)
        });
        plain.truncate(opened.unwrap_or(0));
        opened.map(drop).map_err(|_| Unsealing)
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

    /// The test vectors of the specification: it is the cipher that it says it is.
    #[test]
    fn is_xaes_256_gcm() {
        let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
        for (byte, context, expected) in [
            (
                1,
                &b""[..],
                "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271",
            ),
            (
                3,
                b"c2sp.org/XAES-256-GCM",
                "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
            ),
        ] {
            let mut bytes = [byte; KEY];
            let key = SecretKey::take(&mut bytes).unwrap();
            assert_eq!(bytes, [0; KEY], "the bytes are wiped");
            let sealed = [nonce, hex(expected).as_slice()].concat();
            assert_eq!(unseal(&key, context, &sealed), Ok(b"XAES-256-GCM".to_vec()));
        }
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
