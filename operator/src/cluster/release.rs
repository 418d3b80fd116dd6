//! What the nodes run, and since when. Pure.
//!
//! An upgrade of the operator must not restart databases. So the operator records what it lets the nodes run
//! together with what their owner asked for. As long as the owner asks for the same, it goes on with what is
//! recorded, also where it has to make again what was deleted; a newer operator that would build it
//! differently holds that back until the owner asks for something else.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::{Deserialize, Serialize};

use super::fingerprint::fingerprint;
use super::validate::ValidCluster;

/// What the nodes run: their configuration, and the template of their pods, which names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// The text of the configuration file.
    pub config: String,
    /// The pods.
    pub template: PodTemplateSpec,
}

/// What the nodes run, and what was asked for when it was built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`ValidCluster::request`] at that time.
    pub request: String,
    /// What the nodes run.
    pub release: Release,
}

/// Which release the nodes are to run: what was `built` now, or what is `recorded`. The second value tells
/// whether `built` is held back.
pub fn choose(cluster: &ValidCluster, recorded: Option<Record>, built: Release) -> (Record, bool) {
    match recorded {
        Some(record)
            if record.request == cluster.request && fingerprint(&record.release) != fingerprint(&built) =>
        {
            (record, true)
        }
        _ => (
            Record {
                request: cluster.request.clone(),
                release: built,
            },
            false,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{build, samples};

    fn recorded(cluster: &ValidCluster) -> Option<Record> {
        let record = Record {
            request: cluster.request.clone(),
            release: build::release(cluster),
        };
        // As it comes back from the API server.
        serde_json::from_str(&serde_json::to_string(&record).expect("JSON")).expect("a record")
    }

    #[test]
    fn the_same_operator_and_request_hold_nothing_back() {
        let cluster = samples::valid_cluster();
        let (chosen, held) = choose(&cluster, recorded(&cluster), build::release(&cluster));
        assert_eq!((Some(chosen), held), (recorded(&cluster), false));
        assert!(
            !choose(&cluster, None, build::release(&cluster)).1,
            "a new cluster"
        );
    }

    #[test]
    fn another_operator_waits_for_another_request() {
        let cluster = samples::valid_cluster();
        let mut newer = cluster.clone();
        newer.image = "example.test/newer:2".into();
        let (chosen, held) = choose(&newer, recorded(&cluster), build::release(&newer));
        assert_eq!((Some(chosen), held), (recorded(&cluster), true));

        newer.request = "something else".into();
        let (chosen, held) = choose(&newer, recorded(&cluster), build::release(&newer));
        assert_eq!((chosen.release, held), (build::release(&newer), false));
    }

    #[test]
    fn only_what_restarts_a_node_makes_another_request() {
        let request = |edit: &dyn Fn(&mut pliant_crds::PliantCluster)| {
            let mut cluster = samples::cluster();
            edit(&mut cluster);
            super::super::validate::validate(&cluster, &samples::settings())
                .expect("valid")
                .request
        };
        let before = request(&|_| {});
        assert_eq!(request(&|cluster| cluster.metadata.generation = Some(99)), before);
        assert_eq!(request(&|cluster| cluster.spec.paused = true), before);
        assert_eq!(
            request(&|cluster| cluster.spec.storage.size = pliant_crds::Quantity("9Gi".into())),
            before
        );
        assert_eq!(
            request(&|cluster| cluster.spec.storage.retention = pliant_crds::Retention::Delete),
            before
        );
        assert_ne!(
            request(&|cluster| cluster.spec.version = Some("9".into())),
            before
        );
        assert_ne!(
            request(&|cluster| cluster.spec.resources = Some(Default::default())),
            before
        );
        assert_ne!(
            request(&|cluster| cluster.metadata.uid = Some("u-2".into())),
            before,
            "another cluster"
        );
    }
}
