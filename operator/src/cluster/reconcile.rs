//! One reconciliation, as a sentence: fetch, validate, build, apply, report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::runtime::controller::Action;
use pliant_crds::{PliantCluster, Quantity};
use serde_json::json;

use super::apply::{apply, check_owner};
use super::build::{self, Release};
use super::context::Context;
use super::error::{Error, is_refusal};
use super::fetch::{Observed, fetch};
use super::status::status;
use super::validate::{ValidCluster, validate};
use super::verdict::Verdict;
use super::volumes::{self, Plan};
use super::{events, names, rollout, token};
use crate::metrics::{Outcome, Verb};

/// How soon to look again while something is on its way that sends no word of its end.
const SOON: Duration = Duration::from_secs(2);
/// How soon to look again at a cluster at rest, for what no watch tells of: the Secret may be gone.
const AT_REST: Duration = Duration::from_secs(600);

/// Brings one cluster closer to its spec.
///
/// # Errors
/// When a request fails; the controller tries again after a pause.
pub async fn reconcile(cluster: Arc<PliantCluster>, context: Arc<Context>) -> Result<Action, Error> {
    if cluster.metadata.deletion_timestamp.is_some() {
        // Kubernetes removes what the cluster owns; the StatefulSet's retention policy says what becomes of
        // the volumes.
        context.forget(&cluster);
        return Ok(Action::await_change());
    }
    let began = Instant::now();
    let result = turn(&context, &cluster).await;
    let outcome = if result.is_ok() {
        Outcome::Success
    } else {
        Outcome::Error
    };
    context.metrics.reconciled(outcome, began.elapsed());
    if result.is_ok() {
        context.succeeded(&cluster);
    }
    result
}

async fn turn(context: &Context, cluster: &PliantCluster) -> Result<Action, Error> {
    let namespace = cluster.namespace().unwrap_or_default();
    let observed = fetch(context, &namespace, &cluster.name_any()).await?;
    let verdict = match validate(cluster, &context.settings) {
        _ if cluster.spec.paused => Verdict::Paused,
        Err(errors) => Verdict::Invalid(errors),
        Ok(valid) => drive(context, cluster, &valid, &observed)
            .await
            .unwrap_or_else(Verdict::Failed),
    };
    report(context, cluster, &observed, &verdict).await?;
    match verdict {
        Verdict::Failed(Error::Terminating { .. }) | Verdict::Remaking | Verdict::Restarting(_) => {
            Ok(Action::requeue(SOON))
        }
        Verdict::Failed(error) => Err(error),
        _ => Ok(Action::requeue(AT_REST)),
    }
}

/// Does what is to be done next, and says what that was.
async fn drive(
    context: &Context,
    cluster: &PliantCluster,
    valid: &ValidCluster,
    observed: &Observed,
) -> Result<Verdict, Error> {
    let live = observed.stateful_set.as_ref();
    if let Some(live) = live {
        check_owner(valid, "StatefulSet", &live.metadata)?;
    }
    let surroundings = build::surroundings(valid);
    apply(context, valid, &surroundings.service_account).await?;
    for service in &surroundings.services {
        apply(context, valid, service).await?;
    }
    apply(context, valid, &surroundings.pod_disruption_budget).await?;
    token::ensure(context, valid).await?;

    let plan = volumes::plan(&valid.volume_size, live, &observed.claims);
    let refused = grow(context, cluster, valid, &plan).await?;
    if let (Some(live), None, true) = (live, &refused, plan.remake_stateful_set) {
        remake(context, cluster, live, &valid.namespace).await?;
        return Ok(Verdict::Remaking);
    }
    let kept = refused.as_ref().and(live).and_then(volumes::template_size);
    let release = build::release(valid, kept.as_ref().unwrap_or(&valid.volume_size));
    let held = is_held(valid, &release, live);
    if !held {
        apply(context, valid, &release.config_map).await?;
        apply(context, valid, &release.stateful_set).await?;
    }
    // Also while an update is held: a rollout that an earlier operator began comes to its end.
    if let Some(live) = live
        && let Some(pod) = rollout::next_restart(live, &observed.pods)
    {
        restart(context, cluster, pod, &valid.namespace).await?;
        return Ok(Verdict::Restarting(pod.name_any()));
    }
    Ok(match refused {
        Some(reason) => Verdict::ResizeRefused(reason),
        None if held => Verdict::UpdateHeld,
        None => Verdict::UpToDate,
    })
}

/// Whether the nodes stay as they are although this operator would build them differently: their spec has not
/// changed since they were built, so only the operator has, and its own upgrade must not restart a database.
fn is_held(cluster: &ValidCluster, release: &Release, live: Option<&StatefulSet>) -> bool {
    let Some(live) = live else { return false };
    let annotation = |key| live.annotations().get(key);
    let same_spec = annotation(names::SPEC_ANNOTATION) == Some(&build::spec_mark(cluster));
    let same_build = annotation(names::BUILD_ANNOTATION) == Some(&release.build);
    same_spec && !same_build
}

