//! What each request needs.

use std::collections::BTreeSet;
use std::fmt;

use super::Action;
use crate::protocol::{AccountsAsk, Ask};
use crate::{
    ApiName, ChangeAction, CollectionName, DatabaseName, KeyAction, NamespaceName, Query, Request, ViewName,
};

/// Something that belongs to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// The server itself.
    Server,
    /// A database.
    Database(&'a DatabaseName),
    /// A collection.
    Collection(&'a DatabaseName, &'a CollectionName),
    /// A view of a collection.
    View(&'a DatabaseName, &'a CollectionName, &'a ViewName),
    /// A namespace of the key-value store.
    Keys(&'a DatabaseName, &'a NamespaceName),
    /// A topic, or a pattern of topics.
    Topics(&'a DatabaseName, &'a str),
    /// A custom API.
    Api(&'a DatabaseName, &'a ApiName),
}

impl<'a> Resource<'a> {
    /// The database that it is, or is in.
    #[must_use]
    pub fn database(&self) -> Option<&'a DatabaseName> {
        match self {
            Self::Server => None,
            Self::Database(database)
            | Self::Collection(database, _)
            | Self::View(database, ..)
            | Self::Keys(database, _)
            | Self::Topics(database, _)
            | Self::Api(database, _) => Some(database),
        }
    }
}

impl fmt::Display for Resource<'_> {
    /// As permissions are written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Database(database) => write!(f, "database {database}"),
            Self::Collection(database, collection) => write!(f, "collection {database}/{collection}"),
            Self::View(database, collection, view) => write!(f, "view {database}/{collection}/{view}"),
            Self::Keys(database, namespace) => write!(f, "keys {database}/{namespace}"),
            Self::Topics(database, topics) => write!(f, "topic {database}/{topics}"),
            Self::Api(database, api) => write!(f, "api {database}/{api}"),
        }
    }
}

/// What somebody must have for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need<'a> {
    /// Leave to do this.
    Action(Action, Resource<'a>),
    /// Leave to do anything in this database, whatever it is.
    Any(&'a DatabaseName),
}

impl fmt::Display for Need<'_> {
    /// The permission that would do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action(action, resource) => write!(f, "{action} on {resource}"),
            Self::Any(database) => write!(f, "any in the database {database}"),
        }
    }
}

/// What must be had for a request: all of it. Nothing is needed for what everybody may ask about themselves.
#[must_use]
pub fn needed(ask: &Ask) -> Vec<Need<'_>> {
    let on_server = |action| vec![Need::Action(action, Resource::Server)];
    match ask {
        Ask::Databases => on_server(Action::List),
        Ask::CreateDatabase { name, schema: _ } => {
            vec![Need::Action(Action::Create, Resource::Database(name))]
        }
        Ask::OpenDatabase { name, schema: None } => vec![Need::Any(name)],
        Ask::OpenDatabase {
            name,
            schema: Some(_),
        } => {
            vec![Need::Action(Action::Define, Resource::Database(name))]
        }
        Ask::DeleteDatabase { name } => vec![Need::Action(Action::Drop, Resource::Database(name))],
        Ask::Request { database, request } => in_database(&database.name, request),
        Ask::Subscribe { database, patterns } => patterns
            .iter()
            .map(|pattern| {
                let topics = Resource::Topics(&database.name, pattern.as_str());
                Need::Action(Action::Subscribe, topics)
            })
            .chain(patterns.is_empty().then_some(Need::Any(&database.name)))
            .collect(),
        // What is then read from it is looked at each time.
        Ask::Snapshot { database } => vec![Need::Any(&database.name)],
        // Only the connection knows of which database the snapshot is, and asks about that ([`Ask::Request`]). If it should
        // ever forget, nobody else gets through.
        Ask::RequestAt { .. } => on_server(Action::Administer),
        Ask::Backup { .. } => on_server(Action::BackUp),
        // Whoever may ask anything may know whom to ask.
        Ask::Nodes { .. } => Vec::new(),
        Ask::Accounts(ask) => match ask {
            AccountsAsk::WhoAmI | AccountsAsk::LogOut | AccountsAsk::ChangePassword { .. } => Vec::new(),
            AccountsAsk::Users
            | AccountsAsk::SetUser { .. }
            | AccountsAsk::DeleteUser { .. }
            | AccountsAsk::Roles
            | AccountsAsk::SetRole { .. }
            | AccountsAsk::DeleteRole { .. }
            | AccountsAsk::ApiKeys
            | AccountsAsk::CreateApiKey { .. }
            | AccountsAsk::DeleteApiKey { .. } => on_server(Action::Administer),
        },
    }
}

fn in_database<'a>(database: &'a DatabaseName, request: &'a Request) -> Vec<Need<'a>> {
    let collection = |action, name| Need::Action(action, Resource::Collection(database, name));
    let view = |query: &'a Query| {
        let view = Resource::View(database, &query.collection, &query.view);
        Need::Action(Action::Read, view)
    };
    let keys = |action, name| Need::Action(action, Resource::Keys(database, name));
    match request {
        Request::Get { collection: name, .. }
        | Request::List { collection: name, .. }
        | Request::Count { collection: name, .. } => vec![collection(Action::Read, name)],
        Request::Transact(changes) => {
            // Many changes are mostly of few collections, and must not be compared with each other if they are not.
            let (mut needs, mut seen) = (Vec::new(), BTreeSet::new());
            for change in changes {
                let action = match &change.action {
                    ChangeAction::Insert { .. } | ChangeAction::Put { .. } => Action::Write,
                    ChangeAction::Delete { .. } => Action::Delete,
                    ChangeAction::Check { .. } => Action::Read,
                };
                let need = collection(action, &change.collection);
                if needs.last() != Some(&need) && seen.insert((action, &change.collection)) {
                    needs.push(need);
                }
            }
            if needs.is_empty() {
                needs.push(Need::Any(database));
            }
            needs
        }
        Request::Query {
            query,
            with_documents: false,
        }
        | Request::Reduce(query)
        | Request::ReduceGrouped(query) => vec![view(query)],
        Request::Query {
            query,
            with_documents: true,
        } => vec![view(query), collection(Action::Read, &query.collection)],
        Request::DeleteMatching(query) => vec![view(query), collection(Action::Delete, &query.collection)],
        Request::ViewStatus {
            collection: name,
            view,
        } => vec![Need::Action(Action::Read, Resource::View(database, name, view))],
        Request::GetKey { namespace, .. } | Request::ListKeys { namespace, .. } => {
            vec![keys(Action::Read, namespace)]
        }
        // The answer has the value before and after.
        Request::ChangeKey {
            namespace, action, ..
        } => {
            let change = match action {
                KeyAction::Set { .. } | KeyAction::Increment { .. } | KeyAction::Expire { .. } => {
                    Action::Write
                }
                KeyAction::Delete { .. } => Action::Delete,
            };
            vec![keys(Action::Read, namespace), keys(change, namespace)]
        }
        Request::Publish(message) => {
            let topic = Resource::Topics(database, message.topic.as_str());
            vec![Need::Action(Action::Publish, topic)]
        }
        // Of all collections.
        Request::Changes { .. } => vec![Need::Action(Action::Read, Resource::Database(database))],
        Request::Call { api, .. } => vec![Need::Action(Action::Call, Resource::Api(database, api))],
    }
}
