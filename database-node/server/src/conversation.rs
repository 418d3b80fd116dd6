//! What one connection by QUIC or WebSocket says, whatever it travels on.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pliantdb_core::protocol::{
    Ask, DatabaseHandle, FromClient, FromServer, Greeting, Hello, MAX_ANSWER, MAX_HELLO, Malformed,
    PROTOCOL_VERSION, Question, Reply, Welcome, decode, encode,
};
use pliantdb_core::{DatabaseName, Error, Request};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tracing::Instrument;

use crate::VERSION;
use crate::access::Caller;
use crate::app::App;
use crate::databases;
use crate::dispatch::{self, Answered, Subscription, Terms};
use crate::metrics::{self, Door};
use crate::request_memory::{Reserved, SMALL};
use crate::traces;

/// How many subscriptions and snapshots a connection may have.
const MAX_HELD: usize = 1000;

/// How many times a message is in memory while it is dealt with.
const COPIES: usize = 3;

/// Something to send.
pub(crate) struct Outgoing {
    pub(crate) bytes: Vec<u8>,
    /// Whether it must not overtake what was sent before.
    pub(crate) is_ordered: bool,
    /// Given back when it is sent, so that a client that does not read gets no more answers.
    _place: Option<OwnedSemaphorePermit>,
    /// The memory of a large one, given back then too.
    _memory: Option<Reserved>,
}

/// The end of a connection on which things are sent. Boxed, for a channel keeps room for 32 of what it carries, and nearly
/// all connections are idle.
pub(crate) type Sender = mpsc::Sender<Box<Outgoing>>;

/// One connection whose client is known.
pub(crate) struct Conversation {
    app: Arc<App>,
    caller: Caller,
    door: Door,
    out: Sender,
    places: Arc<Semaphore>,
    begun: Arc<Mutex<Begun>>,
}

/// What the client can stop, by the numbers of the questions that began it.
#[derive(Default)]
struct Begun {
    /// What waits for its answer.
    answers: HashMap<u64, AbortHandle>,
    /// The subscriptions and snapshots that are being made, and are still wanted.
    beginning: HashSet<u64>,
    /// Whose messages are handed on.
    subscriptions: HashMap<u64, Arc<Subscription>>,
    snapshots: HashMap<u64, HeldSnapshot>,
}

/// A snapshot until it is stopped, or too old.
struct HeldSnapshot {
    database: DatabaseHandle,
    /// `None` when it was too old: whoever reads from it is told so.
    snapshot: Option<databases::HeldSnapshot>,
    /// What lets go of it when it is.
    expiry: AbortHandle,
}

impl Drop for HeldSnapshot {
    fn drop(&mut self) {
        self.expiry.abort();
    }
}

impl Begun {
    fn has(&self, number: u64) -> bool {
        self.answers.contains_key(&number)
            || self.subscriptions.contains_key(&number)
            || self.snapshots.contains_key(&number)
    }

    /// A snapshot, and the database that it is of.
    fn snapshot(
        &self,
        number: u64,
        lifetime: Duration,
    ) -> Result<(DatabaseHandle, databases::HeldSnapshot), Error> {
        match self.snapshots.get(&number) {
            None => Err(Error::Invalid(format!(
                "there is no snapshot {number} on this connection; take a new one"
            ))),
            Some(held) => match &held.snapshot {
                None => Err(Error::SnapshotExpired {
                    seconds: lifetime.as_secs(),
                }),
                Some(snapshot) => Ok((held.database.clone(), snapshot.clone())),
            },
        }
    }

