//! What commands come to.

use serde::{Deserialize, Serialize};

use crate::{
    ApiKeyName, CollectionName, DatabaseName, DocumentId, KeyName, KeyOutcome, NamespaceName, Precondition,
    REQUEST_MEMORY, RequestId, Revision, RoleName, SchemaName, UserName, ViewName,
};

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The database, its schema, its view or the age of its changes is now as it was asked to be.
    Done,
    /// The transaction was made; this is what came of each change.
    Transacted(Vec<ChangeOutcome>),
    /// What came of a change of a key.
    Key(KeyOutcome),
}

/// What a change of a transaction did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeOutcome {
    /// The document was written.
    Written {
        /// Its id.
        id: DocumentId,
        /// Its new revision.
        revision: Revision,
        /// Whether it did not exist before.
        created: bool,
    },
    /// The document is gone.
    Deleted,
    /// The document is as it was to be.
    Checked,
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// No database of that name.
    #[error("there is no database {database:?}")]
    UnknownDatabase {
        /// The name.
        database: DatabaseName,
    },
    /// The name is taken.
    #[error("the database {database:?} exists already")]
    DatabaseExists {
        /// The name.
        database: DatabaseName,
    },
    /// The database has a schema of another name.
    #[error(
        "the database {database:?} has the schema {current}, not {wanted}; open it with that schema, or use a database \
         of its own for the other"
    )]
    OtherSchema {
        /// The database.
        database: DatabaseName,
        /// Its schema.
        current: SchemaName,
        /// The one that it was to have.
        wanted: SchemaName,
    },
    /// A delete found nothing.
    #[error("there is no document {id:?} in the collection {collection:?}")]
    UnknownDocument {
        /// The collection.
        collection: CollectionName,
        /// The id.
        id: DocumentId,
    },
    /// The precondition does not hold.
    #[error("the document {id:?} {}", conflict(.wanted, .current))]
    PreconditionFailed {
        /// The document's id.
        id: DocumentId,
        /// What the command asked for.
        wanted: Precondition,
        /// The document's revision, if it exists.
        current: Option<Revision>,
    },
    /// Another document has a key that no two may have.
    #[error(
        "the document {id:?} cannot have its key in the unique view {view}: the document {existing:?} of the collection \
         {collection:?} has it"
    )]
    NotUnique {
        /// The collection.
        collection: CollectionName,
        /// The view.
        view: ViewName,
        /// The document that was to be written.
        id: DocumentId,
        /// The document that has the key.
        existing: DocumentId,
    },
    /// A view is being built: a unique one, so nobody knows yet which keys are taken, or one that is queried. Nothing is
    /// wrong with the request: try again when the view is built. The embedded database waits for it by itself.
    #[error("the view {view} of the collection {collection:?} is being built; try again when it is")]
    ViewBuilding {
        /// The collection.
        collection: CollectionName,
        /// The view.
        view: ViewName,
    },
    /// A write without the entries of a view that must be kept up to date with it.
    #[error(
        "the collection {collection:?} has the view {view}, and this write does not say what the document emits to its \
         current version; open the database with the schema that has it"
    )]
    SchemaMoved {
        /// The collection.
        collection: CollectionName,
        /// The view.
        view: ViewName,
    },
    /// The value of the key is not a number, or the sum is out of range.
    #[error("the key {key:?} in the namespace {namespace:?} cannot be counted with: {reason}")]
    NotCountable {
        /// The namespace.
        namespace: NamespaceName,
        /// The key.
        key: KeyName,
        /// Why.
        reason: String,
    },
    /// The request was made so long before, or so much ahead of, the database's time that what came of it would not be
    /// remembered. If it is sent for the first time, the client's clock is wrong; else it may have been carried out
    /// before.
    #[error("{}", expired(*.id, *.now))]
    RequestExpired {
        /// The request's id, which has its time.
        id: RequestId,
        /// The database's time, in milliseconds since the Unix epoch.
        now: u64,
    },
    /// No user of that name.
    #[error("there is no user {user:?}")]
    UnknownUser {
        /// The name.
        user: UserName,
    },
    /// No role of that name.
    #[error(
        "there is no role {role:?}; make it first, or use one of those that are built in: administrator, writer, reader"
    )]
    UnknownRole {
        /// The name.
        role: RoleName,
    },
    /// No API key of that name.
    #[error("there is no API key {key:?}")]
    UnknownApiKey {
        /// The name.
        key: ApiKeyName,
    },
    /// The name of an API key is taken.
    #[error("the API key {key:?} exists already; delete it first, or choose another name")]
    ApiKeyExists {
        /// The name.
        key: ApiKeyName,
    },
    /// The role cannot be changed or deleted.
    #[error("the role {role:?} is built in and stays as it is; make a role of your own with another name")]
    BuiltInRole {
        /// The name.
        role: RoleName,
    },
    /// A role cannot be deleted while somebody has it.
    #[error("the role {role:?} cannot be deleted while {holder} has it")]
    RoleInUse {
        /// The role.
        role: RoleName,
        /// One who has it, such as `the user "ada"`.
        holder: String,
    },
    /// Nobody would be left to administer the server.
    #[error(
        "the user {user:?} is the last one who has a password and the role administrator, and must stay so; make another \
         administrator first"
    )]
    LastAdministrator {
        /// The user.
        user: UserName,
    },
    /// The command is about a document, key or view entry of a slot that the shard does not have.
    #[error(
        "slot {slot} does not belong to this shard, which has the slots from {first_slot} up to, not including, {end_slot}; \
         look up which shard has it"
    )]
    WrongShard {
        /// The slot.
        slot: u16,
        /// The first slot of the shard.
        first_slot: u16,
        /// The first slot behind it.
        end_slot: u16,
    },
    /// A shard was to create or delete a database, or to change an account.
    #[error("databases, users, roles and API keys are changed in the meta group, not in a shard")]
    NotOfShard,
}

fn expired(id: RequestId, now: u64) -> String {
    let (made, most) = (id.millis(), REQUEST_MEMORY.as_secs());
    let seconds = made.abs_diff(now).div_ceil(1000);
    match made < now {
        true => format!(
            "the request {id} is {seconds} s old, and what came of requests is remembered for {most} s: it changed nothing \
             now, but may have before; read what is there, decide anew, and send that under a new id"
        ),
        false => format!(
            "the request {id} is of a time that comes in {seconds} s only, and {most} s is the most; it changed nothing: set \
             the client's clock, and send it under a new id"
        ),
    }
}

fn conflict(wanted: &Precondition, current: &Option<Revision>) -> String {
    match (wanted, current) {
        (Precondition::Revision(wanted), Some(current)) => {
            format!("is not at revision {wanted}: its current revision is {current}; read it and decide anew")
        }
        (Precondition::Revision(wanted), None) => format!("is not at revision {wanted}: it does not exist"),
        (_, Some(current)) => format!("exists already, at revision {current}"),
        (_, None) => "does not exist".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_request_says_what_to_do() {
        let message = |millis| {
            let (id, now) = (RequestId::new(millis, 1), 1_000_000);
            Rejection::RequestExpired { id, now }.to_string()
        };
        let old = message(699_999);
        assert!(old.contains("-7000-8000-000000000001 is 301 s old"), "{old}");
        assert!(
            old.contains("for 300 s") && old.contains("read what is there, decide anew"),
            "{old}"
        );
        let ahead = message(2_000_000);
        assert!(
            ahead.contains("in 1000 s only") && ahead.contains("set the client's clock"),
            "{ahead}"
        );
    }
}
