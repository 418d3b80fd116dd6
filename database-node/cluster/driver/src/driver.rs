//! A node that runs, and its end.

use std::io;
use std::sync::mpsc::channel;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use pliantdb_cluster::applier::Watch;
use pliantdb_cluster::node::Event;
use pliantdb_cluster::{Applier, Node, Settings};
use pliantdb_storage::store::OrderedStore;
use tokio::sync::{Semaphore, watch};

use crate::clock::Clock;
use crate::failure::{Failure, OpenError, Stopped};
use crate::handle::{Handle, Known};
use crate::inbox::Inbox;
use crate::standings::Standings;
use crate::transport::Transport;
use crate::turns::{Askers, Turns};
use crate::{log_writer, tasks};

/// How much may wait for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// So many questions may be without an answer at once; whoever asks one more waits.
    pub max_asks: usize,
    /// So many envelopes may wait for the node's thread; one more is dropped.
    pub max_envelopes: usize,
    /// So many bytes those of them may have together whose size is told ([`Handle::receive_sized`]); what does not fit is
    /// dropped, but for the first that waits.
    pub max_envelope_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_asks: 16_384,
            max_envelopes: 1024,
            max_envelope_bytes: 64 << 20,
        }
    }
}

/// A node that runs in this process until it is stopped or dropped, which are the same.
///
/// How much memory waits is bounded: what is asked and received by [`Options`], what is to be written by what the core has
/// under way at most. What is committed and to be applied is not: it waits for the state's store.
pub struct Driver<L: OrderedStore> {
    handle: Handle<L>,
    threads: Vec<(&'static str, JoinHandle<()>)>,
}

impl<L: OrderedStore> Driver<L> {
    /// Starts a node on its two stores: `log` is written with a sync wherever the core wants one, `state` is flushed when
    /// it says so. `watch` hears which states of shards there are: of those that are found before this returns, on this
    /// thread, later on the applier's. `on_event` hears what the node tells of, on the node's thread. Neither may wait.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open<S: OrderedStore>(
        settings: Settings,
        options: Options,
        log: Arc<L>,
        state: Arc<S>,
        transport: impl Transport,
        watch: impl Watch<S>,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let clock = Clock::start();
        let now = clock.now();
        let tick = settings.timing.tick;
        let (applier, found) = Applier::open(state, settings.apply_version, watch)?;
        let node = Node::open(settings, Arc::clone(&log), found, now)?;
        let (know, known) = watch::channel(Known {
            meta: node.shared_meta(),
            applied: node.meta_applied(),
        });
        let handle = Handle {
            known,
            inbox: Arc::new(Inbox::new(options.max_envelopes, options.max_envelope_bytes)),
            places: Arc::new(Semaphore::new(options.max_asks.min(Semaphore::MAX_PERMITS))),
            turns: Arc::default(),
            log: Arc::default(),
            standings: Arc::default(),
            clock,
        };
        let mut driver = Self {
            handle: handle.clone(),
            threads: Vec::new(),
        };
        let (writes, to_write) = channel();
        let (task, to_do) = channel();
        let counting = Arc::clone(&handle.log);
        driver.start("log", move |inbox| {
            log_writer::run(&log, &to_write, inbox, &counting);
        })?;
        driver.start("applier", move |inbox| tasks::run(applier, &to_do, inbox))?;
        let turns = Turns {
            node,
            clock,
            tick,
            ticked: now.steady,
            inbox: Arc::clone(&handle.inbox),
            writes,
            tasks: task,
            transport,
            on_event: Box::new(on_event),
            counting: Arc::clone(&handle.turns),
            askers: Askers::default(),
            founder: None,
            written: 0,
            persisted: 0,
            standings: Arc::clone(&handle.standings),
            known: know,
        };
        driver.start("core", move |_| turns.run())?;
        Ok(driver)
    }

    /// What can be asked of it.
    #[must_use]
    pub fn handle(&self) -> &Handle<L> {
        &self.handle
    }

    /// Stops the node and waits for its threads. What is in the log's queue is written before; whoever still waits for an
    /// answer is told that none will come.
    ///
    /// # Errors
    /// [`Failure`], when it had stopped by itself before.
    pub fn stop(mut self) -> Result<(), Failure> {
        self.end();
        match self.handle.failure() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn end(&mut self) {
        self.handle.inbox.end(Stopped::ByOwner);
        self.handle.places.close();
        for (name, thread) in self.threads.drain(..).rev() {
            // Whoever drops it in a callback is one of them, and does not wait for itself.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                self.handle.inbox.fail(Failure::Panicked(name));
            }
        }
    }

    fn start(&mut self, name: &'static str, run: impl FnOnce(&Inbox<L>) + Send + 'static) -> io::Result<()> {
        let ending = Ending {
            name,
            inbox: Arc::clone(&self.handle.inbox),
            places: Arc::downgrade(&self.handle.places),
            standings: Arc::clone(&self.handle.standings),
        };
        let thread = thread::Builder::new()
            .name(format!("node-{name}"))
            .spawn(move || run(&ending.inbox))?;
        self.threads.push((name, thread));
        Ok(())
    }
}

impl<L: OrderedStore> Drop for Driver<L> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Sees to it that a thread that ends before it should does not leave others waiting.
struct Ending<L: OrderedStore> {
    name: &'static str,
    inbox: Arc<Inbox<L>>,
    places: Weak<Semaphore>,
    standings: Arc<Standings>,
}

impl<L: OrderedStore> Drop for Ending<L> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.inbox.fail(Failure::Panicked(self.name));
        }
        if self.inbox.ended().is_some() {
            self.standings.withdraw();
        }
        // Whoever waits for a place to ask is told too.
        if self.inbox.ended().is_some()
            && let Some(places) = self.places.upgrade()
        {
            places.close();
        }
    }
}
