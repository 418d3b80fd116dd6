//! What every reconciliation works with.

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client, Resource};

use super::applied::Applied;
use super::failures::Failures;
use super::names;
use crate::metrics::Metrics;
use crate::settings::Settings;

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
    /// What has failed, and when to try again.
    pub failures: Failures,
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
            failures: Failures::default(),
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

    /// Forgets a cluster that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.applied.forget(namespace, name);
        self.failures.forget(namespace, name);
    }
}
