//! Users, roles and what they may do. Nothing here knows who somebody is; it says what a request needs, and whether
//! permissions have it.
//!
//! - [`Permission`]: a text such as `read,write on collection shop/orders`
//! - [`Permissions`]: what somebody may do, of all their roles
//! - [`needed`]: what a request needs, of every kind of request there is
//! - [`Accounts`]: the users, roles and API keys that there are, and how they change

mod accounts;
#[cfg(any(test, feature = "examples"))]
pub mod examples;
mod needs;
mod pattern;
mod permission;

#[cfg(test)]
mod tests;

pub use accounts::{
    Account, Accounts, AccountsChange, ApiKey, KeyHash, KeyOwner, User, UserChange, administrator, anonymous,
    reader, writer,
};
pub use needs::{Need, Resource, needed};
pub use pattern::{InvalidPattern, NamePattern};
pub use permission::{Action, Actions, InvalidPermission, Permission, Permissions, Scope};
