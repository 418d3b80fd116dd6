//! Slows down whoever guesses passwords or tokens.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pliantdb_core::{Error, UserName};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

/// So many failures are free.
const FREE: u32 = 5;
/// So many wrong tokens are: a program whose token has expired sends it with every request until it has another.
const FREE_TOKENS: u32 = 20;
/// How long the attempt after them waits; each further one twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// The longest that an attempt waits.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// Of so many sessions that are not known here other nodes are asked at once; further ones wait in line.
const ASKED_AT_ONCE: usize = 16;
/// How long one waits in that line, which one node that does not answer can hold up.
const IN_LINE: Duration = Duration::from_secs(5);
/// So many attempts of one user name, or one peer, wait at once; the next is refused.
const MAX_WAITING: u32 = 4;
/// Failures are forgotten when none has come for so long.
const MEMORY: Duration = Duration::from_secs(15 * 60);
/// So many user names and peers are remembered.
const MAX_REMEMBERED: usize = 10_000;

/// Who guesses, or whose password is guessed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    User(UserName),
    Peer(IpAddr),
    /// Whoever sends tokens from there. Not the same as those who send passwords: a token that has expired is no guess.
    Tokens(IpAddr),
}

impl Subject {
    fn free(&self) -> u32 {
        match self {
            Self::User(_) | Self::Peer(_) => FREE,
            Self::Tokens(_) => FREE_TOKENS,
        }
    }
}

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
    /// How many attempts wait now.
    waiting: u32,
}

impl Failures {
    fn delay(&self, free: u32) -> Duration {
        let beyond = match self.last.elapsed() < MEMORY {
            true => self.count.checked_sub(free),
            false => None,
        };
        let doubled = |beyond: u32| FIRST_DELAY.saturating_mul(1 << beyond.min(16));
        beyond.map_or(Duration::ZERO, |beyond| doubled(beyond).min(MAX_DELAY))
    }
}

/// Remembers who failed lately.
#[derive(Debug)]
pub(super) struct Throttle {
    failures: Mutex<HashMap<Subject, Failures>>,
    /// Who may ask other nodes.
    places: Semaphore,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            failures: Mutex::default(),
            places: Semaphore::new(ASKED_AT_ONCE),
        }
    }
}

/// An attempt that may be made now.
pub(super) struct Attempt<'t> {
    throttle: &'t Throttle,
    subjects: Vec<Subject>,
}

