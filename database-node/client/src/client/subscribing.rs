//! Subscriptions, which go on over the next connection.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use pliantdb_core::protocol::{Ask, DatabaseHandle};
use pliantdb_core::{Consistency, Error, Inbox, TopicPattern};
use web_time::Instant;

use super::{FIRST_PAUSE, LONGEST_PAUSE, Shared, is_passing, lock};
use crate::runtime;
use crate::session::{Answered, Session};

/// A subscription that outlives connections.
#[derive(Clone)]
pub(super) struct Subscribed {
    database: DatabaseHandle,
    patterns: Vec<TopicPattern>,
    pub(super) inbox: Arc<Inbox>,
    /// Over which connection it runs, and by which number.
    on: Option<(Weak<Session>, u64)>,
}

impl Shared {
    /// The connection has ended. Who subscribes asks nothing, so nobody else would make a new one.
    pub(super) fn lost(self: &Arc<Self>) {
        if lock(&self.subscriptions).is_empty() {
            return;
        }
        let client = Arc::downgrade(self);
        runtime::spawn(async move {
            let mut pause = FIRST_PAUSE;
            while let Some(client) = client.upgrade() {
                match client.session().await {
                    // It may have been there before it was known that somebody subscribes.
                    Ok(session) => return client.resubscribe(&session),
                    Err(_) if client.is_closed() => return,
                    Err(error) if is_passing(&error) => {}
                    // It will not get better by itself.
                    Err(error) => return client.end_subscriptions(&error),
                }
                drop(client);
                runtime::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
    }

    fn end_subscriptions(&self, error: &Error) {
        tracing::warn!(address = %self.address, %error, "the server does not let us come back");
        for (_, subscribed) in lock(&self.subscriptions).drain() {
            subscribed.inbox.close();
        }
    }

    /// Subscribes to messages of a database, over as many connections as it takes, until [`Shared::unsubscribe`].
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn subscribe(
        self: &Arc<Self>,
        database: DatabaseHandle,
        patterns: Vec<TopicPattern>,
    ) -> Result<(u64, Arc<Inbox>), Error> {
        self.within(self.subscribe_until(database, patterns)).await
    }

    async fn subscribe_until(
        self: &Arc<Self>,
        database: DatabaseHandle,
        patterns: Vec<TopicPattern>,
    ) -> Result<(u64, Arc<Inbox>), Error> {
        let inbox = Arc::new(Inbox::default());
        let (start, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            let session = match self.session().await {
                Ok(session) => session,
                Err(_) if self.is_closed() => return Err(Error::Closed),
                Err(error) if is_passing(&error) => {
                    if start.elapsed() >= self.options.connect_timeout {
                        return Err(error);
                    }
                    runtime::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let number = session.number();
            session.deliver(number, Arc::clone(&inbox));
            let ask = Ask::Subscribe {
                database: database.clone(),
                patterns: patterns.clone(),
            };
            let (timeout, any) = (self.options.answer_timeout, Consistency::default());
            match session.ask(number, timeout, None, any, ask).await {
                Ok(Answered { result: Ok(_), .. }) => {}
                Ok(Answered {
                    result: Err(error), ..
                }) => {
                    session.stop(number);
                    return Err(error);
                }
                Err(_) => {
                    self.notice_end(&session);
                    if self.has_another(&session) {
                        continue;
                    }
                    runtime::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            }
            let key = self.next_subscription.fetch_add(1, Ordering::Relaxed);
            let on = Some((Arc::downgrade(&session), number));
            let subscribed = Subscribed {
                database,
                patterns,
                inbox: Arc::clone(&inbox),
                on,
            };
            lock(&self.subscriptions).insert(key, subscribed);
            if self.is_closed() {
                // It was while this subscribed.
                self.unsubscribe(key);
                return Err(Error::Closed);
            }
            if !session.is_open() {
                // It ended before it was known that somebody subscribes.
                self.lost();
            }
            return Ok((key, inbox));
        }
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&self, key: u64) {
        let ended = lock(&self.subscriptions).remove(&key);
        if let Some((session, number)) = ended.and_then(|ended| ended.on)
            && let Some(session) = session.upgrade()
        {
            session.stop(number);
        }
    }

    /// Takes up all subscriptions on a new connection.
    pub(super) fn resubscribe(self: &Arc<Self>, session: &Arc<Session>) {
        let mut subscriptions = lock(&self.subscriptions);
        for (key, subscribed) in subscriptions.iter_mut() {
            let is_here = |(on, _): &(Weak<Session>, u64)| Weak::ptr_eq(on, &Arc::downgrade(session));
            if subscribed.on.as_ref().is_some_and(is_here) {
                continue;
            }
            let number = session.number();
            subscribed.on = Some((Arc::downgrade(session), number));
            // Nobody counts what was published meanwhile.
            subscribed.inbox.lose(1);
            session.deliver(number, Arc::clone(&subscribed.inbox));
            let ask = Ask::Subscribe {
                database: subscribed.database.clone(),
                patterns: subscribed.patterns.clone(),
            };
            let (client, session, key) = (Arc::downgrade(self), Arc::clone(session), *key);
            runtime::spawn(async move {
                let asked = session.ask(number, None, None, Consistency::default(), ask).await;
                let Ok(Answered { result: answer, .. }) = asked else {
                    return;
                };
                if let Err(Error::Unavailable(reason)) = &answer {
                    tracing::debug!(reason, "a subscription cannot be taken up yet");
                    session.stop(number);
                    runtime::sleep(LONGEST_PAUSE / 4).await;
                    let Some(client) = client.upgrade() else { return };
                    if let Some(subscribed) = lock(&client.subscriptions).get_mut(&key) {
                        subscribed.on = None;
                    }
                    // Over the next one, if this has ended.
                    if session.is_open() {
                        client.resubscribe(&session);
                    }
                    return;
                }
                let Some(client) = client.upgrade() else { return };
                let mut subscriptions = lock(&client.subscriptions);
                match (answer, subscriptions.contains_key(&key)) {
                    (Ok(_), true) | (Err(_), false) => {}
                    // Whoever ended it meanwhile may have told the server too early.
                    (Ok(_), false) => session.stop(number),
                    (Err(error), true) => {
                        tracing::warn!(%error, "a subscription could not be taken up again");
                        if let Some(ended) = subscriptions.remove(&key) {
                            ended.inbox.close();
                        }
                    }
                }
            });
        }
    }
}
