//! Only one replica of the operator acts at a time: the holder of a Lease.
//!
//! A Lease alone is no fence (a paused process may wake after its lease ran out), so every destructive
//! request also carries the identity of the object that it was decided for, as a precondition.

use anyhow::Context;
use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The Lease that the replicas compete for.
const LEASE: &str = "pliant-operator";
/// Seconds after which a holder that does not renew has lost its lease.
const DURATION_SECONDS: u64 = 30;
/// Seconds before that at which the holder renews.
const GRACE_SECONDS: u64 = 10;

/// The competition for the lease, going on in the background.
pub struct Leadership {
    state: watch::Receiver<bool>,
    task: JoinHandle<Result<LeaseManager, kube_lease_manager::LeaseManagerError>>,
}

impl Leadership {
    /// Starts to compete for the lease in the operator's own namespace.
    ///
    /// # Errors
    /// When the Lease cannot be read or created.
    pub async fn compete(client: Client, identity: &str) -> anyhow::Result<Self> {
        let namespace = client.default_namespace().to_string();
        let manager = LeaseManagerBuilder::new(client, LEASE)
            .with_namespace(&namespace)
            .with_identity(identity)
            .with_duration(DURATION_SECONDS)
            .with_grace(GRACE_SECONDS)
            .build()
            .await
            .with_context(|| format!("cannot use the Lease {namespace}/{LEASE}"))?;
        let (state, task) = manager.watch().await;
        Ok(Self { state, task })
    }

    /// Waits until this replica holds the lease.
    ///
    /// # Errors
    /// When the competition ends by itself, which it does after repeated errors.
    pub async fn won(&mut self) -> anyhow::Result<()> {
        self.state
            .wait_for(|leads| *leads)
            .await
            .context("the competition for the lease has ended")?;
        Ok(())
    }

    /// Waits until this replica has lost the lease, or can no longer know.
    pub async fn lost(&mut self) {
        // An error means that the competition has ended, and with it the right to act.
        let _ = self.state.wait_for(|leads| !*leads).await;
    }

    /// Gives the lease back, so that another replica need not wait for its end.
    pub async fn resign(self) {
        drop(self.state);
        match self.task.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!("the lease was not given back: {error}"),
            Err(error) => tracing::warn!("the lease was not given back: {error}"),
        }
    }
}
