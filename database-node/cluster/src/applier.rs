//! What a node does with the state of its shards, apart from consensus: it applies, reads, and sends and takes
//! snapshots. A driver gives it tasks in order, on a thread of its own if it likes, and hands back what comes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use pliantdb_core::{Error, GroupId, Request, Response};
use pliantdb_storage::StorageError;
use pliantdb_storage::group::{
    Chunk, GroupSnapshot, GroupState, LogEntry, Position, Shard, Staged, discard_staged, install,
    is_installing, stage, staged,
};
use pliantdb_storage::machine::CommandResult;
use pliantdb_storage::store::OrderedStore;

use crate::ids::{LogPoint, NodeId};
use crate::mistakes::{Mistake, has};

/// Something to do.
#[derive(Debug, Clone)]
pub enum Task {
    /// Makes an empty shard.
    Create {
        /// The group.
        group: GroupId,
        /// What it is to keep.
        shard: Shard,
        /// Where its log begins.
        position: Position,
    },
    /// Applies entries.
    Apply {
        /// The group.
        group: GroupId,
        /// The entries, without a gap behind those before.
        entries: Vec<LogEntry>,
    },
    /// Answers a request to read.
    Read {
        /// The group.
        group: GroupId,
        /// What it is known by.
        read: u64,
        /// The request.
        request: Request,
    },
    /// Takes a snapshot to be sent.
    TakeSnapshot {
        /// The group.
        group: GroupId,
        /// What it is to be known by.
        snapshot: u128,
    },
    /// Lets go of a snapshot that nobody fetches any more.
    DropSnapshot {
        /// The group.
        group: GroupId,
        /// Which.
        snapshot: u128,
    },
    /// Reads a chunk of a snapshot.
    ReadChunk {
        /// The group.
        group: GroupId,
        /// The snapshot.
        snapshot: u128,
        /// The number of the chunk.
        number: u32,
        /// Behind which cursor.
        after: Vec<u8>,
        /// About how many bytes.
        limit: usize,
        /// Who asked.
        to: NodeId,
    },
    /// Keeps a chunk of a snapshot that is being received.
    Stage {
        /// The group.
        group: GroupId,
        /// The snapshot.
        snapshot: u128,
        /// The number of the chunk.
        number: u32,
        /// The chunk.
        chunk: Chunk,
    },
    /// Puts the staged snapshot in the place of the state.
    Install {
        /// The group.
        group: GroupId,
    },
    /// Forgets the staged snapshot.
    Discard {
        /// The group.
        group: GroupId,
    },
    /// Removes a shard.
    Destroy {
        /// The group.
        group: GroupId,
    },
    /// Makes everything that is applied survive a crash.
    Flush,
}

impl Task {
    /// Whether it waits for the disk, as most do not, and changes which states there are.
    #[must_use]
    pub fn waits_for_disk(&self) -> bool {
        matches!(
            self,
            Self::Create { .. } | Self::Install { .. } | Self::Destroy { .. } | Self::Flush
        )
    }
}

/// What came of a task.
#[derive(Debug, Clone)]
pub enum Done {
    /// Entries are applied.
    Applied {
        /// The group.
        group: GroupId,
        /// The last of them.
        position: Position,
        /// What each command came to.
        results: Vec<(LogPoint, CommandResult)>,
    },
    /// A request is answered.
    Read {
        /// The group.
        group: GroupId,
        /// What it is known by.
        read: u64,
        /// Up to which entry it has seen.
        applied: u64,
        /// The answer.
        result: Result<Response, Error>,
    },
    /// A snapshot is taken.
    SnapshotTaken {
        /// The group.
        group: GroupId,
        /// What it is known by.
        snapshot: u128,
        /// Where it stands.
        position: Position,
    },
    /// A chunk was read, or there is no such snapshot any more.
    ChunkRead {
        /// The group.
        group: GroupId,
        /// The snapshot.
        snapshot: u128,
        /// The number of the chunk.
        number: u32,
        /// The chunk.
        chunk: Option<Chunk>,
        /// Who asked.
        to: NodeId,
    },
    /// A chunk is kept.
    Staged {
        /// The group.
        group: GroupId,
        /// What is kept by now; `None` when it could not be kept.
        staged: Option<Staged>,
    },
    /// The staged snapshot is in place.
    Installed {
        /// The group.
        group: GroupId,
        /// Where the state stands now.
        position: Position,
    },
    /// A shard is gone.
    Destroyed {
        /// The group.
        group: GroupId,
    },
    /// This much survives a crash.
    Flushed {
        /// The last such entry of each group.
        durable: BTreeMap<GroupId, u64>,
    },
    /// A shard cannot go on.
    Failed {
        /// The group; `None` when it is the store itself.
        group: Option<GroupId>,
        /// Why.
        error: StorageError,
    },
}

