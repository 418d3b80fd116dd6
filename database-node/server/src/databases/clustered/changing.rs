//! Which databases there are and who may use them: changes that the meta group decides, and every node comes to know.

use std::sync::Weak;
use std::time::Duration;

use futures::future::join_all;
use pliantdb_cluster::NodeId;
use pliantdb_cluster::meta::{MetaCommand, MetaRejection};
use pliantdb_cluster_driver::Known;
use pliantdb_cluster_member::ChangeError;
use pliantdb_core::access::AccountsChange;
use pliantdb_core::protocol::SchemaOffer;
use pliantdb_core::{DatabaseName, Error, Rejection, SlotCount};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Clustered;
use super::between::{Question, Told};

/// How long is waited for other nodes to know of a change. One that does not answer for so long is cut off, and hears of it
/// when it is back.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

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
        match self.member().change(command).await {
            Ok(_) => {
                self.let_all_know().await;
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
        let _ = timeout(KNOWN_WITHIN, self.wait_until_applied(furthest)).await;
    }

    /// Waits until every node that answers knows what any of them knows now: whoever is asked next, knows it too.
    async fn let_all_know(&self) {
        let index = self.furthest().await;
        let asking = self
            .others()
            .into_iter()
            .map(|node| self.ask_soon(node, Question::Apply { index }));
        let own = timeout(KNOWN_WITHIN, self.wait_until_applied(index));
        let _ = tokio::join!(join_all(asking), own);
    }

    async fn furthest(&self) -> u64 {
        let asking = self
            .others()
            .into_iter()
            .map(|node| self.ask_soon(node, Question::Applied));
        let told = join_all(asking).await;
        let applied = told.into_iter().filter_map(|told| match told {
            Some(Told::Applied(applied)) => Some(applied),
            _ => None,
        });
        applied.max().unwrap_or(0).max(self.applied())
    }

    /// Asks a node that may be gone.
    pub(super) async fn ask_soon(&self, node: NodeId, question: Question) -> Option<Told> {
        let asked = timeout(KNOWN_WITHIN, self.ask(node, &question, None)).await;
        asked.ok()?.ok()
    }

    /// All other nodes to which there is a way, as far as is known.
    pub(super) fn others(&self) -> Vec<NodeId> {
        let peers = self.member().network().peers().into_iter();
        // Nobody has tried yet where no reason is told.
        let can_be_asked = peers.filter(|peer| peer.round_trip.is_some() || peer.reason.is_empty());
        can_be_asked
            .map(|peer| peer.node)
            .filter(|node| *node != self.node)
            .collect()
    }

    fn keep_in_step(&self) {
        let Ok(catalog) = self.catalog() else { return };
        let (_, accounts) = self.accounts.current();
        if *accounts != *catalog.meta.accounts() {
            self.accounts.replace(catalog.meta.accounts().clone());
        }
        self.groups.retain(|group| catalog.meta.group(group).is_some());
    }
}
