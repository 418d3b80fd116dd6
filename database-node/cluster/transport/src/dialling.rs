//! The connection that this node makes to another, and makes anew when it is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use pliantdb_cluster::NodeId;
use pliantdb_cluster::wire::Peer;
use quinn::{Connection, VarInt};
use tokio::sync::watch;

use crate::codes::Code;
use crate::explain::{explain, why};
use crate::hello::{Hello, Identity, MAX_WELCOME, Welcome};
use crate::outbox::Class;
use crate::receiving::{self, Fault};
use crate::remote::Remote;
use crate::shared::Shared;
use crate::{address, framing, tls, writing};

/// How long making a connection may take, with the greeting.
const PATIENCE: Duration = Duration::from_secs(3);
/// The first wait after a connection could not be made.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// A connection that has lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(2);

/// Keeps a connection to a node for as long as somebody has something for it: made when it is needed first, and when it is
/// lost, after a while.
pub(crate) async fn keep(shared: Arc<Shared>, remote: Arc<Remote>) {
    let keeping = Keeping {
        identity: shared.identity.subscribe(),
        address: remote.address_changes(),
        failures: 0,
        attempts: 0,
        last_reason: String::new(),
        shared: Arc::clone(&shared),
        remote: Arc::clone(&remote),
    };
    remote.stop.run_until_cancelled(keeping.run()).await;
    remote.outbox.close(&shared.counting);
    if let Some(connection) = remote
        .link
        .send_replace(crate::remote::Link::default())
        .connection
    {
        connection.close(
            Code::Done.into(),
            b"the node is not needed any more, or this one stops",
        );
    }
}

struct Keeping {
    shared: Arc<Shared>,
    remote: Arc<Remote>,
    identity: watch::Receiver<Option<Identity>>,
    address: watch::Receiver<String>,
    /// One after the other: the wait grows with them.
    failures: u32,
    attempts: usize,
    last_reason: String,
}

/// A connection, and who is at its ends.
struct Connected {
    connection: Connection,
    us: Identity,
    them: Identity,
}

impl Keeping {
    async fn run(mut self) {
        loop {
            self.remote.outbox.open();
            tokio::select! {
                () = self.remote.outbox.filled_with_any() => {}
                () = self.remote.wanted.notified() => {}
            }
            let us = *self.identity.borrow_and_update();
            let address = self.address.borrow_and_update().clone();
            let connected = match us {
                Some(us) => self.connect(us, &address).await,
                None => Err("this node is not part of a cluster yet".to_owned()),
            };
            match connected {
                Ok(connected) => self.use_up(connected, &address).await,
                Err(reason) => self.failed(&address, reason),
            }
            self.remote.outbox.close(&self.shared.counting);
            tokio::select! {
                () = tokio::time::sleep(wait(self.failures)) => {}
                // Who is somebody else, looks elsewhere, or was found by the other, need not wait.
                () = self.remote.appeared.notified() => self.failures = 0,
                Ok(()) = self.identity.changed() => self.failures = 0,
                Ok(()) = self.address.changed() => self.failures = 0,
            }
        }
    }

    async fn connect(&mut self, us: Identity, address: &str) -> Result<Connected, String> {
        self.attempts = self.attempts.wrapping_add(1);
        let connected = connect(&self.shared, us, address, self.attempts).await;
        let (connection, welcome) = connected?;
        let node = self.remote.node;
        match expected(node, us, &welcome) {
            Ok(them) => Ok(Connected { connection, us, them }),
            Err(reason) => {
                connection.close(Code::WrongPeer.into(), reason.as_bytes());
                Err(reason)
            }
        }
    }

    /// Sends over a connection until it is lost or not the right one any more.
    async fn use_up(&mut self, connected: Connected, address: &str) {
        let Connected { connection, us, them } = connected;
        let node = self.remote.node;
        let since = Instant::now();
        self.shared.counting.made();
        tracing::debug!(%node, address, "connected to another node");
        self.remote.link.send_modify(|link| {
            link.connection = Some(connection.clone());
            link.reason.clear();
        });
        let to = Peer::Node(node);
        let (outbox, counting) = (&self.remote.outbox, &self.shared.counting);
        let (code, reason) = tokio::select! {
            reason = writing::write(&connection, outbox, Class::Control, us, to, counting) => (Code::Done, reason),
            reason = writing::write(&connection, outbox, Class::Log, us, to, counting) => (Code::Done, reason),
            reason = writing::write(&connection, outbox, Class::Bulk, us, to, counting) => (Code::Done, reason),
            fault = hear(&self.shared, &connection, us, them) => fault,
            error = connection.closed() => (Code::Done, explain(&error)),
            Ok(()) = self.identity.changed() => (Code::Done, "this node has another identity now".to_owned()),
            Ok(()) = self.address.changed() => (Code::Done, "the node has another address now".to_owned()),
        };
        let reason = why(&connection, reason);
        connection.close(code.into(), reason.as_bytes());
        tracing::debug!(%node, address, reason, "the connection to another node has ended");
        self.failures = match since.elapsed() >= GOOD {
            true => 0,
            false => self.failures.saturating_add(1),
        };
        self.last_reason.clear();
        self.remote.link.send_modify(|link| {
            link.connection = None;
            link.reason = reason;
        });
    }

