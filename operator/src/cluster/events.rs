//! Kubernetes Events, one for each condition that changes and for each thing done to a node.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::runtime::events::{Event, EventType};
use pliant_crds::{ConditionType, PliantCluster, PliantClusterStatus};

use super::context::Context;

/// What the API server takes as a note, in bytes.
const LONGEST_NOTE: usize = 1_000;

/// Publishes what has changed from the status before to the one now.
pub async fn publish_changes(
    context: &Context,
    cluster: &PliantCluster,
    before: &PliantClusterStatus,
    now: &PliantClusterStatus,
) {
    for event in changes(&before.conditions, &now.conditions) {
        publish(context, cluster, event).await;
    }
}

/// Publishes that something was done. `action` is what, `note` is to whom and why.
pub async fn publish_action(context: &Context, cluster: &PliantCluster, action: &'static str, note: String) {
    publish(
        context,
        cluster,
        event(EventType::Normal, action, "Reconcile", &note),
    )
    .await;
}

async fn publish(context: &Context, cluster: &PliantCluster, event: Event) {
    // An event is a courtesy; the status is the record. So a failure is logged and nothing waits for it.
    if let Err(error) = context.recorder.publish(&event, &cluster.object_ref(&())).await {
        tracing::warn!(reason = event.reason, "the event was not published: {error}");
    }
}

fn changes(before: &[Condition], now: &[Condition]) -> Vec<Event> {
    let same = |condition: &Condition| {
        before.iter().any(|earlier| {
            (&earlier.type_, &earlier.status, &earlier.reason)
                == (&condition.type_, &condition.status, &condition.reason)
        })
    };
    now.iter()
        .filter(|condition| !same(condition))
        .filter_map(|condition| announce(condition, before))
        .collect()
}

/// The event of a condition that has changed; none where another condition already tells it.
fn announce(condition: &Condition, before: &[Condition]) -> Option<Event> {
    let holds = condition.status == "True";
    let was = before
        .iter()
        .find(|earlier| earlier.type_ == condition.type_)
        .map(|earlier| earlier.status == "True");
    let type_ = if condition.type_ == ConditionType::Ready.to_string() {
        match (was, holds) {
            (Some(true), true) => return None,
            (_, true) => EventType::Normal,
            (Some(true), false) => EventType::Warning,
            (_, false) => return None,
        }
    } else if condition.type_ == ConditionType::Degraded.to_string() {
        match (was, holds) {
            (_, true) => EventType::Warning,
            (Some(true), false) => EventType::Normal,
            (_, false) => return None,
        }
    } else {
        EventType::Normal
    };
    Some(event(
        type_,
        &condition.reason,
        &condition.type_,
        &condition.message,
    ))
}

fn event(type_: EventType, reason: &str, action: &str, note: &str) -> Event {
    Event {
        type_,
        reason: reason.into(),
        note: Some(note[..note.floor_char_boundary(LONGEST_NOTE)].into()),
        action: action.into(),
        secondary: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    fn condition(type_: ConditionType, status: &str, reason: &str) -> Condition {
        Condition {
            type_: type_.to_string(),
            status: status.into(),
            reason: reason.into(),
            message: "words".into(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        }
    }

    fn reasons(before: &[Condition], now: &[Condition]) -> Vec<String> {
        changes(before, now)
            .into_iter()
            .map(|event| event.reason)
            .collect()
    }

    #[test]
    fn only_changes_are_announced() {
        let ready = condition(ConditionType::Ready, "True", "NodesReady");
        let waiting = condition(ConditionType::Ready, "False", "NodesNotReady");
        let fine = condition(ConditionType::Degraded, "False", "AsExpected");
        let broken = condition(ConditionType::Degraded, "True", "NodesFailing");
        assert_eq!(
            reasons(&[], &[waiting.clone(), fine.clone()]),
            Vec::<String>::new()
        );
        assert_eq!(
            reasons(&[waiting.clone(), fine.clone()], &[ready.clone(), fine.clone()]),
            ["NodesReady"]
        );
        assert_eq!(
            reasons(&[ready.clone(), fine.clone()], &[ready.clone(), fine.clone()]),
            Vec::<String>::new()
        );
        assert_eq!(
            reasons(&[ready, fine.clone()], &[waiting.clone(), broken.clone()]),
            ["NodesNotReady", "NodesFailing"]
        );
        assert_eq!(
            reasons(&[waiting.clone(), broken], &[waiting, fine]),
            ["AsExpected"]
        );
    }
}
