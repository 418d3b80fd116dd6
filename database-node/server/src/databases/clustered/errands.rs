//! Having something done by the node that can.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use pliantdb_cluster::NodeId;
use pliantdb_cluster::node::{Freshness, Refusal};
use pliantdb_cluster_transport::RequestError;
use pliantdb_core::protocol::{DatabaseHandle, SchemaOffer};
use pliantdb_core::{
    CollectionName, Consistency, DatabaseName, Document, DocumentId, Error, GroupId, Position, Rejection,
    Request, RequestId, Response, TakeSnapshot,
};
use pliantdb_storage::{AsyncDatabase, Found};
use tokio::time::{sleep, timeout};

use super::attempts::{Attempt, Given, Patience};
use super::between::{Errand, Product, Question, Told, Work, answer_too_large, decode, encode};
use super::groups::Group;
use super::lending::Borrowed;
use super::{Clustered, NotDone};
use crate::databases::HeldSnapshot;
use crate::dispatch::Terms;
use crate::executor::MAX_PAGE_BYTES;

/// How long another node may take to answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(90);
/// How long a feed waits at another node: a question takes one of few places.
const FEEDS_WAIT: Duration = Duration::from_secs(1);
/// How long a node that was replaced while it did something is waited for.
const SETTLED_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked whether the node that was asked leads no longer.
const LOOKING: Duration = Duration::from_millis(300);

