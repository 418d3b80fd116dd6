//! Which node restarts next, so that all come to run what the StatefulSet says. Pure.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;

use super::pods;

/// The label in which the StatefulSet controller notes the revision that a pod was made from.
const REVISION_LABEL: &str = "controller-revision-hash";

/// The pod to delete next, if any. One at a time: a node that does not serve goes first, so that a fix
/// reaches the node that needs it; one that serves goes only when all others do.
pub fn next_restart<'a>(stateful_set: &StatefulSet, pods: &'a [Pod]) -> Option<&'a Pod> {
    let status = stateful_set.status.as_ref()?;
    if status.observed_generation != stateful_set.metadata.generation {
        return None;
    }
    let revision = status.update_revision.as_deref()?;
    if pods.iter().any(pods::is_terminating) {
        return None;
    }
    let mut outdated: Vec<&Pod> = pods.iter().filter(|pod| !is_of_revision(pod, revision)).collect();
    outdated.sort_by_key(|pod| std::cmp::Reverse(pod.metadata.name.as_deref()));
    if let Some(pod) = outdated.iter().find(|pod| !pods::is_ready(pod)) {
        return Some(pod);
    }
    let all_serve = pods.iter().all(pods::is_ready);
    outdated.into_iter().next().filter(|_| all_serve)
}

/// Whether Kubernetes has not yet seen the newest StatefulSet, or a node still runs something else than it says.
pub fn is_unfinished(stateful_set: &StatefulSet, pods: &[Pod]) -> bool {
    let status = stateful_set.status.as_ref();
    if status.and_then(|status| status.observed_generation) != stateful_set.metadata.generation {
        return true;
    }
    let revision = status.and_then(|status| status.update_revision.as_deref());
    revision.is_some_and(|revision| pods.iter().any(|pod| !is_of_revision(pod, revision)))
}

fn is_of_revision(pod: &Pod, revision: &str) -> bool {
    pod.metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(REVISION_LABEL))
        .is_some_and(|of| of == revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stateful_set(generation: i64, observed: i64) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "shop", "generation": generation},
            "status": {"observedGeneration": observed, "updateRevision": "new", "replicas": 2}
        }))
        .expect("a StatefulSet")
    }

    fn pod(name: &str, revision: &str, ready: bool) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"controller-revision-hash": revision}},
            "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}
        }))
        .expect("a Pod")
    }

    fn next(pods: &[Pod]) -> Option<&str> {
        next_restart(&stateful_set(2, 2), pods).and_then(|pod| pod.metadata.name.as_deref())
    }

    #[test]
    fn one_node_at_a_time_and_only_while_the_others_serve() {
        assert_eq!(next(&[pod("a", "old", true), pod("b", "old", true)]), Some("b"));
        assert_eq!(next(&[pod("a", "old", true), pod("b", "new", false)]), None);
        assert_eq!(next(&[pod("a", "old", true), pod("b", "new", true)]), Some("a"));
        assert_eq!(next(&[pod("a", "new", true), pod("b", "new", true)]), None);
    }

    #[test]
    fn a_fix_reaches_the_node_that_does_not_serve() {
        assert_eq!(next(&[pod("a", "old", false), pod("b", "old", true)]), Some("a"));
        assert_eq!(next(&[pod("a", "old", false), pod("b", "new", false)]), Some("a"));
    }

    #[test]
    fn nothing_restarts_on_an_old_view_or_while_a_pod_is_going() {
        let pods = [pod("a", "old", true)];
        assert!(next_restart(&stateful_set(3, 2), &pods).is_none());
        let mut going = pod("a", "old", true);
        going.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time"));
        assert_eq!(next(&[going, pod("b", "old", true)]), None);
    }
}
