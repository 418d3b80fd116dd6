//! Start, run and stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use pliantdb_cluster_member::Member;
use pliantdb_core::{Api, InvalidSchema, Schema};
use pliantdb_storage::memory::MemoryPlan;
use pliantdb_storage::{Apis, Database, Options, Storage, StorageError};
use quinn::Endpoint;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::VERSION;
use crate::access::{Access, AccessError, AccessFiles, Sessions};
use crate::app::App;
use crate::certificate::{self, Certificate, CertificateError};
use crate::cluster::{self, ClusterError, Doors, Serving};
use crate::config::{Clustering, ConfigError, Settings};
use crate::connections::{self, Limits};
use crate::databases::{Alone, Databases};
use crate::encryption::{self, KeyError};
use crate::executor::Executor;
use crate::http;
use crate::local::Local;
use crate::metrics::Metrics;
use crate::quic;
use crate::schemas::Schemas;

/// How many connections the admin listener serves at once.
const ADMIN_CONNECTIONS: usize = 64;

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The token file, the file of keys or the audit log cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Other machines could reach it, and nobody would be asked who they are.
    #[error(transparent)]
    Unprotected(#[from] ConfigError),
    /// The master key cannot be used.
    #[error(transparent)]
    MasterKey(#[from] KeyError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A schema contradicts itself.
    #[error(transparent)]
    Schema(#[from] InvalidSchema),
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A database cannot be given the schema that it has.
    #[error("the schemas of the databases cannot be used: {0}")]
    Schemas(pliantdb_core::Error),
    /// The node cannot be a member of a cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
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

/// What a server is to serve.
pub struct Builder {
    settings: Settings,
    schemas: Result<Schemas, InvalidSchema>,
    options: Options,
}

impl Builder {
    /// Serves databases of this schema: the server runs its views. Several of one name are its versions; a database is
    /// opened with the one that it has, and with the one added last when it has none of them.
    #[must_use]
    pub fn schema<S: Schema>(mut self) -> Self {
        self.schemas = self.schemas.and_then(|mut schemas| {
            schemas.add::<S>()?;
            Ok(schemas)
        });
        self
    }

    /// Answers calls of the custom API `A`, of every database and by every door, with `handler`. It may block.
    #[must_use]
    pub fn api<A: Api>(
        mut self,
        handler: impl Fn(&Database, A) -> Result<A::Response, A::Error> + Send + Sync + 'static,
    ) -> Self {
        self.options.apis = std::mem::take(&mut self.options.apis).with(handler);
        self
    }

    /// How long changes are kept for feeds: [`Options::change_retention`].
    #[must_use]
    pub fn change_retention(mut self, retention: std::time::Duration) -> Self {
        self.options.change_retention = Some(retention);
        self
    }

    /// How many bytes of memory the process may use; by default what [`pliantdb_storage::memory::limit`] finds. The store
    /// takes a part of it, and what requests may take together is bounded by another.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.options.memory_limit = Some(bytes);
        self
    }

    /// Opens the storage and serves QUIC, and leaves HTTP to the program that this is part of: to be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`StartError`], which names the setting or the file.
    pub async fn embed(self) -> Result<Embedded, StartError> {
        let opened = self.open(None).await?;
        Ok(Embedded(opened.run_quic()))
    }

    /// Binds the listeners and opens the storage; connections wait until [`Server::run`].
    ///
    /// Port 0 takes any free port; [`Server::addresses`] and the line "listening" in the log have it.
    ///
    /// # Errors
    /// [`StartError`], which names the setting or the file.
    pub async fn start(self) -> Result<Server, StartError> {
        let (listener, http) = bind("listen", self.settings.listen).await?;
        let (admin_listener, admin) = bind("adminListen", self.settings.admin_listen).await?;
        let opened = self.open(Some(http)).await?;
        let tls = match &opened.settings.certificate {
            // A certificate that the node has made is for QUIC, whose clients can be told its fingerprint.
            None => None,
            Some(_) => {
                let config = certificate::tls(&opened.certificate, &[b"http/1.1"], true)?;
                Some(TlsAcceptor::from(Arc::new(config)))
            }
        };
        let addresses = Addresses {
            http,
            quic: opened.address,
            admin,
        };
        let data = opened.settings.data.display();
        tracing::info!(
            address = %addresses.http,
            quic_address = %addresses.quic,
            admin_address = %addresses.admin,
            fingerprint = opened.certificate.fingerprint(),
            %data,
            version = VERSION,
            "listening"
        );
        Ok(Server {
            opened,
            listener,
            admin_listener,
            tls,
            addresses,
        })
    }

    async fn open(self, http: Option<SocketAddr>) -> Result<Opened, StartError> {
        let Self {
            settings,
            schemas,
            options,
        } = self;
        let schemas = schemas?;
        let access = AccessFiles::open(&settings)?;
        let own = settings.certificate.clone().map(Certificate::open).transpose()?;
        let metrics = Arc::new(Metrics::default());
        let memory_limit = options
            .memory_limit
            .unwrap_or_else(pliantdb_storage::memory::limit);
        let (failure, failed) = oneshot::channel();
        let (schemas, stopping) = (Arc::new(schemas), CancellationToken::new());
        let sessions = Arc::<Sessions>::default();
        let executor = Arc::new(Executor::new(Arc::clone(&metrics), stopping.clone()));
        let opening = match settings.clustering.clone() {
            None => Opening::Storage(open_storage(&settings, options, &metrics, failure).await?),
            Some(clustering) => Opening::Member(clustering, options, failure),
        };
        let certificate = match own {
            Some(certificate) => certificate,
            None => Certificate::own(&settings.data)?,
        };
        let listen_failed = |reason| StartError::Listen {
            setting: "quicListen",
            address: settings.quic_listen,
            reason,
        };
        let endpoint = quic::bind(settings.quic_listen, &certificate).map_err(listen_failed)?;
        let address = endpoint.local_addr().map_err(listen_failed)?;
        let databases = match opening {
            Opening::Storage(storage) => {
                schemas.define_all(&storage).map_err(StartError::Schemas)?;
                metrics.watch_storage(&storage);
                Databases::Alone(Arc::new(Alone::new(storage, Arc::clone(&schemas), executor)))
            }
            Opening::Member(clustering, options, failure) => {
                let doors = Doors {
                    http: http.map(|address| (address, settings.certificate.is_some())),
                    quic: address,
                    // One of an authority is known by its name.
                    fingerprint: match settings.certificate {
                        None => Some(certificate.fingerprint()),
                        Some(_) => None,
                    },
                };
                let serving = Serving {
                    options,
                    schemas: Arc::clone(&schemas),
                    executor,
                    sessions: Arc::clone(&sessions),
                    memory: MemoryPlan::for_limit(memory_limit),
                    failure,
                };
                let clustered = cluster::open(&settings, &clustering, &doors, serving).await?;
                metrics.watch_cluster(&clustered);
                Databases::Clustered(clustered)
            }
        };
        let access = Access::new(databases.clone(), sessions, access, Arc::clone(&metrics));
        if access.is_open() {
            settings.check_loopback()?;
        }
        let app = Arc::new(App::new(
            databases,
            schemas,
            metrics,
            access,
            memory_limit,
            stopping,
            &settings,
        ));
        Ok(Opened {
            app,
            endpoint,
            address,
            certificate,
            settings,
            failed,
        })
    }
}

/// Where the databases come from.
#[allow(clippy::large_enum_variant, reason = "there is one")]
enum Opening {
    /// A storage of this node alone.
    Storage(Storage),
    /// A member of a cluster, with what it is to be told when it fails.
    Member(Clustering, Options, oneshot::Sender<StorageError>),
}

/// A storage that is open, with its QUIC socket.
struct Opened {
    app: Arc<App>,
    endpoint: Endpoint,
    address: SocketAddr,
    certificate: Certificate,
    settings: Settings,
    /// Resolves when the storage fails for good.
    failed: oneshot::Receiver<StorageError>,
}

impl Opened {
    /// Serves QUIC, and follows the files that may change.
    fn run_quic(self) -> Running {
        let stop = CancellationToken::new();
        let limits = quic::Limits {
            connections: self.settings.max_connections,
            hello_timeout: self.settings.header_timeout,
            send_timeout: self.settings.request_timeout,
        };
        let quic = tokio::spawn(quic::serve(
            self.endpoint,
            Arc::clone(&self.app),
            limits,
            stop.clone(),
        ));
        let mut following = vec![tokio::spawn(self.certificate.clone().follow()).abort_handle()];
        following.push(tokio::spawn(self.app.access().clone().follow()).abort_handle());
        // One of an authority is known by its name.
        if let (Some(cluster), None) = (&self.app.cluster, &self.settings.certificate) {
            let telling = Arc::clone(cluster).follow_certificate(self.certificate.clone());
            following.push(tokio::spawn(telling).abort_handle());
        }
        Running {
            app: self.app,
            certificate: self.certificate,
            address: self.address,
            settings: self.settings,
            failed: self.failed,
            stop,
            quic,
            following,
        }
    }
}

/// A storage that is served by QUIC.
struct Running {
    app: Arc<App>,
    certificate: Certificate,
    address: SocketAddr,
    settings: Settings,
    failed: oneshot::Receiver<StorageError>,
    stop: CancellationToken,
    quic: JoinHandle<()>,
    following: Vec<AbortHandle>,
}

impl Running {
    /// Lets other nodes lead while everybody is still answered, answers what was asked, with the help of `others` who do
    /// too, and closes the storage.
    async fn end(mut self, others: impl Future<Output = ()>) {
        let until = tokio::time::Instant::now() + self.settings.shutdown_timeout;
        self.app.leave();
        // The other half is for what is in flight then.
        self.app
            .databases
            .hand_over(self.settings.shutdown_timeout / 2)
            .await;
        self.app.stop();
        self.stop.cancel();
        let finished = async {
            tokio::join!(others, self.app.websockets.end(), async {
                let _ = (&mut self.quic).await;
            });
        };
        if tokio::time::timeout_at(until, finished).await.is_err() {
            tracing::warn!("requests were still in flight after the shutdown timeout; they are cut off");
            self.quic.abort();
        }
        self.following.iter().for_each(AbortHandle::abort);
        self.app.databases.close().await;
    }
}

/// Where a server can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// HTTP and WebSocket.
    pub http: SocketAddr,
    /// QUIC (UDP).
    pub quic: SocketAddr,
    /// Metrics and health.
    pub admin: SocketAddr,
}

/// A server with its listeners bound and its storage open.
pub struct Server {
    opened: Opened,
    listener: TcpListener,
    admin_listener: TcpListener,
    tls: Option<TlsAcceptor>,
    addresses: Addresses,
}

impl Server {
    /// A server with these settings, to be told what it is to serve.
    #[must_use]
    pub fn builder(settings: Settings) -> Builder {
        Builder {
            settings,
            schemas: Ok(Schemas::default()),
            options: Options {
                apis: Apis::default(),
                ..Options::default()
            },
        }
    }

    /// Where it can be reached.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The SHA-256 of its certificate, in hexadecimal digits: clients can know it by that.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.opened.certificate.fingerprint()
    }

    /// The member of a cluster that it is, by which that can be looked at and changed; `None` for a node that is alone.
    #[must_use]
    pub fn member(&self) -> Option<Arc<Member>> {
        self.opened
            .app
            .cluster
            .as_ref()
            .map(|cluster| cluster.shared_member())
    }

    /// Its databases, for the program that the server is part of.
    #[must_use]
    pub fn databases(&self) -> Local {
        Local(self.opened.app.databases.clone())
    }

    /// Serves until `stop` resolves. Then the server is no longer ready, lets other nodes of its cluster lead what it leads,
    /// accepts no connections, lets the requests in flight finish, all that within the shutdown timeout, and closes the storage. The same when the
    /// storage fails for good: whoever starts the server again lets it recover.
    ///
    /// # Errors
    /// [`StorageError::Failed`] when that is why it stopped.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), StorageError> {
        let Self {
            opened,
            listener,
            admin_listener,
            tls,
            ..
        } = self;
        let mut running = opened.run_quic();
        let (app, settings) = (Arc::clone(&running.app), running.settings.clone());
        let stop_admin = CancellationToken::new();
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
        let mut api = tokio::spawn(connections::serve(
            listener,
            routes,
            limits,
            tls,
            Some(Arc::clone(&app.metrics)),
            running.stop.clone(),
        ));
        let mut admin = tokio::spawn(connections::serve(
            admin_listener,
            admin_routes,
            admin_limits,
            None,
            None,
            stop_admin.clone(),
        ));

        let failure = tokio::select! {
            () = stop => None,
            Ok(failure) = &mut running.failed => Some(failure),
        };
        let start = Instant::now();
        running
            .end(async {
                let _ = (&mut api).await;
            })
            .await;
        api.abort();
        // The admin listener goes last, so that probes hear "stopping" and not silence.
        stop_admin.cancel();
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

/// A server inside another program, which serves HTTP itself: QUIC is served at its own address.
pub struct Embedded(Running);

impl Embedded {
    /// Everything that is served over HTTP and WebSocket, to be merged into a program's own routes.
    pub fn routes(&self) -> Router {
        http::api(Arc::clone(&self.0.app))
    }

    /// Where QUIC is served.
    #[must_use]
    pub fn quic_address(&self) -> SocketAddr {
        self.0.address
    }

    /// As [`Server::fingerprint`].
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.certificate.fingerprint()
    }

    /// As [`Server::member`].
    #[must_use]
    pub fn member(&self) -> Option<Arc<Member>> {
        self.0.app.cluster.as_ref().map(|cluster| cluster.shared_member())
    }

    /// Its databases.
    #[must_use]
    pub fn databases(&self) -> Local {
        Local(self.0.app.databases.clone())
    }

    /// Resolves when the storage fails for good: no write is taken any more until it is opened again.
    pub async fn failed(&mut self) -> StorageError {
        match (&mut self.0.failed).await {
            Ok(error) => error,
            Err(_) => std::future::pending().await,
        }
    }

    /// Answers what was asked by QUIC and WebSocket, for as long as the shutdown timeout, and closes the storage. To be
    /// called when HTTP is no longer served.
    pub async fn stop(self) {
        self.0.end(async {}).await;
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
    options: Options,
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
        ..options
    };
    let path = settings.data.clone();
    match tokio::task::spawn_blocking(move || Storage::open_with(path, options)).await {
        Ok(storage) => Ok(storage?),
        Err(_) => Err(StorageError::Closed.into()),
    }
}
