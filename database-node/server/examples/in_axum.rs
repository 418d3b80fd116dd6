//! The server inside an axum application: its routes beside one's own, and the same data behind both.
//!
//! `cargo run -p pliantdb-server --example in_axum` starts it, asks both, and ends.

#![allow(clippy::print_stdout, reason = "it is a program to look at")]

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use pliantdb_server::config::{Inputs, Settings};
use pliantdb_server::{Collection, Connection, LocalDatabase, Server, StorageConnection};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, Serialize, Deserialize, Collection)]
#[collection(name = "visits")]
struct Visit {
    page: String,
}

/// A page of the application itself, which writes to the database without a detour.
async fn home(State(database): State<Arc<LocalDatabase>>) -> String {
    let visit = Visit {
        page: "home".to_owned(),
    };
    match database.collection::<Visit>().insert(visit).await {
        Ok(stored) => format!("visit {}\n", stored.id),
        Err(error) => format!("{error}\n"),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let inputs = Inputs {
        data: Some(directory.path().join("data")),
        quic_listen: Some("127.0.0.1:0".to_owned()),
        ..Inputs::default()
    };
    let pliantdb = Server::builder(Settings::load(inputs, None)?)
        .schema::<Visit>()
        .embed()
        .await?;
    let database = pliantdb.databases().database::<Visit>("default").await?;

    let pages = Router::new().route("/", get(home)).with_state(Arc::new(database));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let application = pages.merge(pliantdb.routes());
    let serving = tokio::spawn(async move {
        axum::serve(listener, application)
            .with_graceful_shutdown(async {
                let _ = stopped.await;
            })
            .await
    });

    println!("{}", ask(address, "/").await?);
    let visits = ask(address, "/v1/default/visits").await?;
    assert!(visits.contains("home"), "{visits}");

    let _ = stop.send(());
    serving.await??;
    pliantdb.stop().await;
    Ok(())
}

/// What a browser would do.
async fn ask(address: std::net::SocketAddr, path: &str) -> Result<String, std::io::Error> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
