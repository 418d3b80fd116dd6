//! A member that runs, and its end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use pliantdb_cluster::meta::{Consent, MetaCommand, MetaOutcome};
use pliantdb_cluster::node::{Answer, Ask};
use pliantdb_cluster::wire::UNDERSTANDS;
use pliantdb_cluster::{Meta, NodeId};
use pliantdb_cluster_driver::{Driver, Failure, Handle};
use pliantdb_cluster_transport::{Credentials, JoinToken, Network, RequestError, TokenError};
use pliantdb_storage::node::{CopySource, NodeDirectory};
use pliantdb_storage::{StateStore, StorageError};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::changes::{Asker, ChangeError};
use crate::events::{Counting, EventCounters};
use crate::giving::Giving;
use crate::options::{ADDRESS, Options};
use crate::questions::{Question, Reply};
use crate::renewing::ask_any;
use crate::room::DiskRoom;
use crate::start::{StartError, start};
use crate::status::{Status, status};

/// How long a member waits until it is one.
const JOINING: Duration = Duration::from_millis(50);
/// How long one that stops by itself gives others to take over what it leads.
const STEPPING_ASIDE: Duration = Duration::from_secs(10);
/// How long one that stops waits for those who still read its data.
const CLOSING: Duration = Duration::from_secs(10);

/// A process as a member of a cluster, until it is stopped or dropped.
pub struct Member {
    pub(crate) asker: Asker,
    /// Until it is stopped.
    pub(crate) driver: Mutex<Option<Driver<StateStore>>>,
    pub(crate) giving: Option<Arc<Giving>>,
    pub(crate) room: DiskRoom,
    /// Behind the driver, so that the lock outlives it.
    pub(crate) directory: Mutex<Option<NodeDirectory>>,
    pub(crate) events: Arc<Counting>,
    pub(crate) credentials: Credentials,
    /// What the cluster is to know of this node.
    pub(crate) attributes: watch::Sender<BTreeMap<String, String>>,
    /// Whether it was told to hand over what it leads.
    pub(crate) steps_aside: AtomicBool,
    /// They end with it.
    pub(crate) tasks: Mutex<Vec<AbortOnDropHandle<()>>>,
}

