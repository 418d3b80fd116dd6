//! What every reconciliation works with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource};
use pliant_crds::PliantCluster;

use super::apply::Applied;
use super::names;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// The first pause after an error.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after an error.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What every reconciliation works with.
pub struct Context {
    /// Access to the API server.
    pub client: Client,
    /// The operator's settings.
    pub settings: Settings,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Publishes Kubernetes Events.
    pub recorder: Recorder,
    /// What has been applied, so that it is not applied again.
    pub applied: Applied,
    failures: Mutex<HashMap<ObjectRef<PliantCluster>, u32>>,
}

impl Context {
    /// The context of a controller.
    pub fn new(client: Client, settings: Settings, metrics: Arc<Metrics>) -> Arc<Self> {
        let reporter = Reporter {
            controller: names::FIELD_MANAGER.into(),
            instance: Some(settings.identity.clone()),
        };
        Arc::new(Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            settings,
            metrics,
            applied: Applied::default(),
            failures: Mutex::default(),
        })
    }

    /// The objects of one kind that the operator looks after: in one namespace or in all.
    pub fn watched<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match &self.settings.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// The objects of one kind in one namespace.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Notes a success: the next failure begins with the first pause again.
    pub fn succeeded(&self, cluster: &PliantCluster) {
        self.lock_failures().remove(&ObjectRef::from_obj(cluster));
    }

    /// Notes a failure and gives the pause before the next try: twice the one before, up to five minutes,
    /// less up to a quarter by chance, so that many clusters do not come back at the same moment.
    pub fn failed(&self, cluster: &PliantCluster) -> Duration {
        let mut failures = self.lock_failures();
        let count = failures.entry(ObjectRef::from_obj(cluster)).or_insert(0);
        *count = count.saturating_add(1);
        pause(*count).mul_f64(rand::random_range(0.75..=1.0))
    }

    /// Forgets a cluster that is gone.
    pub fn forget(&self, cluster: &PliantCluster) {
        self.succeeded(cluster);
        self.applied.forget(cluster);
    }

    fn lock_failures(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectRef<PliantCluster>, u32>> {
        // The map is whole between any two statements, also where a thread ended in a panic.
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause(failures: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let seconds: Vec<u64> = (1..=11).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
