//! What a node does for its databases by itself: views are kept up to date, and by the node that leads built; what has
//! expired goes.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use pliantdb_core::GroupId;

use super::Clustered;

/// How often it looks after them.
const PAUSE: Duration = Duration::from_millis(500);
/// After so many pauses it looks after all of them, and else after those with views to build.
const ROUNDS: u32 = 4;

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
    loop {
        thread::sleep(PAUSE);
        let Some(cluster) = cluster.upgrade().filter(|cluster| !cluster.stop.is_cancelled()) else {
            return;
        };
        round += 1;
        let is_wanted = || !cluster.stop.is_cancelled();
        let here = cluster.groups.here();
        let led = cluster.led(here.iter().map(|(group, _)| group.id).collect());
        for ((group, database), is_led) in here.into_iter().zip(led) {
            let database = database.blocking();
            let is_due = round % ROUNDS == 0;
            if is_led && (is_due || database.has_views_to_build().unwrap_or(false)) {
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
    /// Which of these groups this node leads.
    fn led(&self, groups: Vec<GroupId>) -> Vec<bool> {
        let looked = self.handle.look(move |node| {
            let leads = groups.iter().map(|group| node.leads(*group));
            leads.collect::<Vec<_>>()
        });
        looked.unwrap_or_default()
    }
}
