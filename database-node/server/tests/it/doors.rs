//! The doors for programs, QUIC and WebSocket, with clients as they should be and as they should not.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use pliantdb_client::{AsyncClient, Client, Options};
use pliantdb_core::protocol::{
    Ask, FromClient, FromServer, Greeting, Hello, PROTOCOL_VERSION, Question, Reply, WEBSOCKET_PATH, decode,
    encode,
};
use pliantdb_core::{
    Body, Collection, Connection, Consistency, Error, FeedStart, KeyAction, NamespaceName, Number, Request,
    RequestId, Response, StorageConnection, Subscriber,
};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::node::Node;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Collection)]
#[collection(name = "notes")]
struct Note {
    text: String,
}

fn note(text: &str) -> Note {
    Note {
        text: text.to_owned(),
    }
}

fn runtime() -> Runtime {
    Runtime::new().unwrap()
}

async fn client(address: &str) -> AsyncClient {
    AsyncClient::connect(address, Options::default()).await.unwrap()
}

/// A WebSocket that says what it is told to.
struct Raw(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Raw {
    async fn open(address: SocketAddr) -> Self {
        Self(
            connect_async(format!("ws://{address}{WEBSOCKET_PATH}"))
                .await
                .unwrap()
                .0,
        )
    }

    async fn welcomed(address: SocketAddr) -> Self {
        let mut raw = Self::open(address).await;
        raw.send(encode(&hello()).unwrap()).await;
        assert!(matches!(raw.hear::<Greeting>().await, Some(Greeting::Welcome(_))));
        raw
    }

    async fn send(&mut self, bytes: Vec<u8>) {
        self.0.send(Message::Binary(bytes.into())).await.unwrap();
    }

    /// The next message; `None` when the connection is closed.
    async fn hear<T: pliantdb_core::protocol::Sent>(&mut self) -> Option<T> {
        loop {
            match tokio::time::timeout(Duration::from_secs(20), self.0.next())
                .await
                .unwrap()
            {
                Some(Ok(Message::Binary(bytes))) => return Some(decode(&bytes).unwrap()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }
}

fn hello() -> Hello {
    Hello {
        oldest: PROTOCOL_VERSION,
        newest: PROTOCOL_VERSION,
        credentials: None,
        agent: "a test".to_owned(),
    }
}

fn question(number: u64, ask: Ask) -> FromClient {
    FromClient::Ask(Question {
        number,
        deadline: None,
        request_id: None,
        consistency: Consistency::default(),
        ask,
    })
}

fn increment() -> Request {
    Request::ChangeKey {
        namespace: "n".parse::<NamespaceName>().unwrap(),
        key: "k".parse().unwrap(),
        action: KeyAction::Increment { by: Number::from(1) },
    }
}

fn in_default(request: Request) -> Ask {
    Ask::Request {
        database: "default".parse::<pliantdb_core::DatabaseName>().unwrap().into(),
        request,
    }
}

#[test]
fn serve_the_same_data() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"));
    runtime().block_on(async {
        let (quic, websocket) = (
            client(&node.quic_url()).await,
            client(&node.websocket_url()).await,
        );
        let (quic, websocket) = (
            quic.database::<Note>("default").await.unwrap(),
            websocket.database::<Note>("default").await.unwrap(),
        );
        let messages = websocket.subscribe(&["notes.*"]).await.unwrap();
        let written = quic.collection::<Note>().insert(note("hello")).await.unwrap();
        assert_eq!(quic.publish("notes.new", &written.id).await, Ok(1));
        let message = messages.receive().await.unwrap();
        let id = message.payload.read().unwrap();
        assert_eq!(websocket.collection::<Note>().get(&id).await, Ok(Some(written)));
        // Larger than what goes on the lane, both ways.
        let large = note(&"x".repeat(3 << 20));
        let stored = quic.collection::<Note>().insert(large.clone()).await.unwrap();
        assert_eq!(
            quic.collection::<Note>()
                .get(&stored.id)
                .await
                .unwrap()
                .unwrap()
                .contents,
            large
        );
    });
    // HTTP sees it too.
    let listed = node.get("/v1/default/notes");
    assert!(listed.body.contains("hello"), "{}", listed.body);
}

#[test]
fn come_back_after_kill_9_and_write_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut node = Node::start(&data);
    let (http, quic) = (node.address.to_string(), node.quic.to_string());
    runtime().block_on(async {
        for address in [node.quic_url(), node.websocket_url()] {
            let database = client(&address).await.database::<Note>("default").await.unwrap();
            let before: Option<u64> = database.key_value("n").get("count").await.unwrap();
            let counting: Vec<_> = (0..200)
                .map(|_| {
                    let database = database.clone();
                    tokio::spawn(async move { database.key_value("n").increment("count", 1).await })
                })
                .collect();
            tokio::time::sleep(Duration::from_millis(5)).await;
            node.kill();
            node = Node::start_with(&data, &["--listen", &http, "--quic-listen", &quic]);
            for counted in counting {
                counted.await.unwrap().unwrap();
            }
            let after: Option<u64> = database.key_value("n").get("count").await.unwrap();
            assert_eq!(
                after,
                Some(before.unwrap_or_default() + 200),
                "each once, by {address}"
            );
        }
    });
}

#[test]
fn subscriptions_go_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut node = Node::start(&data);
    let (http, quic) = (node.address.to_string(), node.quic.to_string());
    runtime().block_on(async {
        for address in [node.quic_url(), node.websocket_url()] {
            let database = client(&address).await.database::<Note>("default").await.unwrap();
            let messages = database.subscribe(&["a"]).await.unwrap();
            node.stop();
            node = Node::start_with(&data, &["--listen", &http, "--quic-listen", &quic]);
            // It is told that it may have missed something, and hears what comes.
            assert!(matches!(messages.receive().await, Err(Error::Lagged(_))));
            let other = client(&address).await.database::<Note>("default").await.unwrap();
            let mut receivers = 0;
            while receivers == 0 {
                receivers = other.publish("a", &1).await.unwrap();
            }
            assert_eq!(messages.receive().await.unwrap().payload.as_str(), "1");
        }
    });
}

#[test]
fn who_only_listens_notices_soon_that_its_server_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut node = Node::start(&data);
    let (http, quic) = (node.address.to_string(), node.quic.to_string());
    runtime().block_on(async {
        for address in [node.quic_url(), node.websocket_url()] {
            let database = client(&address).await.database::<Note>("default").await.unwrap();
            let messages = database.subscribe(&["a"]).await.unwrap();
            node.kill();
            node = Node::start_with(&data, &["--listen", &http, "--quic-listen", &quic]);
            let told = tokio::time::timeout(Duration::from_secs(7), messages.receive()).await;
            assert!(
                matches!(told, Ok(Err(Error::Lagged(_)))),
                "by {address}: {told:?}"
            );
        }
    });
}

