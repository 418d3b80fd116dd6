//! Clients that do it wrong, hang, or vanish.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use load::{Failure, next_random};
use pliantdb_client::{AsyncClient, Connection, FeedStart, Options, StorageConnection, TakeSnapshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use crate::http::read_until;
use crate::schema::Soak;
use crate::work::Work;

/// How many half-open connections there are at once.
const HALF_OPEN: usize = 30;
/// Between the steps of one.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts them.
pub fn start(work: &Arc<Work>, running: &mut Vec<JoinHandle<()>>) {
    for _ in 0..HALF_OPEN {
        let work = Arc::clone(work);
        running.push(tokio::spawn(async move {
            work.repeat("half-open", PAUSE, |dice| half_open(work.http, dice))
                .await;
        }));
    }
    for url in work.urls.clone() {
        let (abandoned, vanished, again) = (Arc::clone(work), Arc::clone(work), url.clone());
        running.push(tokio::spawn(async move {
            abandoned
                .repeat("abandoned", PAUSE, |dice| abandon(&url, dice))
                .await;
        }));
        running.push(tokio::spawn(async move {
            vanished
                .repeat("vanished", 20 * PAUSE, |_| vanish(again.clone()))
                .await;
        }));
    }
    let (requests, frames, datagrams) = (Arc::clone(work), Arc::clone(work), Arc::clone(work));
    running.push(tokio::spawn(async move {
        requests
            .repeat("wrong requests", PAUSE, |dice| wrong_request(requests.http, dice))
            .await;
    }));
    running.push(tokio::spawn(async move {
        frames
            .repeat("wrong frames", PAUSE, |dice| wrong_frame(frames.http, dice))
            .await;
    }));
    running.push(tokio::spawn(async move {
        datagrams
            .repeat("wrong datagrams", PAUSE, |dice| {
                wrong_datagrams(datagrams.quic, dice)
            })
            .await;
    }));
}

/// Says half of something, or asks and does not read, stays a while, and goes.
async fn half_open(address: SocketAddr, dice: u64) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(address).await?;
    let said: &[u8] = match dice % 5 {
        0 => b"",
        1 => b"GET /v1/default/things HTTP/1.1\r\nHost: localhost\r\nX-",
        2 => {
            b"PUT /v1/default/things/half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{\"gro"
        }
        3 => b"GET /v1/default/things?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        _ => {
            b"GET /v1/_websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Protocol: pliantdb\r\n\r\n"
        }
    };
    stream.write_all(said).await?;
    tokio::time::sleep(Duration::from_millis((dice >> 8) % 2000)).await;
    Ok(())
}

/// Leaves amid connecting.
async fn abandon(url: &str, dice: u64) -> Result<(), Failure> {
    let time = Duration::from_micros(dice % 8000);
    let _ = tokio::time::timeout(time, AsyncClient::connect(url, Options::default())).await;
    Ok(())
}

/// A client that holds all kinds of things, and is gone without a word, as when its machine loses its power.
async fn vanish(url: String) -> Result<(), Failure> {
    let vanished = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let held = runtime.block_on(async {
            let client = AsyncClient::connect(&url, Options::default()).await?;
            let database = client.database::<Soak>("default").await?;
            let subscription = database.subscribe(&["soak.**"]).await?;
            let snapshot = database.snapshot().await?;
            let waiting = database.changes(FeedStart::Now, 10, Duration::from_secs(600));
            let _ = tokio::time::timeout(Duration::from_millis(20), waiting).await;
            Ok::<_, Failure>((client, subscription, snapshot))
        })?;
        // Its sockets go first, so that nothing can be said any more.
        drop(runtime);
        drop(held);
        Ok(())
    });
    vanished.await?
}

/// What HTTP must refuse.
async fn wrong_request(address: SocketAddr, dice: u64) -> Result<(), Failure> {
    let mut state = dice;
    let noise: Vec<u8> = (0..dice % 3000).map(|_| next_random(&mut state) as u8).collect();
    let long = format!(
        "GET /v1/default/things HTTP/1.1\r\nX-Long: {}\r\n",
        "x".repeat(40_000)
    );
    let requests: [&[u8]; 10] = [
        b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /v1/nowhere/things HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"PATCH /v1/default/things/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"PUT /v1/default/things/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{]",
        b"PUT /v1/default/things/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
        b"GET /v1/default/things?limit=many HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /v1/default/things/_views/none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /v1/_websocket HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        long.as_bytes(),
        &noise,
    ];
    let at = usize::try_from((dice >> 16) % 10)?;
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(requests.get(at).copied().unwrap_or_default())
        .await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    // It may be closed before all was sent.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    match answer.is_empty() || answer.starts_with("HTTP/1.1 4") {
        true => Ok(()),
        false => Err(format!("wrong request {at} was answered with {answer}").into()),
    }
}

/// Becomes a WebSocket, and sends what is none.
async fn wrong_frame(address: SocketAddr, dice: u64) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        b"GET /v1/_websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: pliantdb\r\n\r\n";
    stream.write_all(request).await?;
    read_until(&mut stream, "\r\n\r\n").await?;
    let mut state = dice;
    let mut frame: Vec<u8> = (0..dice % 500).map(|_| next_random(&mut state) as u8).collect();
    if dice.is_multiple_of(2) {
        // A masked binary frame of the right length, with noise for a message.
        frame.truncate(100);
        let mut whole = vec![0x82, 0x80 | frame.len() as u8, 1, 2, 3, 4];
        whole.append(&mut frame);
        frame = whole;
    }
    // The server may close at once.
    let _ = stream.write_all(&frame).await;
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
    Ok(())
}

/// What is no QUIC, or the beginning of it.
async fn wrong_datagrams(address: SocketAddr, dice: u64) -> Result<(), Failure> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let mut state = dice;
    for number in 0..20_u64 {
        let length = 20 + next_random(&mut state) % 1380;
        let mut datagram: Vec<u8> = (0..length).map(|_| next_random(&mut state) as u8).collect();
        if number.is_multiple_of(2) {
            // A long header of version 1 with ids of 8 bytes, which nothing that makes sense follows.
            datagram.resize(1200, 0);
            datagram.splice(..6, [0xC3, 0, 0, 0, 1, 8]);
            datagram.splice(14..15, [8]);
        }
        socket.send_to(&datagram, address).await?;
    }
    Ok(())
}
