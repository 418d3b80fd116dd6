//! One connection to a server, from its greeting to its end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pliantdb_core::protocol::{
    Ask, FromClient, FromServer, Greeting, Hello, PROTOCOL_VERSION, Question, Reply, Secret, Welcome, decode,
    encode,
};
use pliantdb_core::{Consistency, Error, Inbox, Position, RequestId};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use web_time::Instant;

use crate::address::Address;
use crate::link::{self, Link, Sending};
use crate::options::Options;
use crate::runtime;

/// What program this is.
const AGENT: &str = concat!("pliantdb-client/", env!("CARGO_PKG_VERSION"));

/// The connection ended before the answer came.
#[derive(Debug, Clone)]
pub(crate) struct Lost {
    /// Whether the question may have reached the server.
    pub(crate) is_sent: bool,
    /// Why.
    pub(crate) reason: String,
}

/// What came of a question.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) result: Result<Reply, Error>,
    /// How far the database had come, where it has several replicas.
    pub(crate) position: Option<Position>,
}

impl From<Error> for Answered {
    fn from(error: Error) -> Self {
        Self {
            result: Err(error),
            position: None,
        }
    }
}

type Waiter = oneshot::Sender<Answered>;

/// One connection.
pub(crate) struct Session {
    /// Where it leads.
    address: Address,
    /// Whether somebody has noticed that it ended.
    is_noticed: AtomicBool,
    send: mpsc::Sender<Vec<u8>>,
    welcome: Welcome,
    /// When the server's clock showed [`Welcome::now_ms`].
    welcomed: Instant,
    next: AtomicU64,
    /// So many questions may wait for their answers. The server reads no more when there are more, not even that one of
    /// them is not needed any longer.
    places: Semaphore,
    state: Mutex<State>,
    /// Whether the connection is gone.
    is_gone: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    answers: HashMap<u64, Waiter>,
    inboxes: HashMap<u64, Arc<Inbox>>,
    /// What the server is to be told is not needed any more, when there is room.
    stops: Vec<u64>,
    /// Why nothing can be asked any more.
    ended: Option<String>,
}

