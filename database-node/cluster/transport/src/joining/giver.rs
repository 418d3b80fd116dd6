//! The side that has the authority's key: it gives certificates to those who have a token.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use quinn::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::protocol::{Answer, MAX_BYTES, Question};
use super::tokens::{JoinTokens, TokenError};
use crate::certificates::{Authority, Fingerprint};
use crate::codes::Code;
use crate::framing;

/// So many may ask at once.
const AT_ONCE: usize = 32;
/// So many of them from one address.
const AT_ONCE_OF_ONE: usize = 4;
/// How long whoever has no good token waits for that answer: with [`AT_ONCE`] that bounds how many can be tried.
const REFUSAL_DELAY: Duration = Duration::from_millis(500);
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Gives certificates to nodes that join.
#[derive(Debug)]
pub struct Giver {
    authority: Arc<Authority>,
    tokens: Arc<JoinTokens>,
    lifetime: Duration,
    now: fn() -> SystemTime,
}

impl Giver {
    /// For the bearers of `tokens`; certificates are valid for `lifetime`.
    #[must_use]
    pub fn new(authority: Arc<Authority>, tokens: Arc<JoinTokens>, lifetime: Duration) -> Self {
        Self {
            authority,
            tokens,
            lifetime,
            now: SystemTime::now,
        }
    }

    /// By another clock.
    #[must_use]
    pub fn with_clock(mut self, now: fn() -> SystemTime) -> Self {
        self.now = now;
        self
    }

    /// Makes the certificate; on the disk it is noted before that the token is used.
    fn give(&self, question: &Question) -> Answer {
        let Ok((_, request)) = X509CertificationRequest::from_der(&question.request) else {
            return Answer::Refused("the signing request cannot be read".to_owned());
        };
        let key = Fingerprint::of(request.certification_request_info.subject_pki.raw);
        let now = (self.now)();
        // Before the token is used up for it.
        let certificate = match self.authority.issue(&question.request, self.lifetime, now) {
            Ok(certificate) => certificate,
            Err(error) => return Answer::Refused(error.to_string()),
        };
        match self.tokens.redeem(&question.secret, key, now) {
            Ok(()) => Answer::Given {
                certificate,
                authority: self.authority.certificate_pem().to_owned(),
            },
            // Another node may know it.
            Err(error @ TokenError::Unknown) => Answer::NotHere(error.to_string()),
            Err(error) => Answer::Refused(error.to_string()),
        }
    }
}

/// Who asks at once, and from where.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Places {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            all: Arc::new(Semaphore::new(AT_ONCE)),
            by_address: Mutex::default(),
        })
    }
}

/// The place of one who asks.
struct Place {
    places: Arc<Places>,
    address: IpAddr,
    _of_all: OwnedSemaphorePermit,
}

impl Place {
    fn take(places: &Arc<Places>, address: IpAddr) -> Option<Self> {
        let of_all = Arc::clone(&places.all).try_acquire_owned().ok()?;
        let mut by_address = places.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = by_address.entry(address).or_default();
        if *of_one >= AT_ONCE_OF_ONE {
            return None;
        }
        *of_one += 1;
        drop(by_address);
        Some(Self {
            places: Arc::clone(places),
            address,
            _of_all: of_all,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_address = self
            .places
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(of_one) = by_address.get_mut(&self.address) {
            *of_one -= 1;
            if *of_one == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

/// Serves a connection of somebody who wants to join.
pub(crate) async fn serve(places: Arc<Places>, giver: Option<Arc<Giver>>, connection: Connection) {
    let remote = connection.remote_address();
    let Some(_place) = Place::take(&places, remote.ip()) else {
        return connection.close(Code::Busy.into(), b"too many ask to join at once");
    };
    match tokio::time::timeout(PATIENCE, answer(giver, &connection)).await {
        Ok(Ok(())) => connection.close(Code::Done.into(), b""),
        Ok(Err(reason)) => {
            tracing::debug!(%remote, reason, "a node that wants to join has left");
            connection.close(Code::Malformed.into(), reason.as_bytes());
        }
        Err(_) => connection.close(Code::Slow.into(), b"it took too long"),
    }
}

async fn answer(giver: Option<Arc<Giver>>, connection: &Connection) -> Result<(), String> {
    let remote = connection.remote_address();
    let (mut send, mut receive) = connection.accept_bi().await.map_err(|error| error.to_string())?;
    let question: Question = framing::read_one(&mut receive, MAX_BYTES).await?;
    let answer = match giver {
        None => Answer::NotHere(
            "this node does not give certificates; ask the node that made the token".to_owned(),
        ),
        Some(giver) => {
            let given = tokio::task::spawn_blocking(move || giver.give(&question)).await;
            given.map_err(|error| error.to_string())?
        }
    };
    match &answer {
        Answer::Given { .. } => tracing::info!(%remote, "a node that wants to join has got its certificate"),
        Answer::Refused(reason) | Answer::NotHere(reason) => {
            tracing::warn!(%remote, reason, "a node that wants to join is refused");
            tokio::time::sleep(REFUSAL_DELAY).await;
        }
    }
    framing::write_one(&mut send, &answer).await?;
    // Until it has arrived.
    let _ = send.stopped().await;
    Ok(())
}
