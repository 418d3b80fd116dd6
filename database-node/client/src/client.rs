//! A server, by one connection after the other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use pliantdb_core::protocol::{AccountsAsk, Ask, DatabaseHandle, Reply, SchemaOffer, Secret};
use pliantdb_core::{
    DatabaseName, Error, Inbox, RequestId, Schema, Schematic, StorageConnection, TopicPattern,
};
use tokio::sync::mpsc;
use web_time::Instant;

use crate::Future;
use crate::address::Address;
use crate::database::AsyncRemoteDatabase;
use crate::link::Sending;
use crate::options::Options;
use crate::runtime;
use crate::session::{Lost, Session};

/// How long is waited before the second attempt to connect, and at most before later ones.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// A server, or any node of a cluster. Clones share its connection, which is made anew when it is lost; the last one to be
/// dropped ends it. It must be used within a tokio runtime, or in a browser.
#[derive(Clone)]
pub struct AsyncClient(Arc<Shared>);

pub(crate) struct Shared {
    address: Address,
    options: Options,
    /// Whether [`AsyncClient::close`] was called.
    is_closed: AtomicBool,
    /// Held while connecting, so that one does it for all.
    connecting: tokio::sync::Mutex<()>,
    session: Mutex<Option<Arc<Session>>>,
    /// What a password was traded for.
    token: Mutex<Option<Secret>>,
    /// For each connection, which holds it until everything was sent.
    sending: Sending,
    next_subscription: AtomicU64,
    subscriptions: Mutex<HashMap<u64, Subscribed>>,
}

/// A subscription that outlives connections.
#[derive(Clone)]
struct Subscribed {
    database: DatabaseHandle,
    patterns: Vec<TopicPattern>,
    inbox: Arc<Inbox>,
    /// Over which connection it runs, and by which number.
    on: Option<(Weak<Session>, u64)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsyncClient {
    /// Connects to the server at an address such as `pliant://db.example.com`: [`Address`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address or options that cannot be used, [`Error::Unreachable`], and
    /// [`Error::Unauthenticated`].
    pub async fn connect(address: &str, options: Options) -> Result<Self, Error> {
        let (sending, _) = mpsc::channel(1);
        Self::connect_with(address, options, sending).await
    }

    /// As [`AsyncClient::connect`]. `sending` is dropped when the client is and everything was sent.
    pub(crate) async fn connect_with(
        address: &str,
        options: Options,
        sending: Sending,
    ) -> Result<Self, Error> {
        let client = Self(Arc::new(Shared {
            address: address.parse()?,
            options,
            is_closed: AtomicBool::new(false),
            connecting: tokio::sync::Mutex::new(()),
            session: Mutex::new(None),
            token: Mutex::new(None),
            sending,
            next_subscription: AtomicU64::new(0),
            subscriptions: Mutex::default(),
        }));
        client.0.session().await?;
        Ok(client)
    }

    /// Ends the connection, for all clones of the client, and returns when the server has been told, or does not listen. What
    /// waits for an answer, and whatever is asked from then on, is [`Error::Closed`], or [`Error::Disconnected`] when it may
    /// have been done; subscriptions end. Dropping the last clone ends the connection too, and waits for nothing.
    pub async fn close(&self) {
        self.0.close().await;
    }

    /// Where the server is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// Asks for what there is no other method for.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn ask(&self, ask: Ask) -> Result<Reply, Error> {
        self.0.ask(ask).await
    }

    fn open<S: Schema>(
        &self,
        name: &str,
        ask: impl FnOnce(DatabaseName, Option<SchemaOffer>) -> Ask + Send + 'static,
    ) -> Future<AsyncRemoteDatabase> {
        let client = self.clone();
        let asked = (|| -> Result<Ask, Error> {
            let name: DatabaseName = name.parse()?;
            let schematic = Schematic::of::<S>().map_err(Error::invalid)?;
            Ok(ask(name, SchemaOffer::of(&schematic)))
        })();
        Box::pin(async move {
            match client.0.ask(asked?).await? {
                Reply::Database(handle) => Ok(AsyncRemoteDatabase::new(client, handle)),
                _ => Err(Error::unexpected_answer()),
            }
        })
    }
}

impl StorageConnection for AsyncClient {
    type Database = AsyncRemoteDatabase;

