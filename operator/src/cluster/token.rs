//! The administrator's token: made once, kept as it is, never shown.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::apply::check_owner;
use super::build::{TOKEN_KEY, admin_secret};
use super::context::Context;
use super::error::{Error, is_conflict};
use super::names;
use super::validate::ValidCluster;
use crate::metrics::Verb;

/// Makes sure that the Secret with the administrator's token exists. A token that is there, whoever made it and
/// whenever, stays as it is.
///
/// # Errors
/// When the API server does not answer, the Secret belongs to somebody else and has no token, or it was changed
/// in the meantime.
pub async fn ensure(context: &Context, cluster: &ValidCluster) -> Result<(), Error> {
    let name = names::admin_secret(&cluster.name);
    let api = context.api::<Secret>(&cluster.namespace);
    let live = api
        .get_opt(&name)
        .await
        .map_err(Error::api(format!("read the Secret {name}")))?;
    let Some(live) = live else {
        context.metrics.wrote(Verb::Create, "Secret");
        return match api
            .create(&PostParams::default(), &admin_secret(cluster, random_token()))
            .await
        {
            Ok(_) => Ok(()),
            // Somebody was faster, and with a token of their own, which counts.
            Err(error) if is_conflict(&error) => Ok(()),
            Err(error) => Err(Error::api(format!("create the Secret {name}"))(error)),
        };
    };
    if live
        .data
        .as_ref()
        .and_then(|data| data.get(TOKEN_KEY))
        .is_some_and(|token| !token.0.is_empty())
    {
        return Ok(());
    }
    check_owner(cluster, "Secret", &live.metadata)?;
    context.metrics.wrote(Verb::Patch, "Secret");
    let patch = Patch::Merge(json!({
        "metadata": {"resourceVersion": live.metadata.resource_version},
        "stringData": {TOKEN_KEY: random_token()},
    }));
    api.patch(&name, &PatchParams::default(), &patch)
        .await
        .map_err(Error::api(format!("put a token into the Secret {name}")))?;
    Ok(())
}

/// 256 bits of the operating system's randomness, as 64 hexadecimal digits.
fn random_token() -> String {
    let bytes: [u8; 32] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
