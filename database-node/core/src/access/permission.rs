//! Permissions: who has one may do something to something.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{NamePattern, Need, Resource};
use crate::{DatabaseName, TopicPattern, shorten};

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Reading documents, views, keys, and (of a database) the feed of changes.
    Read,
    /// Writing documents and keys.
    Write,
    /// Deleting documents and keys.
    Delete,
    /// Receiving messages.
    Subscribe,
    /// Sending messages.
    Publish,
    /// Calling a custom API.
    Call,
    /// Creating a database.
    Create,
    /// Deleting a database.
    Drop,
    /// Giving a database a schema.
    Define,
    /// Seeing the names of all databases.
    List,
    /// Seeing and changing users, roles and API keys: whoever may do that can give themselves everything else.
    Administer,
    /// Making backups.
    BackUp,
    /// Reading metrics.
    Monitor,
}

impl Action {
    /// All there are.
    pub const ALL: [Self; 13] = [
        Self::Read,
        Self::Write,
        Self::Delete,
        Self::Subscribe,
        Self::Publish,
        Self::Call,
        Self::Create,
        Self::Drop,
        Self::Define,
        Self::List,
        Self::Administer,
        Self::BackUp,
        Self::Monitor,
    ];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::Call => "call",
            Self::Create => "create",
            Self::Drop => "drop",
            Self::Define => "define",
            Self::List => "list",
            Self::Administer => "administer",
            Self::BackUp => "backup",
            Self::Monitor => "monitor",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Some of the actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Actions(u16);

impl Actions {
    const IN_DATABASE: [Action; 9] = [
        Action::Read,
        Action::Write,
        Action::Delete,
        Action::Subscribe,
        Action::Publish,
        Action::Call,
        Action::Create,
        Action::Drop,
        Action::Define,
    ];
    const ON_SERVER: [Action; 4] = [Action::List, Action::Administer, Action::BackUp, Action::Monitor];

    /// These.
    #[must_use]
    pub fn of(actions: &[Action]) -> Self {
        Self(actions.iter().fold(0, |bits, action| bits | Self::bit(*action)))
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn contain(self, action: Action) -> bool {
        self.0 & Self::bit(action) != 0
    }

    /// Whether it is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// They, in order.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL
            .into_iter()
            .filter(move |action| self.contain(*action))
    }

    fn bit(action: Action) -> u16 {
        1 << action as u16
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// What a permission is for. What has parts includes them: a database everything in it, a collection its views.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `everything`
    Everything,
    /// `server`: what belongs to no database
    Server,
    /// `database SHOP`, and all in it
    Database(NamePattern),
    /// `collection SHOP/ORDERS`, and its views
    Collection(NamePattern, NamePattern),
    /// `view SHOP/ORDERS/BY-DAY`
    View(NamePattern, NamePattern, NamePattern),
    /// `keys SHOP/CARTS`: a namespace of the key-value store
    Keys(NamePattern, NamePattern),
    /// `topic SHOP/ORDERS.*`, a pattern as subscribers write them
    Topic(NamePattern, TopicPattern),
    /// `api SHOP/SEARCH`
    Api(NamePattern, NamePattern),
}

impl Scope {
    /// What can be done to it.
    #[must_use]
    pub fn actions(&self) -> Actions {
        match self {
            Self::Everything => Actions::of(&Action::ALL),
            Self::Server => Actions::of(&Actions::ON_SERVER),
            Self::Database(_) => Actions::of(&Actions::IN_DATABASE),
            Self::Collection(..) | Self::Keys(..) => {
                Actions::of(&[Action::Read, Action::Write, Action::Delete])
            }
            Self::View(..) => Actions::of(&[Action::Read]),
            Self::Topic(..) => Actions::of(&[Action::Subscribe, Action::Publish]),
            Self::Api(..) => Actions::of(&[Action::Call]),
        }
    }