    fn create_database<S: Schema>(&self, name: &str) -> Future<AsyncRemoteDatabase> {
        self.open::<S>(name, |name, schema| Ask::CreateDatabase { name, schema })
    }

    fn database<S: Schema>(&self, name: &str) -> Future<AsyncRemoteDatabase> {
        self.open::<S>(name, |name, schema| Ask::OpenDatabase { name, schema })
    }

    fn delete_database(&self, name: &str) -> Future<()> {
        let (client, name) = (self.clone(), name.parse::<DatabaseName>());
        Box::pin(async move {
            match client.0.ask(Ask::DeleteDatabase { name: name? }).await? {
                Reply::Done => Ok(()),
                _ => Err(Error::unexpected_answer()),
            }
        })
    }

    fn databases(&self) -> Future<Vec<DatabaseName>> {
        let client = self.clone();
        Box::pin(async move {
            match client.0.ask(Ask::Databases).await? {
                Reply::Databases(names) => Ok(names),
                _ => Err(Error::unexpected_answer()),
            }
        })
    }
}

impl Shared {
    /// The connection; a new one if there is none.
    ///
    /// # Errors
    /// Why there can be none.
    pub(crate) async fn session(self: &Arc<Self>) -> Result<Arc<Session>, Error> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        if let Some(session) = self.open_session() {
            return Ok(session);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(session) = self.open_session() {
            return Ok(session);
        }
        let token = lock(&self.token).clone();
        let session = match self.connect(token.clone()).await {
            // The session has ended at the server; the password still counts.
            Err(Error::Unauthenticated(_)) if token.is_some() => self.connect(None).await?,
            session => session?,
        };
        if let Some(token) = session.token() {
            *lock(&self.token) = Some(token);
        }
        *lock(&self.session) = Some(Arc::clone(&session));
        if self.is_closed() {
            // It was while this connected; dropped by both, the connection ends.
            lock(&self.session).take();
            return Err(Error::Closed);
        }
        self.resubscribe(&session);
        Ok(session)
    }

    async fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        for (_, subscribed) in lock(&self.subscriptions).drain() {
            subscribed.inbox.close();
        }
        let session = lock(&self.session).take();
        if let Some(session) = session {
            runtime::within(GOODBYE, session.close()).await;
        }
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn open_session(&self) -> Option<Arc<Session>> {
        lock(&self.session).clone().filter(|session| session.is_open())
    }

    async fn connect(self: &Arc<Self>, token: Option<Secret>) -> Result<Arc<Session>, Error> {
        let client = Arc::downgrade(self);
        let ended = move || {
            if let Some(client) = client.upgrade() {
                client.lost();
            }
        };
        let timeout = self.options.connect_timeout;
        let opening = Session::open(&self.address, &self.options, token, self.sending.clone(), ended);
        runtime::within(timeout, opening).await.unwrap_or_else(|| {
            Err(Error::Unreachable(format!(
                "the server {} gave no answer within {timeout:?}",
                self.address
            )))
        })
    }

    /// The connection has ended. Who subscribes asks nothing, so nobody else would make a new one.
    fn lost(self: &Arc<Self>) {
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
                    Err(Error::Unreachable(_) | Error::Closed) => {}
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

    /// Asks, over as many connections as it takes.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn ask(self: &Arc<Self>, ask: Ask) -> Result<Reply, Error> {
        let Some(timeout) = self.options.answer_timeout else {
            return self.ask_until(ask, None).await;
        };
        let timeout = timeout.saturating_add(waits(&ask));
        match runtime::within(timeout, self.ask_until(ask, Some(timeout))).await {
            Some(answer) => answer,
            None => Err(Error::TimedOut),
        }
    }