/// Lets the claims ask for more. Gives the reason when the API server does not allow it.
async fn grow(
    context: &Context,
    cluster: &PliantCluster,
    valid: &ValidCluster,
    plan: &Plan,
) -> Result<Option<String>, Error> {
    let api = context.api::<PersistentVolumeClaim>(&valid.namespace);
    let Quantity(size) = &valid.volume_size;
    let patch = Patch::Merge(json!({"spec": {"resources": {"requests": {"storage": size}}}}));
    for name in &plan.grow {
        context.metrics.wrote(Verb::Patch, "PersistentVolumeClaim");
        match api.patch(name, &PatchParams::default(), &patch).await {
            Ok(_) => {
                let note = format!("the volume {name} is asked to grow to {size}");
                events::publish_action(context, cluster, "GrowingVolume", note).await;
            }
            Err(error) if is_refusal(&error) => {
                return Ok(Some(format!(
                    "the volume {name} cannot grow to {size}: {}; set spec.storage.size back, or let the storage class expand volumes",
                    reason_of(&error)
                )));
            }
            Err(error) => return Err(Error::api(format!("grow the volume {name}"))(error)),
        }
    }
    Ok(None)
}

fn reason_of(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Deletes the StatefulSet but not its pods, so that one with another claim template can take its place.
async fn remake(
    context: &Context,
    cluster: &PliantCluster,
    live: &StatefulSet,
    namespace: &str,
) -> Result<(), Error> {
    let name = live.name_any();
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..only_this(live.uid(), live.resource_version())
    };
    context.metrics.wrote(Verb::Delete, "StatefulSet");
    let deleted = context.api::<StatefulSet>(namespace).delete(&name, &params).await;
    deleted.map_err(Error::api(format!("remake the StatefulSet {name}")))?;
    let note = format!("the StatefulSet {name} is made anew with the new volume size; its pods go on");
    events::publish_action(context, cluster, "RemakingStatefulSet", note).await;
    Ok(())
}

/// Stops a node, which the StatefulSet then starts again as the spec says.
async fn restart(
    context: &Context,
    cluster: &PliantCluster,
    pod: &Pod,
    namespace: &str,
) -> Result<(), Error> {
    let name = pod.name_any();
    context.metrics.wrote(Verb::Delete, "Pod");
    let deleted = context
        .api::<Pod>(namespace)
        .delete(&name, &only_this(pod.uid(), None))
        .await;
    deleted.map_err(Error::api(format!("restart the pod {name}")))?;
    let note = format!("{name} restarts to run what the spec says");
    events::publish_action(context, cluster, "RestartingNode", note).await;
    Ok(())
}

/// Deletes the very object that the decision was made for, and no other that has come to carry its name.
fn only_this(uid: Option<String>, resource_version: Option<String>) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions {
            uid,
            resource_version,
        }),
        ..DeleteParams::default()
    }
}

/// Writes the status where it has changed, and publishes what has.
async fn report(
    context: &Context,
    cluster: &PliantCluster,
    observed: &Observed,
    verdict: &Verdict,
) -> Result<(), Error> {
    let endpoint = build::endpoint(cluster, &context.settings.cluster_domain);
    let now = status(cluster, observed, verdict, endpoint, Timestamp::now());
    if cluster.status.as_ref() == Some(&now) {
        return Ok(());
    }
    let before = cluster.status.clone().unwrap_or_default();
    let api = context.api::<PliantCluster>(&cluster.namespace().unwrap_or_default());
    let name = cluster.name_any();
    let patch = Patch::Apply(json!({
        "apiVersion": "pliantdb.dev/v1alpha1",
        "kind": "PliantCluster",
        "metadata": {"name": name, "uid": cluster.metadata.uid},
        "status": now,
    }));
    context.metrics.wrote(Verb::Patch, "PliantCluster");
    api.patch_status(&name, &PatchParams::apply(names::FIELD_MANAGER).force(), &patch)
        .await
        .map_err(Error::api(format!("report the status of {name}")))?;
    events::publish_changes(context, cluster, &before, &now).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::samples;

    #[test]
    fn an_upgrade_of_the_operator_alone_holds_the_nodes_as_they_are() {
        let mut cluster = samples::valid_cluster();
        let built = build::release(&cluster, &cluster.volume_size);
        let live = Some(&built.stateful_set);
        assert!(
            !is_held(&cluster, &built, live),
            "the same operator may correct what others changed"
        );
        assert!(!is_held(&cluster, &built, None), "what is missing is created");

        cluster.image = "example.test/newer:2".into();
        let newer = build::release(&cluster, &cluster.volume_size);
        assert!(is_held(&cluster, &newer, live), "only the operator has changed");

        cluster.generation += 1;
        assert!(!is_held(&cluster, &newer, live), "the spec has changed");
        cluster.generation -= 1;
        cluster.uid = "another".into();
        assert!(!is_held(&cluster, &newer, live), "a new cluster took the name");
    }
}
