//! The users, roles and API keys that there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Permission, Permissions};
use crate::protocol::Secret;
use crate::{ApiKeyName, Rejection, RoleName, UserName};

/// Who may do everything.
const ADMINISTRATOR: &str = "administrator";
/// Who may read and write everything.
const WRITER: &str = "writer";
/// Who may read everything.
const READER: &str = "reader";
/// Who gives no credentials.
const ANONYMOUS: &str = "anonymous";

/// A user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The hash of the password, as a PHC string; without, only an API key lets the user in.
    pub password: Option<Secret>,
    /// What the user may do.
    pub roles: BTreeSet<RoleName>,
    /// Whether the user is not let in.
    pub is_disabled: bool,
}

impl User {
    fn administers(&self) -> bool {
        !self.is_disabled
            && self.password.is_some()
            && self.roles.iter().any(|role| role.as_str() == ADMINISTRATOR)
    }
}

/// What is to change of a user; the rest stays, and is nothing of a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserChange {
    /// The hash of the new password, as a PHC string.
    pub password: Option<Secret>,
    /// The new roles.
    pub roles: Option<BTreeSet<RoleName>>,
    /// Whether the user is not let in.
    pub is_disabled: Option<bool>,
}

/// SHA-256 of an API key. It is not printed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyHash(pub [u8; 32]);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

/// Who is let in by an API key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyOwner {
    /// This user; the key goes when the user does.
    User(UserName),
    /// Whoever has it, with these roles.
    Roles(BTreeSet<RoleName>),
}

/// An API key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its hash.
    pub hash: KeyHash,
    /// Whom it lets in.
    pub owner: KeyOwner,
    /// Until when, in milliseconds since the Unix epoch, by the time of the log; `None` for ever.
    pub expires_ms: Option<u64>,
}

/// A change of users, roles or API keys. New kinds are added at the end: the position is the encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountsChange {
    /// Makes a user, or changes one.
    SetUser {
        /// The name.
        name: UserName,
        /// What is to change.
        change: UserChange,
        /// Whether there must be such a user.
        must_exist: bool,
    },
    /// Deletes a user, and the API keys that let in as that user.
    DeleteUser {
        /// The name.
        name: UserName,
    },
    /// Makes a role, or gives one other permissions.
    SetRole {
        /// The name.
        name: RoleName,
        /// What it is to allow.
        permissions: Vec<Permission>,
    },
    /// Deletes a role, which nobody may have. That of those without credentials then allows nothing.
    DeleteRole {
        /// The name.
        name: RoleName,
    },
    /// Makes an API key.
    AddApiKey {
        /// The name, which no other may have.
        name: ApiKeyName,
        /// The key.
        key: ApiKey,
    },
    /// Deletes an API key.
    DeleteApiKey {
        /// The name.
        name: ApiKeyName,
    },
}

impl AccountsChange {
    /// About how many bytes it adds to a batch.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::SetRole { permissions, .. } => permissions.len() * 64,
            _ => 256,
        }
    }

    /// Whether it only takes away.
    #[must_use]
    pub fn frees(&self) -> bool {
        match self {
            Self::DeleteUser { .. } | Self::DeleteRole { .. } | Self::DeleteApiKey { .. } => true,
            Self::SetUser { .. } | Self::SetRole { .. } | Self::AddApiKey { .. } => false,
        }
    }
}

/// A user, a role or an API key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Account {
    /// A user.
    User(UserName),
    /// A role.
    Role(RoleName),
    /// An API key.
    ApiKey(ApiKeyName),
}

/// All users, roles and API keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Records", into = "Records")]
pub struct Accounts {
    users: BTreeMap<UserName, User>,
    roles: BTreeMap<RoleName, Vec<Permission>>,
    keys: BTreeMap<ApiKeyName, ApiKey>,
    by_hash: HashMap<KeyHash, ApiKeyName>,
}

/// What of [`Accounts`] is not derived from the rest.
#[derive(Serialize, Deserialize)]
struct Records {
    users: BTreeMap<UserName, User>,
    roles: BTreeMap<RoleName, Vec<Permission>>,
    keys: BTreeMap<ApiKeyName, ApiKey>,
}

impl From<Records> for Accounts {
    fn from(records: Records) -> Self {
        let Records { users, roles, keys } = records;
        let by_hash = keys.iter().map(|(name, key)| (key.hash, name.clone()));
        Self {
            by_hash: by_hash.collect(),
            users,
            roles,
            keys,
        }
    }
}

impl From<Accounts> for Records {
    fn from(accounts: Accounts) -> Self {
        let Accounts {
            users, roles, keys, ..
        } = accounts;
        Self { users, roles, keys }
    }
}

