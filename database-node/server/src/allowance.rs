//! How much somebody may send before it is known who they are.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// No limit.
const ALL: usize = usize::MAX;

/// How many bytes one connection may send still. Clones are the same. There is no limit until one is set: HTTP has its
/// own.
#[derive(Debug, Clone)]
pub(crate) struct Allowance(Arc<AtomicUsize>);

impl Default for Allowance {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(ALL)))
    }
}

impl Allowance {
    /// From now on, the connection may send so many bytes.
    pub(crate) fn limit(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// It may send what it likes to.
    pub(crate) fn lift(&self) {
        self.limit(ALL);
    }

    fn take(&self, bytes: usize) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            ALL => Ok(()),
            left if bytes <= left => {
                // Fails if it was lifted meanwhile.
                let _ = self
                    .0
                    .compare_exchange(left, left - bytes, Ordering::Relaxed, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(io::Error::other(
                "the client has sent too much before it was known who it is",
            )),
        }
    }
}

/// A connection whose reading fails when more arrives than is allowed.
#[derive(Debug)]
pub(crate) struct Allowed<S> {
    stream: S,
    allowance: Allowance,
}

impl<S> Allowed<S> {
    pub(crate) fn new(stream: S, allowance: Allowance) -> Self {
        Self { stream, allowance }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Allowed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = &read {
            self.allowance.take(buffer.filled().len() - before)?;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Allowed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn counts_from_the_limit_until_it_is_lifted() {
        let (mut client, server) = tokio::io::duplex(1000);
        let allowance = Allowance::default();
        let mut server = Allowed::new(server, allowance.clone());
        let mut read = [0; 100];
        client.write_all(&[1; 600]).await.unwrap();
        server.read_exact(&mut read).await.unwrap();
        allowance.limit(250);
        server.read_exact(&mut read).await.unwrap();
        server.read_exact(&mut read).await.unwrap();
        assert!(server.read_exact(&mut read).await.is_err());
        allowance.lift();
        server.read_exact(&mut read).await.unwrap();
    }
}
