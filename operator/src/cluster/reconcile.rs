//! One reconciliation, as a sentence: fetch, validate, build, apply, report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::runtime::controller::Action;
use pliant_crds::{PliantCluster, Quantity};
use serde_json::json;

use super::apply::{apply, check_owner};
use super::context::Context;
use super::error::{Error, answer, is_not_found, is_refusal};
use super::failures::{Pending, Subject};
use super::fetch::{Observed, fetch};
use super::status::status;
use super::validate::{ValidCluster, validate};
use super::verdict::{Doing, Problem, Verdict};
use super::volumes::{self, Plan};
use super::{build, events, names, release, rollout, token};
use crate::metrics::{Outcome, Verb};

/// How soon to look again while something is on its way that no watch tells of.
const SOON: Duration = Duration::from_secs(3);
/// How soon to look again at a cluster at rest, for what no watch tells of: the Secret may be gone.
const AT_REST: Duration = Duration::from_secs(600);
/// How long a StatefulSet may take to go while its pods stay.
const REMOVAL: Duration = Duration::from_secs(10);

/// Brings one cluster closer to its spec.
///
/// # Errors
/// When the cluster cannot be read, or its status cannot be written; the controller tries again after a pause.
/// A failure of anything in between is reported in the status, and has its own pause.
pub async fn reconcile(cluster: Arc<PliantCluster>, context: Arc<Context>) -> Result<Action, Error> {
    let began = Instant::now();
    let result = turn(
        &context,
        &cluster.namespace().unwrap_or_default(),
        &cluster.name_any(),
    )
    .await;
    let outcome = result.as_ref().map_or(Outcome::Error, |(_, outcome)| *outcome);
    context.metrics.reconciled(outcome, began.elapsed());
    result.map(|(action, _)| action)
}

async fn turn(context: &Context, namespace: &str, name: &str) -> Result<(Action, Outcome), Error> {
    // What the watch has brought may be older than the status that was last written.
    let clusters = context.api::<PliantCluster>(namespace);
    let cluster = clusters
        .get_opt(name)
        .await
        .map_err(Error::api(format!("read the PliantCluster {name}")))?;
    let Some(cluster) = cluster.filter(|cluster| cluster.metadata.deletion_timestamp.is_none()) else {
        // Kubernetes removes what the cluster owned; the StatefulSet's retention policy says what becomes of
        // the volumes.
        context.forget(namespace, name);
        return Ok((Action::await_change(), Outcome::Success));
    };
    let mut observed = fetch(context, namespace, name).await?;
    let (verdict, again, outcome) = attempt(context, &cluster, &mut observed).await;
    report(context, &cluster, &observed, &verdict).await?;
    Ok((Action::requeue(again), outcome))
}

/// Acts, unless the pause after a failure is not over. Gives what came of it, when to look again, and how to count it.
async fn attempt(
    context: &Context,
    cluster: &PliantCluster,
    observed: &mut Observed,
) -> (Verdict, Duration, Outcome) {
    let subject = Subject::of(cluster);
    if let Some(pending) = context.failures.pending(&subject, Instant::now()) {
        return (Verdict::from(&pending), pending.again, Outcome::Pause);
    }
    match act(context, cluster, observed).await {
        Ok(verdict) => {
            context
                .failures
                .forget(&cluster.namespace().unwrap_or_default(), &cluster.name_any());
            let on_its_way =
                matches!(verdict.doing, Doing::Restarting(_)) || volumes::growing(&observed.claims).is_some();
            (verdict, if on_its_way { SOON } else { AT_REST }, Outcome::Success)
        }
        Err(error) => {
            let pending = note_failure(context, cluster, &error);
            (Verdict::from(&pending), pending.again, Outcome::Error)
        }
    }
}

/// Remembers and logs a failure; gives what is remembered, with the pause before the next try.
pub fn note_failure(context: &Context, cluster: &PliantCluster, error: &Error) -> Pending {
    let now = Instant::now();
    let pending = context
        .failures
        .note(Subject::of(cluster), error.failure(), now, rand::random());
    let name = format!(
        "{}/{}",
        cluster.namespace().unwrap_or_default(),
        cluster.name_any()
    );
    tracing::warn!(cluster = name, failures = pending.count, retry_in = ?pending.again, "{error}");
    pending
}

