//! A client of HTTP/1.1 that costs next to nothing, for measuring servers: one connection that is kept, answers with a
//! `Content-Length`.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Failure;

/// A connection.
pub struct Connection {
    stream: TcpStream,
    host: String,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When there is no server.
    pub async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            host: address.to_string(),
            request: Vec::new(),
            answer: Vec::new(),
        })
    }

    /// Asks, and gives the body of the answer.
    ///
    /// # Errors
    /// When the answer is no success, or none.
    pub async fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<&[u8], Failure> {
        self.request.clear();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        self.request.extend_from_slice(head.as_bytes());
        if !body.is_empty() {
            let head = format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            );
            self.request.extend_from_slice(head.as_bytes());
        }
        self.request.extend_from_slice(b"\r\n");
        self.request.extend_from_slice(body.as_bytes());
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        let head = loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the server closed the connection".into());
            }
            if let Some(end) = self.answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = str::from_utf8(self.answer.get(..head).unwrap_or_default())?;
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>())
        });
        let whole = head + length.ok_or("the answer has no length")??;
        if !text.starts_with("HTTP/1.1 2") {
            return Err(format!("{method} {path}: {}", text.lines().next().unwrap_or_default()).into());
        }
        while self.answer.len() < whole {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the answer is cut short".into());
            }
        }
        Ok(self.answer.get(head..whole).unwrap_or_default())
    }
}
