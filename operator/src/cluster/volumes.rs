//! How the volumes grow. Pure.
//!
//! Kubernetes grows a volume when its claim asks for more. The claim template of a StatefulSet cannot be
//! changed, so once the claims have grown the StatefulSet is deleted without its pods and made anew.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource;
use pliant_crds::Quantity;

use super::names;

/// What is to be done about the volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The claims that must ask for more.
    pub grow: Vec<String>,
    /// The StatefulSet must be made anew to give later claims the new size.
    pub remake_stateful_set: bool,
}

/// What is to be done so that every volume has at least the size `desired`.
pub fn plan(
    desired: &Quantity,
    stateful_set: Option<&StatefulSet>,
    claims: &[PersistentVolumeClaim],
) -> Plan {
    let Ok(desired) = desired.milli() else {
        return Plan::default();
    };
    let grow = claims
        .iter()
        .filter(|claim| is_bound(claim))
        .filter(|claim| {
            requested(claim)
                .and_then(milli)
                .is_some_and(|size| size < desired)
        })
        .filter_map(|claim| claim.metadata.name.clone())
        .collect();
    let template = stateful_set
        .and_then(template_size)
        .and_then(|size| size.milli().ok());
    Plan {
        grow,
        remake_stateful_set: template.is_some_and(|size| size != desired),
    }
}

/// The size in the StatefulSet's claim template.
pub fn template_size(stateful_set: &StatefulSet) -> Option<Quantity> {
    let templates = stateful_set.spec.as_ref()?.volume_claim_templates.as_ref()?;
    let data = templates
        .iter()
        .find(|claim| claim.metadata.name.as_deref() == Some(names::DATA_VOLUME))?;
    requested(data).map(|size| Quantity(size.0.clone()))
}

/// The size that every volume has at least been asked for, but never more than `desired`: a volume that was
/// kept from an earlier cluster may be larger, and nothing is wrong with that. A claim without a volume does
/// not count: its size can still be chosen freely.
pub fn asked_for(desired: &Quantity, claims: &[PersistentVolumeClaim]) -> Option<Quantity> {
    let sizes = claims
        .iter()
        .filter(|claim| is_bound(claim))
        .filter_map(requested);
    let (smallest, size) = sizes
        .filter_map(|size| Some((milli(size)?, size)))
        .min_by_key(|(milli, _)| *milli)?;
    let larger = Some(smallest) >= desired.milli().ok();
    Some(if larger {
        desired.clone()
    } else {
        Quantity(size.0.clone())
    })
}

/// Puts a claim that has changed in the place of what was known of it.
pub fn replace(claims: &mut [PersistentVolumeClaim], changed: PersistentVolumeClaim) {
    if let Some(place) = claims
        .iter_mut()
        .find(|claim| claim.metadata.name == changed.metadata.name)
    {
        *place = changed;
    }
}

/// The volumes that have not yet grown to what their claims ask for, in words.
pub fn growing(claims: &[PersistentVolumeClaim]) -> Option<String> {
    claims.iter().find_map(|claim| {
        let requested = requested(claim)?;
        let has = claim.status.as_ref()?.capacity.as_ref()?.get("storage")?;
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        (milli(has)? < milli(requested)?)
            .then(|| format!("the volume {name} grows from {} to {}", has.0, requested.0))
    })
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

fn requested(claim: &PersistentVolumeClaim) -> Option<&resource::Quantity> {
    claim
        .spec
        .as_ref()?
        .resources
        .as_ref()?
        .requests
        .as_ref()?
        .get("storage")
}

fn milli(quantity: &resource::Quantity) -> Option<u128> {
    Quantity(quantity.0.clone()).milli().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claim(name: &str, requested: &str, has: &str) -> PersistentVolumeClaim {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"resources": {"requests": {"storage": requested}}},
            "status": {"phase": "Bound", "capacity": {"storage": has}}
        }))
        .expect("a claim")
    }

    fn stateful_set(size: &str) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "shop"},
            "spec": {
                "selector": {}, "template": {},
                "volumeClaimTemplates": [
                    {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": size}}}}
                ]
            }
        }))
        .expect("a StatefulSet")
    }

    fn size(text: &str) -> Quantity {
        Quantity(text.into())
    }

    #[test]
    fn nothing_happens_while_sizes_agree_whatever_their_notation() {
        let plan = plan(
            &size("1024Mi"),
            Some(&stateful_set("1Gi")),
            &[claim("data-shop-0", "1Gi", "1Gi")],
        );
        assert_eq!(plan, Plan::default());
    }

    #[test]
    fn smaller_claims_grow_and_the_stateful_set_is_made_anew() {
        let claims = [
            claim("data-shop-0", "1Gi", "1Gi"),
            claim("data-shop-1", "2Gi", "2Gi"),
        ];
        let plan = plan(&size("2Gi"), Some(&stateful_set("1Gi")), &claims);
        assert_eq!(
            plan,
            Plan {
                grow: vec!["data-shop-0".into()],
                remake_stateful_set: true
            }
        );
    }

    #[test]
    fn a_larger_volume_of_an_earlier_cluster_is_kept() {
        let claims = [claim("data-shop-0", "5Gi", "5Gi")];
        assert_eq!(
            plan(&size("1Gi"), Some(&stateful_set("1Gi")), &claims),
            Plan::default()
        );
        assert_eq!(asked_for(&size("1Gi"), &claims), Some(size("1Gi")));
    }

    #[test]
    fn a_claim_without_a_volume_does_not_grow_and_binds_nobody() {
        let mut waiting = claim("data-shop-0", "100Ti", "0");
        waiting.status = None;
        let claims = [waiting];
        assert_eq!(plan(&size("200Ti"), None, &claims), Plan::default());
        assert_eq!(asked_for(&size("1Gi"), &claims), None);
    }

    #[test]
    fn sizes_in_a_notation_that_is_not_ours_are_left_alone() {
        let claims = [claim("data-shop-0", "1e9", "1e9")];
        assert_eq!(plan(&size("2Gi"), None, &claims), Plan::default());
        assert_eq!(asked_for(&size("1Gi"), &claims), None);
    }

    #[test]
    fn growth_is_told_until_it_is_there() {
        let words = growing(&[claim("data-shop-0", "2Gi", "1Gi")]);
        assert_eq!(
            words.as_deref(),
            Some("the volume data-shop-0 grows from 1Gi to 2Gi")
        );
        assert_eq!(growing(&[claim("data-shop-0", "2Gi", "2Gi")]), None);
    }
}
