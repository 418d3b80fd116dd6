//! The databases of a cluster, of which this node has replicas: whatever is asked of any node is answered alike.
//!
//! What is read is read here, once the replica here has everything that anybody was told of before (`barrier`). What
//! changes something is done by the node that leads the database's group (`errands`), where the request is run as if the
//! database were embedded, and its operations go into the group's log (`proposing`). Which databases there are, and who may
//! use them, the meta group knows, of which every node has a copy (`changing`).
//!
//! - `groups`: the groups, and the databases of the replicas that are here
//! - `attempts`: what is tried again, and what is said in the end
//! - `between`: what nodes ask each other; `answering`: answering it
//! - `publishing`: messages reach subscribers on every node; `sessions`: so do logins
//! - `tending`: what a node does for its databases by itself; `backing_up`: backups; `lending`:
//!   snapshots for nodes without a replica

mod answering;
mod attempts;
mod backing_up;
mod barrier;
mod between;
mod changing;
mod errands;
mod groups;
mod lending;
mod proposing;
mod publishing;
mod sessions;
mod tending;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use pliantdb_cluster::applier::Watch;
use pliantdb_cluster::{META, Meta, NodeId};
use pliantdb_cluster_driver::{Failure, Handle};
use pliantdb_cluster_member::{Member, Services};
use pliantdb_core::protocol::{DatabaseHandle, NodeAddress, Nodes};
use pliantdb_core::{DatabaseName, Error, GroupId};
use pliantdb_storage::store::StoreError;
use pliantdb_storage::{Apis, SharedAccounts, StateStore, Stats, StorageError};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::access::Sessions;
use crate::cluster::{Cluster, FINGERPRINT, HTTP, QUIC};
use crate::executor::Executor;
use crate::schemas::Schemas;
use changing::Gone;
use groups::{Groups, Opening};
pub(crate) use lending::Borrowed;
use lending::Lent;
use proposing::Link;
use publishing::Subscribers;

/// The databases of a cluster.
pub(crate) struct Clustered {
    node: NodeId,
    cluster: Arc<Cluster>,
    handle: Handle<StateStore>,
    groups: Arc<Groups>,
    schemas: Arc<Schemas>,
    executor: Arc<Executor>,
    accounts: Arc<SharedAccounts>,
    sessions: Arc<Sessions>,
    catalog: Mutex<Option<Arc<Catalog>>>,
    /// Held while what is derived from the meta group is changed.
    in_step: Mutex<()>,
    gone: Gone,
    subscribers: Subscribers,
    lent: Lent,
    runtime: tokio::runtime::Handle,
    /// Cancelled when it is closed.
    stop: CancellationToken,
}

/// What is to be there before the node is, for it hears of its replicas while it is opened.
pub(crate) struct Foundation {
    groups: Arc<Groups>,
    schemas: Arc<Schemas>,
    link: Arc<OnceLock<Link>>,
}

impl Foundation {
    /// With who answers custom APIs, and the schemas whose code is here.
    pub(crate) fn new(apis: Apis, schemas: Arc<Schemas>) -> Self {
        let link = Arc::default();
        Self {
            groups: Arc::new(Groups::new(apis, Arc::clone(&schemas), Arc::clone(&link))),
            schemas,
            link,
        }
    }

    /// What hears of the node's replicas.
    pub(crate) fn watch(&self) -> Box<dyn Watch<StateStore>> {
        Box::new(Opening(Arc::clone(&self.groups)))
    }

    /// What answers other nodes.
    pub(crate) fn services(&self) -> Services {
        let link = Arc::clone(&self.link);
        Services::new(move |_, question: Bytes| {
            let cluster = link.get().and_then(|link| link.cluster.upgrade());
            async move {
                match cluster {
                    Some(cluster) => cluster.answer(&question).await,
                    None => answering::not_yet(),
                }
            }
        })
    }
}

/// Which databases there are, as a copy of the meta group says.
struct Catalog {
    meta: Arc<Meta>,
    /// The group and the number of each.
    databases: HashMap<DatabaseName, (GroupId, u32)>,
}

impl Catalog {
    fn of(meta: Arc<Meta>) -> Self {
        let groups = meta.groups().iter();
        let databases = groups.filter_map(|(group, record)| {
            let shard = record.shard.as_ref()?;
            Some((shard.database.clone(), (*group, shard.entry.id.get())))
        });
        Self {
            databases: databases.collect(),
            meta,
        }
    }
}

/// Why something was not done.
#[derive(Debug, Clone)]
enum NotDone {
    /// Another node leads, as far as is known. Nothing was done.
    Elsewhere(Option<NodeId>),
    /// Nothing was done, and soon it may be.
    Later(String),
    /// It may have been done.
    Unknown(String),
    /// It cannot be done.
    Error(Error),
}

impl Clustered {
    /// The databases of a node that is part of its cluster. `retention` is for how long changes are kept for feeds,
    /// `snapshot_lifetime` for how long a snapshot may be held.
    pub(crate) async fn start(
        foundation: Foundation,
        cluster: Arc<Cluster>,
        executor: Arc<Executor>,
        sessions: Arc<Sessions>,
        retention: Duration,
        snapshot_lifetime: Duration,
    ) -> Result<Arc<Self>, Failure> {
        let member = cluster.member();
        let (node, meta) = member.joined().await?;
        let Foundation {
            groups,
            schemas,
            link,
        } = foundation;
        let clustered = Arc::new(Self {
            node,
            handle: member.handle().clone(),
            cluster,
            groups,
            schemas,
            executor,
            accounts: Arc::new(SharedAccounts::new(meta.accounts().clone())),
            sessions,
            catalog: Mutex::default(),
            in_step: Mutex::default(),
            gone: Gone::default(),
            subscribers: Subscribers::default(),
            lent: Lent::new(snapshot_lifetime),
            runtime: tokio::runtime::Handle::current(),
            stop: CancellationToken::new(),
        });
        // It is set once, here.
        let _ = link.set(Link {
            handle: clustered.handle.clone(),
            room: clustered.member().room().clone(),
            cluster: Arc::downgrade(&clustered),
        });
        clustered.keep_in_step();
        // Of what was decided while it was away, before anybody is let in.
        clustered.catch_up().await;
        tokio::spawn(changing::follow(
            Arc::downgrade(&clustered),
            clustered.handle.known(),
        ));
        tending::start(&clustered, retention);
        Ok(clustered)
    }

