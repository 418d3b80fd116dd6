//! The process, from start to graceful end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::cluster::{self, Context as ClusterContext};
use crate::http::{self, Vitals};
use crate::leadership::Leadership;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// How long a silent connection to the API server is kept. A watch ends by itself a little earlier.
const SILENCE: Duration = Duration::from_secs(295);
/// How long reconciliations that have begun may take to finish when the operator is asked to stop.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs the operator until it is asked to stop (SIGTERM or SIGINT) or has lost its lease.
///
/// # Errors
/// When there is no access to a Kubernetes cluster, the port is taken, or the lease was lost: another replica
/// may act from then on, so this process must end at once.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "the operator starts");
    let stop = stop_on_signal()?;
    let client = client().await.context("no access to a Kubernetes cluster")?;
    let vitals = Vitals {
        metrics: Arc::new(Metrics::new()),
        ready: Arc::new(AtomicBool::new(false)),
    };

    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("cannot listen on {}", settings.listen))?;
    let server = tokio::spawn(http::serve(listener, vitals.clone(), stop.clone()));

    let mut leadership = Leadership::compete(client.clone(), &settings.lease, &settings.identity);
    let won = tokio::select! {
        won = stand_by(&mut leadership, &vitals.ready) => { won?; true }
        () = stop.cancelled() => false,
    };
    if won {
        tracing::info!("this replica holds the lease and acts");
        act(client, settings, &vitals, &mut leadership, &stop).await?;
    }
    leadership.resign().await;
    server.await??;
    tracing::info!("the operator has stopped");
    Ok(())
}

async fn client() -> anyhow::Result<Client> {
    let mut config = Config::infer().await?;
    config.read_timeout = Some(SILENCE);
    Ok(Client::try_from(config)?)
}

async fn stand_by(leadership: &mut Leadership, ready: &AtomicBool) -> anyhow::Result<()> {
    leadership.seen().await;
    // A replica that stands by is as ready as it can be, so that a rolling update comes to its end.
    ready.store(true, Ordering::Relaxed);
    leadership.won().await
}

/// Runs the controllers until `stop`. Reconciliations that have begun may finish, before another replica may
/// begin one; but not when the lease is lost, since another may have begun already.
async fn act(
    client: Client,
    settings: Settings,
    vitals: &Vitals,
    leadership: &mut Leadership,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    vitals.metrics.leads(true);
    let controllers = CancellationToken::new();
    let context = ClusterContext::new(client, settings, vitals.metrics.clone());
    let mut controller = tokio::spawn(cluster::run(context, vitals.ready.clone(), controllers.clone()));
    tokio::select! {
        () = stop.cancelled() => {}
        () = leadership.lost() => bail!("the lease was lost"),
        ended = &mut controller => {
            ended.context("the controller failed")?;
            bail!("the controller ended by itself");
        }
    }
    controllers.cancel();
    match timeout(PATIENCE, controller).await {
        Ok(ended) => ended.context("the controller failed")?,
        Err(_) => tracing::warn!("reconciliations are cut short after {PATIENCE:?}"),
    }
    vitals.metrics.leads(false);
    Ok(())
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