/// What was in the store when it was opened.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where the state of each shard stands.
    pub positions: BTreeMap<GroupId, Position>,
    /// The snapshots that are partly received.
    pub staged: BTreeMap<GroupId, Staged>,
    /// The shards that cannot be used, and why.
    pub failed: BTreeMap<GroupId, StorageError>,
}

/// Hears which states there are, on the applier's thread: it must not wait.
///
/// [`Watch::opened`] tells of a state when it is there: when the store was opened, before the node runs and can be asked
/// anything, when a shard was made, and when a snapshot was put in place. [`Watch::closing`] comes before it is dropped or replaced, exactly once for each that was opened.
pub trait Watch<S: OrderedStore>: Send + 'static {
    /// A state is there, and answers.
    fn opened(&mut self, state: &GroupState<S>);

    /// The state of a group is about to go: whoever reads it is told so next.
    fn closing(&mut self, group: GroupId);
}

/// Nobody wants to know.
impl<S: OrderedStore> Watch<S> for () {
    fn opened(&mut self, _: &GroupState<S>) {}

    fn closing(&mut self, _: GroupId) {}
}

impl<S: OrderedStore> Watch<S> for Box<dyn Watch<S>> {
    fn opened(&mut self, state: &GroupState<S>) {
        self.as_mut().opened(state);
    }

    fn closing(&mut self, group: GroupId) {
        self.as_mut().closing(group);
    }
}

/// The state of a node's shards.
pub struct Applier<S: OrderedStore> {
    store: Arc<S>,
    watch: Box<dyn Watch<S>>,
    /// The last version of commands to apply.
    apply_version: u16,
    states: BTreeMap<GroupId, GroupState<S>>,
    /// Of each group the last that was taken to be sent, until it is let go of.
    snapshots: BTreeMap<GroupId, (u128, GroupSnapshot<S>)>,
    /// By what the clock of this node differs, for one of the planted mistakes.
    #[cfg(feature = "mistakes")]
    pub skew_ms: u64,
}

impl<S: OrderedStore> Applier<S> {
    /// Opens what is in a store, and finishes the installation of snapshots that a crash has interrupted. Commands are
    /// applied up to `apply_version`, which is the node's ([`crate::node::Settings::apply_version`]). `watch` hears of every
    /// state that is found, and of those that come and go later.
    ///
    /// # Errors
    /// [`StorageError::Store`] when the store cannot be read at all.
    pub fn open(
        store: Arc<S>,
        apply_version: u16,
        mut watch: impl Watch<S>,
    ) -> Result<(Self, Found), StorageError> {
        let mut found = Found {
            positions: BTreeMap::new(),
            staged: BTreeMap::new(),
            failed: BTreeMap::new(),
        };
        let mut states = BTreeMap::new();
        for group in GroupState::list(store.as_ref())? {
            let opened = match is_installing(store.as_ref(), group) {
                Ok(true) => install(&store, group).map(Some),
                Ok(false) => GroupState::open(&store, group),
                Err(error) => Err(error),
            };
            match opened.and_then(|state| Ok((state, staged(store.as_ref(), group)?))) {
                Ok((state, staged)) => {
                    if let Some(state) = state {
                        found.positions.insert(group, state.position().clone());
                        watch.opened(&state);
                        states.insert(group, state);
                    }
                    if let Some(staged) = staged {
                        found.staged.insert(group, staged);
                    }
                }
                Err(error) => {
                    found.failed.insert(group, error);
                }
            }
        }
        let applier = Self {
            store,
            watch: Box::new(watch),
            apply_version,
            states,
            snapshots: BTreeMap::new(),
            #[cfg(feature = "mistakes")]
            skew_ms: 0,
        };
        Ok((applier, found))
    }

