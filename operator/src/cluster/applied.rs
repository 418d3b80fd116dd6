//! The memory of what was applied, so that it is not applied again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::fingerprint::fingerprint;

/// What was applied, and which version of the object came of it.
///
/// An object whose desired form and version are both as they were needs no request. Nothing is lost with the
/// memory of the process: after a restart, each object is applied once more, which changes nothing in it.
#[derive(Default)]
pub struct Applied(Mutex<HashMap<Key, Entry>>);

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The object's kind.
    pub kind: String,
    /// The namespace of the object and of its cluster.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The name of the cluster that it belongs to.
    pub cluster: String,
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

impl Applied {
    /// Whether the object was left in its desired form and is still the same.
    pub fn is_current(&self, key: &Key, desired: &str, live: &ObjectMeta) -> bool {
        let entry = Entry {
            desired: desired.into(),
            version: Version::of(live),
        };
        self.lock().get(key) == Some(&entry)
    }

    /// Notes in which form the object was left.
    pub fn note(&self, key: Key, desired: String, left: &ObjectMeta) {
        self.lock().insert(
            key,
            Entry {
                desired,
                version: Version::of(left),
            },
        );
    }

    /// Forgets the objects of a cluster that is gone.
    pub fn forget(&self, namespace: &str, cluster: &str) {
        self.lock()
            .retain(|key, _| key.namespace != namespace || key.cluster != cluster);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        // The map is whole between any two statements, also where a thread ended in a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_told_from_a_status_update() {
        let mut metadata = ObjectMeta {
            generation: Some(3),
            resource_version: Some("10".into()),
            labels: Some([("a".to_string(), "b".to_string())].into()),
            ..ObjectMeta::default()
        };
        let before = Version::of(&metadata);
        metadata.resource_version = Some("11".into());
        assert_eq!(Version::of(&metadata), before, "a new status");
        metadata.generation = Some(4);
        assert_ne!(Version::of(&metadata), before, "a new spec");
        metadata.generation = Some(3);
        metadata.labels = None;
        assert_ne!(Version::of(&metadata), before, "labels taken away");
    }

    #[test]
    fn what_is_forgotten_is_applied_again() {
        let applied = Applied::default();
        let key = |cluster: &str| Key {
            kind: "Service".into(),
            namespace: "n".into(),
            name: cluster.into(),
            cluster: cluster.into(),
        };
        let live = ObjectMeta {
            resource_version: Some("1".into()),
            ..ObjectMeta::default()
        };
        applied.note(key("a"), "form".into(), &live);
        applied.note(key("b"), "form".into(), &live);
        assert!(applied.is_current(&key("a"), "form", &live));
        assert!(!applied.is_current(&key("a"), "another form", &live));
        applied.forget("n", "a");
        assert!(!applied.is_current(&key("a"), "form", &live));
        assert!(applied.is_current(&key("b"), "form", &live));
    }
}
