//! Answering other nodes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pliantdb_cluster::node::{Freshness, Refusal};
use pliantdb_core::Error;
use tokio::time::timeout;

use super::between::{Errand, Product, Question, Told, decode, encode};
use super::{Clustered, NotDone};

/// How long another node waits for this one to know what it knows.
const CATCHING_UP: Duration = Duration::from_secs(4);

/// The answer of a node whose databases are not there yet.
pub(super) fn not_yet() -> Bytes {
    answer(&Told::Later("the node is starting".to_owned()))
}

fn answer(told: &Told) -> Bytes {
    let too_large = |error: Error| Told::Done(Err(error), None);
    let encoded = encode(told).or_else(|error| encode(&too_large(error)));
    encoded.unwrap_or_default()
}

impl Clustered {
    /// Answers what another node asks.
    pub(super) async fn answer(self: &Arc<Self>, question: &[u8]) -> Bytes {
        let told = match decode(question) {
            Ok(question) => self.tell(question).await,
            Err(reason) => Told::Done(
                Err(Error::Invalid(format!(
                    "what another node asked cannot be read: {reason}"
                ))),
                None,
            ),
        };
        answer(&told)
    }

    async fn tell(self: &Arc<Self>, question: Question) -> Told {
        match question {
            Question::Do(errand) => self.run_errand(errand).await,
            Question::Mark { group } => {
                if let Some(mark) = self.handle.told(group) {
                    return Told::Mark(mark);
                }
                let group = self.groups.get(group);
                match self.wait_for(&group, Freshness::Linearizable).await {
                    Ok(Ok(mark)) => Told::Mark(mark),
                    Ok(Err(Refusal::NotLeader { leader })) => Told::Elsewhere(leader),
                    Ok(Err(refusal)) => Told::Later(refusal.to_string()),
                    Err(not_done) => told(not_done),
                }
            }
            Question::Propose { group, operation } => {
                let group = self.groups.get(group);
                match self.propose_here(group.id, &group.heard, operation).await {
                    Ok(outcome) => Told::Proposed(Ok(outcome)),
                    Err(NotDone::Error(Error::Rejected(rejection))) => Told::Proposed(Err(rejection)),
                    Err(not_done) => told(not_done),
                }
            }
            Question::Publish { group, message } => Told::Count(self.deliver(group, &message)),
            Question::Session { hash } if self.sessions.was_ended(hash) => Told::SessionEnded,
            Question::Session { hash } => Told::Session(self.sessions.share(hash)),
            Question::KeepSession { hash, session } => {
                self.sessions.adopt(hash, session);
                Told::Count(1)
            }
            Question::EndSession { hash } => {
                self.sessions.end_known(hash);
                Told::Count(1)
            }
            Question::ReadSnapshot { number, request } => {
                let read = self.lent.read(number, request).await;
                Told::Done(read.map(Product::Response), None)
            }
            Question::HoldSnapshot { number } => Told::Count(u64::from(self.lent.hold(number))),
            Question::EndSnapshot { number } => Told::Count(self.lent.remove(number).map_or(0, |_| 1)),
            Question::Applied => Told::Applied(self.applied()),
            Question::Apply { index } => {
                // Whoever asks waits no longer.
                let _ = timeout(CATCHING_UP, self.wait_until_applied(index)).await;
                Told::Applied(self.applied())
            }
        }
    }

    async fn run_errand(self: &Arc<Self>, errand: Errand) -> Told {
        let Errand {
            group,
            work,
            id,
            consistency,
        } = errand;
        let group = self.groups.get(group);
        let Some(database) = group.database() else {
            return Told::Elsewhere(self.leader_by_meta(group.id));
        };
        match self.here(&group, &database, work, id, consistency).await {
            Ok((product, position)) => Told::Done(Ok(product), position),
            Err(not_done) => told(not_done),
        }
    }
}

fn told(not_done: NotDone) -> Told {
    match not_done {
        NotDone::Elsewhere(leader) => Told::Elsewhere(leader),
        NotDone::Later(reason) => Told::Later(reason),
        NotDone::Unknown(reason) => Told::Unknown(reason),
        NotDone::Error(error) => Told::Done(Err(error), None),
    }
}