/// Does what is to be done next, and says what that was.
async fn act(context: &Context, cluster: &PliantCluster, observed: &mut Observed) -> Result<Verdict, Error> {
    // What was begun is finished also in a pause: pods without a StatefulSet would not come back.
    if cluster.spec.paused && !observed.is_being_remade() {
        return Ok(Verdict::doing(Doing::Pausing));
    }
    let valid = match validate(cluster, &context.settings) {
        Ok(valid) => valid,
        Err(errors) => return Ok(Verdict::invalid(errors)),
    };
    if let Some(live) = &observed.stateful_set {
        check_owner(&valid, "StatefulSet", &live.metadata)?;
    }
    let surroundings = build::surroundings(&valid);
    apply(context, &valid, &surroundings.service_account).await?;
    for service in &surroundings.services {
        apply(context, &valid, service).await?;
    }
    apply(context, &valid, &surroundings.pod_disruption_budget).await?;
    token::ensure(context, &valid).await?;

    let plan = volumes::plan(
        &valid.volume_size,
        observed.stateful_set.as_ref(),
        &observed.claims,
    );
    let refused = grow(context, cluster, &valid, &plan, observed).await?;
    if plan.remake_stateful_set && refused.is_none() {
        remove_stateful_set(context, cluster, observed).await?;
    }
    let held = run_nodes(context, &valid, observed, refused.is_some()).await?;
    let doing = match restart_next(context, cluster, observed).await? {
        Some(pod) => Doing::Restarting(pod),
        None if held => Doing::Holding,
        None => Doing::Nothing,
    };
    if !observed
        .stateful_set
        .as_ref()
        .is_some_and(|set| rollout::is_unfinished(set, &observed.pods))
    {
        prune_configs(context, &valid, observed).await?;
    }
    Ok(Verdict {
        doing,
        problem: refused.map(Problem::ResizeRefused),
    })
}

/// Applies the nodes and what they run. Tells whether this operator's own idea of it is held back.
async fn run_nodes(
    context: &Context,
    valid: &ValidCluster,
    observed: &mut Observed,
    keep_claim_size: bool,
) -> Result<bool, Error> {
    let live = observed.stateful_set.as_ref();
    let kept = live.filter(|_| keep_claim_size).and_then(volumes::template_size);
    let (record, held) = release::choose(valid, observed.record.take(), build::release(valid));
    // The record comes first: should the operator stop here, the next one goes on with the same release.
    apply(context, valid, &build::record(valid, &record)).await?;
    apply(context, valid, &build::config_map(valid, &record.release)).await?;
    let claim_size = kept.as_ref().unwrap_or(&valid.volume_size);
    let stateful_set = build::stateful_set(valid, claim_size, record.release.template.clone());
    if let Some(applied) = apply(context, valid, &stateful_set).await? {
        observed.stateful_set = Some(applied);
    }
    observed.record = Some(record);
    Ok(held)
}

/// Lets the claims ask for more. Gives the reason when the API server does not allow it.
async fn grow(
    context: &Context,
    cluster: &PliantCluster,
    valid: &ValidCluster,
    plan: &Plan,
    observed: &mut Observed,
) -> Result<Option<String>, Error> {
    let api = context.api::<PersistentVolumeClaim>(&valid.namespace);
    let Quantity(size) = &valid.volume_size;
    let patch = Patch::Merge(json!({"spec": {"resources": {"requests": {"storage": size}}}}));
    for name in &plan.grow {
        context.metrics.wrote(Verb::Patch, "PersistentVolumeClaim");
        match api.patch(name, &PatchParams::default(), &patch).await {
            Ok(grown) => {
                volumes::replace(&mut observed.claims, grown);
                let note = format!("the volume {name} is asked to grow to {size}");
                events::publish_action(context, cluster, "GrowingVolume", note).await;
            }
            Err(error) if is_refusal(&error) => {
                return Ok(Some(format!(
                    "the volume {name} cannot grow to {size}: {}; set spec.storage.size back, or remove what stands in the way",
                    answer(&error)
                )));
            }
            Err(error) => return Err(Error::api(format!("grow the volume {name}"))(error)),
        }
    }
    Ok(None)
}

