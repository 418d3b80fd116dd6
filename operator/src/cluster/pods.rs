//! What the pods say of themselves. Pure.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use serde_json::Value;

/// The longest part of a node's last words that is passed on, in characters.
const LONGEST_MESSAGE: usize = 400;
/// Restarts after which a node that is not ready counts as failing, whatever it does at the moment.
const MANY_RESTARTS: i32 = 2;

/// Whether the pod's readiness probe succeeds.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|(status, _)| status == "True")
}

/// Whether the pod is on its way out.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// What keeps a pod from running, in words for its owner; none when it runs, or is simply on its way.
pub fn trouble(pod: &Pod) -> Option<String> {
    if is_ready(pod) || is_terminating(pod) {
        return None;
    }
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if let Some(("False", message)) = condition(pod, "PodScheduled") {
        return Some(format!("{name} finds no Kubernetes node: {message}"));
    }
    let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    match waiting.and_then(|waiting| waiting.reason.as_deref()) {
        Some("ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull") => {
            return Some(format!("{name} cannot get the image {}", container.image));
        }
        Some("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError") => {
            let message = waiting.and_then(|waiting| waiting.message.as_deref());
            return Some(format!(
                "{name} cannot start: {}",
                message.unwrap_or("no reason is known")
            ));
        }
        _ => {}
    }
    // Between two crashes the container runs for a moment; it has not recovered until it is ready.
    let failed = last_failure(container)?;
    let again = waiting.and_then(|waiting| waiting.reason.as_deref()) == Some("CrashLoopBackOff");
    (again || container.restart_count >= MANY_RESTARTS)
        .then(|| format!("{name} keeps failing: {}", last_words(failed)))
}

fn last_failure(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    [container.state.as_ref(), container.last_state.as_ref()]
        .into_iter()
        .flatten()
        .filter_map(|state| state.terminated.as_ref())
        .find(|terminated| terminated.exit_code != 0)
}

/// What a container said before it failed, without what differs from one failure to the next.
fn last_words(failed: &ContainerStateTerminated) -> String {
    let log = failed.message.as_deref().unwrap_or_default().trim();
    let logged: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let error = logged
        .iter()
        .rev()
        .find(|line| line["level"] == "ERROR")
        .and_then(|line| line["message"].as_str());
    let plain = || {
        let lines = log.lines().filter(|line| !line.starts_with('{'));
        lines
            .flat_map(str::split_whitespace)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let words = error.map_or_else(plain, str::to_string);
    if words.is_empty() {
        let reason = failed.reason.as_deref().unwrap_or("no message");
        return format!("exit code {} ({reason})", failed.exit_code);
    }
    // The end is where the error stands.
    let skipped = words.chars().count().saturating_sub(LONGEST_MESSAGE);
    words.chars().skip(skipped).collect()
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<(&'a str, &'a str)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some((
        condition.status.as_str(),
        condition.message.as_deref().unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "shop-0"}, "status": status})).expect("a Pod")
    }

    fn container(restarts: i32, state: Value, last_state: Value) -> Pod {
        pod(json!({"containerStatuses": [{
            "name": "node", "image": "example.test/node:9", "imageID": "", "ready": false,
            "restartCount": restarts, "state": state, "lastState": last_state
        }]}))
    }

    fn waiting(reason: &str, last_state: Value) -> Pod {
        container(
            3,
            json!({"waiting": {"reason": reason, "message": "back-off 40s"}}),
            last_state,
        )
    }

    fn ended(message: &str) -> Value {
        json!({"terminated": {"exitCode": 1, "message": message}})
    }

    #[test]
    fn trouble_is_told_in_words() {
        assert_eq!(trouble(&pod(json!({}))), None);
        assert_eq!(trouble(&waiting("ContainerCreating", json!({}))), None);
        assert_eq!(
            trouble(&waiting("ImagePullBackOff", json!({}))).as_deref(),
            Some("shop-0 cannot get the image example.test/node:9")
        );
        let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        assert_eq!(
            trouble(&waiting("CrashLoopBackOff", killed)).as_deref(),
            Some("shop-0 keeps failing: exit code 137 (OOMKilled)")
        );
        let lonely = pod(json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
        ]}));
        assert_eq!(
            trouble(&lonely).as_deref(),
            Some("shop-0 finds no Kubernetes node: 0/3 nodes are available")
        );
    }

    #[test]
    fn a_node_that_keeps_crashing_is_in_trouble_all_the_while() {
        let words = Some("shop-0 keeps failing: error: data is locked, try again".to_string());
        let log = "error: data is locked,\n  try again\n";
        let running = json!({"running": {}});
        let rounds = [
            container(2, running.clone(), ended(log)),
            container(2, ended(log), json!({})),
            waiting("CrashLoopBackOff", ended(log)),
            container(3, running.clone(), ended(log)),
        ];
        for (round, pod) in rounds.iter().enumerate() {
            assert_eq!(trouble(pod), words, "round {round}");
        }
        assert_eq!(
            trouble(&container(1, running, ended(log))),
            None,
            "one crash is no loop"
        );
    }

    #[test]
    fn last_words_in_json_lose_their_time() {
        let log = concat!(
            "{\"timestamp\":\"2026-01-01T00:00:00Z\",\"level\":\"INFO\",\"message\":\"starts\"}\n",
            "{\"timestamp\":\"2026-01-01T00:00:01Z\",\"level\":\"ERROR\",\"message\":\"the disk is gone\"}\n"
        );
        let words = trouble(&waiting("CrashLoopBackOff", ended(log)));
        assert_eq!(words.as_deref(), Some("shop-0 keeps failing: the disk is gone"));
    }
}
