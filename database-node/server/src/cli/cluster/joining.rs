//! What another node needs to join.

use std::net::IpAddr;

use pliantdb_core::admin::{JoinToken, NewJoinToken};
use serde_json::json;

use super::connection::{AdminArgs, read};
use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// A node that is to join.
#[derive(Debug, clap::Args)]
pub(crate) struct JoinArgs {
    /// What the node is to be called [default: the name of its machine]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// For how long the token is good, up to 168h
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    lifetime: String,

    #[command(flatten)]
    admin: AdminArgs,
}

/// Makes a token, and says what to do with it.
///
/// # Errors
/// Why there is none.
pub(super) fn run(args: &JoinArgs, out: Output) -> Result<(), Failure> {
    let asked = NewJoinToken {
        lifetime: Some(args.lifetime.clone()),
    };
    let made = args
        .admin
        .connect()?
        .send("POST", "/join-tokens", Some(json!(asked)))?;
    let made: JoinToken = read(&made)?;
    let command = command(&made, args.name.as_deref());
    out.note(&format!(
        "good for one node, until {}; on the machine of the node run:",
        made.expires
    ));
    out.result(
        &command,
        &json!({"token": made.token, "seeds": made.seeds, "expires": made.expires, "command": command}),
    )
}

/// What to run. The token is in a variable, for others on the machine see arguments.
fn command(made: &JoinToken, name: Option<&str>) -> String {
    let is_loopback = |seed: &String| {
        let host = seed.rsplit_once(':').map_or(seed.as_str(), |(host, _)| host);
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback())
    };
    // Nodes that only their machine reaches are all on it.
    let listen = match made.seeds.iter().all(is_loopback) {
        true => "--nodes-listen 127.0.0.1:0".to_owned(),
        false => "--nodes-listen 0.0.0.0:6482 --advertise \"$(hostname)\"".to_owned(),
    };
    let name = name
        .map(|name| format!(" --node-name {}", quoted(name)))
        .unwrap_or_default();
    let (token, seeds) = (&made.token, made.seeds.join(","));
    format!("PLIANT_JOIN_TOKEN={token} pliant-node serve {listen}{name} --join {seeds}")
}

/// As one word of a shell.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_to_run() {
        let made = |seeds: &[&str]| JoinToken {
            token: "pliant-join-v1.abc".to_owned(),
            seeds: seeds.iter().map(|seed| (*seed).to_owned()).collect(),
            expires: String::new(),
        };
        assert_eq!(
            command(&made(&["127.0.0.1:7", "[::1]:8"]), Some("b")),
            "PLIANT_JOIN_TOKEN=pliant-join-v1.abc pliant-node serve --nodes-listen 127.0.0.1:0 --node-name b --join \
             127.0.0.1:7,[::1]:8"
        );
        assert_eq!(
            command(&made(&["db-1:6482"]), None),
            "PLIANT_JOIN_TOKEN=pliant-join-v1.abc pliant-node serve --nodes-listen 0.0.0.0:6482 --advertise \"$(hostname)\" \
             --join db-1:6482"
        );
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