    fn failed(&mut self, address: &str, reason: String) {
        self.failures = self.failures.saturating_add(1);
        self.shared.counting.failed();
        if self.last_reason != reason {
            let node = self.remote.node;
            tracing::warn!(%node, address, reason, "no connection to another node can be made; it is tried again");
            self.last_reason.clone_from(&reason);
        }
        self.remote.link.send_modify(|link| {
            link.failures += 1;
            link.reason = reason;
        });
    }
}

/// Twice as long after each failure, and then a random part of that, so that nodes do not come all at once.
fn wait(failures: u32) -> Duration {
    let longest = FIRST_WAIT
        .saturating_mul(1 << failures.min(10).saturating_sub(1))
        .min(LAST_WAIT);
    let mut random = [0];
    // Without randomness they come at once.
    let _ = rand::fill(&mut random);
    longest / 2 + longest / 2 * u32::from(random[0]) / 256
}

/// What a node hears from the one to which it connected: a joiner its answers, and others nothing.
async fn hear(shared: &Shared, connection: &Connection, us: Identity, them: Identity) -> Fault {
    if us.node().is_some() {
        return std::future::pending().await;
    }
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(1));
    loop {
        let stream = match connection.accept_uni().await {
            Ok(stream) => stream,
            Err(error) => return (Code::Done, explain(&error)),
        };
        if let Err(fault) = receiving::read(shared, stream, them).await {
            return fault;
        }
    }
}

/// The one that answered, if it is the one that is meant.
fn expected(node: NodeId, us: Identity, welcome: &Welcome) -> Result<Identity, String> {
    let Some(them) = welcome.identity else {
        return Err(format!(
            "there is a node that is not part of a cluster yet, and not {node}"
        ));
    };
    if them.peer != Peer::Node(node) {
        return Err(format!(
            "there is {:?}, and not {node}: its address has changed",
            them.peer
        ));
    }
    if us.node().is_some() && us.cluster != them.cluster {
        return Err(format!(
            "there is a node of another cluster ({:x}, and this one is {:x})",
            them.cluster, us.cluster
        ));
    }
    Ok(them)
}

/// Makes a connection to an address, of whose places the one of this attempt is taken, and greets who is there.
pub(crate) async fn connect(
    shared: &Shared,
    us: Identity,
    address: &str,
    attempt: usize,
) -> Result<(Connection, Welcome), String> {
    let connecting = async {
        let mut found = address::resolve(address).await?;
        found.retain(|found| address::is_reachable(shared.local, *found));
        let count = found.len().max(1);
        let to = found
            .get(attempt % count)
            .ok_or_else(|| format!("{address:?} has no address that this node's socket can reach"))?;
        // With the certificate as it is now.
        let config = tls::client(&shared.credentials).map_err(|error| error.to_string())?;
        let endpoint = shared.endpoint().ok_or_else(|| "this node stops".to_owned())?;
        let connecting = endpoint.connect_with(config, *to, tls::SERVER_NAME);
        let connection = connecting.map_err(|error| error.to_string())?.await;
        let connection = connection.map_err(|error| explain(&error))?;
        match greet(shared, us, &connection).await {
            Ok(welcome) => Ok((connection, welcome)),
            Err(reason) => Err(why(&connection, reason)),
        }
    };
    let connected = tokio::time::timeout(PATIENCE, connecting).await;
    connected.unwrap_or_else(|_| Err("it does not answer in time".to_owned()))
}

async fn greet(shared: &Shared, us: Identity, connection: &Connection) -> Result<Welcome, String> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
    let hello = Hello {
        from: us,
        process: shared.process,
    };
    framing::write_one(&mut send, &hello).await?;
    let welcome: Welcome = framing::read_one(&mut receive, MAX_WELCOME).await?;
    if welcome.process == shared.process {
        let reason = "there is this node itself".to_owned();
        connection.close(Code::WrongPeer.into(), reason.as_bytes());
        return Err(reason);
    }
    Ok(welcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_second_and_differ() {
        for failures in 0..100 {
            let longest = match failures {
                0 | 1 => FIRST_WAIT,
                2 => 2 * FIRST_WAIT,
                3 => 4 * FIRST_WAIT,
                4 => 8 * FIRST_WAIT,
                5 => 16 * FIRST_WAIT,
                _ => LAST_WAIT,
            };
            let wait = wait(failures);
            assert!(wait >= longest / 2 && wait <= longest, "{failures}: {wait:?}");
        }
        let waits: std::collections::BTreeSet<_> = (0..100).map(|_| wait(50)).collect();
        assert!(waits.len() > 10);
    }
}
