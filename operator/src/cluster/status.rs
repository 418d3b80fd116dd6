//! The status of a cluster, from what was observed and what the reconciliation came to. Pure.
//!
//! Messages say the same as long as nothing happens: a message that counts or tells the time would be
//! written again and again.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use pliant_crds::{ConditionType, PliantCluster, PliantClusterStatus};

use super::build;
use super::fetch::Observed;
use super::verdict::{Doing, Problem, Verdict};
use super::{names, pods, rollout, volumes};

/// A condition before it is dated.
struct Finding {
    type_: ConditionType,
    status: bool,
    reason: &'static str,
    message: String,
}

/// The status to report. `endpoint` is where the database is reached. Times change only with a condition's
/// status, so an unchanged cluster has an unchanged status.
pub fn status(
    cluster: &PliantCluster,
    observed: &Observed,
    verdict: &Verdict,
    endpoint: String,
    now: Timestamp,
) -> PliantClusterStatus {
    let before = cluster.status.clone().unwrap_or_default();
    let generation = cluster.metadata.generation;
    let findings = [
        ready(cluster, observed, verdict),
        progressing(cluster, observed, verdict),
        degraded(observed, verdict),
    ];
    let own = observed.stateful_set.as_ref().filter(|set| {
        set.owner_references()
            .iter()
            .any(|owner| Some(&owner.uid) == cluster.metadata.uid.as_ref())
    });
    PliantClusterStatus {
        observed_generation: generation,
        conditions: findings
            .into_iter()
            .map(|finding| dated(finding, &before.conditions, generation, now))
            .collect(),
        nodes: own
            .and_then(|set| set.status.as_ref())
            .map_or(0, |status| status.replicas),
        ready_nodes: ready_nodes(observed),
        image: own.and_then(build::node_image).map(str::to_string),
        volume_size: volumes::asked_for(&cluster.spec.storage.size, &observed.claims).or(before.volume_size),
        endpoint: Some(endpoint),
        selector: Some(names::cluster_selector(&cluster.name_any())),
    }
}

fn ready_nodes(observed: &Observed) -> i32 {
    let ready = observed
        .pods
        .iter()
        .filter(|pod| pods::is_ready(pod) && !pods::is_terminating(pod))
        .count();
    i32::try_from(ready).unwrap_or(i32::MAX)
}

fn ready(cluster: &PliantCluster, observed: &Observed, verdict: &Verdict) -> Finding {
    let (wanted, ready) = (cluster.spec.nodes, ready_nodes(observed));
    let type_ = ConditionType::Ready;
    if ready >= wanted {
        let message = format!("{ready} of {wanted} nodes serve requests");
        return Finding {
            type_,
            status: true,
            reason: "NodesReady",
            message,
        };
    }
    let trouble = troubles(observed);
    let (reason, message) = if let Some(trouble) = trouble {
        ("NodesFailing", trouble)
    } else if observed.stateful_set.is_some() || !observed.pods.is_empty() {
        (
            "NodesNotReady",
            format!("{ready} of {wanted} nodes serve requests; the others are starting"),
        )
    } else if matches!(verdict.doing, Doing::Pausing | Doing::Blocked) {
        (
            "NotCreated",
            "the nodes have not been created; Progressing and Degraded say why".into(),
        )
    } else {
        ("Creating", "the nodes are being created".into())
    };
    Finding {
        type_,
        status: false,
        reason,
        message,
    }
}

