//! What the fuzz targets of all crates share: docs/testing.md. For tests only.

/// How often a target runs under `cargo test`; `cargo bolero` does not count.
pub const RUNS: usize = 10_000;

/// Which seed, what becomes of its bytes, and bytes that are no seed.
pub type Input = (u8, Vec<(u16, u8)>, Vec<u8>);

/// The bytes of an input: those of a seed with some changed and some appended, or others altogether.
///
/// Bytes at random are refused by their first; what is nearly right goes deeper.
#[must_use]
pub fn bytes((seed, changes, others): &Input, seeds: &[Vec<u8>]) -> Vec<u8> {
    let Some(seed) = seeds.get(usize::from(*seed) % (seeds.len() + 1)) else {
        return others.clone();
    };
    let mut bytes = seed.clone();
    for (at, byte) in changes {
        let at = usize::from(*at) % (bytes.len() + 1);
        match byte % 8 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, *byte),
            _ => bytes.iter_mut().skip(at).take(1).for_each(|found| *found = *byte),
        }
    }
    if changes.len() % 2 == 1 {
        bytes.extend(others);
    }
    bytes
}
