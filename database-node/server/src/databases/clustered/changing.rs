//! Which databases there are and who may use them: changes that the meta group decides, and every node comes to know.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures::future::join_all;
use pliantdb_cluster::NodeId;
use pliantdb_cluster::meta::{MetaCommand, MetaRejection};
use pliantdb_cluster_driver::Known;
use pliantdb_cluster_member::ChangeError;
use pliantdb_core::access::AccountsChange;
use pliantdb_core::protocol::SchemaOffer;
use pliantdb_core::{DatabaseName, Error, Rejection, SlotCount};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Clustered;
use super::between::{Question, Told};

/// How long is waited for what another node says.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// How long is waited for other nodes to know of a change (docs/guarantees.md). One that does not say so by then counts as cut
/// off, and hears of it when it can.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);
/// After how long a node is asked again that does not know of it yet.
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How long a connection to a node may take.
const CONNECTED_WITHIN: Duration = Duration::from_millis(500);
/// For how long nobody asks a node for such things that could not be asked.
const GONE_FOR: Duration = Duration::from_secs(1);

/// The nodes that could not be asked a moment ago.
#[derive(Default)]
pub(super) struct Gone(Mutex<HashMap<NodeId, Instant>>);

impl Gone {
    fn insert(&self, node: NodeId) {
        self.nodes().insert(node, Instant::now());
    }

