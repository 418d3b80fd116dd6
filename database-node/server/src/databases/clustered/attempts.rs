//! What is tried again, for how long, and what may be said when that comes to nothing.

use std::time::Duration;

use pliantdb_core::{Error, Rejection, RequestId};
use pliantdb_storage::AsyncDatabase;
use tokio::time::{Instant, sleep};

use super::between::Work;
use super::{Clustered, NotDone};

/// For how long somebody is looked for who can do it.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// After how long it is tried again, the first time; then after twice as long, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(5);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// The id of a write that came without one and is sent to another node: so it can be sent again when that node is lost
/// before it answers.
#[derive(Default)]
pub(super) struct Given {
    pub(super) id: Option<RequestId>,
    /// Whether the clocks differ too much for that: then the write goes without.
    is_refused: bool,
}

impl Given {
    pub(super) fn give(&mut self, here: Option<&AsyncDatabase>) {
        if self.id.is_none() && !self.is_refused {
            // The log's time where it is known, by which ids are compared.
            let now = here.map_or_else(Clustered::now_ms, |here| here.blocking().now_ms());
            self.id = Some(RequestId::new(now, uuid::Uuid::now_v7().as_u128()));
        }
    }

    /// Whether there was one, under which nothing was done: the write may go without then.
    pub(super) fn takes_back(&mut self) -> bool {
        self.is_refused = true;
        self.id.take().is_some()
    }
}

/// How long it is tried.
pub(super) struct Patience {
    until: Instant,
    pause: Duration,
    /// Whether an attempt may have changed something, of which nobody has heard what came of it.
    is_unsure: bool,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self {
            until: Instant::now() + PATIENCE,
            pause: PAUSE,
            is_unsure: false,
        }
    }

    /// Whether an attempt may have changed something.
    pub(super) fn is_unsure(&self) -> bool {
        self.is_unsure
    }

    /// Goes on at once at another node; after a moment when that was the second.
    pub(super) async fn goes_on(&mut self, pauses: bool) -> Result<(), Error> {
        match pauses {
            true => self.wait(NotDone::Elsewhere(None), Attempt::Harmless).await,
            false => Ok(()),
        }
    }

    /// Waits a moment, if it makes sense to try again.
    ///
    /// # Errors
    /// What is to be answered when it does not: [`Error::UnknownOutcome`] when an attempt may have changed something.
    pub(super) async fn wait(&mut self, not_done: NotDone, attempt: Attempt) -> Result<(), Error> {
        let reason = match not_done {
            NotDone::Error(error) => {
                // An attempt with the same id was answered, so what came of the one before is known.
                let is_known = matches!(&error, Error::Rejected(rejection)
                    if !matches!(rejection, Rejection::RequestExpired { .. }));
                return Err(match self.is_unsure && !is_known {
                    true => unknown(&error.to_string()),
                    false => error,
                });
            }
            NotDone::Unknown(reason) if attempt == Attempt::Once => return Err(unknown(&reason)),
            NotDone::Unknown(reason) => {
                self.is_unsure |= attempt == Attempt::Repeatable;
                reason
            }
            NotDone::Later(reason) => reason,
            NotDone::Elsewhere(_) => "no node is known to lead the database".to_owned(),
        };
        if Instant::now() >= self.until {
            return Err(match self.is_unsure {
                true => unknown(&reason),
                false => Error::Unavailable(format!("no node can do that at the moment: {reason}")),
            });
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// What it means that nobody knows what came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    /// Nothing: it changes nothing.
    Harmless,
    /// It may be made again, and is done once all the same.
    Repeatable,
    /// It must not be made again.
    Once,
}

impl Attempt {
    pub(super) fn at(work: &Work, id: Option<RequestId>) -> Self {
        match (work.is_led(), work.can_be_repeated(id)) {
            (false, _) => Self::Harmless,
            (true, true) => Self::Repeatable,
            (true, false) => Self::Once,
        }
    }
}

fn unknown(reason: &str) -> Error {
    Error::UnknownOutcome(format!(
        "whether it was done is not known: {reason}; read before you do it again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expired() -> Error {
        let id = RequestId::new(1, 1);
        Rejection::RequestExpired { id, now: 1_000_000 }.into()
    }

    async fn after(not_done: NotDone, attempt: Attempt) -> Patience {
        let mut patience = Patience::new();
        patience.wait(not_done, attempt).await.unwrap();
        patience
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_been_done_is_never_answered_as_not_done() {
        let unknown = || NotDone::Unknown("its node is lost".to_owned());
        let full = || Error::DiskFull("full".to_owned());
        for error in [full(), expired(), Error::Closed] {
            let mut patience = after(unknown(), Attempt::Repeatable).await;
            assert!(patience.is_unsure());
            let answered = patience.wait(NotDone::Error(error), Attempt::Repeatable).await;
            assert!(matches!(answered, Err(Error::UnknownOutcome(_))), "{answered:?}");
        }
        let mut patience = after(unknown(), Attempt::Repeatable).await;
        let answered = loop {
            let later = NotDone::Later("nobody leads".to_owned());
            if let Err(error) = patience.wait(later, Attempt::Repeatable).await {
                break error;
            }
        };
        assert!(matches!(answered, Error::UnknownOutcome(_)), "{answered:?}");
        let once = Patience::new().wait(unknown(), Attempt::Once).await;
        assert!(matches!(once, Err(Error::UnknownOutcome(_))), "{once:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_certainly_not_done_is_said_so() {
        let mut patience = after(NotDone::Elsewhere(None), Attempt::Repeatable).await;
        let error = Error::DiskFull("full".to_owned());
        let answered = patience
            .wait(NotDone::Error(error.clone()), Attempt::Repeatable)
            .await;
        assert_eq!(answered, Err(error));
        let mut patience = after(NotDone::Unknown("lost".to_owned()), Attempt::Harmless).await;
        let answered = loop {
            let later = NotDone::Later("nobody leads".to_owned());
            if let Err(error) = patience.wait(later, Attempt::Harmless).await {
                break error;
            }
        };
        assert!(matches!(answered, Error::Unavailable(_)), "{answered:?}");
    }
}