    async fn ask_until(self: &Arc<Self>, ask: Ask, deadline: Option<Duration>) -> Result<Reply, Error> {
        let (start, mut pause) = (Instant::now(), FIRST_PAUSE);
        // The same for all attempts, so that the server knows them for one.
        let mut request_id: Option<RequestId> = None;
        let mut is_sent = false;
        let is_write = matches!(&ask, Ask::Request { request, .. } if request.is_write());
        loop {
            let lost = match self.session().await {
                Ok(session) => {
                    if is_write && request_id.is_none() {
                        request_id = Some(session.request_id()?);
                    }
                    let left = deadline.map(|deadline| deadline.saturating_sub(start.elapsed()));
                    let asked = session.ask(session.number(), left, request_id, ask.clone()).await;
                    match asked {
                        Ok(answer) => return answer,
                        Err(lost) => lost,
                    }
                }
                Err(_) if self.is_closed() => {
                    return Err(match is_sent && (is_write || !can_be_repeated(&ask)) {
                        true => Error::Disconnected(what(&ask).to_owned()),
                        false => Error::Closed,
                    });
                }
                // A server that is started again is back soon. When nothing was sent yet, longer than connecting may take is
                // not worth the wait.
                Err(error @ (Error::Unreachable(_) | Error::Closed)) => {
                    if !is_sent && start.elapsed() >= self.options.connect_timeout {
                        return Err(error);
                    }
                    Lost {
                        is_sent: false,
                        reason: error.to_string(),
                    }
                }
                Err(error) => return Err(error),
            };
            tracing::debug!(address = %self.address, reason = lost.reason, "an answer did not come");
            is_sent |= lost.is_sent;
            if lost.is_sent && !can_be_repeated(&ask) {
                return Err(Error::Disconnected(what(&ask).to_owned()));
            }
            runtime::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
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

    /// What comes of something within the time for an answer.
    ///
    /// # Errors
    /// [`Error::TimedOut`].
    pub(crate) async fn within<T>(
        &self,
        work: impl std::future::Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        match self.options.answer_timeout {
            None => work.await,
            Some(timeout) => runtime::within(timeout, work)
                .await
                .unwrap_or(Err(Error::TimedOut)),
        }
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
                Err(error @ (Error::Unreachable(_) | Error::Closed)) => {
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
            match session.ask(number, self.options.answer_timeout, None, ask).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    session.stop(number);
                    return Err(error);
                }
                Err(_) => {
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
    fn resubscribe(self: &Arc<Self>, session: &Arc<Session>) {
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
                let Ok(answer) = session.ask(number, None, None, ask).await else {
                    return;
                };
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

/// How long a question waits by itself.
fn waits(ask: &Ask) -> Duration {
    match ask {
        Ask::Request {
            request: pliantdb_core::Request::Changes { wait, .. },
            ..
        } => *wait,
        _ => Duration::ZERO,
    }
}

/// Whether it does no harm when the server is asked twice.
fn can_be_repeated(ask: &Ask) -> bool {
    match ask {
        Ask::Databases | Ask::OpenDatabase { .. } | Ask::Nodes { .. } => true,
        Ask::Request { request, .. } => request.can_be_repeated(),
        // A snapshot ends with its connection.
        Ask::RequestAt { .. } | Ask::Snapshot { .. } | Ask::Subscribe { .. } => false,
        Ask::CreateDatabase { .. } | Ask::DeleteDatabase { .. } | Ask::Backup { .. } => false,
        Ask::Accounts(ask) => match ask {
            AccountsAsk::WhoAmI | AccountsAsk::Users | AccountsAsk::Roles | AccountsAsk::ApiKeys => true,
            // They set what is said, whatever was there.
            AccountsAsk::SetUser { .. } | AccountsAsk::SetRole { .. } => true,
            AccountsAsk::LogOut
            | AccountsAsk::ChangePassword { .. }
            | AccountsAsk::DeleteUser { .. }
            | AccountsAsk::DeleteRole { .. }
            | AccountsAsk::CreateApiKey { .. }
            | AccountsAsk::DeleteApiKey { .. } => false,
        },
    }
}

/// What was asked, for people.
fn what(ask: &Ask) -> &'static str {
    use pliantdb_core::Request;
    match ask {
        Ask::CreateDatabase { .. } => "the creation of the database",
        Ask::DeleteDatabase { .. } => "the deletion of the database",
        Ask::Backup { .. } => "the backup",
        Ask::Request { request, .. } => match request {
            Request::Call { .. } => "the call of the API",
            Request::Publish(_) => "the publishing of the message",
            Request::DeleteMatching(_) => "the deletion of the documents",
            _ => "the request",
        },
        Ask::Accounts(_) => "the change of users, roles or API keys",
        _ => "the request",
    }
}
