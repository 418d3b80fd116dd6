//! The suite on databases of consensus groups, as their replicas have them: blocking and asynchronous.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod connections;
mod group;
mod storage;

use connections::AsyncReplicas;
use pliantdb_conformance::Door;
use pliantdb_core::{Answer, Error};
use storage::{Replicas, Running};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// A node in this process.
struct Node {
    running: Option<Running>,
    directory: TempDir,
}

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let running = Some(Running::start(&directory.path().join("state")));
        Self { running, directory }
    }

    fn replicas(&self) -> &Replicas {
        self.running.as_ref().unwrap().replicas()
    }

    fn restart(&mut self) {
        self.running = None;
        self.running = Some(Running::start(&self.directory.path().join("state")));
    }
}

/// Replicas that block.
struct Blocking(Node);

impl Door for Blocking {
    type Storage = Replicas;

    fn open() -> Self {
        Self(Node::new())
    }

    fn storage(&self) -> &Replicas {
        self.0.replicas()
    }

    fn reopen(&mut self) {
        self.0.restart();
    }

    fn wait<T: Send + 'static>(&self, answer: Answer<Replicas, T>) -> Result<T, Error> {
        answer
    }

    fn wait_at<T: Send + 'static>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        answer
    }
}

/// Replicas that do not.
struct Asynchronous {
    storage: Option<AsyncReplicas>,
    node: Node,
    runtime: Runtime,
}

impl Door for Asynchronous {
    type Storage = AsyncReplicas;

    fn open() -> Self {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_time().build().unwrap();
        let node = Node::new();
        let storage = Some(AsyncReplicas(node.replicas().clone()));
        Self {
            storage,
            node,
            runtime,
        }
    }

    fn storage(&self) -> &AsyncReplicas {
        self.storage.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.storage = None;
        self.node.restart();
        self.storage = Some(AsyncReplicas(self.node.replicas().clone()));
    }

    fn wait<T: Send + 'static>(&self, answer: Answer<AsyncReplicas, T>) -> Result<T, Error> {
        // On a worker, where everything must be possible without blocking it.
        self.runtime.block_on(self.runtime.spawn(answer)).unwrap()
    }

    fn wait_at<T: Send + 'static>(&self, answer: Answer<AsyncReplicas, T>) -> Result<T, Error> {
        self.wait(answer)
    }
}

mod blocking {
    use super::Blocking;

    pliantdb_conformance::conformance!(Blocking);
}

mod asynchronous {
    use super::Asynchronous;

    pliantdb_conformance::conformance!(Asynchronous);
}