impl Throttle {
    /// Waits until an attempt to prove to be `user` may be made.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when too many wait already.
    pub(super) async fn attempt(&self, user: &UserName, peer: IpAddr) -> Result<Attempt<'_>, Error> {
        let subjects = vec![Subject::User(user.clone()), Subject::Peer(network(peer))];
        self.attempt_of(subjects, || format!("failed logins as {user:?} or"))
            .await
    }

    /// Waits after a wrong token, the longer the more there were from there. A right one waits for nothing.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when too many wait already.
    pub(super) async fn wrong_token(&self, peer: IpAddr) -> Result<(), Error> {
        self.token(peer).await?.failed();
        Ok(())
    }

    /// Waits until other nodes may be asked of a token that is not known here: after wrong ones from there as long as after a
    /// wrong one, for each is a question to all nodes.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when too many wait already; [`Error::Closed`].
    pub(super) async fn question(&self, peer: IpAddr) -> Result<(Attempt<'_>, SemaphorePermit<'_>), Error> {
        loop {
            let was_free = self.delay_of_tokens(peer).is_zero();
            let attempt = self.token(peer).await?;
            let place = timeout(IN_LINE, self.places.acquire())
                .await
                .map_err(|_| Error::Busy)?;
            let place = place.map_err(|_| Error::Closed)?;
            // While it stood in line others from there can have turned out to be wrong.
            if !was_free || self.delay_of_tokens(peer).is_zero() {
                return Ok((attempt, place));
            }
        }
    }

    async fn token(&self, peer: IpAddr) -> Result<Attempt<'_>, Error> {
        let subjects = vec![Subject::Tokens(network(peer))];
        self.attempt_of(subjects, || "wrong tokens".to_owned()).await
    }

    fn delay_of_tokens(&self, peer: IpAddr) -> Duration {
        let failures = self.failures();
        let known = failures.get(&Subject::Tokens(network(peer)));
        known.map_or(Duration::ZERO, |known| known.delay(FREE_TOKENS))
    }

    async fn attempt_of(
        &self,
        subjects: Vec<Subject>,
        failed: impl FnOnce() -> String,
    ) -> Result<Attempt<'_>, Error> {
        let delay = {
            let mut failures = self.failures();
            let known = || {
                subjects
                    .iter()
                    .filter_map(|subject| Some((subject, failures.get(subject)?)))
            };
            let delays = known().map(|(subject, failures)| failures.delay(subject.free()));
            let delay = delays.max().unwrap_or_default();
            if !delay.is_zero() && known().any(|(_, failures)| failures.waiting >= MAX_WAITING) {
                return Err(Error::Unauthenticated(format!(
                    "there were too many {} from your address: try again in {} s",
                    failed(),
                    delay.as_secs().max(1)
                )));
            }
            for subject in &subjects {
                make_room(&mut failures);
                let of_subject = failures.entry(subject.clone()).or_insert_with(|| Failures {
                    count: 0,
                    last: Instant::now(),
                    waiting: 0,
                });
                of_subject.waiting += 1;
            }
            delay
        };
        // Dropped while it waits, it waits no longer.
        let attempt = Attempt {
            throttle: self,
            subjects,
        };
        tokio::time::sleep(delay).await;
        Ok(attempt)
    }

    fn failures(&self) -> MutexGuard<'_, HashMap<Subject, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// The password was wrong.
    pub(super) fn failed(self) {
        let mut failures = self.throttle.failures();
        for subject in &self.subjects {
            // It can have been forgotten to make room.
            let Some(of_subject) = failures.get_mut(subject) else {
                continue;
            };
            if of_subject.last.elapsed() >= MEMORY {
                of_subject.count = 0;
            }
            of_subject.count = of_subject.count.saturating_add(1);
            of_subject.last = Instant::now();
        }
    }

    /// It was right: the failures of the user are forgotten. Those of the peer are not, who may know one password and
    /// guess others.
    pub(super) fn succeeded(self) {
        if let Some(user @ Subject::User(_)) = self.subjects.first()
            && let Some(failures) = self.throttle.failures().get_mut(user)
        {
            failures.count = 0;
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut failures = self.throttle.failures();
        for subject in &self.subjects {
            if let Some(of_subject) = failures.get_mut(subject) {
                of_subject.waiting = of_subject.waiting.saturating_sub(1);
                if of_subject.waiting == 0 && of_subject.count == 0 {
                    failures.remove(subject);
                }
            }
        }
    }
}

/// Who has one address of IPv6 has all of its /64.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(bits.into())
        }
        address => address,
    }
}

