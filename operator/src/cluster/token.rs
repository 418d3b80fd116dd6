//! The administrator's token: made once, kept as it is, never shown.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};

use super::apply::check_owner;
use super::build::{TOKEN_KEY, admin_secret};
use super::context::Context;
use super::error::Error;
use super::names;
use super::validate::ValidCluster;
use crate::metrics::Verb;

/// Makes sure that the Secret with the administrator's token exists. A token that is there, whoever made it,
/// stays as it is.
///
/// # Errors
/// When the API server does not answer, or the Secret belongs to somebody else and has no token.
pub async fn ensure(context: &Context, cluster: &ValidCluster) -> Result<(), Error> {
    let name = names::admin_secret(&cluster.name);
    let api = context.api::<Secret>(&cluster.namespace);
    let live = api
        .get_opt(&name)
        .await
        .map_err(Error::api(format!("read the Secret {name}")))?;
    if let Some(live) = &live {
        if live
            .data
            .as_ref()
            .and_then(|data| data.get(TOKEN_KEY))
            .is_some_and(|token| !token.0.is_empty())
        {
            return Ok(());
        }
        check_owner(cluster, "Secret", &live.metadata)?;
    }
    let secret = admin_secret(cluster, random_token());
    context.metrics.wrote(Verb::Patch, "Secret");
    api.patch(
        &name,
        &PatchParams::apply(names::FIELD_MANAGER).force(),
        &Patch::Apply(&secret),
    )
    .await
    .map_err(Error::api(format!("apply the Secret {name}")))?;
    Ok(())
}

/// 256 bits of the operating system's randomness, as 64 hexadecimal digits.
fn random_token() -> String {
    let bytes: [u8; 32] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
