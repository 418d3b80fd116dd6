//! Why a connection is not there, in words that say what would be right.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use quinn::{Connection, ConnectionError};

/// How long the same is not said again of one address.
const SILENCE: Duration = Duration::from_secs(60);
/// So many addresses are remembered.
const MAX_ADDRESSES: usize = 256;

/// TLS alerts as codes of QUIC: RFC 9001, section 4.8.
const ALERTS: std::ops::Range<u64> = 0x100..0x200;

/// Why a connection ended or could not be made.
pub(crate) fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TimedOut => "it does not answer".to_owned(),
        ConnectionError::ApplicationClosed(close) => {
            format!(
                "it has closed the connection: {:?}",
                String::from_utf8_lossy(&close.reason)
            )
        }
        ConnectionError::ConnectionClosed(close) if ALERTS.contains(&u64::from(close.error_code)) => {
            "it does not take this node's certificate, or speaks another protocol; its log says more"
                .to_owned()
        }
        ConnectionError::TransportError(fault) => {
            // What the check of a certificate has said, without what the library puts around it.
            let reason = fault.reason.split_once("OtherError(").map(|(_, inner)| inner);
            match reason.and_then(|inner| inner.strip_suffix("))")) {
                Some(refused) => refused.to_owned(),
                None => error.to_string(),
            }
        }
        _ => error.to_string(),
    }
}

/// Why something on a connection failed: what the other side has said, if it has closed it, or else what was seen here.
pub(crate) fn why(connection: &Connection, seen: String) -> String {
    match connection.close_reason() {
        None | Some(ConnectionError::LocallyClosed) => seen,
        Some(error) => explain(&error),
    }
}

/// What was said of whom lately: a peer that comes again and again does not fill the log.
#[derive(Debug, Default)]
pub(crate) struct Said(Mutex<HashMap<IpAddr, (String, Instant)>>);

impl Said {
    /// Whether this is to be said now.
    pub(crate) fn is_news(&self, of: IpAddr, reason: &str, now: Instant) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((last, at)) = said.get(&of)
            && last == reason
            && now.duration_since(*at) < SILENCE
        {
            return false;
        }
        if said.len() >= MAX_ADDRESSES {
            said.retain(|_, (_, at)| now.duration_since(*at) < SILENCE);
        }
        // Among very many nothing is news.
        let has_room = said.len() < MAX_ADDRESSES || said.contains_key(&of);
        if has_room {
            said.insert(of, (reason.to_owned(), now));
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute_and_of_so_many_addresses() {
        let (said, now) = (Said::default(), Instant::now());
        let address = |number: u32| IpAddr::V4(Ipv4Addr::from_bits(number));
        assert!(said.is_news(address(1), "a", now));
        assert!(!said.is_news(address(1), "a", now + SILENCE / 2));
        assert!(said.is_news(address(1), "b", now));
        assert!(said.is_news(address(2), "b", now));
        assert!(said.is_news(address(1), "b", now + SILENCE));
        let news = (0..1000).filter(|number| said.is_news(address(10 + number), "c", now + SILENCE));
        assert_eq!(news.count(), MAX_ADDRESSES - 2 + 1);
    }
}
