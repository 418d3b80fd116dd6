//! Users, roles and API keys of a server.

use std::collections::BTreeSet;
use std::env;
use std::io::{IsTerminal, stdin};
use std::time::Duration;

use clap::Subcommand;
use jiff::SignedDuration;
use pliantdb_core::access::{KeyOwner, Permission};
use pliantdb_core::protocol::{AccountsAsk, AccountsReply, ApiKeyInfo, Ask, Reply, Secret};
use pliantdb_core::{ApiKeyName, Error, RoleName, UserName};
use serde_json::json;

use super::failure::Failure;
use super::output::{Output, Row};
use super::password;
use super::target::{Target, TargetArgs};

/// The variable that may hold the password that a user is to have.
const NEW_PASSWORD: &str = "PLIANT_NEW_PASSWORD";

/// What to do with users.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// List the users
    List {
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Make a user, or change one: what is not given stays as it is
    Set(SetUserArgs),
    /// Delete a user, whose sessions and API keys end
    Delete {
        /// The user
        name: UserName,

        #[command(flatten)]
        target: TargetArgs,
    },
    /// Change one's own password; the new one is asked for, or in PLIANT_NEW_PASSWORD
    Password {
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Tell who asks, and what they may do
    Whoami {
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// A user to make or change.
#[derive(Debug, clap::Args)]
pub(crate) struct SetUserArgs {
    /// The user
    name: UserName,

    /// Give them the password that is asked for, or in PLIANT_NEW_PASSWORD
    #[arg(long)]
    password: bool,

    /// The roles that they are to have, and no others; empty for none
    #[arg(long, value_name = "ROLE,…", value_delimiter = ',')]
    roles: Option<Vec<String>>,

    /// Let them in no more
    #[arg(long, conflicts_with = "enable")]
    disable: bool,

    /// Let them in again
    #[arg(long)]
    enable: bool,

    #[command(flatten)]
    target: TargetArgs,
}

/// What to do with roles.
#[derive(Debug, Subcommand)]
pub(crate) enum RoleCommand {
    /// List the roles with their permissions
    List {
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Make a role, or give one other permissions
    Set {
        /// The role
        name: RoleName,

        /// What it allows, as in "read,write on collection shop/orders"; may be given several times
        #[arg(long = "allow", value_name = "PERMISSION")]
        permissions: Vec<Permission>,

        #[command(flatten)]
        target: TargetArgs,
    },
    /// Delete a role
    Delete {
        /// The role
        name: RoleName,

        #[command(flatten)]
        target: TargetArgs,
    },
}

/// What to do with API keys.
#[derive(Debug, Subcommand)]
pub(crate) enum ApiKeyCommand {
    /// List the API keys; what they are cannot be seen again
    List {
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Make an API key, and print it
    Create(CreateKeyArgs),
    /// Delete an API key
    Delete {
        /// The key's name
        name: ApiKeyName,

        #[command(flatten)]
        target: TargetArgs,
    },
}

/// An API key to make.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateKeyArgs {
    /// Its name
    name: ApiKeyName,

    /// It lets in this user
    #[arg(
        long,
        value_name = "USER",
        required_unless_present = "roles",
        conflicts_with = "roles"
    )]
    of: Option<UserName>,

    /// It lets in whoever has it, with these roles
    #[arg(long, value_name = "ROLE,…", value_delimiter = ',')]
    roles: Option<Vec<RoleName>>,

    /// For how long, as in 720h [default: for ever]
    #[arg(long, value_name = "DURATION")]
    lifetime: Option<String>,

    #[command(flatten)]
    target: TargetArgs,
}

fn ask(target: &TargetArgs, ask: AccountsAsk) -> Result<Reply, Failure> {
    if target.data.is_some() {
        return Err(Failure::usage(
            "users, roles and API keys are looked after at a running node: name it with --server instead of --data",
        ));
    }
    match target.open()? {
        Target::Server(client) => Ok(client.ask(Ask::Accounts(ask))?),
        Target::Directory(_) => Err(Error::unexpected_answer().into()),
    }
}

/// Has something done that has no answer but that it is.
fn carry_out(
    target: &TargetArgs,
    asked: AccountsAsk,
    done: &str,
    name: &str,
    out: Output,
) -> Result<(), Failure> {
    match ask(target, asked)? {
        Reply::Done => out.result(&format!("{done} {name}"), &json!({"done": done, "name": name})),
        _ => Err(Error::unexpected_answer().into()),
    }
}

/// The password that somebody is to have.
fn new_password() -> Result<Secret, Failure> {
    if let Some(password) = env::var(NEW_PASSWORD)
        .ok()
        .filter(|password| !password.is_empty())
    {
        return Ok(Secret::new(password));
    }
    if !stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "set {NEW_PASSWORD} to the new password, for there is no terminal to ask on"
        )));
    }
    let password = password::ask("New password: ")?;
    match password::ask("Once more: ")? == password {
        true => Ok(Secret::new(password)),
        false => Err(Failure::usage("the two are not the same")),
    }
}