#[test]
fn a_request_id_counts_once_over_connections_and_expires() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"));
    runtime().block_on(async {
        let mut counted = Vec::new();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let id = |millis: u128| RequestId::new(u64::try_from(millis).unwrap(), 77);
        for request_id in [id(now.as_millis()), id(now.as_millis()), id(1_000)] {
            let mut raw = Raw::welcomed(node.address).await;
            let asked = FromClient::Ask(Question {
                number: 1,
                deadline: None,
                request_id: Some(request_id),
                consistency: Consistency::default(),
                ask: in_default(increment()),
            });
            raw.send(encode(&asked).unwrap()).await;
            let Some(FromServer::Answer { result, .. }) = raw.hear().await else {
                panic!("no answer")
            };
            counted.push(result);
        }
        let value = |result: &Result<Reply, Error>| match result {
            Ok(Reply::Response(Response::Key(outcome))) => outcome.current.clone(),
            _ => None,
        };
        assert_eq!(value(&counted[0]).unwrap().as_str(), "1");
        assert_eq!(value(&counted[1]).unwrap().as_str(), "1", "it is the same write");
        let expired = counted[2].clone().unwrap_err().to_string();
        assert!(expired.contains("read"), "it says what to do: {expired}");
    });
}

#[test]
fn refuse_what_is_not_the_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_with(
        &folder.path().join("data"),
        &["--header-timeout", "500ms", "--max-body-size", "1Mi"],
    );
    runtime().block_on(async {
        // Another version.
        let mut raw = Raw::open(node.address).await;
        let newer = Hello {
            oldest: 9,
            newest: 12,
            ..hello()
        };
        raw.send(encode(&newer).unwrap()).await;
        match raw.hear::<Greeting>().await {
            Some(Greeting::Refused(error)) => {
                assert!(error.to_string().contains("versions 9 to 12"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert!(
            raw.hear::<FromServer>().await.is_none(),
            "the connection is closed"
        );
        // Somebody who says nothing is not waited for.
        let mut silent = Raw::open(node.address).await;
        assert!(silent.hear::<Greeting>().await.is_none());
        // Noise, before and after the greeting, ends the connection and nothing else.
        for noise in [
            vec![],
            vec![0xc1; 100],
            b"GET / HTTP/1.1".to_vec(),
            vec![0xdf; 40],
        ] {
            let mut raw = Raw::open(node.address).await;
            raw.send(noise.clone()).await;
            assert!(!matches!(
                raw.hear::<Greeting>().await,
                Some(Greeting::Welcome(_))
            ));
            let mut raw = Raw::welcomed(node.address).await;
            raw.send(noise).await;
            assert!(raw.hear::<FromServer>().await.is_none());
        }
        // Too large.
        let mut raw = Raw::welcomed(node.address).await;
        let _ = raw.0.send(Message::Binary(vec![0; 2 << 20].into())).await;
        assert!(raw.hear::<FromServer>().await.is_none());
        // Two questions of one number, while the first waits.
        let mut raw = Raw::welcomed(node.address).await;
        let waiting = in_default(Request::Changes {
            from: FeedStart::Now,
            limit: 1,
            wait: Duration::from_secs(20),
        });
        raw.send(encode(&question(1, waiting.clone())).unwrap()).await;
        raw.send(encode(&question(1, waiting)).unwrap()).await;
        assert!(raw.hear::<FromServer>().await.is_none());
        // A body that is not JSON is an answer like others.
        let mut raw = Raw::welcomed(node.address).await;
        let publish = in_default(Request::Publish(pliantdb_core::Message {
            topic: "a".parse().unwrap(),
            payload: Body::from_checked("{\"a\":".to_owned()),
        }));
        raw.send(encode(&question(5, publish)).unwrap()).await;
        match raw.hear::<FromServer>().await {
            Some(FromServer::Answer {
                number: 5,
                result: Err(Error::Invalid(reason)),
                ..
            }) => assert!(reason.contains("line 1"), "{reason}"),
            other => panic!("{other:?}"),
        }
        raw.send(encode(&question(6, Ask::Databases)).unwrap()).await;
        assert!(matches!(
            raw.hear::<FromServer>().await,
            Some(FromServer::Answer {
                number: 6,
                result: Ok(Reply::Databases(_)),
                ..
            })
        ));
    });
    assert_eq!(node.get("/healthz").status, 200);
}

#[test]
fn what_is_stopped_is_not_answered_and_deadlines_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_with(&folder.path().join("data"), &["--max-in-flight", "2"]);
    let waiting = |wait| {
        in_default(Request::Changes {
            from: FeedStart::Now,
            limit: 1,
            wait: Duration::from_secs(wait),
        })
    };
    runtime().block_on(async {
        let mut raw = Raw::welcomed(node.address).await;
        raw.send(encode(&question(1, waiting(60))).unwrap()).await;
        let asked = FromClient::Ask(Question {
            number: 2,
            deadline: Some(Duration::from_millis(300)),
            request_id: None,
            consistency: Consistency::default(),
            ask: waiting(60),
        });
        raw.send(encode(&asked).unwrap()).await;
        raw.send(encode(&FromClient::Stop(1)).unwrap()).await;
        // There is no place for a third until one of them ends.
        raw.send(encode(&question(3, Ask::Databases)).unwrap()).await;
        let mut heard = Vec::new();
        for _ in 0..2 {
            match raw.hear::<FromServer>().await {
                Some(FromServer::Answer { number, result, .. }) => heard.push((number, result.is_ok())),
                other => panic!("{other:?}"),
            }
        }
        heard.sort_unstable();
        assert_eq!(heard, [(2, false), (3, true)]);
    });
}

#[test]
fn who_does_not_read_is_cut_off_and_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_with(&folder.path().join("data"), &["--request-timeout", "1s"]);
    runtime().block_on(async {
        let reader = client(&node.quic_url()).await;
        let database = reader.database::<Note>("default").await.unwrap();
        let stored = database
            .collection::<Note>()
            .insert(note(&"x".repeat(1 << 20)))
            .await
            .unwrap();
        let mut deaf = Raw::welcomed(node.address).await;
        let get = in_default(Request::Get {
            collection: "notes".parse().unwrap(),
            ids: vec![stored.id.clone()],
        });
        for number in 0..100 {
            if deaf
                .0
                .send(Message::Binary(
                    encode(&question(number, get.clone())).unwrap().into(),
                ))
                .await
                .is_err()
            {
                break;
            }
        }
        // Others are served meanwhile.
        for _ in 0..20 {
            assert!(
                database
                    .collection::<Note>()
                    .get(&stored.id)
                    .await
                    .unwrap()
                    .is_some()
            );
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut got = 0;
        while deaf.hear::<FromServer>().await.is_some() {
            got += 1;
        }
        assert!(got < 100, "it was cut off");
    });
}

#[test]
fn refuse_more_connections_than_there_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_with(&folder.path().join("data"), &["--max-connections", "3"]);
    runtime().block_on(async {
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(client(&node.quic_url()).await);
        }
        let options = Options {
            connect_timeout: Duration::from_secs(3),
            ..Options::default()
        };
        let refused = AsyncClient::connect(&node.quic_url(), options).await;
        assert!(matches!(refused, Err(Error::Unreachable(_))));
        clients.pop();
        let mut come = Err(Error::Closed);
        for _ in 0..100 {
            come = AsyncClient::connect(&node.quic_url(), Options::default())
                .await
                .map(drop);
            if come.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        come.unwrap();
    });
}

#[test]
fn refuse_more_websockets_than_there_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_with(&folder.path().join("data"), &["--max-connections", "3"]);
    let url = format!("ws://{}{WEBSOCKET_PATH}", node.address);
    runtime().block_on(async {
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(Raw::welcomed(node.address).await);
        }
        match connect_async(&url).await.map(drop) {
            Err(tungstenite::Error::Http(answer)) => assert_eq!(answer.status(), 503),
            other => panic!("{other:?}"),
        }
        open.pop();
        for attempt in 0.. {
            if connect_async(&url).await.is_ok() {
                break;
            }
            assert!(attempt < 100, "a place is free again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn a_blocking_client_that_goes_is_gone_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_with(&folder.path().join("data"), &["--max-connections", "3"]);
    for address in [node.quic_url(), node.websocket_url()] {
        for _ in 0..12 {
            let client = Client::connect(&address, Options::default()).unwrap();
            let database = client.database::<Note>("default").unwrap();
            drop(client);
            database.collection::<Note>().insert(note("a")).unwrap();
        }
    }
}

#[test]
fn a_client_that_waits_for_much_can_still_stop_it() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_with(&folder.path().join("data"), &["--max-in-flight", "2"]);
    runtime().block_on(async {
        for address in [node.quic_url(), node.websocket_url()] {
            let client = client(&address).await;
            let database = client.database::<Note>("default").await.unwrap();
            let mut waiting = Vec::new();
            for _ in 0..4 {
                let database = database.clone();
                waiting.push(tokio::spawn(async move {
                    database.changes(FeedStart::Now, 1, Duration::from_secs(60)).await
                }));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            for waiting in waiting {
                waiting.abort();
            }
            let answered = tokio::time::timeout(Duration::from_secs(5), client.databases()).await;
            assert_eq!(answered.expect("it is answered").unwrap().len(), 1);
        }
    });
}

#[test]
fn who_waits_for_changes_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(&folder.path().join("data"));
    runtime().block_on(async {
        for address in [node.quic_url(), node.websocket_url()] {
            let options = Options {
                connect_timeout: Duration::from_millis(200),
                ..Options::default()
            };
            let client = AsyncClient::connect(&address, options).await.unwrap();
            let database = client.database::<Note>("default").await.unwrap();
            tokio::spawn(async move {
                database
                    .changes(FeedStart::Now, 10, Duration::from_secs(60))
                    .await
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let start = Instant::now();
        node.terminate();
        node.wait();
        assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    });
}

#[test]
fn who_is_not_known_yet_may_send_little() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"));
    runtime().block_on(async {
        let mut raw = Raw::open(node.address).await;
        // The beginning of a message of 8 MiB: a final, binary, masked frame.
        let stream = raw.0.get_mut();
        let header = [&[0x82, 0xff][..], &(8_u64 << 20).to_be_bytes(), &[0; 4]].concat();
        stream.write_all(&header).await.unwrap();
        let mut sent = 0;
        let chunk = [0; 64 << 10];
        while sent < 7 << 20 && stream.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
        }
        let closed = tokio::time::timeout(Duration::from_secs(5), raw.0.next()).await;
        assert!(
            matches!(closed, Ok(None | Some(Err(_)) | Some(Ok(Message::Close(_))))),
            "it is not waited for the rest: {closed:?}"
        );
        // Who is known may send that much.
        for address in [node.quic_url(), node.websocket_url()] {
            let database = client(&address).await.database::<Note>("default").await.unwrap();
            let large = database.collection::<Note>().insert(note(&"x".repeat(8 << 20)));
            large.await.unwrap();
        }
    });
}

#[test]
fn finish_what_they_took_when_the_server_stops() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(&folder.path().join("data"));
    runtime().block_on(async {
        let mut waiting = Vec::new();
        for address in [node.quic_url(), node.websocket_url()] {
            let database = client(&address).await.database::<Note>("default").await.unwrap();
            waiting.push(tokio::spawn(async move {
                database.changes(FeedStart::Now, 10, Duration::from_secs(2)).await
            }));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        node.terminate();
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap().unwrap().transactions, []);
        }
        node.wait();
    });
}

#[test]
fn a_certificate_is_known_by_its_fingerprint_only() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"));
    runtime().block_on(async {
        let wrong = format!("pliant://{}?fingerprint={}", node.quic, "0".repeat(64));
        let options = Options {
            connect_timeout: Duration::from_secs(3),
            ..Options::default()
        };
        for address in [wrong, format!("pliant://{}", node.quic)] {
            let refused = AsyncClient::connect(&address, options.clone())
                .await
                .map(drop)
                .unwrap_err();
            assert!(matches!(refused, Error::Unreachable(_)), "{refused}");
        }
    });
}

