//! Connections that others make to this node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pliantdb_cluster::wire::Peer;
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, Incoming, VarInt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::claims::Claim;
use crate::codes::Code;
use crate::explain::{Said, explain, why};
use crate::hello::{Hello, Identity, MAX_HELLO, Welcome};
use crate::joining::{self, Places};
use crate::outbox::{Class, Outbox};
use crate::receiving::{self, Fault};
use crate::shared::Shared;
use crate::tls::{ASKED_AT_ONCE, ENVELOPE_STREAMS, JOIN_ALPN, NODE_ALPN};
use crate::{framing, requests, writing};

/// How long a connection may take until it is known who the other side is.
const PATIENCE: Duration = Duration::from_secs(3);

/// Takes connections until the transport stops.
pub(crate) async fn listen(shared: Arc<Shared>) {
    let most = shared.options.max_connections;
    let places = Arc::new(Semaphore::new(most));
    let (joining, said) = (Places::new(), Arc::new(Said::default()));
    let Some(endpoint) = shared.endpoint() else {
        return;
    };
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = shared.stop.cancelled() => return,
        };
        let Some(incoming) = incoming else {
            return;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            shared.counting.refused();
            incoming.refuse();
            continue;
        };
        // When many come, each must show first that its address is its own.
        if places.available_permits() < most / 2 && incoming.may_retry() {
            if let Err(error) = incoming.retry() {
                tracing::debug!(%error, "a node could not be asked to come again");
            }
            continue;
        }
        let taken = take(
            Arc::clone(&shared),
            incoming,
            place,
            Arc::clone(&joining),
            Arc::clone(&said),
        );
        tokio::spawn(taken);
    }
}

async fn take(
    shared: Arc<Shared>,
    incoming: Incoming,
    place: OwnedSemaphorePermit,
    places: Arc<Places>,
    said: Arc<Said>,
) {
    let remote = incoming.remote_address();
    let refused = |reason: &str| {
        shared.counting.refused();
        if said.is_news(remote.ip(), reason, Instant::now()) {
            tracing::warn!(%remote, reason, "a connection of another node is refused");
        }
    };
    let connection = match tokio::time::timeout(PATIENCE, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return refused(&explain(&error)),
        Err(_) => return refused("it has not said who it is in time"),
    };
    let handshake = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok());
    let protocol = handshake.and_then(|data| data.protocol);
    if protocol.as_deref() == Some(JOIN_ALPN) {
        // Those who may be anybody take no places of nodes.
        drop(place);
        let served = joining::serve(places, shared.giver(), connection);
        shared.stop.run_until_cancelled(served).await;
        return;
    }
    // What TLS has seen of a certificate, it has found right: whether there is one is for here.
    if protocol.as_deref() != Some(NODE_ALPN) || connection.peer_identity().is_none() {
        let reason = "it shows no certificate: a node of the cluster has one";
        connection.close(Code::NoCertificate.into(), reason.as_bytes());
        return refused(reason);
    }
    let greeted = tokio::time::timeout(PATIENCE, greet(&shared, &connection)).await;
    let greeted =
        greeted.unwrap_or_else(|_| Err((Code::Slow, "it has not said who it is in time".to_owned())));
    let hello = match greeted {
        Ok(hello) => hello,
        Err((code, reason)) => {
            let reason = why(&connection, reason);
            connection.close(code.into(), reason.as_bytes());
            return refused(&reason);
        }
    };
    shared.counting.taken();
    tracing::debug!(%remote, from = ?hello.from.peer, "another node has connected");
    let heard = hear(&shared, &connection, &hello);
    let (code, reason) = match shared.stop.run_until_cancelled(heard).await {
        Some(fault) => fault,
        None => (Code::Done, "the node stops".to_owned()),
    };
    if code == Code::Done {
        tracing::debug!(%remote, from = ?hello.from.peer, reason, "the connection of another node has ended");
    } else {
        tracing::warn!(%remote, from = ?hello.from.peer, reason, "the connection of another node is closed");
        shared.counting.refused();
    }
    connection.close(code.into(), reason.as_bytes());
    drop(place);
}

