//! The commands of the shell: the one list behind parsing, help and completion.

/// A command.
pub(crate) struct Command {
    pub(super) name: &'static str,
    /// What stands behind it.
    pub(super) arguments: &'static str,
    /// What it does.
    pub(super) about: &'static str,
    pub(super) options: &'static [CommandOption],
    pub(super) example: &'static str,
    /// What its first argument is, for completion.
    pub(super) first: First,
}

/// An option of a command.
pub(super) struct CommandOption {
    pub(super) name: &'static str,
    pub(super) value: Value,
    pub(super) about: &'static str,
}

/// What an option is given, and what that is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing.
    None,
    /// A word.
    Word(&'static str),
    /// A JSON value.
    Json(&'static str),
}

/// What the first argument of a command is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// Nothing that is known.
    Other,
    Database,
    Collection,
    Command,
    /// One of the commands of `kv`.
    KeyCommand,
}

impl Command {
    /// How it is written.
    pub(super) fn usage(&self) -> String {
        let mut usage = self.name.to_owned();
        for option in self.options {
            usage.push_str(&match option.value {
                Value::None => format!(" [{}]", option.name),
                Value::Word(value) | Value::Json(value) => format!(" [{} {value}]", option.name),
            });
        }
        if !self.arguments.is_empty() {
            usage.push(' ');
            usage.push_str(self.arguments);
        }
        usage
    }
}

/// The command of a name.
pub(super) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

const fn flag(name: &'static str, about: &'static str) -> CommandOption {
    let value = Value::None;
    CommandOption { name, value, about }
}

const fn word(name: &'static str, value: &'static str, about: &'static str) -> CommandOption {
    let value = Value::Word(value);
    CommandOption { name, value, about }
}

const fn json(name: &'static str, value: &'static str, about: &'static str) -> CommandOption {
    let value = Value::Json(value);
    CommandOption { name, value, about }
}

const PREFIX: CommandOption = word("--prefix", "TEXT", "only those that begin with it");
const AFTER: CommandOption = word("--after", "ID", "only those behind it");
const LIMIT: CommandOption = word("--limit", "N", "at most so many (100)");
const DESCENDING: CommandOption = flag("--descending", "from the last to the first");
const STALE: CommandOption = flag("--stale", "do not wait until the view shows the latest writes");
const FROM_KEY: CommandOption = json("--from", "KEY", "keys from this one on");
const TO_KEY: CommandOption = json("--to", "KEY", "keys before this one");
const KEY_PREFIX: CommandOption = json(
    "--prefix",
    "KEY",
    "texts that begin with it, or tuples with its parts",
);