#[test]
fn a_client_that_closes_is_gone_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"));
    for url in [node.quic_url(), node.websocket_url()] {
        runtime().block_on(async {
            let client = client(&url).await;
            let database = client.database::<Note>("default").await.unwrap();
            let messages = database.subscribe(&["notes.*"]).await.unwrap();
            let clone = client.clone();
            let start = Instant::now();
            let waiting = database.changes(FeedStart::Now, 1, Duration::from_secs(20));
            let (waited, ()) = tokio::join!(waiting, async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                clone.close().await;
            });
            assert!(matches!(waited, Err(Error::Closed)), "{waited:?}");
            assert_eq!(messages.receive().await, Err(Error::Closed));
            assert_eq!(client.databases().await, Err(Error::Closed));
            assert!(matches!(
                database.subscribe(&["notes.*"]).await,
                Err(Error::Closed)
            ));
            client.close().await;
            assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        });
        let door = if url.starts_with("ws") {
            "WebSocket"
        } else {
            "Quic"
        };
        node.wait_for_metric(&format!("pliantdb_connections{{door=\"{door}\"}} 0"));
    }
    let client = Client::connect(&node.quic_url(), Options::default()).unwrap();
    client.close().unwrap();
    assert_eq!(client.databases(), Err(Error::Closed));
}
