//! Sending requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pliantdb_core::Error;
use serde_json::Value;

use super::problems;

/// Sends requests to a server. Clones share connections.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    addresses: Arc<[SocketAddr]>,
    /// How many requests were sent.
    sent: Arc<AtomicUsize>,
    authorization: Option<String>,
}

/// What came back, when it is no problem.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Client {
    /// For the server at this address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self::of_many(vec![address])
    }

    /// For the nodes of a cluster at these addresses: each request goes to another.
    #[must_use]
    pub fn of_many(addresses: Vec<SocketAddr>) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        Self {
            agent: config.build().new_agent(),
            addresses: addresses.into(),
            sent: Arc::default(),
            authorization: None,
        }
    }

    /// With this header `Authorization`.
    #[must_use]
    pub fn with_authorization(self, authorization: String) -> Self {
        Self {
            authorization: Some(authorization),
            ..self
        }
    }

    pub(crate) fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// Where the next request goes, in no order that a test could go by.
    pub(crate) fn address(&self) -> SocketAddr {
        let step = self
            .sent
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let at = (step >> 33) % self.addresses.len();
        self.addresses[at]
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The error that a problem tells.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: Option<&str>,
    ) -> Result<Answer, Error> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address()));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        // Or a body that is too large would still be on its way when the server has refused it and hung up.
        if body.is_some_and(|body| body.len() > 1 << 20) {
            request = request.header("Expect", "100-continue");
        }
        let sent = match body {
            None => self.agent.run(request.body(()).unwrap()),
            Some(body) => self.agent.run(request.body(body).unwrap()),
        };
        let mut response = sent.map_err(|error| Error::Unreachable(format!("{method} {path}: {error}")))?;
        let body = response
            .body_mut()
            .with_config()
            .limit(256 << 20)
            .read_to_string();
        let answer = Answer {
            status: response.status().as_u16(),
            etag: response
                .headers()
                .get("etag")
                .map(|tag| tag.to_str().unwrap().to_owned()),
            body: body.map_err(|error| Error::Disconnected(error.to_string()))?,
        };
        match answer.status {
            200..400 => Ok(answer),
            _ => Err(problems::error(&answer.json())),
        }
    }
}
