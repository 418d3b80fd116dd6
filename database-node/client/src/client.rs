//! A server, by one connection after the other, or a cluster, by one to each node that is needed.

mod asking;
mod subscribing;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pliantdb_core::protocol::{Ask, Reply, SchemaOffer, Secret};
use pliantdb_core::{Consistency, DatabaseName, Error, Request, Schema, Schematic, StorageConnection};
use tokio::sync::mpsc;
use web_time::Instant;

use crate::Future;
use crate::address::Address;
use crate::database::AsyncRemoteDatabase;
use crate::link::Sending;
use crate::nodes::Nodes;
use crate::options::Options;
use crate::runtime;
use crate::session::{Answered, Session};
use subscribing::Subscribed;

/// How long is waited before the second attempt to connect, and at most before later ones.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// A server, or a cluster by any of its nodes. Clones share its connections, which are made anew when they are lost; the last
/// one to be dropped ends them. It must be used within a tokio runtime, or in a browser.
///
/// Of a cluster, it learns where the nodes are. What is asked goes to one of them, writes to the one that leads their database;
/// when that is lost, or has to refuse for now, to another.
#[derive(Clone)]
pub struct AsyncClient(Arc<Shared>);

pub(crate) struct Shared {
    /// Where the client was told that the server is.
    address: Address,
    options: Options,
    /// Whether [`AsyncClient::close`] was called.
    is_closed: AtomicBool,
    /// Held while connecting, so that one does it for all.
    connecting: tokio::sync::Mutex<()>,
    /// The same for connections to a certain node.
    reaching: tokio::sync::Mutex<()>,
    sessions: Mutex<Sessions>,
    nodes: Mutex<Nodes>,
    /// What a password was traded for.
    token: Mutex<Option<Secret>>,
    /// For each connection, which holds it until everything was sent.
    sending: Sending,
    next_subscription: AtomicU64,
    subscriptions: Mutex<HashMap<u64, Subscribed>>,
}

/// The connections: at most one to each node.
#[derive(Default)]
struct Sessions {
    /// By which everything goes that need not go to a certain node.
    main: Option<Arc<Session>>,
    others: Vec<Arc<Session>>,
}

impl Sessions {
    /// The one that leads there, if there is one.
    fn to(&self, address: &Address) -> Option<Arc<Session>> {
        let mut all = self.main.iter().chain(&self.others);
        let leads_there = all.find(|session| session.address() == address && session.is_open());
        leads_there.cloned()
    }

