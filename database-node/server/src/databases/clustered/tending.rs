//! What a node does for its databases by itself: views are kept up to date, and by the node that leads built; what has
//! expired goes.

use std::cell::Cell;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use pliantdb_core::GroupId;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Clustered;

/// How often it looks after them.
const PAUSE: Duration = Duration::from_millis(500);
/// After so many pauses it looks after all of them, and else after those with views to build.
const ROUNDS: u32 = 4;

/// How long it waits for what it proposes: others have work too, and it comes again.
const PATIENCE: Duration = Duration::from_secs(1);

thread_local! {
    /// Whether this thread looks after the databases.
    static TENDS: Cell<bool> = const { Cell::new(false) };
}

/// How long this thread waits for what it has proposed; `None` for as long as anybody.
pub(super) fn patience() -> Option<Duration> {
    TENDS.get().then_some(PATIENCE)
}

/// Waits for something for so long at most, and no longer than until `stop`; `None` when it was not waited for.
pub(super) async fn waited<T>(
    patience: Option<Duration>,
    stop: &CancellationToken,
    work: impl Future<Output = T>,
) -> Option<T> {
    let waited = async {
        match patience {
            Some(patience) => timeout(patience, work).await.ok(),
            None => Some(work.await),
        }
    };
    stop.run_until_cancelled(waited).await.flatten()
}

/// Starts the thread that does it, which ends with `cluster`.
pub(super) fn start(cluster: &Arc<Clustered>, retention: Duration) {
    let cluster = Arc::downgrade(cluster);
    let tending = thread::Builder::new().name("tending".to_owned());
    if let Err(error) = tending.spawn(move || tend(&cluster, retention)) {
        tracing::error!(%error, "no thread looks after the databases: views are not built, and nothing expires");
    }
}

fn tend(cluster: &Weak<Clustered>, retention: Duration) {
    let mut round = 0;
    TENDS.set(true);
    loop {
        thread::sleep(PAUSE);
        let Some(cluster) = cluster.upgrade().filter(|cluster| !cluster.stop.is_cancelled()) else {
            return;
        };
        round += 1;
        cluster.lent.let_go_of_old();
        let is_wanted = || !cluster.stop.is_cancelled();
        for (group, database) in cluster.groups.here() {
            if !is_wanted() {
                return;
            }
            let database = database.blocking();
            let is_due = round % ROUNDS == 0;
            // Asked of each when it is its turn: it may be that all before have taken their time.
            if (is_due || database.has_views_to_build().unwrap_or(false)) && cluster.leads(group.id) {
                // The leader may be another in the middle of it: then that one goes on.
                if let Err(error) = database.tend(retention, &is_wanted) {
                    tracing::debug!(group = %group.id, %error, "the database is looked after later");
                }
            }
            if is_due {
                database.refresh();
            }
        }
    }
}

impl Clustered {
    /// Whether this node leads a group, as far as it knows.
    fn leads(&self, group: GroupId) -> bool {
        self.handle.look(move |node| node.leads(group)).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_database_is_not_waited_for_while_others_have_work() {
        let stop = CancellationToken::new();
        assert_eq!(waited(Some(PATIENCE), &stop, async { 7 }).await, Some(7));
        let began = Instant::now();
        assert_eq!(waited(Some(PATIENCE), &stop, pending::<u8>()).await, None);
        assert_eq!(began.elapsed(), PATIENCE);
        let others = thread::spawn(patience).join().unwrap();
        let tends = thread::spawn(|| {
            TENDS.set(true);
            patience()
        });
        assert_eq!((others, tends.join().unwrap()), (None, Some(PATIENCE)));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_waited_for_when_the_databases_are_closed() {
        let stop = CancellationToken::new();
        let closing = stop.clone();
        let began = Instant::now();
        let (waited, ()) = tokio::join!(waited(None, &stop, pending::<u8>()), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            closing.cancel();
        });
        assert_eq!((waited, began.elapsed()), (None, Duration::from_millis(50)));
    }
}
