//! Messages reach subscribers on every node.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use pliantdb_core::{GroupId, Message};

use super::Clustered;
use super::between::{Question, Told};
use super::groups::Group;

impl Clustered {
    /// Hands a message to all who subscribe to it, on whichever node; gives how many they are.
    pub(super) async fn publish(&self, group: &Group, message: Message) -> u64 {
        let here = self.deliver(group.id, &message);
        here + self.publish_to_others(group.id, message).await
    }

    /// Hands a message that was published here to those who subscribe to it on other nodes, on a thread that may wait.
    pub(super) fn publish_and_wait(self: &Arc<Self>, group: GroupId, message: &Message) -> u64 {
        let (done, published) = sync_channel(1);
        let (cluster, message) = (Arc::clone(self), message.clone());
        self.runtime.spawn(async move {
            // Fails only if nobody waits any more.
            let _ = done.send(cluster.publish_to_others(group, message).await);
        });
        published.recv().unwrap_or(0)
    }

    async fn publish_to_others(&self, group: GroupId, message: Message) -> u64 {
        let told = self.ask_others(&Question::Publish { group, message }).await;
        let counts = told.into_iter().map(|told| match told {
            Told::Count(count) => count,
            _ => 0,
        });
        counts.sum()
    }

    /// Hands a message to those who subscribe to it here.
    pub(super) fn deliver(&self, group: GroupId, message: &Message) -> u64 {
        let here = self.groups.get(group).database();
        let delivered = here.map(|database| database.blocking().deliver(message));
        // It may be going just now.
        delivered.and_then(Result::ok).unwrap_or(0)
    }
}