    fn set_main(&mut self, session: &Arc<Session>) {
        self.others
            .retain(|other| other.is_open() && other.address() != session.address());
        self.main = Some(Arc::clone(session));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsyncClient {
    /// Connects to the server at an address such as `pliant://db.example.com`: [`Address`]. Of a cluster, several nodes can
    /// be named, with commas between their addresses; one that can be reached is enough, for it tells where the others are.
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
        let nodes = Nodes::of(address)?;
        let Some(address) = nodes.to_try().into_iter().next() else {
            return Err(Error::invalid("the text names no server"));
        };
        let client = Self(Arc::new(Shared {
            address,
            nodes: Mutex::new(nodes),
            options,
            is_closed: AtomicBool::new(false),
            connecting: tokio::sync::Mutex::new(()),
            reaching: tokio::sync::Mutex::new(()),
            sessions: Mutex::default(),
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

    /// Where the server is: the first address that the client was given.
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
        self.0.ask(ask, Consistency::default()).await?.result
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
            match client.ask(asked?).await? {
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
            match client.ask(Ask::DeleteDatabase { name: name? }).await? {
                Reply::Done => Ok(()),
                _ => Err(Error::unexpected_answer()),
            }
        })
    }

    fn databases(&self) -> Future<Vec<DatabaseName>> {
        let client = self.clone();
        Box::pin(async move {
            match client.ask(Ask::Databases).await? {
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
        let ended = lock(&self.sessions).main.take();
        if let Some(ended) = ended {
            self.notice_end(&ended);
        }
        let other = {
            let sessions = lock(&self.sessions);
            sessions.others.iter().find(|other| other.is_open()).cloned()
        };
        let session = match other {
            Some(other) => other,
            None => self.reach_any().await?,
        };
        lock(&self.sessions).set_main(&session);
        if self.is_closed() {
            // It was while this connected; dropped by both, the connection ends.
            *lock(&self.sessions) = Sessions::default();
            return Err(Error::Closed);
        }
        self.resubscribe(&session);
        self.look_around(&session);
        Ok(session)
    }

    /// Connects to any node: each is tried once, those that failed last.
    ///
    /// # Errors
    /// Why there can be no connection to the first of them, or any more.
    async fn reach_any(self: &Arc<Self>) -> Result<Arc<Session>, Error> {
        let (start, nodes) = (Instant::now(), lock(&self.nodes).to_try());
        let (mut to_try, mut failed) = (nodes.len(), None);
        for address in nodes {
            // One that does not answer leaves time for the others.
            let left = self.options.connect_timeout.saturating_sub(start.elapsed());
            let timeout = left / u32::try_from(to_try).unwrap_or(u32::MAX);
            to_try -= 1;
            match self.reach(&address, timeout).await {
                Ok(session) => return Ok(session),
                // Another will not say anything else.
                Err(error @ (Error::Unauthenticated(_) | Error::Denied(_))) => return Err(error),
                Err(error) => {
                    tracing::debug!(%address, %error, "a node cannot be reached");
                    failed.get_or_insert(error);
                }
            }
        }
        Err(failed.unwrap_or(Error::Closed))
    }

    /// Connects to a node.
    ///
    /// # Errors
    /// Why there can be no connection.
    async fn reach(self: &Arc<Self>, address: &Address, timeout: Duration) -> Result<Arc<Session>, Error> {
        let token = lock(&self.token).clone();
        let session = match self.connect(address, token.clone(), timeout).await {
            // The session has ended at the server; the password still counts.
            Err(Error::Unauthenticated(_)) if token.is_some() => self.connect(address, None, timeout).await,
            session => session,
        };
        match session {
            Ok(session) => {
                if let Some(token) = session.token() {
                    *lock(&self.token) = Some(token);
                }
                lock(&self.nodes).reached(address);
                Ok(session)
            }
            Err(error) => {
                lock(&self.nodes).failed(address);
                Err(error)
            }
        }
    }

    /// The connection to a certain node; a new one if there is none.
    ///
    /// # Errors
    /// Why there can be none.
    async fn session_to(self: &Arc<Self>, address: &Address) -> Result<Arc<Session>, Error> {
        if let Some(session) = lock(&self.sessions).to(address) {
            return Ok(session);
        }
        let _reaching = self.reaching.lock().await;
        if let Some(session) = lock(&self.sessions).to(address) {
            return Ok(session);
        }
        let nodes = u32::try_from(lock(&self.nodes).count()).unwrap_or(u32::MAX);
        let session = self
            .reach(address, self.options.connect_timeout / nodes.max(1))
            .await?;
        let mut sessions = lock(&self.sessions);
        if self.is_closed() {
            return Err(Error::Closed);
        }
        if let Some(meanwhile) = sessions.to(address) {
            return Ok(meanwhile);
        }
        sessions.others.retain(|other| other.is_open());
        sessions.others.push(Arc::clone(&session));
        Ok(session)
    }

    /// A connection has ended, or its server leaves.
    fn notice_end(&self, session: &Session) {
        if session.notices_end() {
            lock(&self.nodes).failed(session.address());
        }
    }

    /// Learns in the background where the other nodes are.
    fn look_around(self: &Arc<Self>, session: &Arc<Session>) {
        if self.options.finds_nodes {
            self.ask_for_nodes(session, None);
        }
    }

    /// The connection to the node that leads what a request changes, if that is known. Else it is found out in the
    /// background: what is asked meanwhile need not wait, for every node hands it on.
    fn leading(self: &Arc<Self>, ask: &Ask) -> Option<Arc<Session>> {
        let Ask::Request { database, request } = ask else {
            return None;
        };
        let is_for_leader =
            request.is_write() || matches!(request, Request::Call { .. } | Request::DeleteMatching(_));
        if !is_for_leader || !self.options.finds_nodes {
            return None;
        }
        let name = &database.name;
        let (leader, is_to_ask) = {
            let mut nodes = lock(&self.nodes);
            let leader = nodes.leader(name).cloned();
            (leader, nodes.is_to_ask(name))
        };
        if is_to_ask && let Some(session) = self.open_session() {
            self.ask_for_nodes(&session, Some(name.clone()));
        }
        lock(&self.sessions).to(&leader?)
    }

    /// Learns in the background where the nodes are and which of them leads a database, and connects to that one.
    fn ask_for_nodes(self: &Arc<Self>, session: &Arc<Session>, database: Option<DatabaseName>) {
        let (client, session) = (Arc::downgrade(self), Arc::clone(session));
        let timeout = self.options.connect_timeout;
        runtime::spawn(async move {
            let ask = Ask::Nodes {
                database: database.clone(),
            };
            let asking = session.ask(session.number(), Some(timeout), None, Consistency::default(), ask);
            let told = runtime::within(timeout, asking).await;
            let Some(client) = client.upgrade() else { return };
            let is_told = match told {
                Some(Ok(Answered {
                    result: Ok(Reply::Nodes(told)),
                    ..
                })) => {
                    let mut nodes = lock(&client.nodes);
                    nodes.learn(&told, session.address().transport);
                    if let Some(database) = &database {
                        nodes.set_leader(database, told.leader);
                    }
                    true
                }
                _ => false,
            };
            drop(session);
            let Some(database) = database else { return };
            let leader = lock(&client.nodes).leader(&database).cloned();
            let is_reached = match leader {
                Some(leader) if is_told => client.session_to(&leader).await.is_ok(),
                _ => false,
            };
            if !is_reached {
                lock(&client.nodes).doubt(&database);
            }
        });
    }

    async fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        for (_, subscribed) in lock(&self.subscriptions).drain() {
            subscribed.inbox.close();
        }
        let Sessions { main, others } = std::mem::take(&mut *lock(&self.sessions));
        let closing = main.iter().chain(&others).map(|session| session.close());
        runtime::within(GOODBYE, futures::future::join_all(closing)).await;
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn open_session(&self) -> Option<Arc<Session>> {
        let main = lock(&self.sessions).main.clone();
        main.filter(|session| session.is_open())
    }

    async fn connect(
        self: &Arc<Self>,
        address: &Address,
        token: Option<Secret>,
        timeout: Duration,
    ) -> Result<Arc<Session>, Error> {
        let client = Arc::downgrade(self);
        let ended = move || {
            if let Some(client) = client.upgrade() {
                client.lost();
            }
        };
        let opening = Session::open(address, &self.options, token, self.sending.clone(), ended);
        runtime::within(timeout, opening).await.unwrap_or_else(|| {
            Err(Error::Unreachable(format!(
                "the server {address} gave no answer within {timeout:?}"
            )))
        })
    }
}

/// Whether it may be otherwise in a moment.
fn is_passing(error: &Error) -> bool {
    matches!(
        error,
        Error::Unreachable(_) | Error::Closed | Error::Unavailable(_)
    )
}
