//! A server in this process, for the doors that lead to one.

use std::net::SocketAddr;

use pliantdb_conformance::{feed, schema};
use pliantdb_core::Schema;
use pliantdb_server::config::{Inputs, Settings};
use pliantdb_server::{Addresses, Builder, Server};
use tempfile::TempDir;
use tokio::runtime::{Builder as RuntimeBuilder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server with its data, which it finds again when it is restarted at the same addresses.
pub struct Serving {
    directory: TempDir,
    runtime: Runtime,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    addresses: Addresses,
    fingerprint: String,
}

struct Registering(Builder);

impl schema::Register for Registering {
    fn schema<S: Schema>(self) -> Self {
        Self(self.0.schema::<S>())
    }
}

impl Serving {
    /// A new, empty one.
    pub fn start() -> Self {
        let runtime = RuntimeBuilder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut serving = Self {
            directory: tempfile::tempdir().unwrap(),
            runtime,
            running: None,
        };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        serving.run(any, any);
        serving
    }

    fn run(&mut self, listen: SocketAddr, quic_listen: SocketAddr) {
        let inputs = Inputs {
            data: Some(self.directory.path().join("data")),
            listen: Some(listen.to_string()),
            quic_listen: Some(quic_listen.to_string()),
            admin_listen: Some("127.0.0.1:0".to_owned()),
            max_body_size: Some("64Mi".parse().unwrap()),
            ..Inputs::default()
        };
        let settings = Settings::load(inputs, None).unwrap();
        let builder = Server::builder(settings)
            .change_retention(feed::RETENTION)
            .api(|_, request: schema::Greet| schema::greet(&request));
        let Registering(builder) = schema::register(Registering(builder));
        let server = self.runtime.block_on(builder.start()).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (addresses, fingerprint) = (server.addresses(), server.fingerprint());
        let task = self.runtime.spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            server.run(stop).await.unwrap();
        });
        self.running = Some(Running {
            stop,
            task,
            addresses,
            fingerprint,
        });
    }

    /// Ends the server and starts it again, at the same addresses and with everything in it.
    pub fn restart(&mut self) {
        let Addresses { http, quic, .. } = self.end();
        self.run(http, quic);
    }

    fn end(&mut self) -> Addresses {
        let Running {
            stop,
            task,
            addresses,
            ..
        } = self.running.take().unwrap();
        let _ = stop.send(());
        self.runtime.block_on(task).unwrap();
        addresses
    }

    /// Its address for QUIC.
    pub fn quic(&self) -> String {
        let Running {
            addresses,
            fingerprint,
            ..
        } = self.running.as_ref().unwrap();
        format!("pliant://{}?fingerprint={fingerprint}", addresses.quic)
    }

    /// Its address for WebSocket.
    pub fn websocket(&self) -> String {
        format!("ws://{}", self.http())
    }

    /// Its address for HTTP.
    pub fn http(&self) -> SocketAddr {
        self.running.as_ref().unwrap().addresses.http
    }

    /// Runs what is asynchronous.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.end();
        }
    }
}