fn progressing(cluster: &PliantCluster, observed: &Observed, verdict: &Verdict) -> Finding {
    let type_ = ConditionType::Progressing;
    let going = |reason, message| Finding {
        type_,
        status: true,
        reason,
        message,
    };
    let resting = |reason, message: &str| Finding {
        type_,
        status: false,
        reason,
        message: message.into(),
    };
    match &verdict.doing {
        Doing::Pausing => {
            return resting(
                "Paused",
                "spec.paused is true: the operator changes nothing of this cluster",
            );
        }
        Doing::Blocked => return resting("Blocked", "a problem must be solved first; Degraded says which"),
        Doing::Retrying(message) => return going("Retrying", message.clone()),
        Doing::Waiting(message) => return going("Waiting", message.clone()),
        Doing::Restarting(pod) => {
            return going("Restarting", format!("{pod} restarts to run what the spec says"));
        }
        Doing::Nothing | Doing::Holding => {}
    }
    if let Some(message) = volumes::growing(&observed.claims) {
        return going("ResizingVolumes", message);
    }
    if observed
        .stateful_set
        .as_ref()
        .is_some_and(|set| rollout::is_unfinished(set, &observed.pods))
    {
        return going(
            "Restarting",
            "nodes restart one at a time to run what the spec says".into(),
        );
    }
    if ready_nodes(observed) < cluster.spec.nodes {
        return going("WaitingForNodes", "the nodes are not ready yet".into());
    }
    if verdict.doing == Doing::Holding {
        let message = "this version of the operator would run the nodes differently; it does so when spec.version, image, resources or podTemplate next change";
        return resting("UpdateHeld", message);
    }
    resting("UpToDate", "the cluster is as the spec says")
}

fn degraded(observed: &Observed, verdict: &Verdict) -> Finding {
    let type_ = ConditionType::Degraded;
    let found = |reason, message| Finding {
        type_,
        status: true,
        reason,
        message,
    };
    match &verdict.problem {
        Some(Problem::InvalidSpec(errors)) => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return found("InvalidSpec", errors.join("; "));
        }
        Some(Problem::ResizeRefused(message)) => return found("ResizeRefused", message.clone()),
        Some(Problem::NameTaken(message)) => return found("NameTaken", message.clone()),
        Some(Problem::Refused(message)) => return found("Refused", message.clone()),
        Some(Problem::Failing(message)) => return found("Failing", message.clone()),
        None => {}
    }
    match troubles(observed) {
        Some(message) => found("NodesFailing", message),
        None => Finding {
            type_,
            status: false,
            reason: "AsExpected",
            message: "no problem is known".into(),
        },
    }
}

fn troubles(observed: &Observed) -> Option<String> {
    let troubles: Vec<String> = observed.pods.iter().filter_map(pods::trouble).collect();
    (!troubles.is_empty()).then(|| troubles.join("; "))
}

