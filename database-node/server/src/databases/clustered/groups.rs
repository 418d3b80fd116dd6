//! The groups that keep the databases, as this node knows them, and the databases of those that it has a replica of.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use pliantdb_cluster::NodeId;
use pliantdb_cluster::applier::Watch;
use pliantdb_cluster::node::{Mark, Refusal};
use pliantdb_core::{GroupId, Position};
use pliantdb_storage::group::GroupState;
use pliantdb_storage::{Apis, AsyncDatabase, StateStore};

use super::barrier::Waiting;
use super::proposing::{Link, Proposing};
use crate::schemas::Schemas;

/// What this node has heard of a group by its answers.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<Latest>);

#[derive(Debug, Default)]
struct Latest {
    /// The node that leads it, as last heard.
    leader: Option<NodeId>,
    /// The furthest mark of an answer that was given here.
    mark: Option<Mark>,
}

impl Heard {
    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        self.latest().leader
    }

    pub(super) fn set_leader(&self, leader: Option<NodeId>) {
        self.latest().leader = leader;
    }

    /// Notes how far the group had come.
    pub(super) fn note(&self, at: Mark) {
        let mut latest = self.latest();
        // An entry of an earlier term can be applied after a read of a later one was answered, and is behind it all the same.
        let is_later = latest.mark.is_none_or(|mark| {
            (mark.incarnation, mark.index, mark.term) < (at.incarnation, at.index, at.term)
        });
        if is_later {
            latest.mark = Some(at);
        }
    }

    /// The term of the furthest answer that was given here; 0 before the first.
    pub(super) fn term(&self) -> u64 {
        self.latest().mark.map_or(0, |mark| mark.term)
    }

    /// Notes who leads when this node does not.
    pub(super) fn refused(&self, refusal: &Refusal) {
        if let Refusal::NotLeader { leader } = refusal {
            self.set_leader(*leader);
        }
    }
}

/// A group.
pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) heard: Arc<Heard>,
    pub(super) waiting: Waiting,
    /// Its database, while there is a replica here.
    database: RwLock<Option<AsyncDatabase>>,
}

impl Group {
    fn new(id: GroupId) -> Self {
        Self {
            id,
            heard: Arc::default(),
            waiting: Waiting::default(),
            database: RwLock::default(),
        }
    }

    /// Its database, if there is a replica here.
    pub(super) fn database(&self) -> Option<AsyncDatabase> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        database.clone()
    }

    fn set_database(&self, database: Option<AsyncDatabase>) {
        let mut held = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *held, database);
        drop(held);
        drop(before);
    }

    /// How far it had come when the last answer was given here: whatever was answered is in that.
    pub(super) fn position(&self) -> Option<Position> {
        self.heard.latest().mark.map(|mark| position_of(self.id, mark))
    }
}

/// A mark as clients have it.
pub(super) fn position_of(group: GroupId, mark: Mark) -> Position {
    Position {
        group,
        incarnation: mark.incarnation.numbers(),
        term: mark.term,
        index: mark.index,
    }
}

/// The groups that were asked for, or are here.
pub(super) struct Groups {
    apis: Arc<Apis>,
    schemas: Arc<Schemas>,
    link: Arc<OnceLock<Link>>,
    groups: RwLock<HashMap<GroupId, Arc<Group>>>,
    /// Whether none is opened any more.
    is_closed: AtomicBool,
}

impl Groups {
    pub(super) fn new(apis: Apis, schemas: Arc<Schemas>, link: Arc<OnceLock<Link>>) -> Self {
        Self {
            apis: Arc::new(apis),
            schemas,
            link,
            groups: RwLock::default(),
            is_closed: AtomicBool::default(),
        }
    }

    /// Lets go of the databases for good.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        for (group, _) in self.here() {
            group.set_database(None);
        }
    }

    /// A group, whether it is here or not.
    pub(super) fn get(&self, id: GroupId) -> Arc<Group> {
        let known = {
            let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
            groups.get(&id).cloned()
        };
        known.unwrap_or_else(|| {
            let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(groups.entry(id).or_insert_with(|| Arc::new(Group::new(id))))
        })
    }

    /// Those with a replica here.
    pub(super) fn here(&self) -> Vec<(Arc<Group>, AsyncDatabase)> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        let groups = groups.values();
        groups
            .filter_map(|group| Some((Arc::clone(group), group.database()?)))
            .collect()
    }

    /// Forgets those that are gone: not here, and not of the cluster any more.
    pub(super) fn retain(&self, is_wanted: impl Fn(GroupId) -> bool) {
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        groups.retain(|id, group| is_wanted(*id) || group.database().is_some());
    }

    fn open(&self, state: &GroupState<StateStore>) -> Result<(), pliantdb_core::Error> {
        let group = self.get(state.group());
        let proposing = Proposing {
            group: group.id,
            heard: Arc::clone(&group.heard),
            link: Arc::clone(&self.link),
        };
        let database = state.database(Arc::new(proposing), Arc::clone(&self.apis))?;
        self.schemas.teach(&database)?;
        group.set_database(Some(AsyncDatabase::from(database)));
        // Looked at behind it, as it is closed before its groups are.
        if self.is_closed.load(Ordering::SeqCst) {
            group.set_database(None);
        }
        Ok(())
    }
}

/// Gives each replica a database.
pub(super) struct Opening(pub(super) Arc<Groups>);

impl Watch<StateStore> for Opening {
    fn opened(&mut self, state: &GroupState<StateStore>) {
        if let Err(error) = self.0.open(state) {
            tracing::error!(group = %state.group(), %error, "the replica of this node cannot be used as a database");
        }
    }

    fn closing(&mut self, group: GroupId) {
        self.0.get(group).set_database(None);
    }
}
