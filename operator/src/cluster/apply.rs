//! Server-side apply of the objects of a cluster, without a request where nothing would change.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::{Resource, ResourceExt};
use pliant_crds::PliantCluster;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::build::fingerprint;
use super::context::Context;
use super::error::Error;
use super::names;
use super::validate::ValidCluster;
use crate::metrics::Verb;

/// What was applied, and which version of the object came of it.
///
/// An object whose desired form and version are both as they were needs no request. Nothing is lost with the
/// memory of the process: after a restart, each object is applied once more, which changes nothing in it.
#[derive(Default)]
pub struct Applied(Mutex<HashMap<Key, Entry>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: String,
    namespace: String,
    name: String,
    cluster: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    desired: String,
    version: Version,
}

/// What changes when somebody edits an object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    uid: Option<String>,
    /// The generation where the kind has one, since its status may change at any time; else the resource
    /// version.
    number: String,
    labels: String,
}

impl Version {
    fn of(metadata: &ObjectMeta) -> Self {
        Self {
            uid: metadata.uid.clone(),
            number: match metadata.generation {
                Some(generation) => generation.to_string(),
                None => metadata.resource_version.clone().unwrap_or_default(),
            },
            labels: fingerprint(&(
                &metadata.labels,
                &metadata.annotations,
                &metadata.owner_references,
            )),
        }
    }
}

impl Applied {
    /// Forgets the objects of a cluster that is gone.
    pub fn forget(&self, cluster: &PliantCluster) {
        let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
        self.lock()
            .retain(|key, _| key.namespace != namespace || key.cluster != name);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        // The map is whole between any two statements, also where a thread ended in a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings one object to its desired form.
///
/// # Errors
/// When the object belongs to somebody else, is being deleted, or the API server refuses it.
pub async fn apply<K>(context: &Context, cluster: &ValidCluster, desired: &K) -> Result<(), Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    let (kind, name) = (K::kind(&()).into_owned(), desired.name_any());
    let api = context.api::<K>(&cluster.namespace);
    let live = api
        .get_metadata_opt(&name)
        .await
        .map_err(Error::api(format!("read the {kind} {name}")))?;
    let key = Key {
        kind,
        namespace: cluster.namespace.clone(),
        name,
        cluster: cluster.name.clone(),
    };
    let desired_mark = fingerprint(desired);
    if let Some(live) = &live {
        check_owner(cluster, &key.kind, &live.metadata)?;
        let entry = Entry {
            desired: desired_mark.clone(),
            version: Version::of(&live.metadata),
        };
        if context.applied.lock().get(&key) == Some(&entry) {
            return Ok(());
        }
    }
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    context.metrics.wrote(Verb::Patch, &key.kind);
    let result = api
        .patch(&key.name, &params, &Patch::Apply(desired))
        .await
        .map_err(Error::api(format!("apply the {} {}", key.kind, key.name)))?;
    let version = Version::of(result.meta());
    context.applied.lock().insert(
        key,
        Entry {
            desired: desired_mark,
            version,
        },
    );
    Ok(())
}

/// Refuses to touch an object that belongs to somebody else, or that is on its way out.
///
/// An object without an owner that carries this cluster's labels was left by an earlier cluster of the name
/// (deleted with `--cascade=orphan`) and is taken over.
pub fn check_owner(cluster: &ValidCluster, kind: &str, live: &ObjectMeta) -> Result<(), Error> {
    let name = live.name.clone().unwrap_or_default();
    let controller = live
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
        .map(|owner| &owner.uid);
    let labelled = live.labels.as_ref().is_some_and(|live| {
        names::labels(&cluster.name)
            .iter()
            .all(|(key, value)| live.get(key) == Some(value))
    });
    let ours = match controller {
        Some(uid) => *uid == cluster.uid,
        None => labelled,
    };
    if live.deletion_timestamp.is_some() && labelled {
        return Err(Error::Terminating {
            kind: kind.into(),
            name,
        });
    }
    if !ours {
        return Err(Error::NameTaken {
            kind: kind.into(),
            name,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::samples;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    fn live(owner: Option<&str>, labels: bool) -> ObjectMeta {
        ObjectMeta {
            name: Some("shop".into()),
            labels: labels.then(|| names::labels("shop")),
            owner_references: owner.map(|uid| {
                vec![OwnerReference {
                    uid: uid.into(),
                    controller: Some(true),
                    ..OwnerReference::default()
                }]
            }),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn only_own_and_orphaned_objects_are_touched() {
        let cluster = samples::valid_cluster();
        let check = |owner, labels| check_owner(&cluster, "Service", &live(owner, labels));
        assert!(check(Some("u-1"), true).is_ok());
        assert!(check(Some("u-1"), false).is_ok());
        assert!(check(None, true).is_ok());
        assert!(matches!(check(None, false), Err(Error::NameTaken { .. })));
        assert!(matches!(check(Some("u-2"), true), Err(Error::NameTaken { .. })));
    }

    #[test]
    fn an_edit_is_told_from_a_status_update() {
        let mut metadata = live(Some("u-1"), true);
        metadata.generation = Some(3);
        metadata.resource_version = Some("10".into());
        let before = Version::of(&metadata);
        metadata.resource_version = Some("11".into());
        assert_eq!(Version::of(&metadata), before, "a new status");
        metadata.generation = Some(4);
        assert_ne!(Version::of(&metadata), before, "a new spec");
        metadata.generation = Some(3);
        metadata.labels = None;
        assert_ne!(Version::of(&metadata), before, "labels taken away");
    }
}
