//! The controller of `PliantCluster`.
//!
//! [`reconcile`](reconcile::reconcile) reads as a sentence: fetch → validate → build → apply → status. What
//! decides is pure and knows no API server; what talks to it decides nothing.

mod applied;
mod apply;
mod build;
mod context;
mod error;
mod events;
mod failures;
mod fetch;
mod fingerprint;
mod names;
mod pods;
mod reconcile;
mod release;
mod rollout;
#[cfg(test)]
mod samples;
mod status;
mod token;
mod validate;
mod verdict;
mod volumes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use pliant_crds::PliantCluster;
use tokio_util::sync::CancellationToken;

pub use context::Context;
use error::{Error, answer};

/// How many clusters are reconciled at the same time.
const CONCURRENCY: u16 = 16;
/// How soon to see again whether PliantClusters can be read.
const RETRY: Duration = Duration::from_secs(5);

/// Runs the controller until `stop`; a reconciliation that has begun is finished. `ready` says whether all
/// PliantClusters have been seen.
pub async fn run(context: Arc<Context>, ready: Arc<AtomicBool>, stop: CancellationToken) {
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
    ready.store(false, Ordering::Relaxed);
    tokio::spawn(watch_readiness(Arc::clone(&context), ready));
    controller
        .run(reconcile::reconcile, on_error, Arc::clone(&context))
        .for_each(|result| {
            match result {
                Ok((cluster, _)) => tracing::debug!(%cluster, "reconciled"),
                // A failed reconciliation was logged with its pause.
                Err(kube::runtime::controller::Error::ReconcilerFailed(..)) => {}
                // The cluster is gone, or one of its objects has changed after it was.
                Err(kube::runtime::controller::Error::ObjectNotFound(gone)) => {
                    context.forget(gone.namespace.as_deref().unwrap_or_default(), &gone.name);
                }
                Err(error) => tracing::warn!("{error}"),
            }
            std::future::ready(())
        })
        .await;
}

/// Says that the operator is ready once PliantClusters can be read, which takes the definition to be there and
/// the rights to be given. The controller's own store cannot be asked: it wakes only one who waits for it
/// (kube-runtime 5.0), and that is the controller.
async fn watch_readiness(context: Arc<Context>, ready: Arc<AtomicBool>) {
    let clusters = context.watched::<PliantCluster>();
    while let Err(error) = clusters.list_metadata(&ListParams::default().limit(1)).await {
        tracing::warn!("PliantClusters cannot be read: {}", answer(&error));
        tokio::time::sleep(RETRY).await;
    }
    ready.store(true, Ordering::Relaxed);
}

/// The cluster that a pod belongs to. Its owner is the StatefulSet; its labels name the cluster.
fn cluster_of(pod: Pod) -> Option<ObjectRef<PliantCluster>> {
    let name = pod.labels().get(names::INSTANCE_LABEL)?;
    Some(ObjectRef::new(name).within(&pod.namespace()?))
}

fn on_error(cluster: Arc<PliantCluster>, error: &Error, context: Arc<Context>) -> Action {
    Action::requeue(reconcile::note_failure(&context, &cluster, error).again)
}
