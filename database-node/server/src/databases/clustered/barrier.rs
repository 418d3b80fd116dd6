//! When a replica may be read: once it has everything that anybody was told of before.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pliantdb_cluster::node::{Answer, Ask, Freshness, Mark, Refusal};
use pliantdb_cluster::{Incarnation, META};
use pliantdb_core::{Consistency, Error, Position};
use tokio::sync::oneshot;

use super::between::{Question, Told};
use super::groups::Group;
use super::{Clustered, NotDone};

/// Who waits for a group's next confirmation. A confirmation counts for those who came before it was asked for, so while
/// one is under way those who come gather for the next: however many read, only one is asked for at a time.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Rounds>);

#[derive(Default)]
struct Rounds {
    waiting: Vec<oneshot::Sender<Result<Mark, NotDone>>>,
    is_running: bool,
}

impl Waiting {
    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who have come, or nobody: then the rounds end.
    fn take(&self) -> Vec<oneshot::Sender<Result<Mark, NotDone>>> {
        let mut rounds = self.rounds();
        rounds.is_running = !rounds.waiting.is_empty();
        mem::take(&mut rounds.waiting)
    }
}

impl Clustered {
    /// Waits until the replica here is as fresh as that.
    pub(super) async fn freshen(
        self: &Arc<Self>,
        group: &Arc<Group>,
        consistency: Consistency,
    ) -> Result<(), NotDone> {
        match consistency {
            Consistency::Linearizable => self.confirm(group).await.map(drop),
            Consistency::AtLeast(position) => {
                let freshness = Freshness::AtLeast(mark_of(group, position)?);
                match self.wait_for(group, freshness).await? {
                    Ok(_) => Ok(()),
                    // It may be on its way, or the group forced since.
                    Err(refusal @ (Refusal::OtherLife { .. } | Refusal::Halted(_))) => {
                        Err(NotDone::Error(Error::Unavailable(refusal.to_string())))
                    }
                    Err(refusal) => Err(NotDone::Later(refusal.to_string())),
                }
            }
            Consistency::Within(most) => match self.wait_for(group, Freshness::Within(most)).await? {
                Ok(_) => Ok(()),
                // What the leader has is fresh enough.
                Err(_) => self.confirm(group).await.map(drop),
            },
        }
    }

    /// Waits until the replica here has everything that anybody was told of before this was called; gives how far that is.
    pub(super) async fn confirm(self: &Arc<Self>, group: &Arc<Group>) -> Result<Mark, NotDone> {
        if let Some(mark) = self.handle.readable(group.id) {
            group.heard.note(mark);
            return Ok(mark);
        }
        let (confirm, confirmed) = oneshot::channel();
        let starts = {
            let mut rounds = group.waiting.rounds();
            rounds.waiting.push(confirm);
            !mem::replace(&mut rounds.is_running, true)
        };
        if starts {
            let (cluster, group) = (Arc::clone(self), Arc::clone(group));
            tokio::spawn(async move {
                loop {
                    let waiting = group.waiting.take();
                    if waiting.is_empty() {
                        return;
                    }
                    let result = cluster.confirm_once(&group).await;
                    for confirm in waiting {
                        // Fails only if nobody waits any more.
                        let _ = confirm.send(result.clone());
                    }
                }
            });
        }
        confirmed
            .await
            .unwrap_or(Err(NotDone::Later("the server stops".to_owned())))
    }

    async fn confirm_once(&self, group: &Group) -> Result<Mark, NotDone> {
        // Every node has a copy of the meta group, which is no database.
        let here = group.id == META || group.database().is_some();
        let leader = group.heard.leader().filter(|leader| *leader != self.node);
        // The replica here knows whom it follows.
        let leader = match leader {
            Some(leader) => leader,
            None if here => match self.wait_for(group, Freshness::Linearizable).await? {
                Ok(mark) => {
                    group.heard.set_leader(Some(self.node));
                    return Ok(mark);
                }
                Err(Refusal::NotLeader { leader: Some(leader) }) if leader != self.node => leader,
                Err(refusal) => return Err(NotDone::Later(refusal.to_string())),
            },
            None => return Err(NotDone::Elsewhere(self.leader_by_meta(group.id))),
        };
        let question = Question::Mark { group: group.id };
        let mark = match self.ask(leader, &question, Some(group)).await {
            Ok(Told::Mark(mark)) => mark,
            Ok(Told::Elsewhere(other)) => {
                group.heard.set_leader(other.filter(|other| *other != leader));
                return Err(NotDone::Later(format!(
                    "node {leader} does not lead the database any more"
                )));
            }
            Ok(Told::Later(reason)) => return Err(NotDone::Later(reason)),
            Ok(_) => return Err(NotDone::Error(Error::unexpected_answer())),
            Err(error) => {
                group.heard.set_leader(None);
                return Err(NotDone::Later(error.to_string()));
            }
        };
        group.heard.set_leader(Some(leader));
        if self.handle.has(group.id, mark) {
            group.heard.note(mark);
            return Ok(mark);
        }
        match self.wait_for(group, Freshness::AtLeast(mark)).await? {
            Ok(mark) => Ok(mark),
            Err(refusal) => Err(NotDone::Later(refusal.to_string())),
        }
    }

    /// Waits until the replica here is fresh enough, by its own word.
    pub(super) async fn wait_for(
        &self,
        group: &Group,
        freshness: Freshness,
    ) -> Result<Result<Mark, Refusal>, NotDone> {
        let ask = Ask::Await {
            group: group.id,
            freshness,
        };
        match self.handle.ask_async(ask).await {
            Ok(Answer::Ready { at }) => {
                group.heard.note(at);
                Ok(Ok(at))
            }
            Ok(Answer::Refused(refusal)) => Ok(Err(refusal)),
            Ok(_) => Err(NotDone::Error(Error::unexpected_answer())),
            Err(stopped) => Err(NotDone::Error(Error::Unavailable(stopped.to_string()))),
        }
    }
}

/// The mark of a position that is of the group.
fn mark_of(group: &Group, position: Position) -> Result<Mark, NotDone> {
    let Position {
        group: of,
        incarnation,
        term,
        index,
    } = position;
    match of == group.id {
        true => Ok(Mark {
            incarnation: Incarnation::of_numbers(incarnation),
            term,
            index,
        }),
        false => Err(NotDone::Error(Error::Invalid(format!(
            "the position {position} is one of another database, or of a deleted one: this one has positions that begin with \
             {}.",
            group.id
        )))),
    }
}