impl Member {
    /// Opens the directory, listens, and goes on as the node that the directory has, or founds or joins a cluster. A joiner
    /// waits here until somebody gives it a certificate, and joins in the background: [`Member::joined`]. Within a runtime
    /// of tokio.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(options: Options) -> Result<Self, StartError> {
        start(options).await
    }

    /// The node.
    #[must_use]
    pub fn handle(&self) -> &Handle<StateStore> {
        &self.asker.handle
    }

    /// Its network.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.asker.network
    }

    /// The room on its disk: for those who write beside the member.
    #[must_use]
    pub fn room(&self) -> &DiskRoom {
        &self.room
    }

    /// Whether there is room on its disk for a write of so many bytes, of a kind that does not free any.
    ///
    /// # Errors
    /// As [`DiskRoom::check`].
    pub fn check_room(&self, bytes: usize) -> Result<(), StorageError> {
        self.room.check(bytes, false)
    }

    /// Until when the certificate is good that it shows other nodes. One by the cluster's own authority is renewed before.
    #[must_use]
    pub fn certificate_expires(&self) -> SystemTime {
        self.credentials.expires()
    }

    /// What has happened to it so far.
    #[must_use]
    pub fn events(&self) -> EventCounters {
        self.events.counters()
    }

    /// Waits until it is part of a cluster and knows it.
    ///
    /// # Errors
    /// [`Failure`] of the node.
    pub async fn joined(&self) -> Result<(NodeId, Arc<Meta>), Failure> {
        loop {
            let own = crate::changes::look(self.handle(), |node| node.id().zip(node.shared_meta())).await;
            match own {
                Ok(Some((node, meta))) if meta.nodes().contains_key(&node) => {
                    self.network().set_identity(meta.cluster(), node);
                    return Ok((node, meta));
                }
                Ok(_) => tokio::time::sleep(JOINING).await,
                Err(_) => {
                    let ended = || Failure::Core("the node was stopped".to_owned());
                    return Err(self.handle().failure().unwrap_or_else(ended));
                }
            }
        }
    }

    /// Changes the cluster, whichever node this is.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn change(&self, command: MetaCommand) -> Result<MetaOutcome, ChangeError> {
        self.asker.change(command).await
    }

    /// The same; and how much of the meta group's log has to be applied to know of the change ([`Handle::known`]), 0 when the
    /// node that has decided it does not say.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn change_at(&self, command: MetaCommand) -> Result<(MetaOutcome, u64), ChangeError> {
        self.asker.change_at(command).await
    }

    /// Replaces a leader that is gone, or groups that cannot elect one; what only others have is lost.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn force(&self, leader: Option<NodeId>, consent: Consent) -> Result<MetaOutcome, ChangeError> {
        self.asker.force(leader, consent).await
    }

    /// Goes on with this node alone, when the meta group cannot elect a leader any more: what others have and this node has
    /// not is lost.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn force_alone(&self, consent: Consent) -> Result<MetaOutcome, ChangeError> {
        self.asker.force_alone(consent).await
    }

    /// What its databases are copied from, for a backup; `None` when it was stopped.
    #[must_use]
    pub fn copy_source(&self) -> Option<CopySource> {
        let directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        directory.as_ref().map(NodeDirectory::copy_source)
    }

    /// Which node it is; `None` until it is part of a cluster.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.network().node()
    }

    /// Changes an attribute of this node; the cluster is told in the background. Its address stays as it is, and what
    /// it understands.
    pub fn set_attribute(&self, name: &str, value: String) {
        if name == ADDRESS || name == UNDERSTANDS {
            return;
        }
        self.attributes.send_if_modified(|attributes| {
            let before = attributes.insert(name.to_owned(), value.clone());
            before.as_ref() != Some(&value)
        });
    }

    /// What the node knows of its cluster; `None` until it is part of one.
    #[must_use]
    pub fn meta(&self) -> Option<Arc<Meta>> {
        self.handle().known().borrow().meta.clone()
    }

    /// How the cluster is, as this node and the one that leads the meta group know it.
    ///
    /// # Errors
    /// [`ChangeError::Unavailable`] when this node knows of no cluster yet.
    pub async fn status(&self) -> Result<Status, ChangeError> {
        let not_yet = || ChangeError::Unavailable("this node is not yet part of a cluster".to_owned());
        self.meta().ok_or_else(not_yet)?;
        let own = crate::changes::look(self.handle(), pliantdb_cluster::Node::id).await;
        let seen = self.asker.overview().await;
        // It may have learnt something while it waited for that.
        let meta = self.meta().ok_or_else(not_yet)?;
        Ok(status(&meta, own.ok().flatten(), seen.ok().as_deref()))
    }

    /// Asks the server of another node something, whose [`Services`] answer, and waits for the answer for so long.
    ///
    /// # Errors
    /// [`RequestError`]; after [`RequestError::Unknown`] it may have been done.
    pub async fn ask(
        &self,
        node: NodeId,
        question: &[u8],
        deadline: Duration,
    ) -> Result<Bytes, RequestError> {
        let request = crate::services::sent(question);
        self.asker.network.request(node, request, deadline).await
    }

    /// [`Member::ask`] for what is small, soon answered, and not to wait for what is neither.
    ///
    /// # Errors
    /// As [`Member::ask`].
    pub async fn inquire(
        &self,
        node: NodeId,
        question: &[u8],
        deadline: Duration,
    ) -> Result<Bytes, RequestError> {
        let request = crate::services::sent(question);
        self.asker.network.inquire(node, request, deadline).await
    }

    /// Makes a token with which one node can get a certificate for as long; and says at which node, which is to be asked with
    /// it. One that has the cluster's authority makes it, this node if it can.
    ///
    /// # Errors
    /// [`TokenError::NotMade`] when no node can.
    pub async fn make_join_token(&self, lifetime: Duration) -> Result<(JoinToken, NodeId), TokenError> {
        let Some(giving) = self.giving.clone() else {
            let reason = "the nodes' certificates are not by the cluster's own authority: a node joins with one of its own";
            return Err(TokenError::NotMade(reason.to_owned()));
        };
        let stopped = || TokenError::NotMade("the task was stopped".to_owned());
        let made = tokio::task::spawn_blocking(move || giving.make_token(lifetime)).await;
        if let Some(made) = made.map_err(|_| stopped())? {
            let own = crate::changes::look(self.handle(), pliantdb_cluster::Node::id).await;
            let own = own.ok().flatten().ok_or_else(stopped)?;
            return made.map(|token| (token, own));
        }
        let question = Question::MakeToken { lifetime };
        let asked = ask_any(&self.asker, &question, |node, reply| match reply {
            Reply::Token(text) => {
                let token = text.reveal().parse::<JoinToken>();
                token
                    .map(|token| (token, node))
                    .map_err(|error| error.to_string())
            }
            other => Err(other.refusal()),
        });
        asked.await.map_err(TokenError::NotMade)
    }

    /// Hands over whatever this node leads, before it is stopped ([`Ask::StepAside`]): those who ask something of its groups
    /// then wait for some round trips and not for an election. It takes some seconds when nobody takes over, and `within` at
    /// most: so long the process must go on. From then on the node is to be stopped soon. Gives how many groups it leads
    /// still.
    ///
    /// # Errors
    /// [`Failure`], when it had stopped by itself before.
    pub async fn step_aside(&self, within: Duration) -> Result<usize, Failure> {
        self.steps_aside.store(true, Ordering::Relaxed);
        match self.handle().ask_async(Ask::StepAside { within }).await {
            Ok(Answer::SteppedAside { kept }) => Ok(kept),
            // It is no member yet.
            Ok(_) => Ok(0),
            Err(_) => self.handle().failure().map_or(Ok(0), Err),
        }
    }

    /// Hands over what it leads unless that was tried before ([`Member::step_aside`]), says goodbye to the others, and stops
    /// when all that waits for the log is written. Its directory can be opened again then, unless somebody goes on reading
    /// from a database of it. The second time it does nothing.
    ///
    /// # Errors
    /// [`Failure`], when it had stopped by itself before.
    pub async fn stop(&self) -> Result<(), Failure> {
        if !self.steps_aside.load(Ordering::Relaxed) {
            // Whether it can go on is told below.
            let _ = self.step_aside(STEPPING_ASIDE).await;
        }
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            task.abort();
            // It was aborted.
            let _ = task.await;
        }
        self.network().close().await;
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(driver) = driver else { return Ok(()) };
        let directory = self
            .directory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let stopping = move || {
            let stopped = driver.stop();
            if directory.is_some_and(|directory| !directory.close(CLOSING)) {
                tracing::warn!("the data directory is still in use: it cannot be opened before that ends");
            }
            stopped
        };
        let stopped = tokio::task::spawn_blocking(stopping).await;
        stopped.unwrap_or(Err(Failure::Panicked("stop")))
    }
}
