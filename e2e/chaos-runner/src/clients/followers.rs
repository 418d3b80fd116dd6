//! Follow the changes, by each door: on one node until a round is over or something fails, then from there on at the next.

use std::sync::Arc;
use std::time::Duration;

use load::Failure;
use pliantdb_client::{FeedCursor, FeedStart, Request, Response};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Shared;
use super::ask::DATABASE;
use super::http::{self, Connection};
use super::remote;
use crate::history::{DOORS, Door, Read};

/// So many transactions at once.
const PAGE: usize = 500;
/// How long a node waits for a change.
const WAIT: Duration = Duration::from_secs(1);
/// How long a page may take in all.
const PATIENCE: Duration = Duration::from_secs(8);
/// After a failure.
const PAUSE: Duration = Duration::from_millis(100);

/// The names of the followers.
#[must_use]
pub fn names() -> Vec<String> {
    DOORS.iter().map(|door| name(*door)).collect()
}

fn name(door: Door) -> String {
    format!("follower by {door:?}")
}

/// Starts them; each ends when it has read all that there is after the load has ended.
pub fn start(shared: &Arc<Shared>) -> Vec<JoinHandle<()>> {
    let start = |(number, door): (usize, &Door)| {
        shared.heard.expect(&name(*door));
        tokio::spawn(follow(Arc::clone(shared), *door, number))
    };
    DOORS.iter().enumerate().map(start).collect()
}

async fn follow(shared: Arc<Shared>, door: Door, first: usize) {
    let (name, mut node, mut cursor, mut failures) = (name(door), first, None, 0);
    loop {
        let rounds = shared.state.borrow().rounds;
        match at_node(&shared, door, &name, node, rounds, &mut cursor).await {
            Ok(true) => return,
            Ok(false) => failures = 0,
            Err(error) => {
                failures += 1;
                let is_ending = shared.is_ending();
                // An expired cursor is a gap that the node admits.
                if error.to_string().contains("no longer kept") || is_ending && failures > 50 {
                    return shared
                        .recorder
                        .failure(&format!("feed: {name} could not go on: {error}"));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        node += 1;
    }
}

/// Follows at one node until the rounds that are over are more than those. Whether there is nothing more to come.
async fn at_node(
    shared: &Arc<Shared>,
    door: Door,
    name: &str,
    node: usize,
    rounds: usize,
    cursor: &mut Option<FeedCursor>,
) -> Result<bool, Failure> {
    let place = Arc::clone(shared.place(node).ok_or("there is no node")?);
    let mut source = match door {
        Door::Http => Source::Http(Connection::open(place.http(), &shared.token).await?),
        _ => Source::Remote(Box::new(remote::connect(shared, door, node).await?)),
    };
    loop {
        let (is_ending, asked) = (shared.is_ending(), shared.recorder.now());
        let page = timeout(PATIENCE, source.page(*cursor)).await??;
        shared.heard.note(name, asked);
        let is_all = page.transactions.is_empty();
        for (revision, changes) in page.transactions {
            shared.recorder.read(&Read {
                follower: name.to_owned(),
                node: place.name.clone(),
                revision,
                changes,
            });
        }
        *cursor = Some(page.next);
        if is_all && is_ending {
            return Ok(true);
        }
        if shared.state.borrow().rounds > rounds {
            return Ok(false);
        }
    }
}

struct Page {
    /// Revisions, with collections and ids.
    transactions: Vec<(String, Vec<(String, String)>)>,
    next: FeedCursor,
}

enum Source {
    Http(Connection),
    Remote(Box<pliantdb_client::AsyncRemoteDatabase>),
}

impl Source {
    async fn page(&mut self, cursor: Option<FeedCursor>) -> Result<Page, Failure> {
        match self {
            Self::Http(connection) => http_page(connection, cursor).await,
            Self::Remote(database) => {
                let request = Request::Changes {
                    from: cursor.map_or(FeedStart::Oldest, FeedStart::After),
                    limit: PAGE,
                    wait: WAIT,
                };
                let Response::Changes(page) = database.execute(request).await? else {
                    return Err("the node answered with something else than changes".into());
                };
                let changes = |transaction: &pliantdb_client::CommittedTransaction| {
                    let changes = transaction.changes.iter();
                    changes
                        .map(|change| {
                            (
                                change.collection.as_str().to_owned(),
                                change.id.as_str().to_owned(),
                            )
                        })
                        .collect()
                };
                let transactions = page.transactions.iter();
                Ok(Page {
                    transactions: transactions
                        .map(|transaction| (transaction.revision().to_string(), changes(transaction)))
                        .collect(),
                    next: page.next,
                })
            }
        }
    }
}

async fn http_page(connection: &mut Connection, cursor: Option<FeedCursor>) -> Result<Page, Failure> {
    #[derive(serde::Deserialize)]
    struct Answer {
        next: String,
        transactions: Vec<Transaction>,
    }
    #[derive(serde::Deserialize)]
    struct Transaction {
        revision: String,
        changes: Vec<Change>,
    }
    #[derive(serde::Deserialize)]
    struct Change {
        collection: String,
        id: String,
    }
    let from = cursor.map_or_else(String::new, |cursor| format!("&after={cursor}"));
    let path = format!(
        "/v1/{DATABASE}/_changes?limit={PAGE}&wait={}s{from}",
        WAIT.as_secs()
    );
    let response = connection.ask(&http::Request::get(path)).await?;
    let answer: Answer = match response.status {
        200 => serde_json::from_slice(&response.body)?,
        status => return Err(format!("{status}: {}", String::from_utf8_lossy(&response.body)).into()),
    };
    let changes = |changes: Vec<Change>| {
        let changes = changes.into_iter();
        changes.map(|change| (change.collection, change.id)).collect()
    };
    let transactions = answer.transactions.into_iter();
    Ok(Page {
        transactions: transactions
            .map(|transaction| (transaction.revision, changes(transaction.changes)))
            .collect(),
        next: answer.next.parse()?,
    })
}