/// Hears who it is, and answers who this is.
async fn greet(shared: &Shared, connection: &Connection) -> Result<Hello, Fault> {
    let (mut send, mut receive) = connection
        .accept_bi()
        .await
        .map_err(|error| (Code::Done, explain(&error)))?;
    let hello = framing::read_one(&mut receive, MAX_HELLO).await;
    let hello: Hello = hello.map_err(|reason| (Code::Malformed, reason))?;
    let us = *shared.identity.borrow();
    let us = us.filter(|us| us.node().is_some());
    if let Some(us) = us {
        accepted(us, shared.process, &hello).map_err(|reason| (Code::WrongPeer, reason))?;
    }
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(ENVELOPE_STREAMS));
    if hello.from.node().is_some() {
        connection.set_max_concurrent_bi_streams(VarInt::from_u32(ASKED_AT_ONCE));
    }
    let nodes = match hello.from.peer {
        Peer::Joiner(_) => shared.addresses(),
        Peer::Node(_) => Vec::new(),
    };
    let welcome = Welcome {
        identity: us,
        process: shared.process,
        nodes,
    };
    let welcomed = framing::write_one(&mut send, &welcome).await;
    welcomed.map_err(|reason| (Code::Done, reason))?;
    Ok(hello)
}

/// Whether who it says to be can be.
fn accepted(us: Identity, process: u64, hello: &Hello) -> Result<(), String> {
    let Some(node) = hello.from.node() else {
        return Ok(());
    };
    if hello.from.cluster != us.cluster {
        return Err(format!(
            "it is of cluster {:x}, and this node is of cluster {:x}",
            hello.from.cluster, us.cluster
        ));
    }
    if us.node() == Some(node) && hello.process != process {
        return Err(format!(
            "it says that it is {node}, and so is this: one of the two runs on a copy of the other's directory"
        ));
    }
    Ok(())
}

/// Takes what it sends, until there is no more; then why.
async fn hear(shared: &Arc<Shared>, connection: &Connection, hello: &Hello) -> Fault {
    let from = hello.from;
    let remote = connection.remote_address();
    let _claim = from
        .node()
        .map(|node| Claim::note(shared, node, hello.process, remote));
    let mut streams = JoinSet::new();
    // Who is there can be reached: it was perhaps away.
    if let Some(known) = from.node().and_then(|node| shared.remote(node)) {
        known.appeared.notify_one();
    }
    // A joiner is answered over the connection by which it asks: by others it only looks who is there.
    let mut unanswered = match from.peer {
        Peer::Joiner(token) => Some(token),
        Peer::Node(_) => None,
    };
    loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) => {
                    if let Some(token) = unanswered.take() {
                        // It is known before anybody hears what it asks.
                        let joiner = Joiner::note(shared, token);
                        streams.spawn(answer_joiner(joiner, connection.clone()));
                    }
                    let shared = Arc::clone(shared);
                    streams.spawn(async move { receiving::read(&shared, stream, from).await });
                }
                Err(error) => return (Code::Done, explain(&error)),
            },
            stream = connection.accept_bi() => match (stream, from.node()) {
                (Ok((send, receive)), Some(node)) => {
                    let shared = Arc::clone(shared);
                    streams.spawn(async move { requests::answer(&shared, node, send, receive).await });
                }
                (Ok(_), None) => return (Code::Malformed, "a node asks nothing before it has joined".to_owned()),
                (Err(error), _) => return (Code::Done, explain(&error)),
            },
            Some(ended) = streams.join_next(), if !streams.is_empty() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => return fault,
                Err(error) => tracing::error!(%error, "a request of another node, or an envelope, has broken its task"),
            },
        }
    }
}

/// Sends a joiner what is for it, over the connection by which it has asked.
async fn answer_joiner(joiner: Joiner, connection: Connection) -> Result<(), Fault> {
    let Joiner {
        shared,
        token,
        outbox,
    } = &joiner;
    let us = *shared.identity.borrow();
    let Some(us) = us else {
        return Ok(());
    };
    let to = Peer::Joiner(*token);
    let reason = writing::write(&connection, outbox, Class::Control, us, to, &shared.counting).await;
    Err((Code::Done, reason))
}

/// A joiner that is known as long as this is kept.
struct Joiner {
    shared: Arc<Shared>,
    token: u128,
    outbox: Arc<Outbox>,
}

impl Joiner {
    fn note(shared: &Arc<Shared>, token: u128) -> Self {
        let outbox = Arc::new(Outbox::new(shared.options.bounds()));
        shared.add_joiner(token, &outbox);
        Self {
            shared: Arc::clone(shared),
            token,
            outbox,
        }
    }
}

impl Drop for Joiner {
    fn drop(&mut self) {
        self.shared.remove_joiner(self.token, &self.outbox);
    }
}