/// Looks after users.
///
/// # Errors
/// Why it could not be done; so do all.
pub(crate) fn user(command: &UserCommand, out: Output) -> Result<(), Failure> {
    match command {
        UserCommand::List { target } => {
            let Reply::Accounts(AccountsReply::Users(users)) = ask(target, AccountsAsk::Users)? else {
                return Err(Error::unexpected_answer().into());
            };
            let rows = users.iter().map(|user| {
                let roles = names(&user.roles);
                let json = json!({
                    "user": user.name.as_str(), "roles": roles, "disabled": user.is_disabled,
                    "hasPassword": user.has_password,
                });
                let state = if user.is_disabled { "disabled" } else { "" };
                Row::new([user.name.to_string(), roles.join(","), state.to_owned()], &json)
            });
            out.rows(["USER", "ROLES", ""], rows.collect::<Result<Vec<_>, _>>()?)
        }
        UserCommand::Set(args) => {
            let roles = args.roles.as_ref().map(|roles| {
                let given = roles.iter().filter(|role| !role.is_empty());
                given
                    .map(|role| role.parse::<RoleName>())
                    .collect::<Result<BTreeSet<_>, _>>()
            });
            let set = AccountsAsk::SetUser {
                name: args.name.clone(),
                password: args.password.then(new_password).transpose()?,
                roles: roles.transpose().map_err(Failure::usage)?,
                is_disabled: (args.disable || args.enable).then_some(args.disable),
            };
            carry_out(&args.target, set, "set", args.name.as_str(), out)
        }
        UserCommand::Delete { name, target } => {
            let delete = AccountsAsk::DeleteUser { name: name.clone() };
            carry_out(target, delete, "deleted", name.as_str(), out)
        }
        UserCommand::Password { target } => {
            let user = target.user.as_deref().unwrap_or_default();
            if user.is_empty() {
                return Err(Failure::usage("say whose password with --user NAME"));
            }
            let (old, known) = target.with_password()?;
            let new = new_password()?;
            carry_out(
                &known,
                AccountsAsk::ChangePassword { old, new },
                "changed the password of",
                user,
                out,
            )
        }
        UserCommand::Whoami { target } => {
            let Reply::Accounts(AccountsReply::WhoAmI(who)) = ask(target, AccountsAsk::WhoAmI)? else {
                return Err(Error::unexpected_answer().into());
            };
            let permissions = texts(&who.permissions);
            let text = match permissions.as_slice() {
                [] => format!("{}, who may do nothing", who.name),
                permissions => format!("{}, who may: {}", who.name, permissions.join("; ")),
            };
            let user = who.user.as_ref().map(UserName::as_str);
            out.result(
                &text,
                &json!({"name": who.name, "user": user, "permissions": permissions}),
            )
        }
    }
}

