//! Asking: over as many connections, and of as many nodes, as it takes.

use std::sync::Arc;
use std::time::Duration;

use pliantdb_core::protocol::{AccountsAsk, Ask};
use pliantdb_core::{Consistency, Error, Request, RequestId};
use web_time::Instant;

use super::{FIRST_PAUSE, LONGEST_PAUSE, Shared, is_passing, lock};
use crate::address::Address;
use crate::runtime;
use crate::session::{Answered, Session};

impl Shared {
    /// Asks, over as many connections as it takes.
    ///
    /// # Errors
    /// Any [`Error`] but those that a server answered with.
    pub(crate) async fn ask(self: &Arc<Self>, ask: Ask, consistency: Consistency) -> Result<Answered, Error> {
        let Some(timeout) = self.options.answer_timeout else {
            return self.ask_until(ask, consistency, None).await;
        };
        let timeout = timeout.saturating_add(waits(&ask));
        match runtime::within(timeout, self.ask_until(ask, consistency, Some(timeout))).await {
            Some(answer) => answer,
            None => Err(Error::TimedOut),
        }
    }

    async fn ask_until(
        self: &Arc<Self>,
        ask: Ask,
        consistency: Consistency,
        deadline: Option<Duration>,
    ) -> Result<Answered, Error> {
        let (start, mut pause) = (Instant::now(), FIRST_PAUSE);
        // The same for all attempts, so that the servers know them for one.
        let mut request_id: Option<RequestId> = None;
        let mut is_sent = false;
        let is_write = matches!(&ask, Ask::Request { request, .. } if request.is_write());
        // A node that could not do it.
        let mut refused_by: Option<Address> = None;
        // That nobody knew whether it was done.
        let mut unknown: Option<Error> = None;
        loop {
            match self.session_for(&ask, refused_by.take()).await {
                Ok(session) => {
                    if is_write && request_id.is_none() {
                        request_id = Some(session.request_id()?);
                    }
                    let left = deadline.map(|deadline| deadline.saturating_sub(start.elapsed()));
                    let number = session.number();
                    let asked = session
                        .ask(number, left, request_id, consistency, ask.clone())
                        .await;
                    match asked {
                        Ok(answered) => {
                            let Err(error) = &answered.result else {
                                return Ok(answered);
                            };
                            let is_over =
                                deadline.is_some_and(|deadline| start.elapsed() + pause >= deadline);
                            if is_over || !self.is_for_another(&ask, error, &session) {
                                return Ok(match unknown {
                                    // This attempt did nothing; an earlier one may have.
                                    Some(unknown) if is_refusal(error) => unknown.into(),
                                    _ => answered,
                                });
                            }
                            tracing::debug!(address = %session.address(), %error, "another node is asked");
                            refused_by = Some(session.address().clone());
                            if matches!(error, Error::Closed) {
                                continue;
                            }
                            if matches!(error, Error::UnknownOutcome(_)) {
                                unknown = Some(error.clone());
                            }
                        }
                        Err(lost) => {
                            self.notice_end(&session);
                            let (address, reason) = (session.address(), &lost.reason);
                            tracing::debug!(%address, reason, "an answer did not come");
                            is_sent |= lost.is_sent;
                            if lost.is_sent && !can_be_repeated(&ask) {
                                return Err(Error::Disconnected(what(&ask).to_owned()));
                            }
                            if self.has_another(&session) {
                                continue;
                            }
                        }
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
                Err(error) if is_passing(&error) => {
                    tracing::debug!(%error, "no server can be reached");
                    if !is_sent && start.elapsed() >= self.options.connect_timeout {
                        return Err(unknown.unwrap_or(error));
                    }
                }
                Err(error) => return Err(unknown.unwrap_or(error)),
            }
            runtime::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The connection by which something is asked: by another than the node that could not do it.
    ///
    /// # Errors
    /// Why there is none.
    async fn session_for(
        self: &Arc<Self>,
        ask: &Ask,
        refused_by: Option<Address>,
    ) -> Result<Arc<Session>, Error> {
        let other = match refused_by {
            Some(address) => lock(&self.nodes).after(&address),
            None => match self.leading(ask) {
                Some(session) => return Ok(session),
                None => None,
            },
        };
        match other {
            Some(other) if !self.is_closed() => match self.session_to(&other).await {
                Ok(session) => Ok(session),
                Err(_) => self.session().await,
            },
            _ => self.session().await,
        }
    }

    /// Whether what this node answered with is a reason to ask another.
    fn is_for_another(&self, ask: &Ask, error: &Error, session: &Session) -> bool {
        let mut nodes = lock(&self.nodes);
        match error {
            // Nothing was done, and it does no more.
            Error::Closed if nodes.count() > 1 => {
                nodes.failed(session.address());
                nodes.has_untried()
            }
            Error::Unavailable(_) => can_be_repeated(ask),
            // The id keeps it from being made twice.
            Error::UnknownOutcome(_) => {
                nodes.count() > 1 && matches!(ask, Ask::Request { request, .. } if request.is_write())
            }
            _ => false,
        }
    }

    /// Whether there is a node to go to at once, now that this connection has ended.
    pub(super) fn has_another(&self, ended: &Session) -> bool {
        !ended.is_open() && lock(&self.nodes).has_untried()
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
}

/// Whether it says only that an attempt did nothing, and not what became of an earlier one.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::Busy
            | Error::Closed
            | Error::Unavailable(_)
            | Error::DiskFull(_)
            | Error::Storage(_)
            | Error::TimedOut
    )
}

/// How long a question waits by itself.
fn waits(ask: &Ask) -> Duration {
    match ask {
        Ask::Request {
            request: Request::Changes { wait, .. },
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
