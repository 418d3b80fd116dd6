//! The controller of `PliantCluster`.
//!
//! [`reconcile`](reconcile::reconcile) reads as a sentence: fetch → validate → build → apply → status. What
//! decides is pure and knows no API server; what talks to it decides nothing.

mod apply;
mod build;
mod context;
mod error;
mod events;
mod fetch;
mod names;
mod pods;
mod reconcile;
mod rollout;
#[cfg(test)]
mod samples;
mod status;
mod token;
mod validate;
mod verdict;
mod volumes;

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use pliant_crds::PliantCluster;
use tokio_util::sync::CancellationToken;

pub use context::Context;
use error::Error;

/// How many clusters are reconciled at the same time.
const CONCURRENCY: u16 = 16;

/// Runs the controller until `stop`; a reconciliation that has begun comes to its end.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    let managed = || watcher::Config::default().labels(&names::managed_selector());
    let controller = Controller::new(context.watched::<PliantCluster>(), watcher::Config::default())
        .owns(context.watched::<StatefulSet>(), managed())
        .owns(context.watched::<Service>(), managed())
        .owns(context.watched::<ConfigMap>(), managed())
        .owns(context.watched::<ServiceAccount>(), managed())
        .owns(context.watched::<PodDisruptionBudget>(), managed())
        .watches(context.watched::<Pod>(), managed(), cluster_of)
        .with_config(kube::runtime::controller::Config::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(stop.cancelled_owned());
    controller
        .run(reconcile::reconcile, on_error, context)
        .for_each(|result| async move {
            match result {
                Ok((cluster, _)) => tracing::debug!(%cluster, "reconciled"),
                // A failed reconciliation was logged with its pause.
                Err(kube::runtime::controller::Error::ReconcilerFailed(..)) => {}
                Err(error) => tracing::warn!("{error}"),
            }
        })
        .await;
}

/// The cluster that a pod belongs to. Its owner is the StatefulSet; its labels name the cluster.
fn cluster_of(pod: Pod) -> Option<ObjectRef<PliantCluster>> {
    let name = pod.labels().get(names::INSTANCE_LABEL)?;
    Some(ObjectRef::new(name).within(&pod.namespace()?))
}

fn on_error(cluster: Arc<PliantCluster>, error: &Error, context: Arc<Context>) -> Action {
    let pause = context.failed(&cluster);
    let name = format!(
        "{}/{}",
        cluster.namespace().unwrap_or_default(),
        cluster.name_any()
    );
    tracing::warn!(cluster = name, retry_in_seconds = pause.as_secs(), "{error}");
    Action::requeue(pause)
}
