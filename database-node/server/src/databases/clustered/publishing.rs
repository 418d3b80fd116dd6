//! Messages reach subscribers on every node, whether it has a replica of the database or not.

use std::collections::BTreeSet;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};

use pliantdb_core::protocol::DatabaseHandle;
use pliantdb_core::{Error, GroupId, Inbox, Message, TopicPattern};
use pliantdb_storage::{Broker, DatabaseId};

use super::Clustered;
use super::between::{Question, Told};
use super::groups::Group;

/// The clients of this node that subscribe to messages.
#[derive(Default)]
pub(super) struct Subscribers {
    broker: Broker,
    /// The databases that there were when it was last looked.
    known: Mutex<BTreeSet<u32>>,
}

impl Subscribers {
    /// Ends the subscriptions to databases that were deleted.
    pub(super) fn keep_in_step(&self, databases: BTreeSet<u32>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for deleted in known.difference(&databases) {
            self.broker.close(Some(DatabaseId::from(*deleted)));
        }
        *known = databases;
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.broker.subscriptions()
    }

    /// Ends them all.
    pub(super) fn close(&self) {
        self.broker.close(None);
    }
}

impl Clustered {
    /// Subscribes to messages of a database.
    ///
    /// # Errors
    /// [`Error::UnknownDatabase`].
    pub(crate) async fn subscribe(
        self: &Arc<Self>,
        database: &DatabaseHandle,
        patterns: Vec<TopicPattern>,
    ) -> Result<Arc<Inbox>, Error> {
        self.group(database).await?;
        let (_, number) = self.find(database)?;
        let inbox = self
            .subscribers
            .broker
            .subscribe(DatabaseId::from(number), patterns);
        // It may have been deleted meanwhile.
        self.find(database)?;
        Ok(inbox)
    }

    /// Hands a message to all who subscribe to it, on whichever node; gives how many they are.
    pub(super) async fn publish(&self, group: &Group, message: Message) -> u64 {
        let here = self.deliver(group.id, &message);
        here + self.publish_to_others(group.id, message).await
    }

    /// Hands a message that an API of this node has published to those whom its database does not know: clients of this node,
    /// and of others. On a thread that may wait.
    pub(super) fn publish_and_wait(self: &Arc<Self>, group: GroupId, message: &Message) -> u64 {
        let here = self.deliver_to_clients(group, message);
        let (done, published) = sync_channel(1);
        let (cluster, message) = (Arc::clone(self), message.clone());
        self.runtime.spawn(async move {
            // Fails only if nobody waits any more.
            let _ = done.send(cluster.publish_to_others(group, message).await);
        });
        here + published.recv().unwrap_or(0)
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
        let by_apis = delivered.and_then(Result::ok).unwrap_or(0);
        by_apis + self.deliver_to_clients(group, message)
    }

    fn deliver_to_clients(&self, group: GroupId, message: &Message) -> u64 {
        let catalog = self.catalog().ok();
        let number = catalog.and_then(|catalog| {
            let shard = catalog.meta.group(group)?.shard.as_ref()?;
            Some(shard.entry.id)
        });
        number.map_or(0, |number| self.subscribers.broker.publish(number, message))
    }
}
