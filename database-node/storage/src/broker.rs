//! PubSub: who hears of which topics. Messages are not stored: who does not listen does not hear.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use pliantdb_core::{Inbox, Message, TopicPattern};

use crate::catalog::DatabaseId;

/// The subscribers of all databases: those that a process has beside the ones of its [`crate::Database`]s, as a node has
/// them for databases of which it has no replica.
#[derive(Default)]
pub struct Broker {
    subscribers: Mutex<HashMap<DatabaseId, Vec<Subscription>>>,
    /// Whether no message will come any more, to anyone.
    is_closed: AtomicBool,
}

impl Broker {
    /// An inbox for what is published on these topics from now on. It is forgotten when it is dropped.
    pub fn subscribe(&self, database: DatabaseId, patterns: Vec<TopicPattern>) -> Arc<Inbox> {
        let inbox = Arc::<Inbox>::default();
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_closed.load(Ordering::Acquire) {
            inbox.close();
        }
        let subscriptions = subscribers.entry(database).or_default();
        subscriptions.retain(|subscription| subscription.inbox.strong_count() > 0);
        subscriptions.push(Subscription {
            patterns,
            inbox: Arc::downgrade(&inbox),
        });
        inbox
    }

    /// Puts a message into every inbox that is for it, and gives how many they are.
    pub fn publish(&self, database: DatabaseId, message: &Message) -> u64 {
        let is_for = |subscription: &&Subscription| {
            let mut patterns = subscription.patterns.iter();
            patterns.any(|pattern| pattern.matches(&message.topic))
        };
        // Whoever is woken may subscribe or publish at once.
        let inboxes: Vec<_> = {
            let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
            let subscriptions = subscribers.get(&database).into_iter().flatten();
            let inboxes = subscriptions
                .filter(is_for)
                .map(|subscription| &subscription.inbox);
            inboxes.filter_map(Weak::upgrade).collect()
        };
        inboxes.iter().filter(|inbox| inbox.put(message.clone())).count() as u64
    }

    /// How many subscriptions there are.
    pub fn subscriptions(&self) -> u64 {
        let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        let all = subscribers.values().flatten();
        all.filter(|subscription| subscription.inbox.strong_count() > 0)
            .count() as u64
    }

    /// Closes the inboxes of a database; of all when there is none.
    pub fn close(&self, database: Option<DatabaseId>) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_closed.fetch_or(database.is_none(), Ordering::Release);
        let is_meant = |id: &DatabaseId| database.is_none_or(|database| database == *id);
        let ended: Vec<_> = subscribers.extract_if(|id, _| is_meant(id)).collect();
        drop(subscribers);
        let ended = ended.iter().flat_map(|(_, subscriptions)| subscriptions);
        ended
            .filter_map(|subscription| subscription.inbox.upgrade())
            .for_each(|inbox| inbox.close());
    }
}

impl Drop for Broker {
    /// Nobody waits for messages of a database that nobody can publish in.
    fn drop(&mut self) {
        self.close(None);
    }
}

/// Who hears of which topics.
struct Subscription {
    patterns: Vec<TopicPattern>,
    /// Gone when nobody receives from it any more.
    inbox: Weak<Inbox>,
}
