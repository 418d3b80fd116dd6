//! From a directory to a node that runs.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pliantdb_cluster::Settings;
use pliantdb_cluster::node::{Event, FoundError};
use pliantdb_cluster_driver::{Driver, Handle, OpenError, Options as DriverOptions, Stopped};
use pliantdb_cluster_transport::{
    BindError, CertificateError, Hooks, JoinError, Network, Options as NetworkOptions, TokenError,
    TransportEvent,
};
use pliantdb_storage::encryption::{KeyVault, node_key};
use pliantdb_storage::memory::MemoryPlan;
use pliantdb_storage::store::{EncryptedStore, RocksStore, StoreError};
use pliantdb_storage::{DiskSpace, StateStore, StorageError};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;

use crate::certificates::{Certified, certify};
use crate::changes::{Asker, answer_bytes, look};
use crate::directory::{Directory, has_store};
use crate::following::{follow_addresses, tell_attributes};
use crate::member::Member;
use crate::options::{ADDRESS, Formation, Options};
use crate::room::{DiskRoom, watch_room};
use crate::services::Services;

/// How often it is looked whether the files of the certificate have changed.
const RELOADING: Duration = Duration::from_secs(5);

/// Why a member cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory cannot be used.
    #[error("the directory {} cannot be used: {reason}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why not.
        reason: io::Error,
    },
    /// One of its stores cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its data cannot be used: it is encrypted with another master key, say.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The node cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The certificate or the authority cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The tokens that were made here cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// Nobody gives it a certificate.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// It has neither a certificate nor a token for one.
    #[error(
        "to join a cluster this node needs a token, which a node of the cluster makes, or certificates of its own"
    )]
    NoToken,
    /// It cannot listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// It cannot found a cluster.
    #[error(transparent)]
    Found(#[from] FoundError),
    /// The node has stopped at once.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

pub(crate) async fn start(options: Options) -> Result<Member, StartError> {
    let Options {
        directory: path,
        name,
        mut attributes,
        listen,
        advertise,
        formation,
        certificates,
        memory,
        min_free_space,
        encryption,
        watch,
        services,
        timing,
        limits,
    } = options;
    let unusable = |reason| StartError::Directory {
        path: path.clone(),
        reason,
    };
    let directory = Directory::open(&path).map_err(unusable)?;
    let joining = directory.joining().map_err(unusable)?;
    let Certified { credentials, giving } = certify(&directory, &certificates, &formation).await?;
    let network = Network::bind(listen, credentials.clone(), NetworkOptions::default())?;
    let address = advertise.unwrap_or_else(|| network.local_address().to_string());
    attributes.insert(ADDRESS.to_owned(), address);
    let settings = Settings {
        name,
        attributes: attributes.clone(),
        apply_version: pliantdb_core::APPLY_VERSION,
        seed: rand::random(),
        timing,
        limits,
    };
    let sender = network.sender();
    let joined = Arc::new(Notify::new());
    let telling = Arc::clone(&joined);
    let tell = move |event: Event| {
        if let Event::Joined(_) = event {
            telling.notify_one();
        }
        log(event);
    };
    let opening = move || -> Result<_, StartError> {
        let memory = memory.on_disk(DiskSpace::total(directory.path())?);
        let (log, state) = open_stores(&directory, memory, encryption.as_deref())?;
        let room = DiskRoom::of(directory.path(), min_free_space, memory, &log, &state);
        let options = DriverOptions::default();
        let driver = Driver::open(settings, options, log, state, sender, watch, tell);
        Ok((driver?, room))
    };
    let opened = spawn_blocking(opening).await;
    let (driver, room) = opened.map_err(|error| unusable(io::Error::other(error)))??;
    let handle = driver.handle().clone();
    let identity = look(&handle, |node| node.id().zip(node.cluster())).await?;
    if let (None, Formation::Found { .. }) = (identity, &formation) {
        found(&handle, joining).await?;
    }
    network.start(hooks(&handle, services));
    network.set_giver(giving.as_ref().map(crate::certificates::Giving::giver));
    let network = Arc::new(network);
    let asker = Asker { handle, network };
    let mut tasks = vec![
        tokio::spawn(credentials.follow(RELOADING)),
        tokio::spawn(follow_addresses(asker.clone(), joined)),
        tokio::spawn(tell_attributes(asker.clone(), attributes)),
        tokio::spawn(watch_room(asker.handle.clone(), room.clone())),
    ];
    if let (None, Formation::Join { seeds, .. }) = (identity, formation) {
        tasks.push(tokio::spawn(join(asker.clone(), joining, seeds)));
    }
    Ok(Member {
        asker,
        driver: Mutex::new(Some(driver)),
        giving,
        room,
        tasks: Mutex::new(tasks.into_iter().map(AbortOnDropHandle::new).collect()),
    })
}

type Stores = (Arc<StateStore>, Arc<StateStore>);

/// Opens the stores. The values of both are encrypted with the directory's key, if it has one: entries of logs are what
/// users write.
fn open_stores(
    directory: &Directory,
    memory: MemoryPlan,
    vault: Option<&dyn KeyVault>,
) -> Result<Stores, StorageError> {
    let (log, state) = (directory.log(), directory.state());
    let is_new = !has_store(&log) && !has_store(&state);
    let key = node_key(directory.path(), is_new, vault)?;
    let log = match has_store(&log) {
        true => RocksStore::open_log(&log, memory)?,
        false => RocksStore::create_log(&log, memory)?,
    };
    let state = match has_store(&state) {
        true => RocksStore::open_state(&state, memory)?,
        false => RocksStore::create_state(&state, memory)?,
    };
    let seal = |store| match &key {
        Some(key) => EncryptedStore::open(store, key.clone()),
        None => Ok(EncryptedStore::plain(store)),
    };
    Ok((Arc::new(seal(log)?), Arc::new(seal(state)?)))
}

async fn found(handle: &Handle<StateStore>, token: u128) -> Result<(), StartError> {
    let founding = handle.clone();
    let founded = spawn_blocking(move || founding.found(rand::random(), token)).await;
    Ok(founded.unwrap_or(Err(Stopped::ByOwner))??)
}

async fn join(asker: Asker, token: u128, seeds: Vec<String>) {
    let Asker { handle, network } = asker;
    network
        .join(token, &seeds, |peers| {
            // A node that has stopped says so to its owner.
            let _ = handle.join(token, peers);
        })
        .await;
}

fn hooks(handle: &Handle<StateStore>, services: Option<Services>) -> Hooks {
    let (receiver, answering) = (handle.clone(), handle.clone());
    Hooks::new(move |envelope, bytes| receiver.receive_sized(envelope, bytes))
        .answering(move |from, question| {
            let (handle, services) = (answering.clone(), services.clone());
            async move {
                match (crate::services::received(&question), services) {
                    (Some(question), Some(services)) => services.answer(from, question).await,
                    _ => answer_bytes(handle, question).await,
                }
            }
        })
        .telling(|TransportEvent::TwoProcesses { node, addresses }| {
            tracing::error!(%node, ?addresses, "two processes say that they are this node: stop one of them");
        })
}

/// Logs what an owner wants to know.
fn log(event: Event) {
    match event {
        Event::Joined(node) => tracing::info!(%node, "this node is part of the cluster"),
        Event::CannotJoin(reason) => tracing::error!(reason, "this node cannot join the cluster"),
        Event::BecameLeader { group, term, .. } => tracing::info!(%group, term, "this node leads the group"),
        Event::Halted { group, halt } => tracing::error!(%group, %halt, "the replica has stopped"),
        Event::Forced {
            group, incarnation, ..
        } => {
            tracing::warn!(%group, %incarnation, "the group is to go on with the replica of this node alone");
        }
        Event::ForceConfirmed { group, incarnation } => {
            tracing::warn!(%group, %incarnation, "the group goes on in another life");
        }
        Event::Removed {
            group, from, tail, ..
        } if !tail.is_empty() => {
            let entries = tail.len();
            tracing::warn!(%group, from, entries, "entries that only this node had are lost with its replica");
        }
        Event::Removed { group, .. } => tracing::info!(%group, "the replica of this node is removed"),
        Event::Switch { id, phase } => tracing::info!(%id, ?phase, "the mode or the leader changes"),
        Event::Installed { group, at, .. } => {
            tracing::info!(%group, index = at.index, "the replica was brought by a snapshot");
        }
        Event::ClockDrift { node, ppm } => {
            tracing::error!(%node, ppm, "the clock of the node runs out of bound against this node's");
        }
        Event::LogFailed(reason) => tracing::error!(reason, "the log cannot be written any more"),
    }
}