impl Clustered {
    /// Carries a request out, wherever that can be done.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn request(
        self: &Arc<Self>,
        database: &DatabaseHandle,
        request: Request,
        terms: Terms,
    ) -> Result<(Response, Option<Position>), Error> {
        let group = self.group(database).await?;
        if let Request::Publish(message) = request {
            return Ok((Response::Count(self.publish(&group, message).await), None));
        }
        match self
            .have_done(database, &group, Work::Request(request), terms)
            .await?
        {
            (Product::Response(response), position) => Ok((response, position)),
            _ => Err(Error::unexpected_answer()),
        }
    }

    /// Opens a database, which is given the schema, if there is one.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn open(
        self: &Arc<Self>,
        name: DatabaseName,
        schema: Option<SchemaOffer>,
    ) -> Result<DatabaseHandle, Error> {
        let mut handle = DatabaseHandle::from(name);
        let group = self.group(&handle).await?;
        if let Some(schema) = schema {
            self.have_done(&handle, &group, Work::Define(schema), Terms::default())
                .await?;
        }
        let (_, number) = self.find(&handle)?;
        handle.number = Some(number);
        Ok(handle)
    }

    /// The schema that a database has, if any.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn schema(self: &Arc<Self>, name: &DatabaseName) -> Result<Option<SchemaOffer>, Error> {
        let database = DatabaseHandle::from(name.clone());
        let group = self.group(&database).await?;
        match self
            .have_done(&database, &group, Work::Schema, Terms::default())
            .await?
        {
            (Product::Schema(schema), _) => Ok(schema),
            _ => Err(Error::unexpected_answer()),
        }
    }

    /// Reads one document, unless its body is larger than `within` bytes.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn look_up(
        self: &Arc<Self>,
        database: &DatabaseHandle,
        (collection, id): (CollectionName, DocumentId),
        within: usize,
        consistency: Consistency,
    ) -> Result<(Found, Option<Position>), Error> {
        let group = self.group(database).await?;
        if let Some(here) = self.read_here(&group, consistency).await? {
            let found = here.get_within(&collection, &id, within).await?;
            return Ok((found, group.position()));
        }
        let ids = vec![id];
        let read = self.get(database, &group, collection, ids, consistency);
        let (documents, position) = read.await?;
        let found = documents.into_iter().next();
        let found = found.map_or(Found::Nothing, |document| match document.body.as_str().len() {
            size if size > within => Found::Larger(size),
            _ => Found::Document(document),
        });
        Ok((found, position))
    }

    /// Reads documents from one moment; `None` when they have more than [`MAX_PAGE_BYTES`] together.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn read_many(
        self: &Arc<Self>,
        database: &DatabaseHandle,
        collection: CollectionName,
        ids: Vec<DocumentId>,
        consistency: Consistency,
    ) -> Result<(Option<Vec<Document>>, Option<Position>), Error> {
        let group = self.group(database).await?;
        if let Some(here) = self.read_here(&group, consistency).await? {
            let found = here.get_multiple_within(collection, ids, MAX_PAGE_BYTES).await?;
            return Ok((found, group.position()));
        }
        let read = self.get(database, &group, collection, ids, consistency);
        let (documents, position) = read.await?;
        Ok((Some(documents), position))
    }

    async fn get(
        self: &Arc<Self>,
        database: &DatabaseHandle,
        group: &Arc<Group>,
        collection: CollectionName,
        ids: Vec<DocumentId>,
        consistency: Consistency,
    ) -> Result<(Vec<Document>, Option<Position>), Error> {
        let terms = Terms {
            id: None,
            consistency,
        };
        let work = Work::Request(Request::Get { collection, ids });
        match self.have_done(database, group, work, terms).await? {
            (Product::Response(Response::Documents(documents)), position) => Ok((documents, position)),
            _ => Err(Error::unexpected_answer()),
        }
    }

    /// Takes a snapshot: of the replica here, or else of another that a node holds for this one.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn snapshot(
        self: &Arc<Self>,
        database: &DatabaseHandle,
        consistency: Consistency,
    ) -> Result<HeldSnapshot, Error> {
        let group = self.group(database).await?;
        if let Some(here) = self.read_here(&group, consistency).await? {
            return here.snapshot().await.map(HeldSnapshot::Here);
        }
        let terms = Terms {
            id: None,
            consistency,
        };
        match self.have_done(database, &group, Work::Snapshot, terms).await? {
            // The replica has come meanwhile.
            (Product::Snapshot(node, number), _) if node == self.node => self
                .lent
                .remove(number)
                .map(HeldSnapshot::Here)
                .ok_or(Error::Closed),
            (Product::Snapshot(node, number), _) => {
                let borrowed = Borrowed::new(Arc::clone(self), node, number).await?;
                Ok(HeldSnapshot::Elsewhere(Arc::new(borrowed)))
            }
            _ => Err(Error::unexpected_answer()),
        }
    }

    /// The group of the database that is meant. One that this node does not know of is looked for: it may be new.
    pub(super) async fn group(&self, database: &DatabaseHandle) -> Result<Arc<Group>, Error> {
        let found = match self.find(database) {
            Err(Error::UnknownDatabase(_)) => {
                self.catch_up().await;
                self.find(database)
            }
            found => found,
        };
        Ok(self.groups.get(found?.0))
    }

    /// The database, when it is here and as fresh as that; `None` when it is not here.
    async fn read_here(
        self: &Arc<Self>,
        group: &Arc<Group>,
        consistency: Consistency,
    ) -> Result<Option<AsyncDatabase>, Error> {
        let mut patience = Patience::new();
        while group.database().is_some() {
            match self.freshen(group, consistency).await {
                Ok(()) => return Ok(group.database()),
                Err(not_done) => patience.wait(not_done, Attempt::Harmless).await?,
            }
        }
        Ok(None)
    }

    /// Has work done by a node that can, which is this one if possible.
    async fn have_done(
        self: &Arc<Self>,
        database: &DatabaseHandle,
        group: &Arc<Group>,
        work: Work,
        terms: Terms,
    ) -> Result<(Product, Option<Position>), Error> {
        let Terms { id, consistency } = terms;
        let mut given = Given::default();
        let mut patience = Patience::new();
        loop {
            let leader = group.heard.leader();
            let here = group.database();
            let other = match (&here, work.is_led()) {
                (Some(_), false) => None,
                (Some(_), true) => leader.filter(|leader| *leader != self.node),
                (None, _) => leader
                    .or_else(|| self.leader_by_meta(group.id))
                    .filter(|leader| *leader != self.node),
            };
            if other.is_some() && id.is_none() && work.is_one_write() {
                given.give(here.as_ref());
            }
            let id = id.or(given.id);
            let attempt = Attempt::at(&work, id);
            let done = match (other, here) {
                (Some(node), _) => self.there(node, group, work.clone(), id, consistency).await,
                (None, Some(here)) => self.here(group, &here, work.clone(), id, consistency).await,
                (None, None) => Err(NotDone::Later(
                    "this node is about to get a replica of the database".to_owned(),
                )),
            };
            match done {
                Ok(done) => return Ok(done),
                Err(NotDone::Error(Error::Rejected(Rejection::RequestExpired { .. })))
                    if !patience.is_unsure() && given.takes_back() => {}
                Err(NotDone::Elsewhere(Some(node))) if Some(node) != other && node != self.node => {
                    group.heard.set_leader(Some(node));
                    patience.goes_on(other.is_some()).await?;
                }
                Err(not_done) => {
                    if let NotDone::Elsewhere(_) = not_done {
                        group.heard.set_leader(None);
                    }
                    patience.wait(not_done, attempt).await?;
                    self.is_there(database, group.id)?;
                }
            }
        }
    }

    /// Whether that is still the group of the database.
    fn is_there(&self, database: &DatabaseHandle, group: GroupId) -> Result<(), Error> {
        match self.find(database)? {
            (found, _) if found == group => Ok(()),
            _ => Err(Error::UnknownDatabase(database.name.clone())),
        }
    }

    /// Does work by the replica that is here.
    pub(super) async fn here(
        self: &Arc<Self>,
        group: &Arc<Group>,
        database: &AsyncDatabase,
        work: Work,
        id: Option<RequestId>,
        consistency: Consistency,
    ) -> Result<(Product, Option<Position>), NotDone> {
        let (is_led, is_one_write) = (work.is_led(), work.is_one_write());
        let is_one_proposal = is_one_write || matches!(work, Work::Define(_));
        match (is_led, is_one_write) {
            (true, true) => {}
            (true, false) => match self.wait_for(group, Freshness::Linearizable).await? {
                Ok(_) => group.heard.set_leader(Some(self.node)),
                Err(Refusal::NotLeader { leader }) => return Err(NotDone::Elsewhere(leader)),
                Err(refusal) => return Err(NotDone::Later(refusal.to_string())),
            },
            (false, _) => self.freshen(group, consistency).await?,
        }
        let product = match work {
            Work::Request(request) => {
                let response = self.executor.carry_out(database, request, id).await;
                response.map(Product::Response)
            }
            Work::Define(schema) => {
                let schemas = Arc::clone(&self.schemas);
                let given = database.run(move |database| schemas.give(database, schema)).await;
                given.map(|()| Product::Defined)
            }
            Work::Schema => database
                .run(pliantdb_storage::Database::schema)
                .await
                .map(Product::Schema),
            Work::Snapshot => {
                let taken = database.snapshot().await;
                let lent = taken.and_then(|snapshot| self.lent.insert(snapshot));
                lent.map(|number| Product::Snapshot(self.node, number))
            }
        };
        match product {
            Ok(product) => {
                if is_one_write {
                    group.heard.set_leader(Some(self.node));
                }
                Ok((product, group.position()))
            }
            Err(Error::Busy) if is_one_proposal => Err(match group.heard.leader() {
                Some(node) if node != self.node => NotDone::Elsewhere(Some(node)),
                Some(_) => NotDone::Later(Error::Busy.to_string()),
                None => NotDone::Elsewhere(None),
            }),
            // It may have come half of its way.
            Err(Error::Closed) if is_led && !is_one_proposal => Err(NotDone::Unknown(
                "the replica of this node was replaced".to_owned(),
            )),
            Err(Error::Closed) if !self.executor.is_stopping() => {
                Err(NotDone::Later("the replica of this node was replaced".to_owned()))
            }
            Err(Error::UnknownOutcome(reason)) => Err(NotDone::Unknown(reason)),
            Err(error) => Err(NotDone::Error(error)),
        }
    }

    /// Has work done by another node.
    async fn there(
        &self,
        node: NodeId,
        group: &Group,
        work: Work,
        id: Option<RequestId>,
        consistency: Consistency,
    ) -> Result<(Product, Option<Position>), NotDone> {
        let question = Question::Do(Errand {
            group: group.id,
            work: work.waiting_at_most(FEEDS_WAIT),
            id,
            consistency,
        });
        match self.ask_in(node, group, &question).await? {
            Told::Done(Ok(product), position) => {
                group.heard.set_leader(Some(node));
                Ok((product, position))
            }
            Told::Done(Err(error), _) => Err(NotDone::Error(error)),
            _ => Err(NotDone::Error(Error::unexpected_answer())),
        }
    }

    /// Asks another node something in a group; what is no answer is told as why it was not done.
    pub(super) async fn ask_in(
        &self,
        node: NodeId,
        group: &Group,
        question: &Question,
    ) -> Result<Told, NotDone> {
        match self.ask(node, question, Some(group)).await {
            Ok(Told::Elsewhere(other)) => Err(NotDone::Elsewhere(other.filter(|other| *other != node))),
            Ok(Told::Later(reason)) => Err(NotDone::Later(reason)),
            Ok(Told::Unknown(reason)) => Err(NotDone::Unknown(reason)),
            Ok(told) => Ok(told),
            Err(error) => {
                group.heard.set_leader(None);
                Err(match error {
                    RequestError::Unknown { .. } => NotDone::Unknown(error.to_string()),
                    RequestError::TooLarge { .. } => NotDone::Error(Error::invalid(error)),
                    RequestError::AnswerTooLarge { length, .. } => NotDone::Error(answer_too_large(length)),
                    error => NotDone::Later(error.to_string()),
                })
            }
        }
    }

    /// Asks another node. It is not waited for any longer when another leads the group, of which something was asked.
    pub(super) async fn ask(
        &self,
        node: NodeId,
        question: &Question,
        group: Option<&Group>,
    ) -> Result<Told, RequestError> {
        let unknown = |reason: String| RequestError::Unknown { node, reason };
        let bytes = encode(question).map_err(|error| unknown(error.to_string()))?;
        let asking = async {
            match question.is_errand() {
                true => self.member().ask(node, &bytes, ANSWERED_WITHIN).await,
                false => self.member().inquire(node, &bytes, ANSWERED_WITHIN).await,
            }
        };
        let answer = match group {
            None => asking.await?,
            Some(group) => {
                let mut asking = pin!(asking);
                tokio::select! {
                    answer = &mut asking => answer?,
                    leader = self.replaced(group.id, node, group.heard.term()) => {
                        // It can see what becomes of what it has begun, if it is there.
                        match timeout(SETTLED_WITHIN, asking).await {
                            Ok(answer) => answer?,
                            Err(_) => {
                                return Err(unknown(format!("node {leader} leads the database now")));
                            }
                        }
                    }
                }
            }
        };
        decode(&answer).map_err(unknown)
    }

    /// Waits until another node leads a group than this, in a later term than `since`; gives which.
    async fn replaced(&self, group: GroupId, node: NodeId, since: u64) -> NodeId {
        loop {
            sleep(LOOKING).await;
            let handle = self.handle.clone();
            let known =
                tokio::task::spawn_blocking(move || handle.look(move |core| core.leader_in_term(group)));
            let known = known.await.ok().and_then(Result::ok).flatten();
            if let Some(leader) = known.and_then(|known| successor(node, since, known)) {
                return leader;
            }
        }
    }
}

/// Who leads in the place of a node that was asked, by what the replica here knows. It may be behind, and the other lead
/// since: in a term in which answers have come already, or before it, nobody has taken the place of who gave them.
fn successor(asked: NodeId, since: u64, (leader, term): (NodeId, u64)) -> Option<NodeId> {
    (term > since && leader != asked).then_some(leader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_is_behind_does_not_say_that_who_was_asked_is_replaced() {
        let [a, b, c] = [1, 2, 3].map(NodeId::new);
        // `b` leads in term 6, of which the replica here knows nothing yet.
        assert_eq!(successor(b, 6, (a, 5)), None);
        assert_eq!(successor(b, 6, (b, 6)), None);
        assert_eq!(successor(b, 6, (c, 7)), Some(c));
        // It was heard of, and has answered nothing yet.
        assert_eq!(successor(b, 5, (a, 5)), None);
    }
}
