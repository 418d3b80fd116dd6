//! What the benchmarks of e2e/bench share: a database that takes part is a program, a *contender*, which is told over
//! its standard input what to do, one job a line, and answers on its standard output.
//!
//! - [`job`]: the jobs and answers, and how a contender serves them
//! - [`clients`]: closed loops on threads or tasks, with their latencies
//! - [`process`]: what a process has used and holds
//! - [`contender`] and [`figures`]: for who sets them against each other
//! - [`http`]: a client of HTTP/1.1 that costs next to nothing

pub mod clients;
pub mod contender;
pub mod figures;
pub mod http;
pub mod job;
pub mod process;

/// Why a job failed.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A number from the environment.
///
/// # Errors
/// What is there is no number.
pub fn number(variable: &str, default: u64) -> Result<u64, Failure> {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .map_err(|error| format!("{variable}={text}: {error}").into()),
        Err(_) => Ok(default),
    }
}

/// SplitMix64: numbers that look random, the same in every run.
pub fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// A text of small letters, as long as is wanted, that differs with `number`.
#[must_use]
pub fn text(number: u64, length: usize) -> String {
    let mut state = number;
    let mut text = String::with_capacity(length + 8);
    while text.len() < length {
        let bits = next_random(&mut state);
        text.extend((0..8).map(|at| char::from(b'a' + (bits >> (8 * at)) as u8 % 26)));
    }
    text.truncate(length);
    text
}
