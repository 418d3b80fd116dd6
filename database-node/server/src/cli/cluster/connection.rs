//! The admin listener of a node, over HTTP.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::Uri;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pliantdb_client::Credentials;
use pliantdb_core::admin::{self, ClusterStatus};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::failure::{Failure, Kind};
use crate::cli::target::TargetArgs;

/// How long an answer is waited for: a node takes a while when it looks for the one that decides.
const PATIENCE: Duration = Duration::from_secs(45);

/// The port when none is said.
const PORT: u16 = 6483;

/// The most bytes of an answer.
const MAX_ANSWER: u64 = 64 << 20;

/// Which node to ask, and as whom.
#[derive(Debug, clap::Args)]
pub(crate) struct AdminArgs {
    /// The admin listener of any node of the cluster, as http://HOST[:6483]
    #[arg(
        long,
        env = "PLIANT_ADMIN",
        value_name = "URL",
        default_value = "http://127.0.0.1:6483",
        help_heading = "Which node to ask"
    )]
    admin: String,

    /// A file with the token to show it; else the variable PLIANT_TOKEN may hold the token
    #[arg(
        long,
        env = "PLIANT_TOKEN_FILE",
        value_name = "FILE",
        help_heading = "Which node to ask"
    )]
    token_file: Option<PathBuf>,

    /// The user to ask as; the password is asked for, or in the variable PLIANT_PASSWORD
    #[arg(
        long,
        env = "PLIANT_USER",
        value_name = "NAME",
        help_heading = "Which node to ask"
    )]
    user: Option<String>,
}

/// A node that can be asked.
pub(super) struct Admin {
    agent: ureq::Agent,
    base: String,
    /// The header Authorization.
    authorization: Option<String>,
}

/// What a node answered.
pub(super) enum Answered {
    /// It did it.
    Done(Vec<u8>),
    /// It did not.
    Problem {
        /// The status of the answer.
        status: u16,
        /// Why.
        detail: String,
    },
}

impl AdminArgs {
    /// Reads the credentials. Nobody is asked yet.
    ///
    /// # Errors
    /// What cannot be used.
    pub(super) fn connect(&self) -> Result<Admin, Failure> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .proxy(None)
            .max_redirects(0)
            .build();
        Ok(Admin {
            agent: config.into(),
            base: base(&self.admin)?,
            authorization: self.authorization()?,
        })
    }

    fn authorization(&self) -> Result<Option<String>, Failure> {
        let mut shown = TargetArgs::default();
        shown.token_file.clone_from(&self.token_file);
        shown.user.clone_from(&self.user);
        Ok(shown.credentials()?.map(|credentials| match credentials {
            Credentials::Token(token) => format!("Bearer {}", token.expose()),
            Credentials::Password { user, password } => {
                let pair = format!("{user}:{}", password.expose());
                format!("Basic {}", STANDARD.encode(pair))
            }
        }))
    }
}

fn base(text: &str) -> Result<String, Failure> {
    let wrong = || {
        let text = pliantdb_core::shorten(text);
        Failure::usage(format!(
            "--admin (PLIANT_ADMIN) is {text:?}: write http://HOST:PORT, as in http://db-1:6483"
        ))
    };
    let url = text.parse::<Uri>().map_err(|_| wrong())?;
    let is_bare = url.path_and_query().is_none_or(|path| path.as_str() == "/");
    match (url.scheme_str(), url.authority()) {
        (Some("http"), Some(authority)) if is_bare && !authority.as_str().contains('@') => {
            let port = authority.port_u16().unwrap_or(PORT);
            Ok(format!("http://{}:{port}", authority.host()))
        }
        _ => Err(wrong()),
    }
}

impl Admin {
    /// How the cluster is.
    ///
    /// # Errors
    /// Why nobody tells.
    pub(super) fn status(&self) -> Result<ClusterStatus, Failure> {
        read(&self.send("GET", "", None)?)
    }

    /// Asks for something.
    ///
    /// # Errors
    /// Why it was not done.
    pub(super) fn send(&self, method: &str, path: &str, body: Option<Value>) -> Result<Vec<u8>, Failure> {
        match self.try_send(method, path, body)? {
            Answered::Done(body) => Ok(body),
            Answered::Problem { status, detail } => Err(failure(status, detail)),
        }
    }

    /// The same, and a problem is an answer.
    ///
    /// # Errors
    /// [`Kind::Unreachable`].
    pub(super) fn try_send(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answered, Failure> {
        let unreachable = |error: ureq::Error| {
            let base = &self.base;
            Failure::new(
                Kind::Unreachable,
                format!("the node at {base} (--admin) does not answer: {error}"),
            )
        };
        let mut request =
            ureq::http::Request::builder()
                .method(method)
                .uri(format!("{}{}{path}", self.base, admin::PATH));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let unusable =
            |error: ureq::http::Error| Failure::usage(format!("the request cannot be made: {error}"));
        let answer = match body {
            Some(body) => self.agent.run(request.body(body.to_string()).map_err(unusable)?),
            None => self.agent.run(request.body(()).map_err(unusable)?),
        };
        let (head, mut body) = answer.map_err(unreachable)?.into_parts();
        let body = body
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_vec()
            .map_err(unreachable)?;
        if head.status.is_success() {
            return Ok(Answered::Done(body));
        }
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let detail = problem.get("detail").and_then(Value::as_str);
        let detail = detail.map_or_else(
            || format!("the node at {} answers {}", self.base, head.status),
            str::to_owned,
        );
        Ok(Answered::Problem {
            status: head.status.as_u16(),
            detail,
        })
    }
}

/// What a problem is to whoever started the command.
pub(super) fn failure(status: u16, detail: String) -> Failure {
    let kind = match status {
        400 => Kind::Usage,
        401 | 403 => Kind::Denied,
        503 => Kind::Unreachable,
        _ => Kind::Failed,
    };
    Failure::new(kind, detail)
}

/// What an answer holds.
///
/// # Errors
/// When it is something else.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::new(Kind::Failed, format!("the node's answer cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::base;

    #[test]
    fn knows_where_to_ask() {
        for (text, url) in [
            ("http://127.0.0.1:7", "http://127.0.0.1:7"),
            ("http://db-1/", "http://db-1:6483"),
            ("http://[::1]", "http://[::1]:6483"),
        ] {
            assert_eq!(base(text).unwrap(), url);
        }
        for text in [
            "db-1:6483",
            "https://db-1",
            "http://a:b@db-1",
            "http://db-1/x",
            "",
        ] {
            let error = base(text).unwrap_err().message;
            assert!(
                error.contains("PLIANT_ADMIN") && error.contains("http://db-1:6483"),
                "{error}"
            );
        }
    }
}
