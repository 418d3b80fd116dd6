//! From a directory to a node that runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pliantdb_cluster::Settings;
use pliantdb_cluster::log::{Identity, read_identity};
use pliantdb_cluster::meta::MetaRejection;
use pliantdb_cluster::node::{Event, Founder};
use pliantdb_cluster::wire::{UNDERSTANDS, UNDERSTOOD};
use pliantdb_cluster_driver::{Driver, Handle, OpenError, Options as DriverOptions};
use pliantdb_cluster_transport::{
    BindError, CertificateError, Hooks, JoinError, Network, Options as NetworkOptions, TokenError,
    TransportEvent,
};
use pliantdb_core::{DatabaseName, SlotCount};
use pliantdb_storage::node::{NodeDirectory, NodeOptions, Opened};
use pliantdb_storage::store::{Durability, OrderedStore, StoreError};
use pliantdb_storage::{StateStore, StorageError};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;

use crate::certificates::{Certified, certify};
use crate::changes::{Asker, answer_bytes};
use crate::directory::Directory;
use crate::events::Counting;
use crate::following::{follow_addresses, tell_attributes};
use crate::giving::Giving;
use crate::member::Member;
use crate::options::{ADDRESS, Formation, Options};
use crate::renewing::{keep_authority, renew};
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
    Found(#[from] MetaRejection),
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
    let may_grow = matches!(formation, Formation::Found { .. });
    let within = path.clone();
    let opening = move || {
        let options = NodeOptions {
            encryption: encryption.as_deref(),
            memory,
            may_grow,
        };
        NodeDirectory::open(&within, options)
    };
    // First, for nothing else in the directory is anybody's business before it is known whose it is.
    let opened = spawn_blocking(opening).await;
    let opened = opened.map_err(|error| unusable(io::Error::other(error)))??;
    let directory = Directory::open(&path).map_err(unusable)?;
    let joining = directory.joining().map_err(unusable)?;
    let Certified { credentials, giving } = certify(&directory, &certificates, &formation).await?;
    let network = Network::bind(listen, credentials.clone(), NetworkOptions::default())?;
    let address = advertise.unwrap_or_else(|| network.local_address().to_string());
    attributes.insert(ADDRESS.to_owned(), address);
    attributes.insert(UNDERSTANDS.to_owned(), UNDERSTOOD.to_string());
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
    let events = Arc::new(Counting::default());
    let counted = Arc::clone(&events);
    let tell = move |event: Event| {
        if let Event::Joined(_) = event {
            telling.notify_one();
        }
        counted.count(&event);
        log(event);
    };
    let founder = may_grow.then(|| Founder {
        cluster: rand::random(),
        token: joining,
        name: settings.name.clone(),
        attributes: settings.attributes.clone(),
        apply_version: settings.apply_version,
    });
    let within = path.clone();
    let driving = move || -> Result<_, StartError> {
        let (directory, identity) = become_node(&within, opened, founder)?;
        let (log, state) = (Arc::clone(directory.log()), Arc::clone(directory.state()));
        let room = DiskRoom::of(&directory, min_free_space);
        let options = DriverOptions::default();
        let driver = Driver::open(settings, options, log, state, sender, watch, tell)?;
        Ok((driver, room, directory, identity))
    };
    let driven = spawn_blocking(driving).await;
    let (driver, room, directory, identity) = driven.map_err(|error| unusable(io::Error::other(error)))??;
    let handle = driver.handle().clone();
    network.start(hooks(&handle, giving.clone(), services));
    network.set_giver(giving.as_ref().and_then(|giving| giving.giver()));
    let network = Arc::new(network);
    let asker = Asker { handle, network };
    let wanted = watch::Sender::new(attributes);
    let mut tasks = vec![
        tokio::spawn(credentials.clone().follow(RELOADING)),
        tokio::spawn(follow_addresses(asker.clone(), joined)),
        tokio::spawn(tell_attributes(asker.clone(), wanted.subscribe())),
        tokio::spawn(watch_room(asker.handle.clone(), room.clone())),
    ];
    if let Some(giving) = &giving {
        let (renewing, giving) = (asker.clone(), Arc::clone(giving));
        tasks.push(tokio::spawn(renew(
            renewing,
            credentials.clone(),
            Arc::clone(&giving),
        )));
        tasks.push(tokio::spawn(keep_authority(
            asker.clone(),
            credentials.clone(),
            giving,
        )));
    }
    if let (None, Formation::Join { seeds, .. }) = (identity, formation) {
        tasks.push(tokio::spawn(join(asker.clone(), joining, seeds)));
    }
    Ok(Member {
        asker,
        driver: Mutex::new(Some(driver)),
        giving,
        room,
        directory: Mutex::new(Some(directory)),
        attributes: wanted,
        events,
        credentials,
        steps_aside: AtomicBool::new(false),
        tasks: Mutex::new(tasks.into_iter().map(AbortOnDropHandle::new).collect()),
    })
}

/// The directory of a node, and who it is if it is of a cluster: it may just have founded one, with the databases that the
/// directory has, or with an empty one.
fn become_node(
    path: &Path,
    opened: Opened,
    founder: Option<Founder>,
) -> Result<(NodeDirectory, Option<Identity>), StartError> {
    let directory = match (opened, founder) {
        (Opened::Node(directory), founder) => {
            let identity = read_identity(directory.log().as_ref())?;
            let (None, Some(founder)) = (identity, founder) else {
                return Ok((directory, identity));
            };
            // As a storage that is made.
            let databases = [(DatabaseName::default_database(), SlotCount::default())];
            let founding = founder.found(&databases)??;
            let founded = directory.log().write(&founding, Durability::Synced);
            founded?;
            directory
        }
        (Opened::Growing(growth), Some(founder)) => {
            let databases = growth.heritage().databases.len();
            tracing::info!(
                databases,
                "the storage of this directory becomes a node, and founds a cluster"
            );
            let founding = founder.found_with(growth.heritage())?;
            growth.finish(&founding, &mut |step| {
                tracing::info!(?step, "the directory grows");
            })?
        }
        // It is opened so only to found.
        (Opened::Growing(_), None) => {
            let path = path.to_owned();
            return Err(StorageError::HasDatabases { path }.into());
        }
    };
    let identity = read_identity(directory.log().as_ref())?;
    Ok((directory, identity))
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

fn hooks(handle: &Handle<StateStore>, giving: Option<Arc<Giving>>, services: Option<Services>) -> Hooks {
    let (receiver, answering) = (handle.clone(), handle.clone());
    Hooks::new(move |envelope, bytes| receiver.receive_sized(envelope, bytes))
        .answering(move |from, question| {
            let (handle, giving, services) = (answering.clone(), giving.clone(), services.clone());
            async move {
                match (crate::services::received(&question), services) {
                    (Some(question), Some(services)) => services.answer(from, question).await,
                    _ => answer_bytes(handle, giving, from, question).await,
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
