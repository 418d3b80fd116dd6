//! What a line asks for.

use std::str::FromStr;

use pliantdb_core::{
    Change, ChangeAction, CollectionName, DatabaseName, DocumentId, Expiry, FeedStart, Freshness, KeyAction,
    KeyCondition, KeyListing, KeySelection, Listing, Message, Number, Order, Precondition, Query, Request,
    TopicPattern, key_json, shorten,
};

use super::commands::{self, Command, KEY_COMMANDS};
use super::words::Words;
use crate::cli::failure::Failure;

/// How many results are shown when nothing else is said.
const LIMIT: usize = 100;

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Use(DatabaseName),
    Databases,
    Create(DatabaseName),
    Drop {
        name: DatabaseName,
        is_sure: bool,
    },
    /// Something that a database answers by itself.
    Ask(Request),
    Subscribe {
        patterns: Vec<TopicPattern>,
        count: Option<u64>,
    },
    Changes {
        from: FeedStart,
        limit: usize,
        follow: bool,
    },
    Help(Option<&'static Command>),
    Quit,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Command {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Command {}

/// Reads a line; `None` for an empty one and for a comment, which begins with #.
///
/// # Errors
/// What is wrong with it, and how it is to be written.
pub(super) fn read(line: &str) -> Result<Option<Line>, Failure> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let command = match name {
        "exit" => commands::find("quit"),
        name => commands::find(name),
    };
    let Some(command) = command else {
        return Err(Failure::usage(format!(
            "there is no command {:?}; help lists them",
            shorten(name)
        )));
    };
    let mut words = Words::new(command, rest);
    let line = parse(command.name, &mut words)?;
    words.end()?;
    Ok(Some(line))
}

fn parse(name: &str, words: &mut Words<'_>) -> Result<Line, Failure> {
    Ok(match name {
        "use" => Line::Use(words.parsed("DATABASE")?),
        "databases" => Line::Databases,
        "create" => Line::Create(words.parsed("DATABASE")?),
        "drop" => {
            let name = words.parsed("DATABASE")?;
            words.end()?;
            let is_sure = words.has("--yes");
            Line::Drop { name, is_sure }
        }
        "get" => {
            let collection = words.parsed("COLLECTION")?;
            let mut ids = vec![words.parsed("ID")?];
            while let Some(id) = words.next()? {
                ids.push(parsed(words, &id)?);
            }
            Line::Ask(Request::Get { collection, ids })
        }
        "list" => {
            let collection = words.parsed("COLLECTION")?;
            let listing = listing(words, LIMIT)?;
            Line::Ask(Request::List { collection, listing })
        }
        "count" => {
            let collection = words.parsed("COLLECTION")?;
            let listing = listing(words, usize::MAX)?;
            Line::Ask(Request::Count { collection, listing })
        }
        "insert" => {
            let collection = words.parsed("COLLECTION")?;
            let body = words.json("JSON")?;
            let id = words.value_as("--id")?;
            change(collection, ChangeAction::Insert { id, body })
        }
        "put" | "update" => {
            let (collection, id) = (words.parsed("COLLECTION")?, words.parsed("ID")?);
            let precondition = match name {
                "update" => Precondition::Revision(words.parsed("REVISION")?),
                _ => Precondition::None,
            };
            let body = words.json("JSON")?;
            change(
                collection,
                ChangeAction::Put {
                    id,
                    body,
                    precondition,
                },
            )
        }
        "delete" => {
            let (collection, id) = (words.parsed("COLLECTION")?, words.parsed("ID")?);
            words.end()?;
            let precondition = words
                .value_as("--revision")?
                .map_or(Precondition::Exists, Precondition::Revision);
            change(collection, ChangeAction::Delete { id, precondition })
        }
        "view" => {
            let query = query(words)?;
            let with_documents = words.has("--documents");
            Line::Ask(Request::Query {
                query,
                with_documents,
            })
        }
        "reduce" => {
            let mut query = query(words)?;
            query.limit = None;
            Line::Ask(match words.has("--group") {
                true => Request::ReduceGrouped(query),
                false => Request::Reduce(query),
            })
        }
        "kv" => Line::Ask(key_value(words)?),
        "publish" => {
            let topic = words.parsed("TOPIC")?;
            let payload = words.json("JSON")?;
            Line::Ask(Request::Publish(Message { topic, payload }))
        }
        "subscribe" => {
            let mut patterns = vec![words.parsed("PATTERN")?];
            while let Some(pattern) = words.next()? {
                patterns.push(parsed(words, &pattern)?);
            }
            let count = words.value_as("--count")?;
            Line::Subscribe { patterns, count }
        }
        "changes" => {
            words.end()?;
            let from = match words.value("--from") {
                None | Some("oldest") => FeedStart::Oldest,
                Some("now") => FeedStart::Now,
                Some(cursor) => FeedStart::After(parsed(words, cursor)?),
            };
            let limit = limit(words, LIMIT)?;
            let follow = words.has("--follow");
            Line::Changes { from, limit, follow }
        }
        "call" => {
            let api = words.parsed("API")?;
            let body = words.json("JSON")?;
            Line::Ask(Request::Call { api, body })
        }
        "help" => match words.next()? {
            None => Line::Help(None),
            Some(name) => match commands::find(&name) {
                Some(command) => Line::Help(Some(command)),
                None => return Err(words.wrong(format!("there is no command {:?}", shorten(&name)))),
            },
        },
        _ => Line::Quit,
    })
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(words: &Words<'_>, word: &str) -> Result<T, Failure> {
    word.parse().map_err(|error| words.wrong(error))
}

fn change(collection: CollectionName, action: ChangeAction) -> Line {
    Line::Ask(Request::Transact(vec![Change { collection, action }]))
}

fn limit(words: &Words<'_>, default: usize) -> Result<usize, Failure> {
    match words.value_as("--limit")? {
        Some(0) => Err(words.wrong("--limit 0: ask for 1 at least")),
        limit => Ok(limit.unwrap_or(default)),
    }
}

fn order(words: &Words<'_>) -> Order {
    match words.has("--descending") {
        true => Order::Descending,
        false => Order::Ascending,
    }
}

fn listing(words: &mut Words<'_>, default: usize) -> Result<Listing, Failure> {
    words.end()?;
    Ok(Listing {
        prefix: words.value("--prefix").unwrap_or_default().to_owned(),
        after: words.value_as::<DocumentId>("--after")?,
        order: order(words),
        limit: limit(words, default)?,
        ..Listing::default()
    })
}

fn query(words: &mut Words<'_>) -> Result<Query, Failure> {
    let (collection, view) = (words.parsed("COLLECTION")?, words.parsed("VIEW")?);
    let keys = words.keys()?;
    let (from, to) = (words.key_of("--from")?, words.key_of("--to")?);
    let ways = [
        !keys.is_empty(),
        from.is_some() || to.is_some(),
        words.has("--prefix"),
    ];
    if ways.iter().filter(|is_used| **is_used).count() > 1 {
        return Err(words.wrong("give keys, or --from and --to, or --prefix"));
    }
    let keys = match (keys.is_empty(), words.value("--prefix")) {
        (false, _) => KeySelection::These(keys),
        (true, Some(prefix)) => {
            let (from, to) = key_json::read_prefix(prefix).map_err(|error| words.wrong(error))?;
            KeySelection::Range(from, to)
        }
        (true, None) if from.is_some() || to.is_some() => KeySelection::Range(from.unwrap_or_default(), to),
        (true, None) => KeySelection::All,
    };
    Ok(Query {
        collection,
        view,
        keys,
        order: order(words),
        limit: Some(limit(words, LIMIT)?),
        after: None,
        freshness: match words.has("--stale") {
            true => Freshness::Stale,
            false => Freshness::Current,
        },
    })
}

fn key_value(words: &mut Words<'_>) -> Result<Request, Failure> {
    let action = words.word("what to do")?;
    if !KEY_COMMANDS.contains(&action.as_str()) {
        return Err(words.wrong(format!("kv cannot {:?}", shorten(&action))));
    }
    let namespace = words.parsed("NAMESPACE")?;
    if action == "list" {
        words.end()?;
        let listing = KeyListing {
            prefix: words.value("--prefix").unwrap_or_default().to_owned(),
            after: words.value_as("--after")?,
            limit: limit(words, LIMIT)?,
            ..KeyListing::default()
        };
        return Ok(Request::ListKeys { namespace, listing });
    }
    let key = words.parsed("KEY")?;
    let action = match action.as_str() {
        "get" => return Ok(Request::GetKey { namespace, key }),
        "set" => {
            let value = words.json("JSON")?;
            let expiry = words.duration("--ttl")?.map_or(Expiry::Never, Expiry::After);
            KeyAction::Set {
                value,
                expiry,
                condition: KeyCondition::Always,
            }
        }
        "incr" => {
            let by = match words.next()? {
                None => Number::Integer(1),
                Some(by) => Number::from_json(&by)
                    .ok_or_else(|| words.wrong(format!("{:?} is not a number", shorten(&by))))?,
            };
            KeyAction::Increment { by }
        }
        _ => KeyAction::Delete {
            condition: KeyCondition::Always,
        },
    };
    Ok(Request::ChangeKey {
        namespace,
        key,
        action,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pliantdb_core::Key;

    fn asks(line: &str) -> Request {
        match read(line) {
            Ok(Some(Line::Ask(request))) => request,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_example_can_be_read() {
        for command in commands::COMMANDS {
            assert!(read(command.example).unwrap().is_some(), "{}", command.example);
            assert!(command.example.starts_with(command.name));
        }
        assert!(read(" # a comment").unwrap().is_none());
        assert_eq!(read("exit").unwrap(), Some(Line::Quit));
    }

    #[test]
    fn json_and_quotes_and_options() {
        let Request::Transact(changes) =
            asks(r#"put users "a b" {"name": "Ada  L",  "x": --1}"#.replace("--1", "1").as_str())
        else {
            panic!()
        };
        let ChangeAction::Put { id, body, .. } = &changes[0].action else {
            panic!()
        };
        assert_eq!(
            (id.as_str(), body.as_str()),
            ("a b", r#"{"name": "Ada  L",  "x": 1}"#)
        );
        let Request::List { listing, .. } = asks("list --limit=5 users --prefix 'a  b' --descending") else {
            panic!()
        };
        assert_eq!(
            (listing.limit, listing.prefix.as_str(), listing.order),
            (5, "a  b", Order::Descending)
        );
    }

    #[test]
    fn keys_of_views_are_json() {
        let keys = |line| match asks(line) {
            Request::Query { query, .. } => query.keys,
            other => panic!("{other:?}"),
        };
        let text = |text: &str| text.to_owned().encoded();
        assert_eq!(keys("view u v"), KeySelection::All);
        assert_eq!(
            keys(r#"view u v "UK" --limit 3 "F R""#),
            KeySelection::These(vec![text("UK"), text("F R")])
        );
        let pair = ("UK".to_owned(), 3i64).encoded();
        assert_eq!(
            keys(r#"view u v ["UK", 3]"#),
            KeySelection::These(vec![pair.clone()])
        );
        assert_eq!(
            keys(r#"view u v --from "A" --to ["UK",3]"#),
            KeySelection::Range(text("A"), Some(pair))
        );
        assert!(matches!(
            keys(r#"view u v --prefix "A""#),
            KeySelection::Range(_, Some(_))
        ));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (line, reason) in [
            ("frobnicate", "no command \"frobnicate\""),
            ("get users", "ID is missing; usage: get COLLECTION ID…"),
            ("get _x 1", "_x"),
            ("put users 1 {oops}", "JSON: the body is not valid JSON"),
            ("put users 1", "JSON is missing"),
            ("list users --limit x", "--limit x"),
            ("list users --limit 0", "1 at least"),
            ("list users --size 3", "no option --size"),
            ("list users more", "\"more\" is too much"),
            ("view u v UK", "not JSON"),
            ("view u v --from 1 2", "give keys, or"),
            ("kv frob n k", "kv cannot"),
            ("kv set n k --ttl soon 1", "write a duration"),
            ("kv incr n k much", "not a number"),
            ("get users 'x", "not closed"),
            ("update users 1 2 {}", "2"),
            ("help frob", "no command"),
        ] {
            let failure = read(line).unwrap_err();
            assert_eq!(failure.kind, crate::cli::failure::Kind::Usage);
            assert!(failure.message.contains(reason), "{line}: {}", failure.message);
        }
    }

    #[test]
    fn any_line() {
        let seeds: Vec<_> = commands::COMMANDS
            .iter()
            .map(|command| command.example.as_bytes().to_vec())
            .collect();
        bolero::check!()
            .with_iterations(pliantdb_fuzzing::RUNS)
            .with_type()
            .for_each(|input| {
                let bytes = pliantdb_fuzzing::bytes(input, &seeds);
                if let Err(failure) = read(&String::from_utf8_lossy(&bytes)) {
                    assert!(failure.message.len() < 4000, "{}", failure.message);
                }
            });
    }
}
