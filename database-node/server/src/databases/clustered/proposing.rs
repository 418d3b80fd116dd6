//! The way of a database's operations into the log of its group.

use std::sync::{Arc, OnceLock, Weak};

use pliantdb_cluster::node::{Answer, Ask, Refusal};
use pliantdb_cluster_driver::{Handle, Stopped};
use pliantdb_core::{GroupId, Message, Operation, Outcome};
use pliantdb_storage::store::StoreError;
use pliantdb_storage::{Done, Proposer, StateStore, StorageError};

use super::Clustered;
use super::groups::Heard;

/// What a proposer needs of the node that it is of, which is there only when the replicas are.
pub(super) struct Link {
    pub(super) handle: Handle<StateStore>,
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

    fn publish_elsewhere(&self, message: &Message) -> u64 {
        let cluster = self.link.get().and_then(|link| link.cluster.upgrade());
        cluster.map_or(0, |cluster| cluster.publish_and_wait(self.group, message))
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
