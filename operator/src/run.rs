//! The process, from start to graceful end.

use std::sync::Arc;

use anyhow::Context;
use kube::Client;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cluster::{self, Context as ClusterContext};
use crate::http;
use crate::leadership::Leadership;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// Runs the operator until it is asked to stop (SIGTERM or SIGINT) or has lost its lease.
///
/// # Errors
/// When the API server cannot be reached at the start, the port is taken, or the lease was lost: another
/// replica may act from then on, so this process must end.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "the operator starts");
    let stop = stop_on_signal()?;
    let client = Client::try_default()
        .await
        .context("no access to a Kubernetes cluster")?;
    let metrics = Arc::new(Metrics::new());

    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("cannot listen on {}", settings.listen))?;
    let server = tokio::spawn(http::serve(listener, metrics.clone(), stop.clone()));

    let mut leadership = Leadership::compete(client.clone(), &settings.identity).await?;
    tokio::select! {
        won = leadership.won() => won?,
        () = stop.cancelled() => {
            leadership.resign().await;
            return server.await?;
        }
    }
    tracing::info!("this replica holds the lease and acts");
    metrics.leads(true);

    let controllers = CancellationToken::new();
    let _stop_controllers = controllers.clone().drop_guard();
    let context = ClusterContext::new(client, settings, metrics.clone());
    let mut controller = tokio::spawn(cluster::run(context, controllers.clone()));
    let result = tokio::select! {
        () = stop.cancelled() => Ok(()),
        () = leadership.lost() => Err(anyhow::anyhow!("the lease was lost")),
        ended = &mut controller => {
            ended.context("the controller failed")?;
            return Err(anyhow::anyhow!("the controller ended by itself"));
        }
    };
    // A reconciliation that has begun comes to its end before another replica may begin one.
    controllers.cancel();
    controller.await.context("the controller failed")?;
    metrics.leads(false);
    leadership.resign().await;
    if result.is_ok() {
        server.await??;
    }
    tracing::info!("the operator has stopped");
    result
}

fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop");
        token.cancel();
    });
    Ok(stop)
}
