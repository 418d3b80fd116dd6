//! The suite against clusters of three nodes, in one-leader mode and in quorum mode, by QUIC and by HTTP. Each request goes
//! to another node.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "these are tests"
)]

mod failing_over;
mod nodes;
mod scattered;

use std::sync::{Arc, Mutex};

use nodes::{Kind, Nodes};
use pliantdb_client::{AsyncClient, Options};
use pliantdb_conformance::Door;
use pliantdb_conformance::http::Client;
use pliantdb_core::{Answer, Error};
use scattered::Scattered;

/// Clusters that no test uses at the moment. To make one takes longer than most tests.
struct Unused(Mutex<Vec<Nodes>>);

impl Unused {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    fn take(&self, kind: Kind) -> Nodes {
        let unused = self.0.lock().unwrap().pop();
        unused.unwrap_or_else(|| Nodes::start(kind))
    }
}

static ONE_LEADER: Unused = Unused::new();
static QUORUM: Unused = Unused::new();

/// A cluster for one test.
struct Lease {
    nodes: Option<Nodes>,
    of: &'static Unused,
}

impl Lease {
    fn take(kind: Kind) -> Self {
        let of = match kind {
            Kind::OneLeader => &ONE_LEADER,
            Kind::Quorum => &QUORUM,
        };
        Self {
            nodes: Some(of.take(kind)),
            of,
        }
    }

    fn nodes(&self) -> &Nodes {
        self.nodes.as_ref().unwrap()
    }

    fn restart(&mut self) {
        self.nodes.as_mut().unwrap().restart();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // After a failure nobody knows how it is.
        if let Some(nodes) = self.nodes.take()
            && !std::thread::panicking()
        {
            nodes.clear();
            self.of.0.lock().unwrap().push(nodes);
        }
    }
}

/// QUIC.
struct Quic {
    clients: Scattered,
    /// Last, so that it ends after its clients.
    lease: Lease,
}

impl Quic {
    fn to(kind: Kind) -> Self {
        let lease = Lease::take(kind);
        Self {
            clients: Self::clients(lease.nodes()),
            lease,
        }
    }

    fn clients(nodes: &Nodes) -> Scattered {
        let connect = |address: String| {
            // Each goes to its node only, which hands on what is not for it.
            let options = Options {
                finds_nodes: false,
                ..Options::default()
            };
            let connecting = AsyncClient::connect(&address, options);
            nodes.runtime().block_on(connecting).unwrap()
        };
        Scattered(Arc::new(nodes.quic().into_iter().map(connect).collect()))
    }

    fn reopen(&mut self) {
        self.lease.restart();
        self.clients = Self::clients(self.lease.nodes());
    }

    fn wait<T: Send + 'static>(
        &self,
        answer: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let runtime = self.lease.nodes().runtime();
        runtime.block_on(runtime.spawn(answer)).unwrap()
    }
}

macro_rules! door {
    ($kind:ident) => {
        struct Quic(super::Quic);

        impl Door for Quic {
            type Storage = Scattered;

            fn open() -> Self {
                Self(super::Quic::to(Kind::$kind))
            }

            fn storage(&self) -> &Scattered {
                &self.0.clients
            }

            fn reopen(&mut self) {
                self.0.reopen();
            }

            fn wait<T: Send + 'static>(&self, answer: Answer<Scattered, T>) -> Result<T, Error> {
                self.0.wait(answer)
            }

            fn wait_at<T: Send + 'static>(
                &self,
                answer: Answer<pliantdb_client::AsyncClient, T>,
            ) -> Result<T, Error> {
                self.0.wait(answer)
            }
        }

        struct Http {
            client: Client,
            lease: Lease,
        }

        impl Door for Http {
            type Storage = Client;

            fn open() -> Self {
                let lease = Lease::take(Kind::$kind);
                let client = Client::of_many(lease.nodes().http());
                Self { client, lease }
            }

            fn storage(&self) -> &Client {
                &self.client
            }

            fn reopen(&mut self) {
                self.lease.restart();
            }

            fn wait<T: Send + 'static>(&self, answer: Answer<Client, T>) -> Result<T, Error> {
                answer
            }

            fn wait_at<T: Send + 'static>(&self, answer: Result<T, Error>) -> Result<T, Error> {
                answer
            }
        }

        mod quic {
            use super::Quic;

            pliantdb_conformance::conformance!(Quic);
        }

        // Without snapshots, which HTTP does not have.
        mod http {
            use super::Http;

            pliantdb_conformance::conformance!(Http: databases, documents, transactions, views, key_values,
                messages, feed, concurrency, apis);
        }
    };
}

mod one_leader {
    use super::*;

    door!(OneLeader);
}

mod quorum {
    use super::*;

    door!(Quorum);
}
