//! Its server, in a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bonsaidb::client::fabruic::Certificate;
use bonsaidb::client::url::Url;
use bonsaidb::client::{AsyncClient, AsyncRemoteDatabase};
use bonsaidb::core::connection::AsyncStorageConnection;
use bonsaidb::local::config::Builder;
use bonsaidb::server::{DefaultPermissions, Server, ServerConfiguration};
use load::Failure;
use tokio::runtime::Runtime;

use crate::Bench;

/// The name of the database.
const DATABASE: &str = "bench";

/// A server that runs, and a database of it.
pub(crate) struct Served {
    process: Child,
    pub(crate) database: AsyncRemoteDatabase,
}

impl Drop for Served {
    fn drop(&mut self) {
        // Nothing else can be done about it here.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts the server and connects to it.
pub(crate) fn start(runtime: &Runtime, directory: &str) -> Result<Served, Failure> {
    let process = Command::new(std::env::current_exe()?)
        .args([directory, "serve"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut served = process;
    let (certificate, port) = wait_for(Path::new(directory))?;
    let url = Url::parse(&format!("bonsaidb://localhost:{port}"))?;
    let database = runtime.block_on(async {
        let client = AsyncClient::build(url)
            .with_certificate(Certificate::from_der(certificate)?)
            .build()?;
        Ok::<_, Failure>(client.database::<Bench>(DATABASE).await?)
    });
    match database {
        Ok(database) => Ok(Served {
            process: served,
            database,
        }),
        Err(error) => {
            let _ = served.kill();
            Err(error)
        }
    }
}

fn files(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.with_extension("certificate"), directory.with_extension("port"))
}

fn wait_for(directory: &Path) -> Result<(Vec<u8>, u16), Failure> {
    let (certificate, port) = files(directory);
    for _ in 0..300 {
        std::thread::sleep(Duration::from_millis(100));
        if let Ok(port) = std::fs::read_to_string(&port) {
            // The socket is opened a moment after the file is written.
            std::thread::sleep(Duration::from_secs(1));
            return Ok((std::fs::read(&certificate)?, port.trim().parse()?));
        }
    }
    Err("the server did not start".into())
}

/// Serves until the process is ended.
pub(crate) async fn serve(directory: &str) -> Result<(), Failure> {
    let configuration = ServerConfiguration::new(directory).default_permissions(DefaultPermissions::AllowAll);
    let server = Server::open(configuration.with_schema::<Bench>()?).await?;
    server.install_self_signed_certificate(true).await?;
    let chain = server.certificate_chain().await?;
    server.create_database::<Bench>(DATABASE, true).await?;
    // A port that is free now; it cannot choose one itself.
    let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    let (certificate, port_file) = files(Path::new(directory));
    let end_entity = chain.into_end_entity_certificate();
    std::fs::write(certificate, AsRef::<[u8]>::as_ref(&end_entity))?;
    std::fs::write(port_file, port.to_string())?;
    server.listen_on(port).await?;
    Ok(())
}