    /// The cluster that the node is of.
    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn member(&self) -> &Member {
        self.cluster.member()
    }

    /// Tells when the node cannot go on.
    pub(crate) async fn watch_failure(self: Arc<Self>, failure: oneshot::Sender<StorageError>) {
        let handle = self.handle.clone();
        drop(self);
        let mut known = handle.known();
        // It ends with the node.
        while known.changed().await.is_ok() {}
        if let Some(reason) = handle.failure() {
            // Fails only if the server is gone.
            let _ = failure.send(StorageError::Failed(StoreError::Engine(reason.to_string())));
        }
    }

    /// Whether writes are taken at the moment, as far as this node can tell.
    ///
    /// # Errors
    /// [`StorageError::Failed`], and [`StorageError::DiskFull`].
    pub(crate) fn writable(&self) -> Result<(), StorageError> {
        match self.handle.failure() {
            Some(reason) => Err(StorageError::Failed(StoreError::Engine(reason.to_string()))),
            None => self.member().check_room(0),
        }
    }

    /// Sizes and counters of its stores, and the room on its disk.
    ///
    /// # Errors
    /// [`StorageError::Closed`], and [`StorageError::Io`] when the disk cannot be asked.
    pub(crate) fn stats(&self) -> Result<Stats, StorageError> {
        let room = self.member().room();
        let (disk_free, disk_reserve) = room.measure()?;
        Ok(Stats {
            store: room.stats().ok_or(StorageError::Closed)?,
            disk_free,
            disk_reserve,
            subscriptions: self.subscribers.count(),
        })
    }

    /// The users, roles and API keys.
    pub(crate) fn accounts(&self) -> &Arc<SharedAccounts> {
        &self.accounts
    }

    /// The wall clock, in milliseconds since the Unix epoch.
    pub(crate) fn now_ms() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// What this node knows of its databases now.
    fn catalog(&self) -> Result<Arc<Catalog>, Error> {
        let meta = self.handle.known().borrow().meta.clone();
        let meta =
            meta.ok_or_else(|| Error::Unavailable("this node is not yet part of a cluster".to_owned()))?;
        let mut cached = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        match cached.as_ref() {
            Some(catalog) if Arc::ptr_eq(&catalog.meta, &meta) => Ok(Arc::clone(catalog)),
            _ => Ok(Arc::clone(cached.insert(Arc::new(Catalog::of(meta))))),
        }
    }

    /// The group and the number of the database that is meant, as far as is known here.
    fn find(&self, handle: &DatabaseHandle) -> Result<(GroupId, u32), Error> {
        match self.catalog()?.databases.get(&handle.name) {
            Some((group, number)) if handle.number.is_none_or(|meant| meant == *number) => {
                Ok((*group, *number))
            }
            _ => Err(Error::UnknownDatabase(handle.name.clone())),
        }
    }

    fn leader_by_meta(&self, group: GroupId) -> Option<NodeId> {
        let catalog = self.catalog().ok()?;
        catalog.meta.group(group).map(|record| record.leader)
    }

    /// The nodes that can be asked alike, and which of them leads a database.
    pub(crate) fn nodes(&self, database: Option<&DatabaseName>) -> Nodes {
        let Ok(catalog) = self.catalog() else {
            return Nodes::default();
        };
        let group = match database {
            Some(name) => catalog.databases.get(name).map(|(group, _)| *group),
            None => Some(META),
        };
        let leader = group.and_then(|group| {
            let heard = self.groups.get(group).heard.leader();
            heard.or_else(|| self.leader_by_meta(group))
        });
        let known = catalog.meta.nodes();
        let address =
            |attributes: &std::collections::BTreeMap<String, String>, key| attributes.get(key).cloned();
        let mut nodes: Vec<_> = known
            .values()
            .map(|record| NodeAddress {
                name: record.name.clone(),
                http: address(&record.attributes, HTTP),
                quic: address(&record.attributes, QUIC),
                fingerprint: address(&record.attributes, FINGERPRINT),
            })
            .collect();
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        Nodes {
            nodes,
            leader: leader.and_then(|leader| Some(known.get(&leader)?.name.clone())),
        }
    }

    /// Lets other nodes lead what this one leads, for so long at most.
    pub(crate) async fn hand_over(&self, within: Duration) {
        let began = Instant::now();
        match timeout(within, self.member().step_aside(within)).await {
            Ok(Ok(kept)) => {
                let seconds = began.elapsed().as_secs_f64();
                tracing::info!(
                    kept,
                    seconds,
                    "other nodes lead what this one led and others can lead"
                );
            }
            // It is told when the node is closed.
            Ok(Err(_)) => {}
            Err(_) => {
                tracing::warn!("no other node leads in the place of this one yet; it stops all the same");
            }
        }
    }

    /// Ends what it does by itself, and says goodbye to the others.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.subscribers.close();
        self.groups.close();
        self.lent.close();
        if let Err(failure) = self.cluster.stop().await {
            tracing::error!(%failure, "the node had stopped by itself");
        }
    }
}