/// Forgets old failures, and if that is not enough the oldest of those that are remembered.
fn make_room(failures: &mut HashMap<Subject, Failures>) {
    if failures.len() < MAX_REMEMBERED {
        return;
    }
    failures.retain(|_, failures| failures.waiting > 0 || failures.last.elapsed() < MEMORY);
    if failures.len() >= MAX_REMEMBERED {
        // Many at once, so that not every attempt has to look for one.
        let mut times: Vec<_> = failures.values().map(|failures| failures.last).collect();
        let (_, limit, _) = times.select_nth_unstable(MAX_REMEMBERED / 8);
        let limit = *limit;
        failures.retain(|_, failures| failures.last > limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    async fn fails(throttle: &Throttle, user: &str, peer: IpAddr) -> Duration {
        let start = Instant::now();
        throttle
            .attempt(&user.parse().unwrap(), peer)
            .await
            .unwrap()
            .failed();
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn guesses_take_longer_and_longer() {
        let throttle = Throttle::default();
        for _ in 0..FREE {
            assert_eq!(fails(&throttle, "ada", PEER).await, Duration::ZERO);
        }
        let mut expected = FIRST_DELAY;
        for _ in 0..12 {
            let took = fails(&throttle, "ada", PEER).await;
            assert!(
                took >= expected && took < expected + Duration::from_millis(5),
                "{took:?}"
            );
            expected = (2 * expected).min(MAX_DELAY);
        }
        // Neither another name nor another address helps.
        assert!(fails(&throttle, "alan", PEER).await >= MAX_DELAY);
        assert!(fails(&throttle, "ada", [10, 0, 0, 1].into()).await >= MAX_DELAY);
        assert_eq!(
            fails(&throttle, "grace", [10, 0, 0, 2].into()).await,
            Duration::ZERO
        );
        tokio::time::advance(MEMORY).await;
        assert_eq!(fails(&throttle, "ada", PEER).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_knows_the_password_is_forgiven() {
        let throttle = Throttle::default();
        for n in 0..FREE {
            fails(&throttle, "ada", [10, 0, 0, n as u8].into()).await;
        }
        let start = Instant::now();
        throttle
            .attempt(&"ada".parse().unwrap(), [10, 0, 1, 1].into())
            .await
            .unwrap()
            .succeeded();
        assert!(start.elapsed() >= FIRST_DELAY);
        assert_eq!(
            fails(&throttle, "ada", [10, 0, 1, 1].into()).await,
            Duration::ZERO
        );
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_tokens_take_longer_and_longer_too() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for _ in 0..FREE_TOKENS {
            throttle.wrong_token(PEER).await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        throttle.wrong_token(PEER).await.unwrap();
        throttle.wrong_token(PEER).await.unwrap();
        assert!(start.elapsed() >= 3 * FIRST_DELAY);
        // Neither are passwords slower from there, nor tokens from elsewhere.
        assert_eq!(fails(&throttle, "ada", PEER).await, Duration::ZERO);
        let start = Instant::now();
        throttle.wrong_token([10, 0, 0, 1].into()).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn other_nodes_are_not_asked_of_any_number_of_wrong_tokens() {
        let throttle = std::sync::Arc::new(Throttle::default());
        let guess = |peer: IpAddr| {
            let throttle = std::sync::Arc::clone(&throttle);
            async move {
                let (attempt, _place) = throttle.question(peer).await?;
                // All nodes are asked.
                tokio::time::sleep(Duration::from_millis(10)).await;
                attempt.failed();
                Ok::<_, Error>(())
            }
        };
        let start = Instant::now();
        let guesses: Vec<_> = (0..500).map(|_| tokio::spawn(guess(PEER))).collect();
        let (mut asked, mut refused) = (0, 0);
        for guess in guesses {
            match guess.await.unwrap() {
                Ok(()) => asked += 1,
                Err(error) => {
                    assert!(error.to_string().contains("too many wrong tokens"), "{error}");
                    refused += 1;
                }
            }
        }
        let most = FREE_TOKENS as usize + ASKED_AT_ONCE + MAX_WAITING as usize;
        assert!(asked <= most && asked + refused == 500, "{asked} {refused}");
        assert!(start.elapsed() >= FIRST_DELAY);
        // Who comes from elsewhere is not held up.
        let start = Instant::now();
        guess([10, 0, 0, 1].into()).await.unwrap();
        assert!(start.elapsed() < FIRST_DELAY);
    }

    #[tokio::test(start_paused = true)]
    async fn many_sessions_that_others_know_wait_for_each_other_only() {
        let throttle = std::sync::Arc::new(Throttle::default());
        let ask = || {
            let throttle = std::sync::Arc::clone(&throttle);
            async move {
                let _question = throttle.question(PEER).await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let start = Instant::now();
        futures::future::join_all((0..160).map(|_| ask())).await;
        assert!(
            start.elapsed() <= Duration::from_millis(120),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn not_many_wait_at_once() {
        let throttle = std::sync::Arc::new(Throttle::default());
        for _ in 0..20 {
            fails(&throttle, "ada", PEER).await;
        }
        let mut waiting = Vec::new();
        for _ in 0..MAX_WAITING {
            let throttle = std::sync::Arc::clone(&throttle);
            waiting.push(tokio::spawn(async move { fails(&throttle, "ada", PEER).await }));
        }
        tokio::task::yield_now().await;
        let Err(Error::Unauthenticated(refused)) = throttle.attempt(&"ada".parse().unwrap(), PEER).await
        else {
            panic!("it is let through");
        };
        assert!(refused.contains("try again in 30 s"), "{refused}");
        // Who goes away waits no longer.
        waiting.pop().unwrap().abort();
        tokio::task::yield_now().await;
        let another = tokio::spawn({
            let throttle = std::sync::Arc::clone(&throttle);
            async move { fails(&throttle, "ada", PEER).await }
        });
        for one in waiting {
            one.await.unwrap();
        }
        another.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let throttle = Throttle::default();
        for n in 0..2 * MAX_REMEMBERED {
            let peer = IpAddr::from(((n as u128) << 64).to_be_bytes());
            throttle
                .attempt(&format!("user{n}").parse().unwrap(), peer)
                .await
                .unwrap()
                .failed();
        }
        assert!(throttle.failures().len() <= MAX_REMEMBERED);
        assert_eq!(
            network("fe80::1:2".parse().unwrap()),
            network("fe80::9".parse().unwrap())
        );
    }
}
