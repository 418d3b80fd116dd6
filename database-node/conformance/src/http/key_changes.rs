//! Changes of keys as requests.

use pliantdb_core::{Error, Expiry, KeyAction, KeyCondition, KeyOutcome, KeyStatus};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::Database;
use super::translation::{Parameters, body, read};

impl Database {
    pub(crate) fn change_key(&self, path: &str, action: KeyAction) -> Result<KeyOutcome, Error> {
        #[derive(Deserialize)]
        struct Changed {
            status: String,
            previous: Option<Box<RawValue>>,
        }
        let parameters = Parameters::default().with("return_previous", "true");
        let (answer, set) = match action {
            KeyAction::Set {
                value,
                expiry,
                condition,
            } => {
                let parameters = match expiry {
                    Expiry::Never => parameters,
                    Expiry::Keep => parameters.with("keep_ttl", "true"),
                    Expiry::After(ttl) => parameters.with("ttl", &format!("{}ms", ttl.as_millis())),
                };
                let parameters = match &condition {
                    KeyCondition::Always => parameters,
                    KeyCondition::Present => parameters.with("if_present", "true"),
                    KeyCondition::Vacant => parameters.with("if_vacant", "true"),
                    KeyCondition::Equals(value) => parameters.with("if_equals", value.as_str()),
                };
                let answer = self.send("PUT", &parameters.to(path), Some(value.as_str()))?;
                (answer, Some(value))
            }
            KeyAction::Delete { condition } => {
                let parameters = match &condition {
                    KeyCondition::Equals(value) => parameters.with("if_equals", value.as_str()),
                    _ => parameters,
                };
                (self.send("DELETE", &parameters.to(path), None)?, None)
            }
            KeyAction::Expire { expiry } => {
                let asked = match expiry {
                    Expiry::After(ttl) => json!({ "ttl": format!("{}ms", ttl.as_millis()) }),
                    Expiry::Never | Expiry::Keep => json!({}),
                };
                let path = format!("{path}/_expire");
                (self.send("POST", &path, Some(&asked.to_string()))?, None)
            }
            KeyAction::Increment { by } => {
                #[derive(Deserialize)]
                struct Incremented {
                    value: Box<RawValue>,
                }
                let asked = format!("{{\"by\":{}}}", by.to_json().as_str());
                let answer = self.send("POST", &format!("{path}/_increment"), Some(&asked))?;
                return Ok(KeyOutcome {
                    status: KeyStatus::Updated,
                    previous: None,
                    current: Some(body(&read::<Incremented>(&answer).value)),
                });
            }
        };
        let changed: Changed = read(&answer);
        let previous = changed.previous.as_deref().map(body);
        let status = match changed.status.as_str() {
            "created" => KeyStatus::Created,
            "updated" => KeyStatus::Updated,
            "deleted" => KeyStatus::Deleted,
            _ => KeyStatus::Unchanged,
        };
        let current = match status {
            KeyStatus::Unchanged => previous.clone(),
            _ => set,
        };
        Ok(KeyOutcome {
            status,
            previous,
            current,
        })
    }
}
