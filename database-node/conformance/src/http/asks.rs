//! Everything that can be asked as requests, for what is not about a database that was opened.

use pliantdb_core::access::KeyOwner;
use pliantdb_core::protocol::{AccountsAsk, Ask};
use pliantdb_core::{Error, Request};
use serde_json::{Value, json};

use super::{Client, Database, Listener, describe};

impl Client {
    /// Asks, and drops the answer; `None` when HTTP has no route for that: snapshots belong to a connection.
    #[must_use]
    pub fn ask(&self, ask: &Ask) -> Option<Result<(), Error>> {
        let schema = |schema: &Option<_>| schema.as_ref().map_or_else(|| json!({}), describe);
        Some(match ask {
            Ask::Databases => self.does("GET", "/v1", None),
            Ask::CreateDatabase { name, schema: offer } => {
                self.does("PUT", &format!("/v1/{name}"), Some(schema(offer)))
            }
            Ask::OpenDatabase { name, schema: None } => self.does("GET", &format!("/v1/{name}"), None),
            Ask::OpenDatabase { name, schema: offer } => {
                self.does("PUT", &format!("/v1/{name}/_schema"), Some(schema(offer)))
            }
            Ask::DeleteDatabase { name } => self.does("DELETE", &format!("/v1/{name}"), None),
            Ask::Request { database, request } => {
                let database = Database {
                    client: self.clone(),
                    name: database.name.clone(),
                    number: database.number.map(u64::from),
                };
                database.execute(Request::clone(request)).map(drop)
            }
            Ask::Subscribe { database, patterns } => {
                Listener::start(self, &database.name, patterns).map(drop)
            }
            Ask::Accounts(ask) => self.ask_accounts(ask),
            Ask::Snapshot { .. } | Ask::RequestAt { .. } | Ask::Backup { .. } | Ask::Nodes { .. } => {
                return None;
            }
        })
    }

    fn ask_accounts(&self, ask: &AccountsAsk) -> Result<(), Error> {
        match ask {
            AccountsAsk::WhoAmI => self.does("GET", "/v1/_whoami", None),
            AccountsAsk::LogOut => self.does("POST", "/v1/_logout", None),
            AccountsAsk::ChangePassword { old, new } => {
                let body = json!({ "old": old.expose(), "new": new.expose() });
                self.does("PUT", "/v1/_password", Some(body))
            }
            AccountsAsk::Users => self.does("GET", "/v1/_users", None),
            AccountsAsk::SetUser {
                name,
                password,
                roles,
                is_disabled,
            } => {
                let password = password.as_ref().map(|password| password.expose());
                let body = json!({ "password": password, "roles": roles, "disabled": is_disabled });
                self.does("PUT", &format!("/v1/_users/{name}"), Some(body))
            }
            AccountsAsk::DeleteUser { name } => self.does("DELETE", &format!("/v1/_users/{name}"), None),
            AccountsAsk::Roles => self.does("GET", "/v1/_roles", None),
            AccountsAsk::SetRole { name, permissions } => {
                let body = json!({ "permissions": permissions });
                self.does("PUT", &format!("/v1/_roles/{name}"), Some(body))
            }
            AccountsAsk::DeleteRole { name } => self.does("DELETE", &format!("/v1/_roles/{name}"), None),
            AccountsAsk::ApiKeys => self.does("GET", "/v1/_keys", None),
            AccountsAsk::CreateApiKey {
                name,
                owner,
                lifetime,
            } => {
                let (user, roles) = match owner {
                    KeyOwner::User(user) => (Some(user), None),
                    KeyOwner::Roles(roles) => (None, Some(roles)),
                };
                let lifetime = lifetime.map(|lifetime| format!("{}s", lifetime.as_secs()));
                let body = json!({ "name": name, "user": user, "roles": roles, "expiresIn": lifetime });
                self.does("POST", "/v1/_keys", Some(body))
            }
            AccountsAsk::DeleteApiKey { name } => self.does("DELETE", &format!("/v1/_keys/{name}"), None),
        }
    }

    fn does(&self, method: &str, path: &str, body: Option<Value>) -> Result<(), Error> {
        let body = body.map(|body| body.to_string());
        self.send(method, path, &[], body.as_deref()).map(drop)
    }
}