/// The role that may do everything.
#[must_use]
pub fn administrator() -> RoleName {
    RoleName::new_static(ADMINISTRATOR)
}

/// The role that may read and write everything, subscribe, publish and call.
#[must_use]
pub fn writer() -> RoleName {
    RoleName::new_static(WRITER)
}

/// The role that may read everything and subscribe.
#[must_use]
pub fn reader() -> RoleName {
    RoleName::new_static(READER)
}

/// The role of whoever gives no credentials. At first it allows nothing.
#[must_use]
pub fn anonymous() -> RoleName {
    RoleName::new_static(ANONYMOUS)
}

/// The permissions of a role that cannot be changed.
fn built_in(role: &RoleName) -> Option<Permissions> {
    let text = match role.as_str() {
        ADMINISTRATOR => return Some(Permissions::everything()),
        WRITER => "read,write,delete,subscribe,publish,call,list on everything",
        READER => "read,subscribe,list on everything",
        _ => return None,
    };
    Some(text.parse().into_iter().collect())
}

impl Accounts {
    /// The user of that name.
    #[must_use]
    pub fn user(&self, name: &UserName) -> Option<&User> {
        self.users.get(name)
    }

    /// The users, by name.
    pub fn users(&self) -> impl Iterator<Item = (&UserName, &User)> {
        self.users.iter()
    }

    /// Whether there are no users.
    #[must_use]
    pub fn has_no_users(&self) -> bool {
        self.users.is_empty()
    }

    /// The permissions of a role, if there is such a role.
    #[must_use]
    pub fn role(&self, name: &RoleName) -> Option<Permissions> {
        let made = || self.roles.get(name).map(|role| role.iter().cloned().collect());
        built_in(name)
            .or_else(made)
            .or_else(|| (name.as_str() == ANONYMOUS).then(Permissions::default))
    }

    /// The roles with their permissions, by name, those that are built in first.
    pub fn roles(&self) -> impl Iterator<Item = (RoleName, Permissions)> {
        let made = self
            .roles
            .keys()
            .filter(|name| name.as_str() != ANONYMOUS)
            .cloned();
        [administrator(), writer(), reader(), anonymous()]
            .into_iter()
            .chain(made)
            .filter_map(|name| Some((name.clone(), self.role(&name)?)))
    }