/// All commands, in the order of `help`.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "use",
        arguments: "DATABASE",
        about: "work with another database from here on",
        options: &[],
        example: "use shop",
        first: First::Database,
    },
    Command {
        name: "databases",
        arguments: "",
        about: "list the databases",
        options: &[],
        example: "databases",
        first: First::Other,
    },
    Command {
        name: "create",
        arguments: "DATABASE",
        about: "create a database",
        options: &[],
        example: "create shop",
        first: First::Other,
    },
    Command {
        name: "drop",
        arguments: "DATABASE",
        about: "delete a database with everything in it; asks before it does",
        options: &[flag("--yes", "do not ask")],
        example: "drop shop",
        first: First::Database,
    },
    Command {
        name: "get",
        arguments: "COLLECTION ID…",
        about: "read documents",
        options: &[],
        example: "get users 42",
        first: First::Collection,
    },
    Command {
        name: "list",
        arguments: "COLLECTION",
        about: "read documents in the order of their ids",
        options: &[PREFIX, AFTER, LIMIT, DESCENDING],
        example: "list users --prefix a --limit 10",
        first: First::Collection,
    },
    Command {
        name: "count",
        arguments: "COLLECTION",
        about: "count documents",
        options: &[PREFIX],
        example: "count users",
        first: First::Collection,
    },
    Command {
        name: "insert",
        arguments: "COLLECTION JSON",
        about: "write a new document, under an id that is made for it",
        options: &[word("--id", "ID", "under this id, which must be free")],
        example: "insert users {\"name\": \"Ada\"}",
        first: First::Collection,
    },
    Command {
        name: "put",
        arguments: "COLLECTION ID JSON",
        about: "write a document, whether it is there or not",
        options: &[],
        example: "put users 42 {\"name\": \"Ada\"}",
        first: First::Collection,
    },
    Command {
        name: "update",
        arguments: "COLLECTION ID REVISION JSON",
        about: "write a document that is at this revision",
        options: &[],
        example: "update users 42 0190f2a4c1d30001 {\"name\": \"Ada\"}",
        first: First::Collection,
    },
    Command {
        name: "delete",
        arguments: "COLLECTION ID",
        about: "delete a document",
        options: &[word("--revision", "REVISION", "only if it is at this revision")],
        example: "delete users 42",
        first: First::Collection,
    },
    Command {
        name: "view",
        arguments: "COLLECTION VIEW [KEY…]",
        about: "read entries of a view: all, those with these keys, or those in a range; keys are JSON",
        options: &[
            FROM_KEY,
            TO_KEY,
            KEY_PREFIX,
            LIMIT,
            DESCENDING,
            flag("--documents", "with their documents"),
            STALE,
        ],
        example: "view users by-country \"UK\" \"FR\"",
        first: First::Collection,
    },
    Command {
        name: "reduce",
        arguments: "COLLECTION VIEW [KEY…]",
        about: "reduce entries of a view to one value",
        options: &[
            FROM_KEY,
            TO_KEY,
            KEY_PREFIX,
            flag("--group", "to one value for each key"),
            STALE,
        ],
        example: "reduce users by-country --group",
        first: First::Collection,
    },
    Command {
        name: "kv",
        arguments: "get|set|delete|list|incr NAMESPACE [KEY] [JSON]",
        about: "read and change keys: kv get N KEY, kv set N KEY JSON, kv delete N KEY, kv list N, kv incr N KEY [BY]",
        options: &[
            word("--ttl", "DURATION", "set: for so long, as in 30s"),
            PREFIX,
            word("--after", "KEY", "list: only those behind it"),
            LIMIT,
        ],
        example: "kv set sessions ada {\"cart\": 3} ",
        first: First::KeyCommand,
    },
    Command {
        name: "publish",
        arguments: "TOPIC JSON",
        about: "send a message to all who subscribe now",
        options: &[],
        example: "publish orders.created {\"id\": 7}",
        first: First::Other,
    },
    Command {
        name: "subscribe",
        arguments: "PATTERN…",
        about: "show messages until Ctrl-C; * stands for one part of a topic, ** for all that follow",
        options: &[word("--count", "N", "only so many")],
        example: "subscribe orders.*",
        first: First::Other,
    },
    Command {
        name: "changes",
        arguments: "",
        about: "show which documents were changed",
        options: &[
            word(
                "--from",
                "WHERE",
                "oldest (what is kept), now, or the cursor where it ended before",
            ),
            word("--limit", "N", "at most so many transactions (100)"),
            flag("--follow", "and what is changed from now on, until Ctrl-C"),
        ],
        example: "changes --from now --follow",
        first: First::Other,
    },
    Command {
        name: "call",
        arguments: "API JSON",
        about: "call a custom API",
        options: &[],
        example: "call greet {\"name\": \"Ada\"}",
        first: First::Other,
    },
    Command {
        name: "help",
        arguments: "[COMMAND]",
        about: "tell what there is",
        options: &[],
        example: "help list",
        first: First::Command,
    },
    Command {
        name: "quit",
        arguments: "",
        about: "leave; Ctrl-D does too",
        options: &[],
        example: "quit",
        first: First::Other,
    },
];

/// The commands of `kv`.
pub(super) const KEY_COMMANDS: [&str; 5] = ["delete", "get", "incr", "list", "set"];