impl Session {
    /// Connects, and says who the program is. `ended` is called once when the connection has ended.
    ///
    /// # Errors
    /// [`Error::Unreachable`], and whatever the server refuses with.
    pub(crate) async fn open(
        address: &Address,
        options: &Options,
        session: Option<Secret>,
        sending: Sending,
        ended: impl FnOnce() + Send + 'static,
    ) -> Result<Arc<Self>, Error> {
        let Link { send, mut receive } = link::connect(address, options, sending).await?;
        let credentials = match session {
            Some(token) => Some(pliantdb_core::protocol::Credentials::Token(token)),
            None => options.credentials.clone(),
        };
        let hello = Hello {
            oldest: PROTOCOL_VERSION,
            newest: PROTOCOL_VERSION,
            credentials,
            agent: AGENT.to_owned(),
        };
        let unreachable =
            |reason: String| Error::Unreachable(format!("the server {address} was lost: {reason}"));
        if send.send(encode(&hello)?).await.is_err() {
            return Err(unreachable("the connection ended".to_owned()));
        }
        let greeting = receive.next().await.map_err(unreachable)?;
        let welcome = match decode(&greeting)? {
            Greeting::Welcome(welcome) => welcome,
            Greeting::Refused(error) => return Err(error),
        };
        let places = usize::try_from(welcome.max_in_flight).unwrap_or(usize::MAX);
        let session = Arc::new(Self {
            address: address.clone(),
            is_noticed: AtomicBool::new(false),
            send,
            places: Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)),
            welcome,
            welcomed: Instant::now(),
            next: AtomicU64::new(0),
            state: Mutex::default(),
            is_gone: watch::Sender::new(false),
        });
        let hearing = Arc::downgrade(&session);
        runtime::spawn(async move {
            let reason = loop {
                let message = match receive.next().await {
                    Ok(message) => message,
                    Err(reason) => break reason,
                };
                let Some(session) = hearing.upgrade() else { return };
                if let Err(reason) = session.hear(&message) {
                    break reason;
                }
            };
            if let Some(session) = hearing.upgrade() {
                session.end(&reason);
                ended();
            }
        });
        Ok(session)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it leads.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Whether it has ended and this is the first to ask.
    pub(crate) fn notices_end(&self) -> bool {
        !self.is_open() && !self.is_noticed.swap(true, Ordering::AcqRel)
    }

    /// Whether anything can be asked.
    pub(crate) fn is_open(&self) -> bool {
        self.state().ended.is_none()
    }

    /// A token to come back with, if there was a password.
    pub(crate) fn token(&self) -> Option<Secret> {
        self.welcome.session.clone()
    }

    /// An id for a write that is made now, by the server's clock.
    pub(crate) fn request_id(&self) -> Result<RequestId, Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|error| Error::invalid(format!("no random number can be drawn: {error}")))?;
        let elapsed = u64::try_from(self.welcomed.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now = self.welcome.now_ms.saturating_add(elapsed);
        Ok(RequestId::new(now, u128::from_le_bytes(random)))
    }

    /// A number for a question.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks, and waits for the answer. Whoever stops waiting tells the server.
    pub(crate) async fn ask(
        &self,
        number: u64,
        deadline: Option<Duration>,
        request_id: Option<RequestId>,
        consistency: Consistency,
        ask: Ask,
    ) -> Result<Answered, Lost> {
        let question = FromClient::Ask(Question {
            number,
            deadline,
            request_id,
            consistency,
            ask,
        });
        let bytes = match encode(&question) {
            Ok(bytes) => bytes,
            Err(error) => return Ok(error.into()),
        };
        if bytes.len() as u64 > self.welcome.max_message {
            return Ok(Answered::from(Error::Invalid(format!(
                "the request has {} bytes, and the server takes {} at most: split it",
                bytes.len(),
                self.welcome.max_message
            ))));
        }
        let lost = |is_sent| Lost {
            is_sent,
            reason: match &self.state().ended {
                Some(reason) => reason.clone(),
                None => "the connection ended".to_owned(),
            },
        };
        // Given back after the server was told that nobody waits any more.
        let Ok(_place) = self.places.acquire().await else {
            return Err(lost(false));
        };
        let (answer, answered) = oneshot::channel();
        let is_open = {
            let mut state = self.state();
            let is_open = state.ended.is_none();
            if is_open {
                state.answers.insert(number, answer);
            }
            is_open
        };
        if !is_open {
            return Err(lost(false));
        }
        let mut waiting = Waiting {
            session: self,
            number,
            is_answered: false,
        };
        let sent = self.send.send(bytes).await;
        let answer = match sent {
            Ok(()) => answered.await.ok(),
            Err(_) => None,
        };
        waiting.is_answered = true;
        answer.ok_or_else(|| lost(sent.is_ok()))
    }

    /// Messages that come under this number from now on are for that inbox.
    pub(crate) fn deliver(&self, number: u64, inbox: Arc<Inbox>) {
        self.state().inboxes.insert(number, inbox);
    }

    /// Tells the server that what a question began is not needed any more.
    pub(crate) fn stop(&self, number: u64) {
        let mut state = self.state();
        state.inboxes.remove(&number);
        if state.ended.is_none() {
            state.stops.push(number);
        }
        self.send_stops(&mut state);
    }

    /// Tells what there is room for; the rest when an answer has come, which makes some.
    fn send_stops(&self, state: &mut State) {
        while let Some(number) = state.stops.last() {
            if let Ok(bytes) = encode(&FromClient::Stop(*number))
                && self.send.try_send(bytes).is_err()
            {
                return;
            }
            state.stops.pop();
        }
    }

    fn hear(&self, message: &[u8]) -> Result<(), String> {
        match decode(message).map_err(|error| error.to_string())? {
            FromServer::Answer {
                number,
                result,
                position,
            } => {
                let waiter = {
                    let mut state = self.state();
                    self.send_stops(&mut state);
                    state.answers.remove(&number)
                };
                if let Some(waiter) = waiter {
                    // Fails only if nobody waits any more.
                    let _ = waiter.send(Answered { result, position });
                }
            }
            FromServer::Message { number, message } => {
                let mut state = self.state();
                match (state.inboxes.get(&number), message) {
                    (Some(inbox), Ok(message)) => drop(inbox.put(message)),
                    (Some(inbox), Err(Error::Lagged(count))) => inbox.lose(count),
                    (Some(inbox), Err(_)) => {
                        // What ends with a connection goes on over the next.
                        if state.ended.is_none() {
                            inbox.close();
                        }
                        state.inboxes.remove(&number);
                    }
                    (None, _) => {}
                }
            }
            FromServer::Leaving => self.leaves(),
        }
        Ok(())
    }

    /// The server answers what it has and takes no more: the next question goes over another connection.
    fn leaves(&self) {
        self.state().ended = Some("the server is stopping".to_owned());
        // Who has not asked yet does so over another connection.
        self.places.close();
    }

    fn end(&self, reason: &str) {
        let mut state = self.state();
        state.ended.get_or_insert_with(|| reason.to_owned());
        state.answers.clear();
        state.inboxes.clear();
        state.stops.clear();
        self.places.close();
        drop(state);
        self.is_gone.send_replace(true);
    }

    /// Ends the connection when everything was sent, and waits until it is gone.
    pub(crate) async fn close(&self) {
        if self.send.send(Vec::new()).await.is_ok() {
            // Fails only when the sender, which this holds, is gone.
            let _ = self.is_gone.subscribe().wait_for(|is_gone| *is_gone).await;
        }
    }
}

/// Somebody who waits for an answer.
struct Waiting<'s> {
    session: &'s Session,
    number: u64,
    is_answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.session.state().answers.remove(&self.number);
            self.session.stop(self.number);
        }
    }
}
