//! Accepting connections and serving HTTP/1.1 on them, within limits, with TLS or without.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::allowance::{Allowance, Allowed};
use crate::metrics::{Door, Metrics};

/// How long to wait when no connection can be accepted, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long admin connections may take to finish once everything else has.
pub(crate) const ADMIN_GRACE: Duration = Duration::from_secs(1);

/// Whose connection it is; an extension of each of its requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Peer {
    /// For requests that did not come by a listener of ours.
    pub(crate) const UNKNOWN: Self = Self(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0));
}

/// What a listener allows its clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) header_timeout: Duration,
    /// How long an answer may wait for a client that does not read it, or is gone.
    pub(crate) send_timeout: Duration,
}

/// Serves connections until `stop` is cancelled; then accepts no more, lets each connection finish the
/// request it is at, and returns when all are closed. They are counted if there are metrics for them.
///
/// `axum::serve` would do but for the limits: it has no time-out for headers.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    tls: Option<TlsAcceptor>,
    metrics: Option<Arc<Metrics>>,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        // Each of many clients can fill one with half-sent headers.
        .max_buf_size(16 * 1024);
    loop {
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accept => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot turn off Nagle's algorithm");
        }
        if let Err(error) = set_tcp_user_timeout(&stream, milliseconds(limits.send_timeout)) {
            tracing::debug!(%error, "cannot limit the time that answers wait for a client");
        }
        let allowance = Allowance::default();
        let router = router.clone().layer(Extension(Peer(peer)));
        let service = TowerToHyperService::new(router.layer(Extension(allowance.clone())));
        let stream = Allowed::new(stream, allowance);
        let open = metrics
            .as_ref()
            .map(|metrics| metrics.connection_opens(Door::Http));
        let (http, tls, stop) = (http.clone(), tls.clone(), stop.clone());
        connections.spawn(async move {
            match tls {
                None => converse(&http, TokioIo::new(stream), service, stop).await,
                Some(tls) => match tokio::time::timeout(limits.header_timeout, tls.accept(stream)).await {
                    Ok(Ok(stream)) => converse(&http, TokioIo::new(stream), service, stop).await,
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
                },
            }
            drop((place, open));
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Serves one connection to its end, or to the end of the request that it is at when `stop` is cancelled.
async fn converse<I: Read + Write + Unpin + Send + 'static>(
    http: &http1::Builder,
    io: I,
    service: TowerToHyperService<Router>,
    stop: CancellationToken,
) {
    let mut connection = pin!(http.serve_connection(io, service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
