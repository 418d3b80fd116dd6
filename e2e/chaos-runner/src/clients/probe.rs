//! Whether a node serves, and who has heard from its node.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use load::Failure;
use tokio::time::timeout;

use super::Shared;
use super::ask::DATABASE;
use super::http::{Connection, Request};

/// How long a write and a read may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Writes and reads a document at a node.
///
/// # Errors
/// Why it does not serve.
pub async fn serves(shared: &Shared, node: usize) -> Result<(), Failure> {
    let place = shared.place(node).ok_or("there is no node")?;
    let path = format!("/v1/{DATABASE}/probes/{}", place.name);
    let asked = async {
        let mut connection = Connection::open(place.http(), &shared.token).await?;
        let write = Request {
            method: "PUT",
            path: path.clone(),
            body: "{}".to_owned(),
            ..Request::default()
        };
        for request in [write, Request::get(path)] {
            let response = connection.ask(&request).await?;
            if !(200..300).contains(&response.status) {
                let body = String::from_utf8_lossy(&response.body);
                return Err(format!("{} answered {}: {body}", place.name, response.status).into());
            }
        }
        Ok::<_, Failure>(())
    };
    timeout(PATIENCE, asked).await?
}

/// Who has heard from its node, and when that was said or asked, in nanoseconds since the start.
#[derive(Debug, Default)]
pub struct Heard(Mutex<BTreeMap<String, u64>>);

impl Heard {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody is there who wants to hear.
    pub fn expect(&self, name: &str) {
        self.lock().entry(name.to_owned()).or_default();
    }

    /// Somebody has heard what was said at that time.
    pub fn note(&self, name: &str, at: u64) {
        let mut heard = self.lock();
        let last = heard.entry(name.to_owned()).or_default();
        *last = at.max(*last);
    }

    /// Who has not heard anything that was said since then.
    #[must_use]
    pub fn deaf_since(&self, time: u64) -> Vec<String> {
        let heard = self.lock();
        let deaf = heard.iter().filter(|(_, last)| **last < time);
        deaf.map(|(name, _)| name.clone()).collect()
    }
}
