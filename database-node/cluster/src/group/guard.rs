//! What a replica must not let consensus see: the library ends the process when a leader contradicts what the replica
//! has committed, and that happens when a disk has lost something.

use pliantdb_storage::store::OrderedStore;

use super::{Group, Halt};
use crate::wire::raft::{Body, RaftMessage};

impl<L: OrderedStore> Group<L> {
    /// Whether a message can be true.
    pub(super) fn check(&self, message: &RaftMessage) -> Result<(), Halt> {
        if message.term < self.term() {
            return Ok(());
        }
        let last = self.last().index;
        let is_absurd = |index: u64| index > u64::MAX / 2;
        match &message.body {
            Body::Append { previous, .. } if is_absurd(previous.index) => Err(Halt::Diverged(format!(
                "the leader {} speaks of entry {}",
                message.from, previous.index
            ))),
            Body::Heartbeat { commit } if *commit > last => Err(Halt::Diverged(format!(
                "the leader {} has seen entries up to {commit} here, and the log ends at {last}",
                message.from
            ))),
            Body::Append {
                previous, entries, ..
            } => {
                let committed = self.committed();
                let at = |index: u64| self.raft.raft.raft_log.term(index).ok();
                let end = previous.index + entries.len() as u64;
                if previous.index.max(self.log().truncated().index) >= committed {
                    return Ok(());
                }
                for index in previous.index.max(self.log().truncated().index) + 1..=end.min(committed) {
                    let place = usize::try_from(index - previous.index - 1).unwrap_or(usize::MAX);
                    let (Some(entry), Some(term)) = (entries.get(place), at(index)) else {
                        break;
                    };
                    if entry.term != term {
                        return Err(Halt::Diverged(format!(
                            "entry {index} is of term {term} and committed here, and the leader {} has one of term {}",
                            message.from, entry.term
                        )));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
