//! A node's certificate is renewed in time, and the authority that issues it is kept by more than one node.
//!
//! Who votes in the meta group has the authority with its key, and while fewer than three nodes vote, every node has it
//! (docs/decisions/0009-authority.md).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pliantdb_cluster::{META, Meta, NodeId};
use pliantdb_cluster_transport::{Authority, Credentials, NodeKey, RequestError};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::certificates::certify_here;
use crate::changes::Asker;
use crate::giving::Giving;
use crate::questions::{Question, Reply, decode, encode};

/// How long one node has to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest between two looks at the clock: it may have been set.
const LONGEST: Duration = Duration::from_secs(60);
/// How long after nobody had the authority it is asked for again.
const PAUSE: Duration = Duration::from_secs(5);
/// So many nodes vote in the meta group when it does not rest on one.
const ENOUGH: usize = 3;

/// Whether a node is to have the authority.
pub(crate) fn is_keeper(meta: &Meta, node: NodeId) -> bool {
    let voters = meta.group(META).map(|group| &group.voters);
    voters.is_some_and(|voters| voters.contains(&node) || voters.len() < ENOUGH)
        && meta.nodes().contains_key(&node)
}

/// The other nodes, those first that are to have the authority.
pub(crate) fn others(meta: &Meta, own: Option<NodeId>) -> Vec<NodeId> {
    let others = meta.nodes().keys().copied().filter(|node| Some(*node) != own);
    let (mut first, rest): (Vec<_>, Vec<_>) = others.partition(|node| is_keeper(meta, *node));
    first.extend(rest);
    first
}

/// Asks other nodes, one after the other, until one has what is asked for.
///
/// # Errors
/// What the last of them said.
pub(crate) async fn ask_any<T>(
    asker: &Asker,
    question: &Question,
    mut take: impl FnMut(NodeId, Reply) -> Result<T, String>,
) -> Result<T, String> {
    let meta = asker.handle.known().borrow().meta.clone();
    let nodes = meta
        .map(|meta| others(&meta, asker.network.node()))
        .unwrap_or_default();
    let mut last = "this node knows of no other".to_owned();
    for node in nodes {
        let asking = asker.network.inquire(node, encode(question), PATIENCE);
        let answered: Result<_, RequestError> = asking.await;
        let reply = answered
            .map_err(|error| error.to_string())
            .and_then(|bytes| decode::<Reply>(&bytes));
        match reply.and_then(|reply| take(node, reply)) {
            Ok(taken) => return Ok(taken),
            Err(reason) => last = format!("node {node}: {reason}"),
        }
    }
    Err(last)
}

/// Renews the certificate of this node when two thirds of its time are over, for as long as the node runs.
pub(crate) async fn renew(asker: Asker, credentials: Credentials, giving: Arc<Giving>) {
    let mut failed = None;
    loop {
        let left = credentials.renewal().duration_since(SystemTime::now());
        if let Ok(left) = left
            && !left.is_zero()
        {
            sleep(left.min(LONGEST)).await;
            continue;
        }
        match renew_once(&asker, &credentials, &giving).await {
            Ok(()) => {
                failed = None;
                let fingerprint = credentials.fingerprint();
                tracing::info!(%fingerprint, "the node's certificate is renewed; new connections get the new one");
            }
            Err(reason) => {
                let expires = credentials.expires().duration_since(SystemTime::now());
                let left = expires.unwrap_or_default();
                if failed.as_ref() != Some(&reason) {
                    let seconds = left.as_secs();
                    tracing::warn!(
                        reason,
                        seconds,
                        "the node's certificate cannot be renewed yet; until it expires are left"
                    );
                }
                failed = Some(reason);
                // Often enough, however short it is.
                sleep((left / 20).clamp(Duration::from_millis(200), LONGEST)).await;
            }
        }
    }
}

async fn renew_once(asker: &Asker, credentials: &Credentials, giving: &Arc<Giving>) -> Result<(), String> {
    let (here, files) = (Arc::clone(giving), credentials.files().clone());
    let certified = spawn_blocking(move || certify_here(&here, &files)).await;
    if certified.map_err(text)?.map_err(text)?.is_none() {
        let key = credentials.files().key.clone();
        let request = spawn_blocking(move || NodeKey::open_or_make(&key)?.signing_request()).await;
        let request = request.map_err(text)?.map_err(text)?;
        let question = Question::Certify { request };
        let (certificate, authority) = ask_any(asker, &question, |_, reply| match reply {
            Reply::Certificate {
                certificate,
                authority,
            } => Ok((certificate, authority)),
            other => Err(other.refusal()),
        })
        .await?;
        let files = credentials.files().clone();
        let kept = spawn_blocking(move || files.keep(&certificate, &authority)).await;
        kept.map_err(text)?.map_err(text)?;
    }
    let reloading = credentials.clone();
    let reloaded = spawn_blocking(move || reloading.reload()).await;
    reloaded.map_err(text)?.map_err(text)?;
    match credentials.renewal() > SystemTime::now() {
        true => Ok(()),
        false => Err("what was issued is no newer".to_owned()),
    }
}

/// Gets the authority from another node when this one is to have it.
pub(crate) async fn keep_authority(asker: Asker, credentials: Credentials, giving: Arc<Giving>) {
    let mut known = asker.handle.known();
    let mut said = None;
    while giving.authority().is_none() {
        let meta = known.borrow_and_update().meta.clone();
        let own = asker.network.node();
        let is_wanted = own.zip(meta).is_some_and(|(own, meta)| is_keeper(&meta, own));
        if is_wanted {
            match get_authority(&asker, &credentials, &giving).await {
                Ok(()) => tracing::info!("this node has the cluster's authority, and can issue certificates"),
                Err(reason) => {
                    if said.as_ref() != Some(&reason) {
                        tracing::warn!(reason, "no node gives this one the cluster's authority yet");
                    }
                    said = Some(reason);
                }
            }
        }
        if giving.authority().is_none() {
            // Who has it changes without a word.
            let changed = timeout(PAUSE, known.changed()).await;
            match changed {
                Ok(Err(_)) => return,
                Ok(Ok(())) if is_wanted => sleep(PAUSE / 5).await,
                Ok(Ok(())) | Err(_) => {}
            }
        }
    }
    asker.network.set_giver(giving.giver());
}

async fn get_authority(asker: &Asker, credentials: &Credentials, giving: &Arc<Giving>) -> Result<(), String> {
    let authority = ask_any(asker, &Question::Authority, |_, reply| match reply {
        Reply::Authority { certificate, key } => {
            Authority::from_pem(&certificate, key.reveal()).map_err(text)
        }
        other => Err(other.refusal()),
    })
    .await?;
    if credentials.authority() != Some(authority.fingerprint()) {
        return Err("it is not the authority that this node's certificate is by".to_owned());
    }
    let giving = Arc::clone(giving);
    let kept = spawn_blocking(move || giving.keep(authority)).await;
    kept.map_err(text)?.map_err(text)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
