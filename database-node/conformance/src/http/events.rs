//! Listening by server-sent events.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pliantdb_core::{Body, DatabaseName, Error, Inbox, Message, Subscriber, TopicPattern};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Client, Database, problems};

/// A subscription, read by a thread of its own.
pub struct Listener {
    inbox: Arc<Inbox>,
    stream: TcpStream,
    reading: Option<JoinHandle<()>>,
}

impl Listener {
    /// Subscribes.
    ///
    /// # Errors
    /// The error that a problem tells.
    pub(crate) fn start(
        client: &Client,
        database: &DatabaseName,
        patterns: &[TopicPattern],
    ) -> Result<Self, Error> {
        let topics = patterns.iter().map(|pattern| {
            format!(
                "topic={}",
                utf8_percent_encode(pattern.as_str(), NON_ALPHANUMERIC)
            )
        });
        let topics = topics.collect::<Vec<_>>().join("&");
        let mut stream = TcpStream::connect(client.address()).unwrap();
        let authorization = client
            .authorization()
            .map(|value| format!("Authorization: {value}\r\n"));
        let head = format!(
            "GET /v1/{database}/_subscribe?{topics} HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
            authorization.unwrap_or_default()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let is_heard = line.starts_with("HTTP/1.1 200");
        // From here on it hears everything.
        let mut length = 0;
        while line.trim() != "" {
            line.clear();
            lines.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        if !is_heard {
            let mut problem = vec![0; length];
            lines.read_exact(&mut problem).unwrap();
            return Err(problems::error(&serde_json::from_slice(&problem).unwrap()));
        }
        let inbox = Arc::new(Inbox::default());
        let receiving = Arc::clone(&inbox);
        let reading = std::thread::spawn(move || {
            for event in events(BufReader::new(Chunks::of(lines))) {
                take(&receiving, &event);
            }
            receiving.close();
        });
        Ok(Self {
            inbox,
            stream,
            reading: Some(reading),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The server hears that, and hangs up.
        let _ = self.stream.shutdown(Shutdown::Write);
        let _ = self.reading.take().map(JoinHandle::join);
        // It lets the subscription go an instant after the connection.
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Subscriber<Database> for Listener {
    fn receive(&self) -> Result<Message, Error> {
        self.inbox.receive()
    }

    fn try_receive(&self) -> Result<Option<Message>, Error> {
        // What was published has been answered, and may still be on its way.
        std::thread::sleep(Duration::from_millis(50));
        self.inbox.try_receive()
    }
}

#[derive(Deserialize)]
struct Payload {
    topic: String,
    payload: Box<RawValue>,
}

#[derive(Deserialize)]
struct Lagged {
    dropped: u64,
}

fn take(inbox: &Inbox, (name, data): &(String, String)) {
    match name.as_str() {
        "message" => {
            let message: Payload = serde_json::from_str(data).unwrap();
            inbox.put(Message {
                topic: message.topic.parse().unwrap(),
                payload: Body::try_from(message.payload.get().to_owned()).unwrap(),
            });
        }
        "lagged" => inbox.lose(serde_json::from_str::<Lagged>(data).unwrap().dropped),
        _ => inbox.close(),
    }
}

/// The names and data of events.
fn events(lines: impl BufRead) -> impl Iterator<Item = (String, String)> {
    let (mut name, mut data) = (String::new(), Vec::new());
    lines.lines().map_while(Result::ok).filter_map(move |line| {
        if let Some(of) = line.strip_prefix("event: ") {
            of.clone_into(&mut name);
        } else if let Some(line) = line.strip_prefix("data: ") {
            data.push(line.to_owned());
        } else if line.is_empty() && !data.is_empty() {
            let data = std::mem::take(&mut data).join("\n");
            return Some((std::mem::take(&mut name), data));
        }
        None
    })
}

/// The bytes in chunks.
struct Chunks<R> {
    from: R,
    left: usize,
}

impl<R: BufRead> Chunks<R> {
    fn of(from: R) -> Self {
        Self { from, left: 0 }
    }
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            let mut line = String::new();
            // The end of the chunk before, if there was one, is an empty line.
            while line.trim().is_empty() {
                line.clear();
                if self.from.read_line(&mut line)? == 0 {
                    return Ok(0);
                }
            }
            self.left = usize::from_str_radix(line.trim(), 16).unwrap();
        }
        let most = to.len().min(self.left);
        let read = self.from.read(&mut to[..most])?;
        self.left -= read;
        Ok(read)
    }
}
