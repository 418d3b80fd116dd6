//! Start, run and stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use pliantdb_storage::{Options, Storage, StorageError};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::VERSION;
use crate::app::App;
use crate::config::Settings;
use crate::connections::{self, Limits};
use crate::encryption::{self, KeyError};
use crate::http;
use crate::metrics::Metrics;
use crate::token::{TokenError, TokenFile};

/// How many connections the admin listener serves at once.
const ADMIN_CONNECTIONS: usize = 64;

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The token file cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The master key cannot be used.
    #[error(transparent)]
    MasterKey(#[from] KeyError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({setting}): {reason}")]
    Listen {
        /// The setting's key.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
        /// Why.
        reason: io::Error,
    },
}

/// A server with its listeners bound and its storage open.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    admin_listener: TcpListener,
    settings: Settings,
    /// Resolves when the storage fails for good.
    failed: oneshot::Receiver<StorageError>,
}

impl Server {
    /// Binds the listeners and opens the storage; connections wait until [`Server::run`].
    ///
    /// Port 0 takes any free port; the line "listening" in the log has the addresses.
    ///
    /// # Errors
    /// [`StartError`], which names the setting or the file.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let token = settings.token_file.as_deref().map(TokenFile::open).transpose()?;
        let (listener, address) = bind("listen", settings.listen).await?;
        let (admin_listener, admin_address) = bind("adminListen", settings.admin_listen).await?;
        let metrics = Arc::new(Metrics::default());
        let (failure, failed) = oneshot::channel();
        let storage = open_storage(&settings, &metrics, failure).await?;
        metrics.watch_storage(&storage);
        let data = settings.data.display();
        tracing::info!(%address, %admin_address, %data, version = VERSION, "listening");
        let app = Arc::new(App::new(storage, metrics, token, &settings));
        Ok(Self {
            app,
            listener,
            admin_listener,
            settings,
            failed,
        })
    }

    /// Serves until `stop` resolves. Then the server is no longer ready, accepts no connections, lets the
    /// requests in flight finish for as long as the shutdown timeout, and closes the storage. The same when the
    /// storage fails for good: whoever starts the server again lets it recover.
    ///
    /// # Errors
    /// [`StorageError::Failed`] when that is why it stopped.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), StorageError> {
        let Self {
            app,
            listener,
            admin_listener,
            settings,
            failed,
        } = self;
        let follow = app.token.clone().map(|token| tokio::spawn(token.follow()));
        let (stop_api, api_stopped) = watch::channel(false);
        let (stop_admin, admin_stopped) = watch::channel(false);
        let limits = Limits {
            connections: settings.max_connections,
            header_timeout: settings.header_timeout,
            send_timeout: settings.request_timeout,
        };
        let admin_limits = Limits {
            connections: ADMIN_CONNECTIONS,
            ..limits
        };
        let routes = http::api(Arc::clone(&app));
        let admin_routes = http::admin(Arc::clone(&app));
        let mut api = tokio::spawn(connections::serve(listener, routes, limits, api_stopped));
        let mut admin = tokio::spawn(connections::serve(
            admin_listener,
            admin_routes,
            admin_limits,
            admin_stopped,
        ));

        let failure = tokio::select! {
            () = stop => None,
            Ok(failure) = failed => Some(failure),
        };
        let start = Instant::now();
        app.stop();
        let _ = stop_api.send(true);
        if tokio::time::timeout(settings.shutdown_timeout, &mut api)
            .await
            .is_err()
        {
            tracing::warn!("requests were still in flight after the shutdown timeout; they are cut off");
            api.abort();
        }
        if let Some(follow) = follow {
            follow.abort();
        }
        let storage = app.storage.clone();
        match tokio::task::spawn_blocking(move || storage.close()).await {
            // Logged when it happened.
            Ok(Err(StorageError::Failed(_))) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "the storage was closed without a flush; nothing is lost");
            }
            Err(error) => tracing::error!(%error, "closing the storage failed"),
            Ok(Ok(())) => {}
        }
        // The admin listener goes last, so that probes hear "stopping" and not silence.
        let _ = stop_admin.send(true);
        if tokio::time::timeout(connections::ADMIN_GRACE, &mut admin)
            .await
            .is_err()
        {
            admin.abort();
        }
        tracing::info!(seconds = start.elapsed().as_secs_f64(), "stopped");
        failure.map_or(Ok(()), Err)
    }
}

async fn bind(setting: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |reason| StartError::Listen {
        setting,
        address,
        reason,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn open_storage(
    settings: &Settings,
    metrics: &Arc<Metrics>,
    failure: oneshot::Sender<StorageError>,
) -> Result<Storage, StartError> {
    let observed = Arc::clone(metrics);
    let options = Options {
        min_free_space: settings.min_free_space,
        encryption: encryption::master_key(settings.master_key_file.as_deref())?,
        observer: Some(Box::new(move |commit| observed.commit(commit))),
        on_failure: Some(Box::new(move |error| {
            // Fails only if the server is gone.
            let _ = failure.send(error);
        })),
        ..Options::default()
    };
    let path = settings.data.clone();
    match tokio::task::spawn_blocking(move || Storage::open_with(path, options)).await {
        Ok(storage) => Ok(storage?),
        Err(_) => Err(StorageError::Closed.into()),
    }
}
