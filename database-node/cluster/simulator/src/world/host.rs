//! A machine: its disks and clocks, and the process that runs on it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use pliantdb_cluster::applier::Task;
use pliantdb_cluster::node::{Answer, Ask, Freshness, Limits, Standing};
use pliantdb_cluster::wire::{UNDERSTANDS, UNDERSTOOD};
use pliantdb_cluster::{Applier, Node, NodeId, Now, Output, Settings, Timing};
use pliantdb_core::{GroupId, Order};
use pliantdb_storage::store::{
    Batch, Cursor, Durability, KeyRange, MemoryStore, OrderedStore, Snapshot, StoreError,
};
use rand::rngs::StdRng;

use super::{Clock, Time};

/// A machine.
pub struct Host {
    index: usize,
    /// The disk that has the log.
    pub log: Arc<MemoryStore>,
    /// The disk that has the state.
    pub state: Arc<MemoryStore>,
    /// Its clocks.
    pub clock: Clock,
    /// The node that it is.
    pub node: Option<NodeId>,
    /// What it asks to join with.
    pub token: Option<u128>,
    /// Counts its starts, so that what was meant for a process does not reach the next.
    pub life: u64,
    /// When its process was started.
    pub started: Time,
    /// What runs on it.
    pub process: Option<Process>,
    /// Until when its process stands still.
    pub stands_until: Time,
    /// Whether there is little room on its disks.
    pub is_space_short: bool,
    /// How many times slower than usual its disk is.
    pub disk_slowness: u64,
    /// How many disks it had.
    disks: u64,
}

/// A running process.
pub struct Process {
    /// The node.
    pub node: Node<MemoryStore>,
    /// Its applier.
    pub applier: Applier<MemoryStore>,
    /// What the disk is to write next.
    pub to_write: VecDeque<(u64, Batch, bool)>,
    /// Whether the disk is writing.
    pub is_writing: bool,
    must_sync: bool,
    /// What the applier is to do next.
    pub tasks: VecDeque<Task>,
    /// Whether the applier is at work.
    pub is_applying: bool,
    /// Whether it has taken something of which it has yet to look at what follows.
    pub is_gathering: bool,
    /// What it has published for readers who do not ask it.
    standings: BTreeMap<GroupId, Standing>,
}

impl Process {
    /// What the node gives, once what it has published is up to date.
    pub fn give(&mut self, now: Now) -> Vec<Output> {
        let outputs = self.node.give(now);
        for (group, standing) in self.node.take_standings(now) {
            match standing {
                Some(standing) => self.standings.insert(group, standing),
                None => self.standings.remove(&group),
            };
        }
        outputs
    }

    /// The answer that can be had without asking the node.
    #[must_use]
    pub fn published(&self, now: Now, ask: &Ask) -> Option<Answer> {
        let Ask::Await { group, freshness } = ask else {
            return None;
        };
        let standing = self.standings.get(group)?;
        let at = match freshness {
            Freshness::Linearizable => standing.readable(now.steady),
            Freshness::AtLeast(mark) => Some(*mark).filter(|mark| standing.has(*mark)),
            _ => None,
        };
        at.map(|at| Answer::Ready { at })
    }

    /// Gives the disk all that waits, as one sync.
    pub fn begin_write(&mut self, log: &MemoryStore) -> Result<u64, StoreError> {
        let mut last = 0;
        self.must_sync = false;
        for (number, batch, must_sync) in self.to_write.drain(..) {
            log.write(&batch, Durability::Buffered)?;
            last = number;
            self.must_sync |= must_sync;
        }
        self.is_writing = true;
        Ok(last)
    }

    /// The disk is done.
    pub fn end_write(&mut self, log: &MemoryStore) -> Result<(), StoreError> {
        self.is_writing = false;
        match self.must_sync {
            true => log.sync().map(|_| ()),
            false => Ok(()),
        }
    }
}

impl Host {
    pub(super) fn new(index: usize, random: &mut StdRng, drift_ppm: u32) -> Self {
        Self {
            index,
            log: Arc::default(),
            state: Arc::default(),
            clock: Clock::new(random, drift_ppm),
            node: None,
            token: None,
            life: 0,
            started: 0,
            process: None,
            stands_until: 0,
            is_space_short: false,
            disk_slowness: 1,
            disks: 1,
        }
    }

    /// Whether its process runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// What the node on it would be called.
    fn name(&self) -> String {
        format!("machine-{}-disk-{}", self.index, self.disks)
    }

    pub(super) fn start(
        &mut self,
        now: Time,
        seed: u64,
        timing: Timing,
        limits: Limits,
    ) -> anyhow::Result<()> {
        self.life += 1;
        self.stands_until = 0;
        self.started = now;
        let settings = Settings {
            name: self.name(),
            attributes: BTreeMap::from([(UNDERSTANDS.to_owned(), UNDERSTOOD.to_string())]),
            apply_version: pliantdb_core::APPLY_VERSION,
            seed,
            timing,
            limits,
        };
        let (applier, found) = Applier::open(Arc::clone(&self.state), settings.apply_version, ())?;
        #[allow(unused_mut, reason = "only a planted mistake changes it")]
        let mut applier = applier;
        applier.skew_ms = self.index as u64;
        let node = Node::open(settings, Arc::clone(&self.log), found, self.clock.now(now))?;
        self.process = Some(Process {
            node,
            applier,
            to_write: VecDeque::new(),
            is_writing: false,
            must_sync: false,
            tasks: VecDeque::new(),
            is_applying: false,
            is_gathering: false,
            standings: BTreeMap::new(),
        });
        Ok(())
    }

    /// The power goes: of what was not synced about this share survives, from its beginning.
    pub(super) fn crash(&mut self, share: f64) {
        self.process = None;
        self.life += 1;
        for disk in [&self.log, &self.state] {
            let kept = (disk.unsynced() as f64 * share).floor() as usize;
            disk.crash_keeping(kept);
        }
    }

    /// Leaves the identity and what is known of the meta group.
    pub(super) fn wipe_groups(&mut self) {
        let kept = Arc::new(MemoryStore::default());
        let mut batch = Batch::default();
        {
            let snapshot = self.log.snapshot();
            for prefix in pliantdb_cluster::log::kept_without_groups() {
                let Ok(mut cursor) = snapshot.scan(KeyRange::prefixed(&prefix), Order::Ascending) else {
                    return;
                };
                while let Some((key, value)) = cursor.entry() {
                    batch.put(key, value);
                    if cursor.advance().is_err() {
                        return;
                    }
                }
            }
        }
        // A store in memory that is not full takes everything.
        let _ = kept.write(&batch, Durability::Synced);
        (self.log, self.state) = (kept, Arc::default());
    }

    pub(super) fn wipe(&mut self) -> Option<NodeId> {
        (self.log, self.state) = (Arc::default(), Arc::default());
        self.disks += 1;
        self.token = None;
        self.node.take()
    }
}