    /// Notes that a subscription or snapshot is being made, if there can be one more.
    fn begin(&mut self, number: u64) -> Result<(), Error> {
        match self.beginning.len() + self.subscriptions.len() + self.snapshots.len() < MAX_HELD {
            true => {
                self.beginning.insert(number);
                Ok(())
            }
            false => Err(Error::Invalid(format!(
                "the connection has {MAX_HELD} subscriptions and snapshots, which is the most: end some, or use another"
            ))),
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let mut begun = self.begun();
        begun.beginning.clear();
        begun.answers.values().for_each(AbortHandle::abort);
        begun
            .subscriptions
            .values()
            .for_each(|subscription| subscription.end());
    }
}

/// The answer to a client's first message, and who the client is when it may stay.
pub(crate) async fn greet(app: &App, peer: SocketAddr, hello: &[u8]) -> (Greeting, Option<Caller>) {
    match welcome(app, peer, hello).await {
        Ok((welcome, caller)) => (Greeting::Welcome(welcome), Some(caller)),
        Err(error) => {
            tracing::debug!(%peer, %error, "a client was refused");
            (Greeting::Refused(error), None)
        }
    }
}

async fn welcome(app: &App, peer: SocketAddr, hello: &[u8]) -> Result<(Welcome, Caller), Error> {
    if hello.len() > MAX_HELLO {
        return Err(Error::Invalid(format!(
            "the first message has {} bytes, and {MAX_HELLO} is the most",
            hello.len()
        )));
    }
    let hello: Hello = decode(hello)?;
    if hello.oldest > PROTOCOL_VERSION || hello.newest < PROTOCOL_VERSION {
        return Err(Error::Invalid(format!(
            "this server speaks version {PROTOCOL_VERSION} of the protocol, and the client versions {} to {}: use a client of \
             the server's version, {VERSION}",
            hello.oldest, hello.newest
        )));
    }
    if app.is_stopping() {
        return Err(Error::Closed);
    }
    let (caller, session) = app.access().enter(hello.credentials.as_ref(), peer).await?;
    tracing::debug!(%peer, caller = caller.name(), agent = %pliantdb_core::shorten(&hello.agent), "a client came");
    let welcome = Welcome {
        version: PROTOCOL_VERSION,
        now_ms: app.now_ms(),
        max_message: app.max_body_size as u64,
        max_in_flight: u32::try_from(app.max_in_flight).unwrap_or(u32::MAX),
        session,
        agent: format!("pliantdb/{VERSION}"),
    };
    Ok((welcome, caller))
}

impl Conversation {
    pub(crate) fn new(app: Arc<App>, caller: Caller, door: Door, out: Sender) -> Self {
        Self {
            places: Arc::new(Semaphore::new(app.max_in_flight)),
            app,
            caller,
            door,
            out,
            begun: Arc::default(),
        }
    }

    /// Takes a message. Returns when the next may come: not before there are fewer questions in flight than may be.
    ///
    /// # Errors
    /// Why the connection is to end.
    pub(crate) async fn take(&self, message: &[u8]) -> Result<(), Error> {
        match decode(message) {
            Ok(FromClient::Ask(question)) => {
                match self.app.reserve_memory(message.len(), COPIES).await {
                    Ok(memory) => self.ask(question, memory).await,
                    // The question's affair, and not that of the others on the connection.
                    Err(error @ Error::Busy) => {
                        let asked = self
                            .app
                            .metrics
                            .asked(self.door, metrics::operation(&question.ask));
                        asked.answered(Some(&error));
                        self.answer(question.number, Err(error), None).await;
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            }
            Ok(FromClient::Stop(number)) => {
                self.stop(number);
                Ok(())
            }
            Err(error @ Malformed::Body { number, .. }) => {
                self.answer(number, Err(error.into()), None).await;
                Ok(())
            }
            Err(error @ Malformed::Form { .. }) => Err(error.into()),
        }
    }

    /// Waits until everything that was asked is answered. Subscriptions end.
    pub(crate) async fn finish(&self) {
        // All places are free when nothing is in flight.
        let all = u32::try_from(self.app.max_in_flight).unwrap_or(u32::MAX);
        let _ = self.places.acquire_many(all).await;
    }

    fn begun(&self) -> MutexGuard<'_, Begun> {
        lock(&self.begun)
    }

    async fn ask(&self, question: Question, memory: Reserved) -> Result<(), Error> {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return Err(Error::Closed);
        };
        let number = question.number;
        if self.begun().has(number) {
            return Err(Error::Invalid(format!(
                "the question's number {number} is that of another which has not ended"
            )));
        }
        let (app, out, begun) = (Arc::clone(&self.app), self.out.clone(), Arc::clone(&self.begun));
        let mut answering = Box::pin(self.answering(question, memory));
        // Most are answered from memory at once: no task is made for those.
        if let Some(result) = at_once(answering.as_mut()) {
            self.answer(number, result, Some(place)).await;
            return Ok(());
        }
        // Held while the task is made, so that it cannot end before it is known.
        let mut held = self.begun();
        let task = tokio::spawn(async move {
            let result = answering.await;
            lock(&begun).answers.remove(&number);
            answer(&app, &out, number, result, Some(place)).await;
        });
        held.answers.insert(number, task.abort_handle());
        Ok(())
    }

