//! Carrying out what is asked about users, roles and API keys.

use std::collections::BTreeSet;

use pliantdb_core::access::{AccountsChange, ApiKey, Permission, UserChange, administrator};
use pliantdb_core::protocol::{AccountsAsk, AccountsReply, ApiKeyInfo, Reply, RoleInfo, Secret, UserInfo};
use pliantdb_core::{Error, RoleName, UserName};

use crate::access::Caller;
use crate::databases::Databases;

/// The most permissions of a role.
const MAX_PERMISSIONS: usize = 1000;
/// The most roles of a user or an API key.
const MAX_ROLES: usize = 100;

/// Answers what was asked by somebody who may ask it.
///
/// # Errors
/// Any [`Error`].
pub(crate) async fn carry_out(
    databases: &Databases,
    caller: &Caller,
    ask: AccountsAsk,
) -> Result<Reply, Error> {
    let access = caller.access();
    match ask {
        AccountsAsk::WhoAmI => Ok(Reply::Accounts(AccountsReply::WhoAmI(caller.who_am_i()?))),
        AccountsAsk::LogOut => caller.log_out().await.map(|()| Reply::Done),
        AccountsAsk::ChangePassword { old, new } => {
            let name = caller.user().ok_or_else(|| {
                Error::invalid("only users have a password, and these credentials are not those of a user")
            })?;
            access.check_password(&name, &old, caller.peer()).await?;
            let change = UserChange {
                password: Some(access.hash(&new).await?),
                ..UserChange::default()
            };
            let must_exist = true;
            apply(
                databases,
                AccountsChange::SetUser {
                    name,
                    change,
                    must_exist,
                },
            )
            .await
        }
        AccountsAsk::Users => {
            let (_, accounts) = access.accounts();
            let users = accounts.users().map(|(name, user)| UserInfo {
                name: name.clone(),
                roles: user.roles.clone(),
                is_disabled: user.is_disabled,
                has_password: user.password.is_some(),
            });
            Ok(Reply::Accounts(AccountsReply::Users(users.collect())))
        }
        AccountsAsk::SetUser {
            name,
            password,
            roles,
            is_disabled,
        } => set_user(databases, caller, name, password, roles, is_disabled).await,
        AccountsAsk::DeleteUser { name } => apply(databases, AccountsChange::DeleteUser { name }).await,
        AccountsAsk::Roles => {
            let (_, accounts) = access.accounts();
            let roles = accounts.roles().map(|(name, permissions)| RoleInfo {
                name,
                permissions: permissions.iter().cloned().collect(),
            });
            Ok(Reply::Accounts(AccountsReply::Roles(roles.collect())))
        }
        AccountsAsk::SetRole { name, permissions } => set_role(databases, name, permissions).await,
        AccountsAsk::DeleteRole { name } => apply(databases, AccountsChange::DeleteRole { name }).await,
        AccountsAsk::ApiKeys => {
            let (_, accounts) = access.accounts();
            let keys = accounts.keys().map(|(name, key)| ApiKeyInfo {
                name: name.clone(),
                owner: key.owner.clone(),
                expires_ms: key.expires_ms,
            });
            Ok(Reply::Accounts(AccountsReply::ApiKeys(keys.collect())))
        }
        AccountsAsk::CreateApiKey {
            name,
            owner,
            lifetime,
        } => {
            if let pliantdb_core::access::KeyOwner::Roles(roles) = &owner {
                check_roles(roles)?;
            }
            let (secret, hash) = access.new_api_key()?;
            let now = databases.now_ms();
            let expires_ms = lifetime
                .map(|lifetime| now.saturating_add(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX)));
            let key = ApiKey {
                hash,
                owner,
                expires_ms,
            };
            apply(databases, AccountsChange::AddApiKey { name, key }).await?;
            Ok(Reply::Accounts(AccountsReply::ApiKey(secret)))
        }
        AccountsAsk::DeleteApiKey { name } => apply(databases, AccountsChange::DeleteApiKey { name }).await,
    }
}

async fn set_user(
    databases: &Databases,
    caller: &Caller,
    name: UserName,
    password: Option<Secret>,
    roles: Option<BTreeSet<RoleName>>,
    is_disabled: Option<bool>,
) -> Result<Reply, Error> {
    let access = caller.access();
    roles.as_ref().map(check_roles).transpose()?;
    let hashed = match &password {
        Some(password) => Some(access.hash(password).await?),
        None => None,
    };
    // One at a time, so that the first is an administrator.
    let _first = access.first_user().await;
    if access.is_open() {
        let administers = roles
            .as_ref()
            .is_some_and(|roles| roles.contains(&administrator()));
        if hashed.is_none() || !administers || is_disabled == Some(true) {
            return Err(Error::Invalid(format!(
                "{name:?} would be the first user, and from then on credentials are needed: give them a password and the role \
                 administrator"
            )));
        }
    }
    let change = UserChange {
        password: hashed,
        roles,
        is_disabled,
    };
    let must_exist = false;
    apply(
        databases,
        AccountsChange::SetUser {
            name,
            change,
            must_exist,
        },
    )
    .await
}

async fn set_role(
    databases: &Databases,
    name: RoleName,
    permissions: Vec<Permission>,
) -> Result<Reply, Error> {
    match permissions.len() <= MAX_PERMISSIONS {
        true => apply(databases, AccountsChange::SetRole { name, permissions }).await,
        false => Err(Error::Invalid(format!(
            "the role has {} permissions, and {MAX_PERMISSIONS} is the most",
            permissions.len()
        ))),
    }
}

fn check_roles(roles: &BTreeSet<RoleName>) -> Result<(), Error> {
    match roles.len() <= MAX_ROLES {
        true => Ok(()),
        false => Err(Error::Invalid(format!(
            "there are {} roles, and {MAX_ROLES} is the most",
            roles.len()
        ))),
    }
}

async fn apply(databases: &Databases, change: AccountsChange) -> Result<Reply, Error> {
    databases.change_accounts(change).await.map(|()| Reply::Done)
}
