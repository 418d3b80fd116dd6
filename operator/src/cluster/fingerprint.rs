//! A short mark of anything that can be written as JSON.

use serde::Serialize;

/// The fingerprint of a value. It is stored and compared between versions of the operator, so it does not
/// depend on how Rust hashes.
pub fn fingerprint(value: &impl Serialize) -> String {
    // FNV-1a with 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/. It tells edits apart, not attackers.
    let text = serde_json::to_string(value).unwrap_or_default();
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