/// Looks after roles.
///
/// # Errors
/// As [`user`].
pub(crate) fn role(command: &RoleCommand, out: Output) -> Result<(), Failure> {
    match command {
        RoleCommand::List { target } => {
            let Reply::Accounts(AccountsReply::Roles(roles)) = ask(target, AccountsAsk::Roles)? else {
                return Err(Error::unexpected_answer().into());
            };
            let rows = roles.iter().map(|role| {
                let permissions = texts(&role.permissions);
                let cells = [role.name.to_string(), permissions.join("; ")];
                Row::new(
                    cells,
                    &json!({"role": role.name.as_str(), "permissions": permissions}),
                )
            });
            out.rows(["ROLE", "PERMISSIONS"], rows.collect::<Result<Vec<_>, _>>()?)
        }
        RoleCommand::Set {
            name,
            permissions,
            target,
        } => {
            let set = AccountsAsk::SetRole {
                name: name.clone(),
                permissions: permissions.clone(),
            };
            carry_out(target, set, "set", name.as_str(), out)
        }
        RoleCommand::Delete { name, target } => {
            let delete = AccountsAsk::DeleteRole { name: name.clone() };
            carry_out(target, delete, "deleted", name.as_str(), out)
        }
    }
}

/// Looks after API keys.
///
/// # Errors
/// As [`user`].
pub(crate) fn api_key(command: &ApiKeyCommand, out: Output) -> Result<(), Failure> {
    match command {
        ApiKeyCommand::List { target } => {
            let Reply::Accounts(AccountsReply::ApiKeys(keys)) = ask(target, AccountsAsk::ApiKeys)? else {
                return Err(Error::unexpected_answer().into());
            };
            out.rows(
                ["KEY", "OF", "UNTIL"],
                keys.iter().map(key_row).collect::<Result<Vec<_>, _>>()?,
            )
        }
        ApiKeyCommand::Create(args) => {
            let owner = match &args.of {
                Some(user) => KeyOwner::User(user.clone()),
                None => KeyOwner::Roles(args.roles.iter().flatten().cloned().collect()),
            };
            let create = AccountsAsk::CreateApiKey {
                name: args.name.clone(),
                owner,
                lifetime: args.lifetime.as_deref().map(lifetime).transpose()?,
            };
            match ask(&args.target, create)? {
                // The one time that it is shown.
                Reply::Accounts(AccountsReply::ApiKey(key)) => out.result(
                    key.expose(),
                    &json!({"name": args.name.as_str(), "key": key.expose()}),
                ),
                _ => Err(Error::unexpected_answer().into()),
            }
        }
        ApiKeyCommand::Delete { name, target } => {
            let delete = AccountsAsk::DeleteApiKey { name: name.clone() };
            carry_out(target, delete, "deleted", name.as_str(), out)
        }
    }
}

fn key_row(key: &ApiKeyInfo) -> Result<Row, Failure> {
    let (of, json_of) = match &key.owner {
        KeyOwner::User(user) => (user.to_string(), json!({"user": user.as_str()})),
        KeyOwner::Roles(roles) => {
            let roles = names(roles);
            (format!("roles {}", roles.join(",")), json!({"roles": roles}))
        }
    };
    let until = key
        .expires_ms
        .and_then(|ms| jiff::Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok());
    let until = until.map(|time| time.to_string());
    let json = json!({"name": key.name.as_str(), "of": json_of, "until": until});
    Row::new([key.name.to_string(), of, until.unwrap_or_default()], &json)
}

fn names(roles: &BTreeSet<RoleName>) -> Vec<&str> {
    roles.iter().map(RoleName::as_str).collect()
}

fn texts(permissions: &[Permission]) -> Vec<String> {
    permissions.iter().map(ToString::to_string).collect()
}

fn lifetime(text: &str) -> Result<Duration, Failure> {
    let duration = text
        .parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok());
    duration.filter(|duration| !duration.is_zero()).ok_or_else(|| {
        let text = pliantdb_core::shorten(text);
        Failure::usage(format!("--lifetime is {text:?}: write a duration such as 720h"))
    })
}
