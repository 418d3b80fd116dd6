//! What can be asked about users, roles and API keys.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Secret;
use crate::access::{KeyOwner, Permission};
use crate::{ApiKeyName, RoleName, UserName};

/// Something about users, roles and API keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountsAsk {
    /// Who asks, and what they may do. [`AccountsReply::WhoAmI`].
    WhoAmI,
    /// Ends the session that asks. [`super::Reply::Done`].
    LogOut,
    /// Gives the user who asks another password, which ends all sessions of the user. [`super::Reply::Done`].
    ChangePassword {
        /// The one of now.
        old: Secret,
        /// The one from now on.
        new: Secret,
    },
    /// All users. [`AccountsReply::Users`].
    Users,
    /// Makes a user, or changes one. [`super::Reply::Done`].
    SetUser {
        /// The name.
        name: UserName,
        /// The password; `None` leaves it as it is.
        password: Option<Secret>,
        /// The roles; `None` leaves them as they are.
        roles: Option<BTreeSet<RoleName>>,
        /// Whether the user is not let in; `None` leaves it as it is.
        is_disabled: Option<bool>,
    },
    /// Deletes a user, whose sessions and API keys end. [`super::Reply::Done`].
    DeleteUser {
        /// The name.
        name: UserName,
    },
    /// All roles. [`AccountsReply::Roles`].
    Roles,
    /// Makes a role, or gives one other permissions. [`super::Reply::Done`].
    SetRole {
        /// The name.
        name: RoleName,
        /// What it is to allow.
        permissions: Vec<Permission>,
    },
    /// Deletes a role. [`super::Reply::Done`].
    DeleteRole {
        /// The name.
        name: RoleName,
    },
    /// All API keys. [`AccountsReply::ApiKeys`].
    ApiKeys,
    /// Makes an API key. [`AccountsReply::ApiKey`].
    CreateApiKey {
        /// The name.
        name: ApiKeyName,
        /// Whom it lets in.
        owner: KeyOwner,
        /// For how long; `None` for ever.
        lifetime: Option<Duration>,
    },
    /// Deletes an API key. [`super::Reply::Done`].
    DeleteApiKey {
        /// The name.
        name: ApiKeyName,
    },
}

/// What comes of an [`AccountsAsk`]. It never has a password or its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountsReply {
    /// Who asked.
    WhoAmI(WhoAmI),
    /// All users, by name.
    Users(Vec<UserInfo>),
    /// All roles, by name, those that are built in first.
    Roles(Vec<RoleInfo>),
    /// All API keys, by name.
    ApiKeys(Vec<ApiKeyInfo>),
    /// A new API key. Nobody can see it again.
    ApiKey(Secret),
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoAmI {
    /// A name for people.
    pub name: String,
    /// The user, if it is one.
    pub user: Option<UserName>,
    /// What they may do.
    pub permissions: Vec<Permission>,
}

/// What is told of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserInfo {
    /// The name.
    pub name: UserName,
    /// The roles.
    pub roles: BTreeSet<RoleName>,
    /// Whether the user is not let in.
    pub is_disabled: bool,
    /// Whether there is a password.
    pub has_password: bool,
}

/// What is told of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleInfo {
    /// The name.
    pub name: RoleName,
    /// What it allows.
    pub permissions: Vec<Permission>,
}

/// What is told of an API key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyInfo {
    /// The name.
    pub name: ApiKeyName,
    /// Whom it lets in.
    pub owner: KeyOwner,
    /// Until when, in milliseconds since the Unix epoch; `None` for ever.
    pub expires_ms: Option<u64>,
}