    /// How many snapshots are kept to be sent.
    #[must_use]
    pub fn snapshots_held(&self) -> usize {
        self.snapshots.len()
    }

    /// Does something. Most tasks write to memory only; [`Task::Install`], [`Task::Destroy`] and
    /// [`Task::Flush`] wait for the disk.
    pub fn run(&mut self, task: Task) -> Option<Done> {
        match task {
            Task::Create {
                group,
                shard,
                position,
            } => {
                let created = GroupState::create(&self.store, group, shard, position);
                let error = self.keep(group, created).err()?;
                let group = Some(group);
                Some(Done::Failed { group, error })
            }
            Task::Apply { group, entries } => Some(self.apply(group, &entries)),
            Task::Read { group, read, request } => Some(self.read(group, read, &request)),
            Task::TakeSnapshot { group, snapshot } => {
                let taken = self.states.get(&group)?.snapshot();
                let position = taken.position().clone();
                self.snapshots.insert(group, (snapshot, taken));
                Some(Done::SnapshotTaken {
                    group,
                    snapshot,
                    position,
                })
            }
            Task::DropSnapshot { group, snapshot } => {
                if self.snapshots.get(&group).is_some_and(|(id, _)| *id == snapshot) {
                    self.snapshots.remove(&group);
                }
                None
            }
            Task::ReadChunk {
                group,
                snapshot,
                number,
                after,
                limit,
                to,
            } => {
                let found = self.snapshots.get(&group).filter(|(id, _)| *id == snapshot);
                let chunk = match found.map(|(_, found)| found.chunk(&after, limit)) {
                    Some(Ok(chunk)) => Some(chunk),
                    Some(Err(error)) => {
                        let group = Some(group);
                        return Some(Done::Failed { group, error });
                    }
                    None => None,
                };
                Some(Done::ChunkRead {
                    group,
                    snapshot,
                    number,
                    chunk,
                    to,
                })
            }
            Task::Stage {
                group,
                snapshot,
                number,
                chunk,
            } => {
                // What does not fit is dropped: whoever fetches asks again for what is missing.
                let _ = stage(self.store.as_ref(), group, snapshot, number, &chunk);
                let staged = staged(self.store.as_ref(), group).ok().flatten();
                Some(Done::Staged { group, staged })
            }
            Task::Install { group } => {
                self.close(group);
                let installed = self.install(group);
                Some(match self.keep(group, installed) {
                    Ok(position) => Done::Installed { group, position },
                    Err(error) => Done::Failed {
                        group: Some(group),
                        error,
                    },
                })
            }
            Task::Discard { group } => {
                let discarded = discard_staged(self.store.as_ref(), group);
                let group = Some(group);
                discarded.err().map(|error| Done::Failed { group, error })
            }
            Task::Destroy { group } => {
                self.close(group);
                let destroyed = GroupState::destroy(&self.store, group);
                // For good, or the next replica of the group could take it for its own.
                let synced = destroyed.and_then(|_| self.store.sync().map_err(StorageError::Commit));
                Some(match synced {
                    Ok(_) => Done::Destroyed { group },
                    Err(error) => Done::Failed {
                        group: Some(group),
                        error,
                    },
                })
            }
            Task::Flush => Some(self.flush()),
        }
    }