fn dated(finding: Finding, before: &[Condition], generation: Option<i64>, now: Timestamp) -> Condition {
    let type_ = finding.type_.to_string();
    let status = if finding.status { "True" } else { "False" }.to_string();
    let earlier = before
        .iter()
        .find(|condition| condition.type_ == type_ && condition.status == status);
    Condition {
        last_transition_time: earlier.map_or(Time(now), |condition| condition.last_transition_time.clone()),
        type_,
        status,
        reason: finding.reason.into(),
        message: finding.message,
        observed_generation: generation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::samples;
    use serde_json::json;

    fn observed(ready: bool) -> Observed {
        let ready = if ready { "True" } else { "False" };
        Observed {
            stateful_set: serde_json::from_value(json!({
                "metadata": {"name": "shop", "ownerReferences": [
                    {"apiVersion": "x", "kind": "x", "name": "shop", "uid": "u-1", "controller": true}
                ]},
                "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "node", "image": "i:1"}]}}},
                "status": {"replicas": 1}
            }))
            .expect("a StatefulSet"),
            pods: serde_json::from_value(json!([{
                "metadata": {"name": "shop-0"},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}
            }]))
            .expect("pods"),
            ..Observed::default()
        }
    }

    fn report(
        cluster: &PliantCluster,
        observed: &Observed,
        verdict: &Verdict,
        second: i64,
    ) -> PliantClusterStatus {
        let now = Timestamp::from_second(second).expect("a time");
        status(cluster, observed, verdict, "http://shop".into(), now)
    }

    fn reason(status: &PliantClusterStatus, type_: ConditionType) -> (String, String) {
        let condition = status
            .conditions
            .iter()
            .find(|found| found.type_ == type_.to_string())
            .expect("present");
        (condition.status.clone(), condition.reason.clone())
    }

    fn found(status: &str, reason: &str) -> (String, String) {
        (status.into(), reason.into())
    }

    #[test]
    fn a_cluster_at_rest_keeps_its_status_to_the_letter() {
        let mut cluster = samples::cluster();
        let first = report(&cluster, &observed(true), &Verdict::doing(Doing::Nothing), 1);
        assert_eq!(reason(&first, ConditionType::Ready), found("True", "NodesReady"));
        assert_eq!(
            reason(&first, ConditionType::Progressing),
            found("False", "UpToDate")
        );
        assert_eq!(
            reason(&first, ConditionType::Degraded),
            found("False", "AsExpected")
        );
        assert_eq!(
            (first.nodes, first.ready_nodes, first.image.as_deref()),
            (1, 1, Some("i:1"))
        );
        cluster.status = Some(first.clone());
        assert_eq!(
            report(&cluster, &observed(true), &Verdict::doing(Doing::Nothing), 999),
            first
        );
    }

    #[test]
    fn a_condition_is_dated_when_its_status_changes() {
        let mut cluster = samples::cluster();
        cluster.status = Some(report(
            &cluster,
            &observed(true),
            &Verdict::doing(Doing::Nothing),
            1,
        ));
        let second = report(&cluster, &observed(false), &Verdict::doing(Doing::Nothing), 2);
        let ready = &second.conditions[0];
        assert_eq!(
            (ready.status.as_str(), ready.last_transition_time.0.as_second()),
            ("False", 2)
        );
        assert_eq!(second.conditions[2].last_transition_time.0.as_second(), 1);
        assert_eq!(
            reason(&second, ConditionType::Progressing),
            found("True", "WaitingForNodes")
        );
    }

    #[test]
    fn an_invalid_spec_names_every_field_and_leaves_the_nodes_ready() {
        let mut cluster = samples::cluster();
        cluster.spec.nodes = 1;
        let errors = vec![
            super::super::validate::FieldError {
                field: "spec.a".into(),
                problem: "is wrong".into(),
            },
            super::super::validate::FieldError {
                field: "spec.b".into(),
                problem: "is too".into(),
            },
        ];
        let status = report(&cluster, &observed(true), &Verdict::invalid(errors), 1);
        assert_eq!(reason(&status, ConditionType::Ready), found("True", "NodesReady"));
        assert_eq!(
            reason(&status, ConditionType::Degraded),
            found("True", "InvalidSpec")
        );
        assert_eq!(status.conditions[2].message, "spec.a: is wrong; spec.b: is too");
    }

    #[test]
    fn a_change_that_kubernetes_has_not_seen_yet_is_progress() {
        let mut observed = observed(true);
        if let Some(set) = &mut observed.stateful_set {
            set.metadata.generation = Some(2);
        }
        let status = report(&samples::cluster(), &observed, &Verdict::doing(Doing::Nothing), 1);
        assert_eq!(
            reason(&status, ConditionType::Progressing),
            found("True", "Restarting")
        );
    }

    #[test]
    fn what_was_never_created_is_not_said_to_be_on_its_way() {
        let none = Observed::default();
        let status = report(&samples::cluster(), &none, &Verdict::doing(Doing::Pausing), 1);
        assert_eq!(
            reason(&status, ConditionType::Ready),
            found("False", "NotCreated")
        );
        let status = report(&samples::cluster(), &none, &Verdict::doing(Doing::Nothing), 1);
        assert_eq!(reason(&status, ConditionType::Ready), found("False", "Creating"));
    }

    #[test]
    fn a_restart_does_not_hide_a_problem() {
        let problem = Some(Problem::ResizeRefused("the class says no".into()));
        let verdict = Verdict {
            doing: Doing::Restarting("shop-0".into()),
            problem,
        };
        let status = report(&samples::cluster(), &observed(true), &verdict, 1);
        assert_eq!(
            reason(&status, ConditionType::Progressing),
            found("True", "Restarting")
        );
        assert_eq!(
            reason(&status, ConditionType::Degraded),
            found("True", "ResizeRefused")
        );
    }

    #[test]
    fn a_held_update_is_said() {
        let status = report(
            &samples::cluster(),
            &observed(true),
            &Verdict::doing(Doing::Holding),
            1,
        );
        assert_eq!(
            reason(&status, ConditionType::Progressing),
            found("False", "UpdateHeld")
        );
    }
}