    fn includes(&self, resource: &Resource<'_>) -> bool {
        match (self, resource) {
            (Self::Everything, _) | (Self::Server, Resource::Server) => true,
            (Self::Database(database), resource) => resource
                .database()
                .is_some_and(|name| database.matches(name.as_str())),
            (Self::Collection(database, collection), Resource::Collection(in_database, name))
            | (Self::Collection(database, collection), Resource::View(in_database, name, _)) => {
                database.matches(in_database.as_str()) && collection.matches(name.as_str())
            }
            (Self::View(database, collection, view), Resource::View(in_database, in_collection, name)) => {
                database.matches(in_database.as_str())
                    && collection.matches(in_collection.as_str())
                    && view.matches(name.as_str())
            }
            (Self::Keys(database, namespace), Resource::Keys(in_database, name)) => {
                database.matches(in_database.as_str()) && namespace.matches(name.as_str())
            }
            (Self::Topic(database, topics), Resource::Topics(in_database, wanted)) => {
                database.matches(in_database.as_str()) && topics.covers(wanted)
            }
            (Self::Api(database, api), Resource::Api(in_database, name)) => {
                database.matches(in_database.as_str()) && api.matches(name.as_str())
            }
            _ => false,
        }
    }

    /// Whether it, or something in it, is of a database.
    fn reaches(&self, name: &DatabaseName) -> bool {
        match self {
            Self::Everything => true,
            Self::Server => false,
            Self::Database(database)
            | Self::Collection(database, _)
            | Self::View(database, ..)
            | Self::Keys(database, _)
            | Self::Topic(database, _)
            | Self::Api(database, _) => database.matches(name.as_str()),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Server => f.write_str("server"),
            Self::Database(database) => write!(f, "database {database}"),
            Self::Collection(database, collection) => write!(f, "collection {database}/{collection}"),
            Self::View(database, collection, view) => write!(f, "view {database}/{collection}/{view}"),
            Self::Keys(database, namespace) => write!(f, "keys {database}/{namespace}"),
            Self::Topic(database, topics) => write!(f, "topic {database}/{}", topics.as_str()),
            Self::Api(database, api) => write!(f, "api {database}/{api}"),
        }
    }
}

/// A text that is not a permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a permission: {reason}")]
pub struct InvalidPermission {
    /// The text, shortened.
    pub text: String,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}

/// Leave to do something to something. It is read and written as a text: actions, `on`, and what they are for.
///
/// ```
/// use pliantdb_core::access::Permission;
///
/// for text in [
///     "all on everything",
///     "list,monitor on server",
///     "read on database shop",
///     "create,drop on database tenant-*",
///     "read,write on collection shop/orders",
///     "all on collection */archive-*",
///     "read on view shop/orders/by-day",
///     "all on keys shop/carts",
///     "subscribe on topic shop/orders.**",
///     "call on api shop/search",
/// ] {
///     assert_eq!(text.parse::<Permission>().unwrap().to_string(), text);
/// }
/// let error = "publish on collection shop/orders".parse::<Permission>().unwrap_err();
/// assert!(error.to_string().contains("read, write, delete, or all"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Permission {
    actions: Actions,
    scope: Scope,
}

impl Permission {
    /// Leave for everything.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            actions: Actions::of(&Action::ALL),
            scope: Scope::Everything,
        }
    }

    /// What may be done.
    #[must_use]
    pub fn actions(&self) -> Actions {
        self.actions
    }

    /// To what.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether it is all that is needed.
    #[must_use]
    pub fn gives(&self, need: &Need<'_>) -> bool {
        match need {
            Need::Action(action, resource) => self.actions.contain(*action) && self.scope.includes(resource),
            Need::Any(database) => {
                let in_database = self.actions.and(Actions::of(&Actions::IN_DATABASE));
                !in_database.is_empty() && self.scope.reaches(database)
            }
        }
    }
}

impl FromStr for Permission {
    type Err = InvalidPermission;

    fn from_str(text: &str) -> Result<Self, InvalidPermission> {
        let invalid = |reason: String| InvalidPermission {
            text: shorten(text).into_owned(),
            reason,
        };
        let (actions, scope) = text
            .split_once(" on ")
            .ok_or_else(|| invalid("write it as in \"read,write on collection shop/orders\"".to_owned()))?;
        let scope = parse_scope(scope.trim()).map_err(invalid)?;
        let possible = scope.actions();
        let mut taken = Actions::default();
        for word in actions.split(',').map(str::trim) {
            let found = match word {
                "all" => possible,
                word => Actions(
                    possible
                        .iter()
                        .filter(|action| action.as_str() == word)
                        .fold(0, |bits, action| bits | Actions::bit(action)),
                ),
            };
            if found.is_empty() {
                let right: Vec<_> = possible.iter().map(Action::as_str).collect();
                let (word, kind) = (shorten(word), kind(&scope));
                return Err(invalid(format!(
                    "{word:?} is not an action on {kind}; write {}, or all",
                    right.join(", ")
                )));
            }
            taken = Actions(taken.0 | found.0);
        }
        Ok(Self {
            actions: taken,
            scope,
        })
    }
}

