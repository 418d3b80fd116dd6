//! What a shard answers, and what it is to be told to do.

use pliantdb_core::{Error, KeyName, NamespaceName, Operation, Request, RequestId, Response, Schematic};

use super::GroupState;
use crate::catalog::DatabaseState;
use crate::error::StorageError;
use crate::store::OrderedStore;
use crate::{engine, keys, reading, values};

impl<S: OrderedStore> GroupState<S> {
    /// Answers a request to read documents or keys of this shard, from the store as it is now. What lies in slots of other
    /// shards is not listed. Values expire by the log's time, that of the last command.
    ///
    /// # Errors
    /// [`pliantdb_core::Rejection::WrongShard`] for a document or key of another shard, [`Error::Invalid`] for a request
    /// that a shard does not answer, and whatever the store says.
    pub fn answer(&self, request: &Request) -> Result<Response, Error> {
        let (store, extent) = (self.store.as_ref(), self.extent);
        let (entry, now) = (extent.database, self.position().timestamp.millis());
        let stored = |error| Error::from(StorageError::Store(error));
        match request {
            Request::Get { collection, ids } => {
                for id in ids {
                    extent.check_slot(keys::slot_of(entry, id).get())?;
                }
                if let [id] = ids.as_slice() {
                    let found = reading::get(store, entry, collection, id)?;
                    return Ok(Response::Documents(found.into_iter().collect()));
                }
                // All from the same moment, or a transaction could be seen by half.
                let snapshot = store.snapshot();
                let get = |id| reading::get_at(&snapshot, entry, collection, id).transpose();
                let found = ids.iter().filter_map(get).collect::<Result<_, _>>();
                Ok(Response::Documents(found.map_err(stored)?))
            }
            Request::List { collection, listing } => {
                let page = reading::list(&store.snapshot(), extent, collection, listing)?;
                Ok(Response::Page(page))
            }
            Request::Count { collection, listing } => {
                let count = reading::count(&store.snapshot(), extent, collection, listing);
                Ok(Response::Count(count.map_err(stored)?))
            }
            Request::GetKey { namespace, key } => {
                extent.check(&keys::value(entry, namespace, key))?;
                let value = values::get(store, entry, namespace, key, now);
                Ok(Response::Value(value.map_err(stored)?))
            }
            Request::ListKeys { namespace, listing } => {
                let page = values::list(&store.snapshot(), extent, namespace, listing, now);
                Ok(Response::Keys(page.map_err(stored)?))
            }
            Request::Query { .. }
            | Request::Reduce(_)
            | Request::ReduceGrouped(_)
            | Request::ViewStatus { .. } => Err(Error::invalid("views cannot be queried in a shard yet")),
            Request::Changes { .. } => Err(Error::invalid("changes cannot be read from a shard yet")),
            Request::Transact(_)
            | Request::ChangeKey { .. }
            | Request::DeleteMatching(_)
            | Request::Publish(_)
            | Request::Call { .. } => Err(Error::invalid("the request is not one to read")),
        }
    }

    /// The operation that a request to write asks for, to be proposed: with what its documents emit to the views of this
    /// shard. `schematic` is the schema that the database is used with. It is carried out once if it has an id; without,
    /// documents that are to be given ids get random ones.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a request that is none to write, or too large, [`Error::OtherType`] and [`Error::View`] for
    /// documents that do not fit.
    pub fn operation(
        &self,
        schematic: &Schematic,
        request: Request,
        id: Option<RequestId>,
    ) -> Result<Operation, Error> {
        let state = DatabaseState {
            entry: self.extent.database,
            makeup: self.makeup(),
        };
        engine::operation(&self.shard().database, &state, schematic, request, id)
    }

    /// Keys whose values have expired by the log's time, at most `limit` of each slot: what a leader is to remove by a
    /// command.
    ///
    /// # Errors
    /// [`StorageError::Store`].
    pub fn expired_keys(&self, limit: usize) -> Result<Vec<(NamespaceName, KeyName)>, StorageError> {
        let millis = self.position().timestamp.millis();
        Ok(values::expired(
            &self.store.snapshot(),
            self.extent,
            millis,
            limit,
        )?)
    }
}
