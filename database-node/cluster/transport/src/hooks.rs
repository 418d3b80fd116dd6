//! What a transport tells and asks of the process in which it is.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use pliantdb_cluster::NodeId;
use pliantdb_cluster::wire::Envelope;

use crate::streaming::Outlet;

/// Something that an owner wants to know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransportEvent {
    /// Two processes that are both there say that they are the same node: one of them runs on a copy of the other's
    /// directory. Both are believed, which can break what the cluster promises: one has to be stopped.
    TwoProcesses {
        /// Which node.
        node: NodeId,
        /// From where they have connected.
        addresses: [SocketAddr; 2],
    },
}

type Receive = dyn Fn(Envelope, usize) + Send + Sync;
type Answering = Pin<Box<dyn Future<Output = Bytes> + Send>>;
pub(crate) type Answer = dyn Fn(NodeId, Bytes) -> Answering + Send + Sync;
type Streaming = Pin<Box<dyn Future<Output = ()> + Send>>;
pub(crate) type Stream = dyn Fn(NodeId, Bytes, Outlet) -> Streaming + Send + Sync;
type Tell = dyn Fn(TransportEvent) + Send + Sync;

/// What a transport calls.
#[derive(Clone)]
pub struct Hooks {
    pub(crate) receive: Arc<Receive>,
    pub(crate) answer: Option<Arc<Answer>>,
    pub(crate) stream: Option<Arc<Stream>>,
    pub(crate) tell: Arc<Tell>,
}

impl Hooks {
    /// `receive` takes each envelope that comes, with the number of its bytes: `pliantdb_cluster_driver::Handle::receive_sized`.
    /// It must not wait.
    pub fn new(receive: impl Fn(Envelope, usize) + Send + Sync + 'static) -> Self {
        Self {
            receive: Arc::new(receive),
            answer: None,
            stream: None,
            tell: Arc::new(|_| {}),
        }
    }

    /// `answer` answers the requests of other nodes. Its future is dropped when whoever has asked is gone or does not wait any
    /// more.
    #[must_use]
    pub fn answering<F: Future<Output = Bytes> + Send + 'static>(
        mut self,
        answer: impl Fn(NodeId, Bytes) -> F + Send + Sync + 'static,
    ) -> Self {
        self.answer = Some(Arc::new(move |from, request| Box::pin(answer(from, request))));
        self
    }

    /// `stream` answers those requests of other nodes whose answer is many messages: it sends them through the outlet. They
    /// have ended when all outlets are dropped. Its future is dropped when whoever has asked is gone or does not listen any
    /// more.
    #[must_use]
    pub fn streaming<F: Future<Output = ()> + Send + 'static>(
        mut self,
        stream: impl Fn(NodeId, Bytes, Outlet) -> F + Send + Sync + 'static,
    ) -> Self {
        self.stream = Some(Arc::new(move |from, request, outlet| {
            Box::pin(stream(from, request, outlet))
        }));
        self
    }

    /// `tell` hears what an owner wants to know of. It must not wait.
    #[must_use]
    pub fn telling(mut self, tell: impl Fn(TransportEvent) + Send + Sync + 'static) -> Self {
        self.tell = Arc::new(tell);
        self
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}