    fn contains(&self, node: NodeId) -> bool {
        self.nodes()
            .get(&node)
            .is_some_and(|since| since.elapsed() < GONE_FOR)
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<NodeId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps what is derived from the meta group in step with it.
pub(super) async fn follow(cluster: Weak<Clustered>, mut known: watch::Receiver<Known>) {
    while known.changed().await.is_ok() {
        let Some(cluster) = cluster.upgrade() else { return };
        cluster.keep_in_step();
    }
}

impl Clustered {
    /// The names of all databases, in order.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub(crate) fn names(&self) -> Result<Vec<DatabaseName>, Error> {
        let mut names: Vec<_> = self.catalog()?.databases.keys().cloned().collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Whether this node has what a schema needs.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the schema has views whose code is not here.
    pub(crate) fn check(&self, schema: Option<&SchemaOffer>) -> Result<(), Error> {
        self.schemas.check(schema)
    }

    /// Creates a database, without a schema; every node that is there knows it then.
    ///
    /// # Errors
    /// [`Rejection::DatabaseExists`], [`Error::Unavailable`] and [`Error::UnknownOutcome`].
    pub(crate) async fn create(&self, name: &DatabaseName) -> Result<(), Error> {
        let (name, slots) = (name.clone(), SlotCount::default());
        self.change(MetaCommand::CreateDatabase { name, slots }).await
    }

    /// Deletes a database with everything in it; every node that is there knows it then.
    ///
    /// # Errors
    /// [`Error::UnknownDatabase`], [`Error::Unavailable`] and [`Error::UnknownOutcome`].
    pub(crate) async fn delete(&self, name: DatabaseName) -> Result<(), Error> {
        self.change(MetaCommand::DeleteDatabase { name }).await
    }

    /// Changes users, roles and API keys; every node that is there knows it then.
    ///
    /// # Errors
    /// [`Rejection`]s of such changes, [`Error::Unavailable`] and [`Error::UnknownOutcome`].
    pub(crate) async fn change_accounts(&self, change: AccountsChange) -> Result<(), Error> {
        self.change(MetaCommand::ChangeAccounts(change)).await
    }

    async fn change(&self, command: MetaCommand) -> Result<(), Error> {
        match self.member().change_at(command).await {
            Ok((_, at)) => {
                self.let_all_know(at).await;
                Ok(())
            }
            Err(ChangeError::Refused(rejection)) => Err(match *rejection {
                MetaRejection::DatabaseExists(database) => Rejection::DatabaseExists { database }.into(),
                MetaRejection::UnknownDatabase(name) => Error::UnknownDatabase(name),
                MetaRejection::Accounts(rejection) => rejection.into(),
                rejection => Error::Invalid(rejection.to_string()),
            }),
            Err(ChangeError::Rejected(reason)) => Err(Error::Invalid(reason)),
            Err(error @ ChangeError::Unavailable(_)) => Err(Error::Unavailable(error.to_string())),
            Err(error @ ChangeError::Unknown) => Err(Error::UnknownOutcome(error.to_string())),
        }
    }

    /// How much of the meta group's log is applied here.
    pub(super) fn applied(&self) -> u64 {
        self.handle.known().borrow().applied
    }

    /// Waits until so much of it is, and what is derived from it here is in step.
    pub(super) async fn wait_until_applied(&self, index: u64) {
        // Ends also when the node does.
        let _ = self.handle.known().wait_for(|known| known.applied >= index).await;
        self.keep_in_step();
    }

    /// Waits until this node knows what any other that answers knows now.
    pub(super) async fn catch_up(&self) {
        let furthest = self.furthest().await;
        let _ = timeout(ANSWERED_WITHIN, self.wait_until_applied(furthest)).await;
    }

    /// Waits until every node that is there says that it has applied the meta group's log so far: whoever is asked next, knows
    /// what is in it.
    async fn let_all_know(&self, at: u64) {
        let index = match at {
            0 => self.furthest().await,
            at => at,
        };
        let peers = self.member().network().peers().into_iter();
        let others = peers.filter(|peer| peer.node != self.node);
        let others = others.map(|peer| self.let_know(peer.node, peer.round_trip.is_some(), index));
        let own = timeout(KNOWN_WITHIN, self.wait_until_applied(index));
        let _ = tokio::join!(join_all(others), own);
    }

    /// Waits until a node says that it has applied so much. Each answer comes when it has, or says how far it is.
    async fn let_know(&self, node: NodeId, is_connected: bool, index: u64) {
        let question = Question::Apply { index };
        let knows = |told: &Told| matches!(told, Told::Applied(applied) if *applied >= index);
        let asking = async {
            loop {
                match self.ask(node, &question, None).await {
                    Ok(told) if knows(&told) => return true,
                    Ok(Told::Applied(_)) => sleep(ASKED_AGAIN_AFTER).await,
                    // One that stops says so at once.
                    Ok(_) | Err(_) => return false,
                }
            }
        };
        let is_known = match is_connected {
            true => timeout(KNOWN_WITHIN, asking).await.unwrap_or(false),
            false => {
                let told = self.ask_soon(node, false, &question).await;
                told.is_some_and(|told| knows(&told))
            }
        };
        if !is_known {
            tracing::warn!(%node, index, "the node has not said in time that it knows of a change; it hears of it later");
        }
    }

    async fn furthest(&self) -> u64 {
        let told = self.ask_others(&Question::Applied).await;
        let applied = told.into_iter().filter_map(|told| match told {
            Told::Applied(applied) => Some(applied),
            _ => None,
        });
        applied.max().unwrap_or(0).max(self.applied())
    }

    /// Asks all other nodes, of which some may be gone; gives what those have answered that are there.
    pub(super) async fn ask_others(&self, question: &Question) -> Vec<Told> {
        let peers = self.member().network().peers().into_iter();
        let asking = peers
            .filter(|peer| peer.node != self.node)
            .map(|peer| self.ask_soon(peer.node, peer.round_trip.is_some(), question));
        join_all(asking).await.into_iter().flatten().collect()
    }

    /// Asks a node that may be gone. Without a connection to it, that is found out once for a while.
    async fn ask_soon(&self, node: NodeId, is_connected: bool, question: &Question) -> Option<Told> {
        let patience = match is_connected {
            true => ANSWERED_WITHIN,
            false if self.gone.contains(node) => return None,
            false => CONNECTED_WITHIN,
        };
        match timeout(patience, self.ask(node, question, None)).await {
            Ok(Ok(told)) => Some(told),
            Ok(Err(_)) | Err(_) => {
                self.gone.insert(node);
                None
            }
        }
    }

    pub(super) fn keep_in_step(&self) {
        // Held over all of it, for who came first must not put older accounts in the place of later ones.
        let _one_at_a_time = self.in_step.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(catalog) = self.catalog() else { return };
        let (_, accounts) = self.accounts.current();
        if *accounts != *catalog.meta.accounts() {
            self.accounts.replace(catalog.meta.accounts().clone());
        }
        self.groups.retain(|group| catalog.meta.group(group).is_some());
        let databases = catalog.databases.values().map(|(_, number)| *number);
        self.subscribers.keep_in_step(databases.collect());
    }
}
