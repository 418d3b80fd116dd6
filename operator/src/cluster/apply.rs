//! Server-side apply of the objects of a cluster, without a request where nothing would change.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::applied::Key;
use super::context::Context;
use super::error::Error;
use super::fingerprint::fingerprint;
use super::names;
use super::validate::ValidCluster;
use crate::metrics::Verb;

/// Brings one object to its desired form. Gives the object where a request was needed.
///
/// # Errors
/// When the object belongs to somebody else, is being deleted, or the API server refuses it.
pub async fn apply<K>(context: &Context, cluster: &ValidCluster, desired: &K) -> Result<Option<K>, Error>
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
        name,
        namespace: cluster.namespace.clone(),
        cluster: cluster.name.clone(),
    };
    let mark = fingerprint(desired);
    if let Some(live) = &live {
        check_owner(cluster, &key.kind, &live.metadata)?;
        if context.applied.is_current(&key, &mark, &live.metadata) {
            return Ok(None);
        }
    }
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    context.metrics.wrote(Verb::Patch, &key.kind);
    let result = api
        .patch(&key.name, &params, &Patch::Apply(desired))
        .await
        .map_err(Error::api(format!("apply the {} {}", key.kind, key.name)))?;
    context.applied.note(key, mark, result.meta());
    Ok(Some(result))
}

/// Refuses to touch an object that belongs to somebody else, or that is being deleted.
///
/// An object without an owner that carries this cluster's labels was left by an earlier cluster of the name
/// (deleted with `--cascade=orphan`) and is taken over. One that an earlier cluster still owns is about to be
/// deleted by Kubernetes.
pub fn check_owner(cluster: &ValidCluster, kind: &str, live: &ObjectMeta) -> Result<(), Error> {
    let name = live.name.clone().unwrap_or_default();
    let owner = live
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true));
    let labelled = live.labels.as_ref().is_some_and(|live| {
        names::labels(&cluster.name)
            .iter()
            .all(|(key, value)| live.get(key) == Some(value))
    });
    let ours = owner.map_or(labelled, |owner| owner.uid == cluster.uid);
    let earlier =
        owner.is_some_and(|owner| owner.kind == cluster.owner.kind && owner.name == cluster.owner.name);
    if ours && live.deletion_timestamp.is_none() {
        Ok(())
    } else if ours || earlier {
        Err(Error::Terminating {
            kind: kind.into(),
            name,
        })
    } else {
        Err(Error::NameTaken {
            kind: kind.into(),
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::samples;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
    use k8s_openapi::jiff::Timestamp;

    fn live(owner: Option<(&str, &str)>, labels: bool) -> ObjectMeta {
        ObjectMeta {
            name: Some("shop".into()),
            labels: labels.then(|| names::labels("shop")),
            owner_references: owner.map(|(kind, uid)| {
                vec![OwnerReference {
                    kind: kind.into(),
                    name: "shop".into(),
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
        let own = Some(("PliantCluster", "u-1"));
        assert!(check(own, true).is_ok());
        assert!(check(own, false).is_ok());
        assert!(check(None, true).is_ok());
        assert!(matches!(check(None, false), Err(Error::NameTaken { .. })));
        assert!(matches!(
            check(Some(("Other", "u-2")), true),
            Err(Error::NameTaken { .. })
        ));
        assert!(matches!(
            check(Some(("PliantCluster", "u-0")), true),
            Err(Error::Terminating { .. })
        ));
        let mut going = live(own, false);
        going.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert!(matches!(
            check_owner(&cluster, "Service", &going),
            Err(Error::Terminating { .. })
        ));
    }
}
