//! PubSub: who hears of which topics. Messages are not stored: who does not listen does not hear.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use pliantdb_core::{Error, Message, TopicPattern};
use tokio::sync::Notify;

use crate::catalog::DatabaseId;

/// How many messages wait for a subscriber; the oldest are dropped then, and it is told how many.
const INBOX: usize = 1024;

/// The subscribers of all databases.
#[derive(Default)]
pub(crate) struct Broker {
    subscribers: Mutex<HashMap<DatabaseId, Vec<Weak<Inbox>>>>,
    /// Whether no message will come any more, to anyone.
    is_closed: AtomicBool,
}

impl Broker {
    /// An inbox for what is published on these topics from now on. It is forgotten when it is dropped.
    pub(crate) fn subscribe(&self, database: DatabaseId, patterns: Vec<TopicPattern>) -> Arc<Inbox> {
        let inbox = Arc::new(Inbox {
            patterns,
            state: Mutex::default(),
            came: Condvar::new(),
            notify: Notify::new(),
        });
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_closed.load(Ordering::Acquire) {
            inbox.close();
        }
        let inboxes = subscribers.entry(database).or_default();
        inboxes.retain(|inbox| inbox.strong_count() > 0);
        inboxes.push(Arc::downgrade(&inbox));
        inbox
    }

    /// Puts a message into every inbox that is for it, and gives how many they are.
    pub(crate) fn publish(&self, database: DatabaseId, message: &Message) -> u64 {
        let inboxes: Vec<_> = {
            let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
            let inboxes = subscribers.get(&database).into_iter().flatten();
            inboxes.filter_map(Weak::upgrade).collect()
        };
        let is_for = |inbox: &&Arc<Inbox>| {
            inbox
                .patterns
                .iter()
                .any(|pattern| pattern.matches(&message.topic))
        };
        let receivers = inboxes
            .iter()
            .filter(is_for)
            .map(|inbox| inbox.put(message.clone()));
        receivers.count() as u64
    }

    /// Closes the inboxes of a database; of all when there is none.
    pub(crate) fn close(&self, database: Option<DatabaseId>) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_closed.fetch_or(database.is_none(), Ordering::Release);
        subscribers.retain(|id, inboxes| {
            let is_meant = database.is_none_or(|database| database == *id);
            if is_meant {
                inboxes
                    .iter()
                    .filter_map(Weak::upgrade)
                    .for_each(|inbox| inbox.close());
            }
            !is_meant
        });
    }
}

/// The messages that wait for one subscriber.
pub(crate) struct Inbox {
    patterns: Vec<TopicPattern>,
    state: Mutex<Waiting>,
    came: Condvar,
    notify: Notify,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Message>,
    /// How many were dropped since the subscriber was told.
    dropped: u64,
    is_closed: bool,
}

impl Inbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, message: Message) {
        let mut waiting = self.waiting();
        if waiting.messages.len() == INBOX {
            waiting.messages.pop_front();
            waiting.dropped += 1;
        }
        waiting.messages.push_back(message);
        drop(waiting);
        self.came.notify_one();
        self.notify.notify_one();
    }

    fn close(&self) {
        self.waiting().is_closed = true;
        self.came.notify_all();
        self.notify.notify_waiters();
        // For one that is about to wait.
        self.notify.notify_one();
    }

    /// What is there now.
    fn take(waiting: &mut Waiting) -> Option<Result<Message, Error>> {
        if waiting.dropped > 0 {
            return Some(Err(Error::Lagged(std::mem::take(&mut waiting.dropped))));
        }
        match waiting.messages.pop_front() {
            Some(message) => Some(Ok(message)),
            None if waiting.is_closed => Some(Err(Error::Closed)),
            None => None,
        }
    }

    pub(crate) fn try_receive(&self) -> Result<Option<Message>, Error> {
        Self::take(&mut self.waiting()).transpose()
    }

    pub(crate) fn receive(&self) -> Result<Message, Error> {
        let mut waiting = self.waiting();
        loop {
            if let Some(taken) = Self::take(&mut waiting) {
                return taken;
            }
            waiting = self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) async fn receive_async(&self) -> Result<Message, Error> {
        loop {
            // Registered before looking, so that nothing is missed in between.
            let notified = self.notify.notified();
            if let Some(taken) = Self::take(&mut self.waiting()) {
                return taken;
            }
            notified.await;
        }
    }
}