    /// What comes of a question, in the end.
    fn answering(
        &self,
        question: Question,
        memory: Reserved,
    ) -> impl Future<Output = Result<Answered, Error>> + Send + 'static {
        let (app, caller, door) = (Arc::clone(&self.app), self.caller.clone(), self.door);
        let (begun, out) = (Arc::clone(&self.begun), self.out.clone());
        async move {
            let Question {
                number,
                deadline,
                request_id,
                consistency,
                ask,
            } = question;
            // What waits for changes is small, and must not keep the memory from those who do something.
            let mut memory = match &ask {
                Ask::Request {
                    request: Request::Changes { .. },
                    ..
                } => None,
                _ => Some(memory),
            };
            let operation = metrics::operation(&ask);
            let asked = app.metrics.asked(door, operation);
            // Costs nothing when neither the log nor a collector wants it.
            let span = tracing::debug_span!(
                "question",
                id = %request_id.map_or_else(|| uuid::Uuid::now_v7().to_string(), |id| id.to_string()),
                door = door.name(),
                operation,
                database = database(&ask).map(DatabaseName::as_str),
                caller = caller.name(),
                result = tracing::field::Empty,
            );
            let dispatcher = app.dispatcher();
            let is_begun = matches!(ask, Ask::Subscribe { .. } | Ask::Snapshot { .. });
            let carry_out = async {
                match ask {
                    Ask::Subscribe { database, patterns } => {
                        lock(&begun).begin(number)?;
                        let subscription = Arc::new(dispatcher.subscribe(&caller, database, patterns).await?);
                        let mut held = lock(&begun);
                        if held.beginning.remove(&number) {
                            held.subscriptions.insert(number, Arc::clone(&subscription));
                            tokio::spawn(forward(number, subscription, out, Arc::clone(&begun)));
                        }
                        Ok(Reply::Done.into())
                    }
                    Ask::Snapshot { database } => {
                        lock(&begun).begin(number)?;
                        let snapshot = dispatcher
                            .snapshot(&caller, database.clone(), consistency)
                            .await?;
                        let mut held = lock(&begun);
                        if held.beginning.remove(&number) {
                            let expiry = expire(Arc::downgrade(&begun), number, app.snapshot_lifetime);
                            let snapshot = HeldSnapshot {
                                database,
                                snapshot: Some(snapshot),
                                expiry: tokio::spawn(expiry).abort_handle(),
                            };
                            held.snapshots.insert(number, snapshot);
                        }
                        Ok(Reply::Done.into())
                    }
                    Ask::RequestAt { snapshot, request } => {
                        let (database, snapshot) = lock(&begun).snapshot(snapshot, app.snapshot_lifetime)?;
                        let answer = dispatcher.ask_at(&caller, database, &snapshot, request).await;
                        answer.map(|response| Reply::Response(response).into())
                    }
                    ask => {
                        let id = request_id;
                        let terms = Terms { id, consistency };
                        dispatcher.ask_holding(&caller, ask, terms, memory.take()).await
                    }
                }
            };
            let carry_out = carry_out.instrument(span.clone());
            let result = match deadline {
                None => carry_out.await,
                Some(deadline) => within(deadline, carry_out).await,
            };
            if is_begun {
                // Also when it failed, or took too long.
                lock(&begun).beginning.remove(&number);
            }
            let result = span.in_scope(|| result.map_err(dispatch::told));
            drop(memory);
            if !span.is_disabled() {
                let kind = result.as_ref().err().map_or("ok", metrics::kind);
                span.record("result", kind);
                if result.as_ref().is_err_and(is_fault) {
                    traces::mark_failed(&span, kind);
                }
            }
            asked.answered(result.as_ref().err());
            result
        }
    }

    async fn answer(
        &self,
        number: u64,
        result: Result<Answered, Error>,
        place: Option<OwnedSemaphorePermit>,
    ) {
        answer(&self.app, &self.out, number, result, place).await;
    }

    fn stop(&self, number: u64) {
        let mut begun = self.begun();
        if let Some(answer) = begun.answers.remove(&number) {
            answer.abort();
        }
        begun.beginning.remove(&number);
        if let Some(subscription) = begun.subscriptions.remove(&number) {
            subscription.end();
        }
        begun.snapshots.remove(&number);
    }
}

