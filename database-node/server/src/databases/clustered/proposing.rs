//! The way of a database's operations into the log of its group.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock, Weak};

use pliantdb_cluster::NodeId;
use pliantdb_cluster::node::{Answer, Ask, Refusal};
use pliantdb_cluster_driver::{Handle, Stopped};
use pliantdb_cluster_member::DiskRoom;
use pliantdb_core::{Error, GroupId, Message, Operation, Outcome};
use pliantdb_storage::store::StoreError;
use pliantdb_storage::{Done, Proposer, StateStore, StorageError};

use super::attempts::{Attempt, Patience};
use super::between::{Question, Told};
use super::groups::{Group, Heard};
use super::{Clustered, NotDone, tending};

/// What a proposer needs of the node that it is of, which is there only when the replicas are.
pub(super) struct Link {
    pub(super) handle: Handle<StateStore>,
    pub(super) room: DiskRoom,
    pub(super) cluster: Weak<Clustered>,
}

/// Has the operations of a database carried out by its group, if this node leads it.
pub(super) struct Proposing {
    pub(super) group: GroupId,
    pub(super) heard: Arc<Heard>,
    pub(super) link: Arc<OnceLock<Link>>,
}

impl Proposing {
    fn ask(&self, operation: Operation) -> Ask {
        let group = self.group;
        Ask::Write { group, operation }
    }

    fn answering(&self, done: Done) -> impl FnOnce(Result<Answer, Stopped>) + Send + 'static {
        let heard = Arc::clone(&self.heard);
        move |answer| done(outcome(answer, &heard))
    }
}

impl Proposer for Proposing {
    fn try_submit(
        &self,
        operation: Operation,
        done: Done,
    ) -> Result<Result<(), (Operation, Done)>, StorageError> {
        let Some(link) = self.link.get() else {
            return Err(StorageError::Busy);
        };
        let asked = link.handle.try_ask(self.ask(operation), self.answering(done));
        if let Err((_, done)) = asked {
            done(Ok(Answer::Refused(Refusal::Busy("too many writes are waiting"))));
        }
        Ok(Ok(()))
    }

    fn submit(&self, operation: Operation, done: Done) -> Result<(), StorageError> {
        let Some(link) = self.link.get() else {
            return Err(StorageError::Busy);
        };
        let asked = link.handle.try_ask(self.ask(operation), self.answering(done));
        if let Err((ask, done)) = asked {
            // On a thread that may wait.
            done(link.handle.ask(ask));
        }
        Ok(())
    }

    fn execute(&self, operation: Operation) -> Result<Outcome, StorageError> {
        let cluster = self.link.get().and_then(|link| link.cluster.upgrade());
        let cluster = cluster.ok_or(StorageError::Busy)?;
        let (done, outcome) = sync_channel(1);
        let (group, proposing, patience) = (self.group, Arc::clone(&cluster), tending::patience());
        cluster.runtime.spawn(async move {
            let proposed = proposing.propose(group, operation);
            let proposed = tending::waited(patience, &proposing.stop, proposed).await;
            // It may have been proposed.
            let unknown = || StorageError::Commit(StoreError::Engine("it was not waited for".to_owned()));
            // Fails only if nobody waits any more.
            let _ = done.send(proposed.unwrap_or_else(|| Err(unknown())));
        });
        outcome.recv().map_err(|_| StorageError::Closed)?
    }

    fn check_room(&self, bytes: usize) -> Result<(), StorageError> {
        self.link
            .get()
            .map_or(Ok(()), |link| link.room.check(bytes, false))
    }

    fn publish_elsewhere(&self, message: &Message) -> u64 {
        let cluster = self.link.get().and_then(|link| link.cluster.upgrade());
        cluster.map_or(0, |cluster| cluster.publish_and_wait(self.group, message))
    }
}

impl Clustered {
    /// Has an operation carried out by whichever node leads the group: what goes on for long may see another lead before it
    /// ends.
    async fn propose(&self, group: GroupId, operation: Operation) -> Result<Outcome, StorageError> {
        let group = self.groups.get(group);
        let mut patience = Patience::new();
        loop {
            let other = group.heard.leader().filter(|leader| *leader != self.node);
            let proposed = match other {
                None => self.propose_here(group.id, &group.heard, operation.clone()).await,
                Some(node) => self.propose_there(node, &group, operation.clone()).await,
            };
            let not_done = match proposed {
                Ok(outcome) => return Ok(outcome),
                Err(NotDone::Error(Error::Rejected(rejection))) => return Err(rejection.into()),
                Err(not_done) => not_done,
            };
            if let NotDone::Elsewhere(leader) = &not_done {
                group.heard.set_leader(*leader);
            }
            patience.wait(not_done, Attempt::Once).await.map_err(|error| {
                let reason = StoreError::Engine(error.to_string());
                match error {
                    // It was done, and what came of it is not known here.
                    Error::UnknownOutcome(_) | Error::AnswerTooLarge { .. } => StorageError::Commit(reason),
                    Error::Unavailable(_) => StorageError::Busy,
                    Error::DiskFull(reason) => StorageError::Store(StoreError::NoSpace(reason)),
                    _ => StorageError::Store(reason),
                }
            })?;
        }
    }

    /// Has an operation carried out by this node, if it leads the group.
    pub(super) async fn propose_here(
        &self,
        group: GroupId,
        heard: &Heard,
        operation: Operation,
    ) -> Result<Outcome, NotDone> {
        let answer = self.handle.ask_async(Ask::Write { group, operation }).await;
        outcome(answer, heard).map_err(|error| match error {
            StorageError::Busy => match heard.leader() {
                Some(leader) if leader != self.node => NotDone::Elsewhere(Some(leader)),
                Some(_) => NotDone::Later(error.to_string()),
                None => NotDone::Elsewhere(None),
            },
            StorageError::Commit(reason) => NotDone::Unknown(reason.to_string()),
            error => NotDone::Error(error.into()),
        })
    }

    async fn propose_there(
        &self,
        node: NodeId,
        group: &Group,
        operation: Operation,
    ) -> Result<Outcome, NotDone> {
        let question = Question::Propose {
            group: group.id,
            operation,
        };
        match self.ask_in(node, group, &question).await? {
            Told::Proposed(result) => result.map_err(|rejection| NotDone::Error(rejection.into())),
            _ => Err(NotDone::Error(Error::unexpected_answer())),
        }
    }
}

/// What came of an operation. What was certainly not carried out is [`StorageError::Busy`] when it may be later, or elsewhere.
fn outcome(answer: Result<Answer, Stopped>, heard: &Heard) -> Result<Outcome, StorageError> {
    let failed = |reason: String| StorageError::Store(StoreError::Engine(reason));
    let unknown = |reason: String| StorageError::Commit(StoreError::Engine(reason));
    match answer {
        Ok(Answer::Written { at, result }) => {
            heard.note(at);
            Ok(result?)
        }
        Ok(Answer::Refused(refusal)) => {
            heard.refused(&refusal);
            Err(match refusal {
                Refusal::NotLeader { .. } | Refusal::Busy(_) | Refusal::UnknownGroup(_) => StorageError::Busy,
                Refusal::Unknown => unknown(refusal.to_string()),
                Refusal::DiskFull => StorageError::Store(StoreError::NoSpace(refusal.to_string())),
                refusal => failed(refusal.to_string()),
            })
        }
        Ok(_) => Err(failed("the node answered something else".to_owned())),
        Err(stopped) => Err(unknown(stopped.to_string())),
    }
}