/// Removes the StatefulSet but not its pods, so that one with another claim template can take its place.
async fn remove_stateful_set(
    context: &Context,
    cluster: &PliantCluster,
    observed: &mut Observed,
) -> Result<(), Error> {
    let Some(live) = observed.stateful_set.take() else {
        return Ok(());
    };
    let (name, api) = (
        live.name_any(),
        context.api::<StatefulSet>(&live.namespace().unwrap_or_default()),
    );
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..only_this(live.uid(), live.resource_version())
    };
    let note = format!("the StatefulSet {name} is made anew with the new volume size; its pods go on");
    events::publish_action(context, cluster, "RemakingStatefulSet", note).await;
    context.metrics.wrote(Verb::Delete, "StatefulSet");
    let deleted = api.delete(&name, &params).await;
    deleted.map_err(Error::api(format!("remake the StatefulSet {name}")))?;
    let deadline = Instant::now() + REMOVAL;
    while Instant::now() < deadline {
        let left = api.get_metadata_opt(&name).await;
        if left
            .map_err(Error::api(format!("read the StatefulSet {name}")))?
            .is_none()
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(Error::Terminating {
        kind: "StatefulSet".into(),
        name,
    })
}

/// Stops the next node that must run something else, which the StatefulSet then starts again as the spec says.
async fn restart_next(
    context: &Context,
    cluster: &PliantCluster,
    observed: &Observed,
) -> Result<Option<String>, Error> {
    let next = observed
        .stateful_set
        .as_ref()
        .and_then(|set| rollout::next_restart(set, &observed.pods));
    let Some(pod) = next else { return Ok(None) };
    let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
    context.metrics.wrote(Verb::Delete, "Pod");
    let deleted = context
        .api::<Pod>(&namespace)
        .delete(&name, &only_this(pod.uid(), None))
        .await;
    deleted.map_err(Error::api(format!("restart the pod {name}")))?;
    let note = format!("{name} restarts to run what the spec says");
    events::publish_action(context, cluster, "RestartingNode", note).await;
    Ok(Some(name))
}

/// Removes the configurations that no node runs any more.
async fn prune_configs(context: &Context, valid: &ValidCluster, observed: &Observed) -> Result<(), Error> {
    let api = context.api::<ConfigMap>(&valid.namespace);
    let labelled = ListParams::default().labels(&names::cluster_selector(&valid.name));
    let all = api
        .list_metadata(&labelled)
        .await
        .map_err(Error::api("list the ConfigMaps"))?;
    let template = observed.record.as_ref().map(|record| &record.release.template);
    let specs = template.and_then(|template| template.spec.as_ref()).into_iter();
    let in_use: Vec<&str> = specs
        .chain(observed.pods.iter().filter_map(|pod| pod.spec.as_ref()))
        .flat_map(|spec| spec.volumes.iter().flatten())
        .filter_map(|volume| Some(volume.config_map.as_ref()?.name.as_str()))
        .collect();
    for old in all.items {
        let name = old.name_any();
        if !name.starts_with(&names::config_prefix(&valid.name)) || in_use.contains(&name.as_str()) {
            continue;
        }
        check_owner(valid, "ConfigMap", &old.metadata)?;
        context.metrics.wrote(Verb::Delete, "ConfigMap");
        match api.delete(&name, &only_this(old.uid(), None)).await {
            Ok(_) => {}
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(Error::api(format!("remove the ConfigMap {name}"))(error)),
        }
    }
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
    match api
        .patch_status(&name, &PatchParams::apply(names::FIELD_MANAGER).force(), &patch)
        .await
    {
        Ok(_) => events::publish_changes(context, cluster, &before, &now).await,
        // It has just been deleted.
        Err(error) if is_not_found(&error) => {}
        Err(error) => return Err(Error::api(format!("report the status of {name}"))(error)),
    }
    Ok(())
}
