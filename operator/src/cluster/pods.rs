//! What the pods say of themselves. Pure.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// The longest part of a node's last words that is passed on, in characters.
const LONGEST_MESSAGE: usize = 400;

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
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if let Some(("False", message)) = condition(pod, "PodScheduled") {
        return Some(format!("{name} finds no Kubernetes node: {message}"));
    }
    let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    match waiting.reason.as_deref()? {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            Some(format!("{name} cannot get the image {}", container.image))
        }
        "CrashLoopBackOff" => Some(format!("{name} keeps failing: {}", last_words(container))),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => Some(format!(
            "{name} cannot start: {}",
            waiting.message.as_deref().unwrap_or("no reason is known")
        )),
        _ => None,
    }
}

/// The last lines that a container wrote before it failed.
fn last_words(container: &ContainerStatus) -> String {
    let terminated = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let Some(terminated) = terminated else {
        return "no reason is known".into();
    };
    let message = terminated.message.as_deref().unwrap_or_default().trim();
    if message.is_empty() {
        let reason = terminated.reason.as_deref().unwrap_or("no message");
        return format!("exit code {} ({reason})", terminated.exit_code);
    }
    // The end of the log is where the error stands.
    let skipped = message.chars().count().saturating_sub(LONGEST_MESSAGE);
    message.chars().skip(skipped).collect()
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
    use serde_json::{Value, json};

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "shop-0"}, "status": status})).expect("a Pod")
    }

    fn waiting(reason: &str, last_state: Value) -> Pod {
        pod(json!({"containerStatuses": [{
            "name": "node", "image": "example.test/node:9", "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": reason, "message": "back-off 40s"}},
            "lastState": last_state
        }]}))
    }

    #[test]
    fn trouble_is_told_in_words() {
        assert_eq!(trouble(&pod(json!({}))), None);
        assert_eq!(trouble(&waiting("ContainerCreating", json!({}))), None);
        assert_eq!(
            trouble(&waiting("ImagePullBackOff", json!({}))).as_deref(),
            Some("shop-0 cannot get the image example.test/node:9")
        );
        let ended = json!({"terminated": {"exitCode": 1, "message": "error: data is locked\n"}});
        assert_eq!(
            trouble(&waiting("CrashLoopBackOff", ended)).as_deref(),
            Some("shop-0 keeps failing: error: data is locked")
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
}
