//! Where a server is.

use std::fmt;
use std::str::FromStr;

use pliantdb_core::protocol::WEBSOCKET_PATH;
use pliantdb_core::{Error, shorten};
use url::Url;

/// A text that is not the address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidAddress {
    /// The text, shortened and without what may be a secret.
    pub value: String,
    /// What is wrong.
    pub reason: &'static str,
}

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not the address of a server: {}; write pliant://HOST[:PORT] for QUIC, or wss://HOST[:PORT] or \
             ws://HOST[:PORT] for WebSocket",
            self.value, self.reason
        )
    }
}

impl std::error::Error for InvalidAddress {}

impl From<InvalidAddress> for Error {
    fn from(error: InvalidAddress) -> Self {
        Self::invalid(error)
    }
}

/// Where a server is, and how it is talked to: `pliant://HOST[:6481]` by QUIC, `wss://HOST[:443]` by WebSocket with TLS,
/// `ws://HOST[:80]` without. With `?fingerprint=HEX` the server is known by its certificate's SHA-256
/// ([`crate::Trust::Fingerprint`]).
///
/// ```
/// use pliantdb_client::Address;
///
/// let address: Address = "pliant://db.example.com".parse().unwrap();
/// assert_eq!(address.to_string(), "pliant://db.example.com:6481");
/// assert!("http://db.example.com".parse::<Address>().unwrap_err().to_string().contains("pliant://"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub(crate) transport: Transport,
    /// As it stands in URLs: IPv6 addresses in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The path of the WebSocket.
    pub(crate) path: String,
    pub(crate) fingerprint: Option<String>,
}

/// How a server is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Quic,
    WebSocketTls,
    WebSocket,
}

impl Transport {
    fn scheme(self) -> &'static str {
        match self {
            Self::Quic => "pliant",
            Self::WebSocketTls => "wss",
            Self::WebSocket => "ws",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Quic => 6481,
            Self::WebSocketTls => 443,
            Self::WebSocket => 80,
        }
    }
}

impl Address {
    /// The host without the brackets of an IPv6 address.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn host_name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = |reason| InvalidAddress {
            // A password may stand before the @, and never is repeated.
            value: match text.rsplit_once('@') {
                Some((_, rest)) => format!("…@{}", shorten(rest)),
                None => shorten(text).into_owned(),
            },
            reason,
        };
        let url = Url::parse(text).map_err(|_| invalid("it is not a URL"))?;
        let transport = match url.scheme() {
            "pliant" => Transport::Quic,
            "wss" => Transport::WebSocketTls,
            "ws" => Transport::WebSocket,
            _ => return Err(invalid("it begins with another scheme")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("names and passwords belong into Options::credentials"));
        }
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| invalid("it names no host"))?;
        let path = match url.path() {
            "" | "/" => WEBSOCKET_PATH,
            _ if transport == Transport::Quic => {
                return Err(invalid("it has a path, which QUIC knows nothing of"));
            }
            path => path,
        };
        if url.fragment().is_some() {
            return Err(invalid("it has a part behind a #"));
        }
        let mut fingerprint = None;
        for (name, value) in url.query_pairs() {
            let is_digest = value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
            match (name.as_ref(), is_digest) {
                ("fingerprint", true) => fingerprint = Some(value.to_ascii_lowercase()),
                ("fingerprint", false) => {
                    return Err(invalid("the fingerprint is not of 64 hexadecimal digits"));
                }
                _ => return Err(invalid("behind the ? only fingerprint=… is known")),
            }
        }
        Ok(Self {
            transport,
            host: host.to_owned(),
            port: url.port().unwrap_or(transport.port()),
            path: path.to_owned(),
            fingerprint,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.transport.scheme(), self.host, self.port)?;
        if self.transport != Transport::Quic && self.path != WEBSOCKET_PATH {
            f.write_str(&self.path)?;
        }
        match &self.fingerprint {
            Some(fingerprint) => write!(f, "?fingerprint={fingerprint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn reads_what_is_right() {
        let print = "ab".repeat(32);
        for (text, shown) in [
            ("pliant://h", "pliant://h:6481"),
            ("pliant://[::1]:7", "pliant://[::1]:7"),
            ("ws://127.0.0.1:6480", "ws://127.0.0.1:6480"),
            ("wss://h/db", "wss://h:443/db"),
            (
                format!("pliant://h?fingerprint={}", print.to_uppercase()).as_str(),
                format!("pliant://h:6481?fingerprint={print}").as_str(),
            ),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        for (text, reason) in [
            ("", "not a URL"),
            ("db.example.com", "not a URL"),
            ("http://h", "another scheme"),
            ("pliant://", "no host"),
            ("pliant://h/path", "a path"),
            ("pliant://ada:secret@h", "Options::credentials"),
            ("pliant://h?x=1", "only fingerprint"),
            ("pliant://h?fingerprint=abc", "64 hexadecimal"),
            ("pliant://h#x", "#"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(
                error.contains(reason) && !error.contains("secret"),
                "{text}: {error}"
            );
        }
    }
}