/// What is asked about, if it is one database and the question says which.
fn database(ask: &Ask) -> Option<&DatabaseName> {
    match ask {
        Ask::CreateDatabase { name, .. } | Ask::OpenDatabase { name, .. } | Ask::DeleteDatabase { name } => {
            Some(name)
        }
        Ask::Request { database, .. } | Ask::Subscribe { database, .. } | Ask::Snapshot { database } => {
            Some(&database.name)
        }
        Ask::Nodes { database } => database.as_ref(),
        Ask::Databases | Ask::RequestAt { .. } | Ask::Accounts(_) | Ask::Backup { .. } => None,
    }
}

/// Whether it is the server that failed, and not who asked.
fn is_fault(error: &Error) -> bool {
    matches!(
        error,
        Error::Storage(_)
            | Error::Corrupt(_)
            | Error::DiskFull(_)
            | Error::Busy
            | Error::Unavailable(_)
            | Error::Closed
            | Error::TimedOut
    )
}

/// What comes of something if it needs not wait. What has to is to be polled again by whoever is to be woken.
fn at_once<T>(work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match work.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

/// Lets go of a snapshot when its time is over; who reads from it then, still does.
async fn expire(begun: Weak<Mutex<Begun>>, number: u64, lifetime: Duration) {
    tokio::time::sleep(lifetime).await;
    let Some(begun) = begun.upgrade() else { return };
    let held = lock(&begun)
        .snapshots
        .get_mut(&number)
        .and_then(|held| held.snapshot.take());
    // Not under the lock: it may be the last of it.
    drop(held);
}

/// Hands messages on to the client, until there are no more.
async fn forward(number: u64, subscription: Arc<Subscription>, out: Sender, begun: Arc<Mutex<Begun>>) {
    loop {
        let message = subscription.receive().await;
        let is_last = matches!(&message, Err(error) if !matches!(error, Error::Lagged(_)));
        let is_sent = tell(&out, FromServer::Message { number, message }).await;
        if is_last || !is_sent {
            break;
        }
    }
    lock(&begun).subscriptions.remove(&number);
}

/// Queues an answer. The memory of a large one is reserved until it is sent: clients that read slowly could hold all there
/// is.
async fn answer(
    app: &App,
    out: &Sender,
    number: u64,
    result: Result<Answered, Error>,
    place: Option<OwnedSemaphorePermit>,
) {
    let position = result.as_ref().ok().and_then(|answered| answered.position);
    let answer = FromServer::Answer {
        number,
        result: result.map(|answered| answered.reply),
        position,
    };
    let Some(bytes) = written(&answer) else {
        return;
    };
    let memory = match bytes.len() {
        ..=SMALL => Ok(None),
        length @ ..=MAX_ANSWER => app.reserve_memory(length, 1).await.map(Some),
        length => Err(Error::Invalid(format!(
            "the answer has {length} bytes, and {MAX_ANSWER} is the most that is sent: ask for less at once"
        ))),
    };
    let (bytes, memory) = match memory {
        Ok(memory) => (bytes, memory),
        Err(error) => {
            let answer = FromServer::Answer {
                number,
                result: Err(error),
                position: None,
            };
            let Some(bytes) = written(&answer) else {
                return;
            };
            (bytes, None)
        }
    };
    let outgoing = Outgoing {
        bytes,
        is_ordered: false,
        _place: place,
        _memory: memory,
    };
    // Fails only if the connection is gone.
    let _ = out.send(Box::new(outgoing)).await;
}

/// Queues what must be sent in order; waits while the client does not read. Whether the connection is there still.
async fn tell(out: &Sender, message: FromServer) -> bool {
    let Some(bytes) = written(&message) else {
        return true;
    };
    let outgoing = Outgoing {
        bytes,
        is_ordered: true,
        _place: None,
        _memory: None,
    };
    out.send(Box::new(outgoing)).await.is_ok()
}

fn written(message: &FromServer) -> Option<Vec<u8>> {
    encode(message)
        .inspect_err(|error| tracing::error!(%error, "an answer cannot be written"))
        .ok()
}

/// Says goodbye.
pub(crate) async fn leave(out: &Sender) {
    tell(out, FromServer::Leaving).await;
}

async fn within<T>(deadline: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or(Err(Error::TimedOut))
}

fn lock(begun: &Mutex<Begun>) -> MutexGuard<'_, Begun> {
    begun.lock().unwrap_or_else(PoisonError::into_inner)
}