    /// Answers a request to read; `None` when there is no such shard.
    pub fn answer(&self, group: GroupId, request: &Request) -> Option<Result<Response, Error>> {
        self.states.get(&group).map(|state| state.answer(request))
    }

    /// A shard as it is now, to be read in chunks; `None` when there is no such shard.
    #[must_use]
    pub fn snapshot(&self, group: GroupId) -> Option<GroupSnapshot<S>> {
        self.states.get(&group).map(GroupState::snapshot)
    }

    #[cfg(feature = "mistakes")]
    fn install(&self, group: GroupId) -> Result<GroupState<S>, StorageError> {
        match has(Mistake::SnapshotWithoutMarker) {
            true => pliantdb_storage::group::install_unmarked(&self.store, group),
            false => install(&self.store, group),
        }
    }

    #[cfg(not(feature = "mistakes"))]
    fn install(&self, group: GroupId) -> Result<GroupState<S>, StorageError> {
        install(&self.store, group)
    }

    fn keep(
        &mut self,
        group: GroupId,
        state: Result<GroupState<S>, StorageError>,
    ) -> Result<Position, StorageError> {
        let state = state?;
        let position = state.position().clone();
        self.close(group);
        self.watch.opened(&state);
        self.states.insert(group, state);
        Ok(position)
    }

    /// Lets go of a state, if there is one.
    fn close(&mut self, group: GroupId) {
        if self.states.contains_key(&group) {
            self.watch.closing(group);
        }
        self.states.remove(&group);
    }

    fn apply(&mut self, group: GroupId, entries: &[LogEntry]) -> Done {
        let failed = |error| Done::Failed {
            group: Some(group),
            error,
        };
        let Some(state) = self.states.get_mut(&group) else {
            return failed(StorageError::Closed);
        };
        #[cfg(feature = "mistakes")]
        let mistaken = crate::applier_mistakes::mistaken(entries, self.skew_ms);
        #[cfg(feature = "mistakes")]
        let entries = mistaken.as_slice();
        match state.apply_up_to(self.apply_version, entries) {
            Ok(outcomes) => {
                let results = entries.iter().zip(outcomes);
                let results = results.filter_map(|(entry, outcome)| {
                    let (index, term) = (entry.index, entry.term);
                    Some((LogPoint { index, term }, outcome?))
                });
                Done::Applied {
                    group,
                    results: results.collect(),
                    position: state.position().clone(),
                }
            }
            Err(error) => failed(error),
        }
    }

    fn read(&self, group: GroupId, read: u64, request: &Request) -> Done {
        let state = self.states.get(&group);
        Done::Read {
            group,
            read,
            applied: state.map_or(0, |state| state.position().index),
            result: match state {
                Some(state) => state.answer(request),
                None => Err(StorageError::Closed.into()),
            },
        }
    }

    fn flush(&self) -> Done {
        self.flush_aside()()
    }

    /// What [`Task::Flush`] does, to be done on another thread. Meanwhile no task may run that waits for the disk
    /// ([`Task::waits_for_disk`]): it puts another state in the place of one that this tells of.
    pub fn flush_aside(&self) -> impl FnOnce() -> Done + Send + use<S> {
        let store = Arc::clone(&self.store);
        let positions = self.states.iter();
        let durable = positions
            .map(|(group, state)| (*group, state.position().index))
            .collect();
        move || {
            let synced = match has(Mistake::TruncateUnflushed) {
                true => Ok(0),
                false => store.sync(),
            };
            match synced {
                Ok(_) => Done::Flushed { durable },
                Err(error) => Done::Failed {
                    group: None,
                    error: StorageError::Commit(error),
                },
            }
        }
    }
}

impl<S: OrderedStore> Drop for Applier<S> {
    fn drop(&mut self) {
        for group in self.states.keys() {
            self.watch.closing(*group);
        }
    }
}