    /// All that these roles allow together. One that does not exist allows nothing.
    pub fn permissions<'r>(&self, roles: impl IntoIterator<Item = &'r RoleName>) -> Permissions {
        let of_roles = roles.into_iter().filter_map(|role| self.role(role));
        of_roles
            .flat_map(|permissions| permissions.iter().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// The API key of that name.
    #[must_use]
    pub fn key(&self, name: &ApiKeyName) -> Option<&ApiKey> {
        self.keys.get(name)
    }

    /// The API keys, by name.
    pub fn keys(&self) -> impl Iterator<Item = (&ApiKeyName, &ApiKey)> {
        self.keys.iter()
    }

    /// The API key with that hash.
    #[must_use]
    pub fn key_by_hash(&self, hash: &KeyHash) -> Option<(&ApiKeyName, &ApiKey)> {
        self.keys.get_key_value(self.by_hash.get(hash)?)
    }

    /// Makes a change, and gives what is to be stored anew or removed.
    ///
    /// # Errors
    /// A [`Rejection`]; nothing has changed then.
    pub fn change(&mut self, change: &AccountsChange) -> Result<Vec<Account>, Rejection> {
        match change {
            AccountsChange::SetUser {
                name,
                change,
                must_exist,
            } => {
                let known = self.users.get(name);
                if *must_exist && known.is_none() {
                    return Err(Rejection::UnknownUser { user: name.clone() });
                }
                let mut user = known.cloned().unwrap_or_default();
                if let Some(roles) = &change.roles {
                    self.check_roles(roles)?;
                    user.roles.clone_from(roles);
                }
                if let Some(password) = &change.password {
                    user.password = Some(password.clone());
                }
                user.is_disabled = change.is_disabled.unwrap_or(user.is_disabled);
                self.check_administrators(name, Some(&user))?;
                self.insert_user(name.clone(), user);
                Ok(vec![Account::User(name.clone())])
            }
            AccountsChange::DeleteUser { name } => {
                if !self.users.contains_key(name) {
                    return Err(Rejection::UnknownUser { user: name.clone() });
                }
                self.check_administrators(name, None)?;
                self.users.remove(name);
                let of_user = self
                    .keys
                    .iter()
                    .filter(|(_, key)| key.owner == KeyOwner::User(name.clone()));
                let of_user: Vec<_> = of_user.map(|(key, _)| key.clone()).collect();
                let mut gone = vec![Account::User(name.clone())];
                for key in of_user {
                    self.remove_key(&key);
                    gone.push(Account::ApiKey(key));
                }
                Ok(gone)
            }
            AccountsChange::SetRole { name, permissions } => {
                if built_in(name).is_some() {
                    return Err(Rejection::BuiltInRole { role: name.clone() });
                }
                self.insert_role(name.clone(), permissions.clone());
                Ok(vec![Account::Role(name.clone())])
            }
            AccountsChange::DeleteRole { name } => {
                if built_in(name).is_some() {
                    return Err(Rejection::BuiltInRole { role: name.clone() });
                }
                if let Some(holder) = self.holder(name) {
                    return Err(Rejection::RoleInUse {
                        role: name.clone(),
                        holder,
                    });
                }
                match self.roles.remove(name) {
                    Some(_) => Ok(vec![Account::Role(name.clone())]),
                    None => Err(Rejection::UnknownRole { role: name.clone() }),
                }
            }
            AccountsChange::AddApiKey { name, key } => {
                if self.keys.contains_key(name) {
                    return Err(Rejection::ApiKeyExists { key: name.clone() });
                }
                match &key.owner {
                    KeyOwner::User(user) if !self.users.contains_key(user) => {
                        return Err(Rejection::UnknownUser { user: user.clone() });
                    }
                    KeyOwner::User(_) => {}
                    KeyOwner::Roles(roles) => self.check_roles(roles)?,
                }
                self.insert_key(name.clone(), key.clone());
                Ok(vec![Account::ApiKey(name.clone())])
            }
            AccountsChange::DeleteApiKey { name } => match self.remove_key(name) {
                true => Ok(vec![Account::ApiKey(name.clone())]),
                false => Err(Rejection::UnknownApiKey { key: name.clone() }),
            },
        }
    }

    /// Puts a user there, as it was stored.
    pub fn insert_user(&mut self, name: UserName, user: User) {
        self.users.insert(name, user);
    }

    /// Puts a role there, as it was stored.
    pub fn insert_role(&mut self, name: RoleName, permissions: Vec<Permission>) {
        self.roles.insert(name, permissions);
    }

    /// Puts an API key there, as it was stored.
    pub fn insert_key(&mut self, name: ApiKeyName, key: ApiKey) {
        self.by_hash.insert(key.hash, name.clone());
        self.keys.insert(name, key);
    }

    /// What a role that was made is made of.
    #[must_use]
    pub fn made_role(&self, name: &RoleName) -> Option<&[Permission]> {
        self.roles.get(name).map(Vec::as_slice)
    }

    /// Everything that there is, in order, but the built-in roles.
    pub fn all(&self) -> impl Iterator<Item = Account> {
        let users = self.users.keys().cloned().map(Account::User);
        let roles = self.roles.keys().cloned().map(Account::Role);
        let keys = self.keys.keys().cloned().map(Account::ApiKey);
        users.chain(roles).chain(keys)
    }

    fn remove_key(&mut self, name: &ApiKeyName) -> bool {
        let removed = self.keys.remove(name);
        removed.map(|key| self.by_hash.remove(&key.hash)).is_some()
    }

    fn check_roles(&self, roles: &BTreeSet<RoleName>) -> Result<(), Rejection> {
        match roles.iter().find(|role| self.role(role).is_none()) {
            Some(role) => Err(Rejection::UnknownRole { role: role.clone() }),
            None => Ok(()),
        }
    }

    /// Somebody who has a role, in words.
    fn holder(&self, role: &RoleName) -> Option<String> {
        let user = self.users.iter().find(|(_, user)| user.roles.contains(role));
        let key = self
            .keys
            .iter()
            .find(|(_, key)| matches!(&key.owner, KeyOwner::Roles(roles) if roles.contains(role)));
        match (user, key) {
            (Some((name, _)), _) => Some(format!("the user {name:?}")),
            (None, Some((name, _))) => Some(format!("the API key {name:?}")),
            (None, None) => None,
        }
    }

    /// Whether an administrator is left when a user becomes this, or goes; if there was one before.
    fn check_administrators(&self, name: &UserName, becomes: Option<&User>) -> Result<(), Rejection> {
        let was = self.users.get(name).is_some_and(User::administers);
        let others = || {
            self.users
                .iter()
                .any(|(other, user)| other != name && user.administers())
        };
        match was && !becomes.is_some_and(User::administers) && !others() {
            true => Err(Rejection::LastAdministrator { user: name.clone() }),
            false => Ok(()),
        }
    }
}