/// What a scope is of, in words.
fn kind(scope: &Scope) -> &'static str {
    match scope {
        Scope::Everything => "everything",
        Scope::Server => "the server",
        Scope::Database(_) => "a database",
        Scope::Collection(..) => "a collection",
        Scope::View(..) => "a view",
        Scope::Keys(..) => "keys",
        Scope::Topic(..) => "a topic",
        Scope::Api(..) => "an api",
    }
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    let (kind, path) = text.split_once(' ').unwrap_or((text, ""));
    let path = path.trim();
    let name = |text: &str| text.parse::<NamePattern>().map_err(|error| error.to_string());
    let two = |right: &str| match path.split_once('/') {
        Some((database, rest)) => Ok((name(database)?, rest)),
        None => Err(format!("{:?} is not possible here; write {right}", shorten(path))),
    };
    match kind {
        "everything" | "server" if !path.is_empty() => {
            Err(format!("nothing can follow {kind}, and {:?} does", shorten(path)))
        }
        "everything" => Ok(Scope::Everything),
        "server" => Ok(Scope::Server),
        "database" => name(path).map(Scope::Database),
        "collection" => {
            let (database, collection) = two("collection DATABASE/COLLECTION")?;
            Ok(Scope::Collection(database, name(collection)?))
        }
        "view" => {
            const RIGHT: &str = "view DATABASE/COLLECTION/VIEW";
            let (database, rest) = two(RIGHT)?;
            let (collection, view) = rest
                .split_once('/')
                .ok_or_else(|| format!("{:?} is not possible here; write {RIGHT}", shorten(path)))?;
            Ok(Scope::View(database, name(collection)?, name(view)?))
        }
        "keys" => {
            let (database, namespace) = two("keys DATABASE/NAMESPACE")?;
            Ok(Scope::Keys(database, name(namespace)?))
        }
        "topic" => {
            let (database, topics) = two("topic DATABASE/TOPIC")?;
            let topics = topics
                .parse::<TopicPattern>()
                .map_err(|error| error.to_string())?;
            Ok(Scope::Topic(database, topics))
        }
        "api" => {
            let (database, api) = two("api DATABASE/API")?;
            Ok(Scope::Api(database, name(api)?))
        }
        kind => Err(format!(
            "{:?} is nothing that permissions are for; write everything, server, database, collection, view, keys, topic \
             or api",
            shorten(kind)
        )),
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.actions == self.scope.actions() && self.actions.iter().count() > 1 {
            f.write_str("all")?;
        } else {
            for (at, action) in self.actions.iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                write!(f, "{comma}{action}")?;
            }
        }
        write!(f, " on {}", self.scope)
    }
}

impl TryFrom<String> for Permission {
    type Error = InvalidPermission;

    fn try_from(text: String) -> Result<Self, InvalidPermission> {
        text.parse()
    }
}

impl From<Permission> for String {
    fn from(permission: Permission) -> Self {
        permission.to_string()
    }
}

/// What somebody may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions(Vec<Permission>);

impl Permissions {
    /// Everything.
    #[must_use]
    pub fn everything() -> Self {
        Self(vec![Permission::everything()])
    }

    /// Whether what is needed is among them.
    #[must_use]
    pub fn allow(&self, need: &Need<'_>) -> bool {
        self.0.iter().any(|permission| permission.gives(need))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// They.
    pub fn iter(&self) -> impl Iterator<Item = &Permission> {
        self.0.iter()
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        let mut kept: Vec<Permission> = Vec::new();
        for permission in permissions {
            if !kept.contains(&permission) {
                kept.push(permission);
            }
        }
        Self(kept)
    }
}
