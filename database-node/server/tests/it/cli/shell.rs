//! The shell, without a terminal.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use pliantdb_server::config::{Inputs, Settings};
use pliantdb_server::{Collection, DocumentId, Emit, Map, Reduce, Server, StorageConnection, View};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{at, done, failed, json as lines, on};
use crate::node::{Node, command, run};

/// Carries lines out at a node.
fn shell(node: &Node, commands: &[&str]) -> std::process::Output {
    let commands = commands.iter().flat_map(|command| ["-c", command]);
    at(
        node,
        &std::iter::once("shell").chain(commands).collect::<Vec<_>>(),
    )
}

#[test]
fn everything_by_hand_at_a_server() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let found = done(&shell(
        &node,
        &[
            "create shop",
            "use shop",
            "databases",
            "put users 42 {\"name\": \"Ada\", \"n\": 12345678901234567890}",
            "get users 42",
            "count users",
        ],
    ));
    assert_eq!(found[0], json!({"done": "created", "database": "shop"}));
    assert_eq!(
        [&found[1]["database"], &found[2]["database"]],
        ["default", "shop"]
    );
    assert_eq!([&found[3]["done"], &found[3]["id"]], ["created", "42"]);
    assert_eq!(found[4]["body"]["name"], "Ada");
    assert_eq!(found[4]["body"]["n"], 12_345_678_901_234_567_890_u64);
    assert_eq!(found[5], json!({"count": 1}));

    let revision = found[4]["revision"].as_str().unwrap();
    let shop = |commands: &[&str]| shell(&node, &[&["use shop"], commands].concat());
    let update = format!("update users 42 {revision} {{\"name\": \"Ada L\"}}");
    assert_eq!(done(&shop(&[&update]))[0]["done"], "updated");
    let error = failed(&shop(&[&update]), 1);
    assert!(
        error["message"].as_str().unwrap().contains("not at revision"),
        "{error}"
    );
    assert!(
        error["message"].as_str().unwrap().contains("command 2"),
        "{error}"
    );

    let found = done(&shop(&[
        "insert users {\"name\": \"Alan\"}",
        "insert --id b users {\"name\": \"Kurt\"}",
        "list users --limit 2 --descending",
        "delete users 42",
        "kv set sessions ada {\"cart\": 1} ",
        "kv incr counters visits",
        "kv incr counters visits 2",
        "kv get counters visits",
        "kv list sessions",
        "kv delete sessions ada",
        "publish orders.created {\"id\": 7}",
        "changes --limit 3",
    ]));
    assert_eq!(found[1]["id"], "b");
    assert_eq!(found[2]["id"], "b");
    assert_eq!(found[4], json!({"done": "deleted"}));
    assert_eq!(found[5], json!({"done": "created", "value": {"cart": 1}}));
    assert_eq!(found[7], json!({"done": "updated", "value": 3}));
    assert_eq!(found[8], json!({"value": 3}));
    assert_eq!(found[9], json!({"key": "ada", "value": {"cart": 1}}));
    assert_eq!(found[10]["done"], "deleted");
    assert_eq!(found[11], json!({"count": 0}));
    assert_eq!([&found[12]["change"], &found[12]["id"]], ["inserted", "42"]);
    assert_eq!(found[13]["change"], "updated");

    for (line, reason) in [
        ("get users nobody", "no document \"nobody\""),
        ("view users by-name", "no view by-name"),
        ("call greet {}", "no API greet"),
        ("kv get counters nothing", "no such key"),
        ("use elsewhere", "no database \"elsewhere\""),
    ] {
        let error = failed(&shop(&[line]), 1);
        assert!(error["message"].as_str().unwrap().contains(reason), "{error}");
    }
    let error = failed(&shop(&["drop shop"]), 3);
    assert!(error["message"].as_str().unwrap().contains("--yes"), "{error}");
    assert_eq!(done(&shop(&["drop shop --yes"]))[0]["done"], "deleted");
}

#[test]
fn scripts_stop_at_the_first_error_unless_they_are_to_go_on() {
    let data = tempfile::tempdir().unwrap();
    Node::start(data.path()).stop();
    let script = "# people\nput users 1 {\"a\": 1}\n\nget users 2\nput users 3 {}\nquit\nput users 4 {}\n";
    let run = |arguments: &[&str]| {
        let mut child = command()
            .args(["shell", "--output", "json", "--data"])
            .arg(data.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let stopped = run(&[]);
    assert!(
        failed(&stopped, 1)["message"]
            .as_str()
            .unwrap()
            .contains("line 4")
    );
    assert_eq!(lines(&stopped.stdout).len(), 1);
    let went_on = run(&["--keep-going"]);
    failed(&went_on, 1);
    let written: Vec<Value> = lines(&went_on.stdout)
        .into_iter()
        .map(|line| line["id"].clone())
        .collect();
    assert_eq!(written, ["1", "3"]);
    assert_eq!(
        done(&on(data.path(), &["shell", "-c", "count users"]))[0]["count"],
        2
    );
}

#[test]
fn text_is_for_people_and_help_is_there() {
    let data = tempfile::tempdir().unwrap();
    Node::start(data.path()).stop();
    let run = |line: &str| {
        let output = command()
            .args(["shell", "-c", line, "--data"])
            .arg(data.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run("put users 1 {\"a\":\n 1}").starts_with("created 1 at revision "));
    let listed = run("list users");
    let cells: Vec<_> = listed.trim_end().split('\t').collect();
    assert_eq!([cells[0], cells[2]], ["1", "{\"a\":  1}"]);
    let help = run("help");
    for command in ["use", "view", "kv", "subscribe", "changes", "quit"] {
        assert!(
            help.lines().any(|line| line.starts_with(command)),
            "{command}: {help}"
        );
    }
    assert!(run("help list").contains("--prefix TEXT"));
}

#[test]
fn messages_and_changes_are_followed() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let follow = |line: &str| {
        command()
            .args([
                "shell",
                "--output",
                "json",
                "-c",
                line,
                "--fingerprint",
                &node.fingerprint,
                "--server",
            ])
            .arg(format!("pliant://{}", node.quic))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut subscriber = follow("subscribe orders.* --count 2");
    let mut notes = BufReader::new(subscriber.stderr.take().unwrap()).lines();
    assert!(notes.next().unwrap().unwrap().contains("subscribed"));
    done(&shell(
        &node,
        &[
            "publish orders.a 1",
            "publish other.b 2",
            "publish orders.c {\"x\": 3}",
        ],
    ));
    let output = subscriber.wait_with_output().unwrap();
    assert_eq!(
        lines(&output.stdout),
        [
            json!({"topic": "orders.a", "value": 1}),
            json!({"topic": "orders.c", "value": {"x": 3}})
        ]
    );

    let mut follower = follow("changes --follow");
    let mut changes = BufReader::new(follower.stdout.take().unwrap()).lines();
    done(&shell(&node, &["put users 1 {}"]));
    let first: Value = serde_json::from_str(&changes.next().unwrap().unwrap()).unwrap();
    done(&shell(&node, &["delete users 1"]));
    let second: Value = serde_json::from_str(&changes.next().unwrap().unwrap()).unwrap();
    follower.kill().unwrap();
    follower.wait().unwrap();
    assert_eq!([&first["change"], &second["change"]], ["inserted", "deleted"]);
}

#[derive(Debug, Serialize, Deserialize, Collection)]
#[collection(name = "users", views = [ByCountry])]
struct User {
    country: String,
    age: i64,
}

#[derive(View)]
#[view(collection = User, name = "by-country", key = (String, i64), value = u64, reduce)]
struct ByCountry;

impl Map for ByCountry {
    fn map(_: &DocumentId, user: &User, emit: &mut Emit<Self>) {
        emit.entry((user.country.clone(), user.age), 1);
    }
}

impl Reduce for ByCountry {
    fn reduce(counts: &[u64]) -> u64 {
        counts.iter().sum()
    }
}

/// At a server that has the schema, as part of a program.
#[test]
fn views_are_read_by_keys_as_json() {
    let data = tempfile::tempdir().unwrap();
    let free = || Some("127.0.0.1:0".to_owned());
    let inputs = Inputs {
        data: Some(data.path().to_owned()),
        listen: free(),
        quic_listen: free(),
        admin_listen: free(),
        ..Inputs::default()
    };
    let settings = Settings::load(inputs, None).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime
        .block_on(Server::builder(settings).schema::<User>().start())
        .unwrap();
    let storage = server.databases();
    runtime.block_on(storage.database::<User>("default")).unwrap();
    drop(storage);
    let (address, fingerprint) = (server.addresses().quic, server.fingerprint());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = runtime.spawn(server.run(async move { drop(stopped.await) }));
    let view = |line: &str| {
        let server = format!("pliant://{address}");
        let arguments = [
            "shell",
            "--output",
            "json",
            "--fingerprint",
            &fingerprint,
            "--server",
            &server,
            "-c",
            line,
        ];
        done(&run(&arguments))
    };
    for (country, age) in [("UK", 36), ("UK", 41), ("FR", 7)] {
        view(&format!(
            "insert users {}",
            json!({"country": country, "age": age})
        ));
    }
    let keys = |line: &str| {
        view(line)
            .iter()
            .map(|row| row["key"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        keys("view users by-country"),
        [json!(["FR", 7]), json!(["UK", 36]), json!(["UK", 41])]
    );
    assert_eq!(
        keys("view users by-country [\"UK\", 41] [\"FR\", 7]"),
        [json!(["FR", 7]), json!(["UK", 41])]
    );
    assert_eq!(
        keys("view users by-country --prefix [\"UK\"] --descending --limit 1"),
        [json!(["UK", 41])]
    );
    assert_eq!(
        keys("view users by-country --from [\"G\", 0] --to [\"UK\", 41]"),
        [json!(["UK", 36])]
    );
    let with_documents = view("view users by-country [\"FR\", 7] --documents");
    assert_eq!(with_documents[0]["document"]["body"]["age"], 7);
    assert_eq!(view("reduce users by-country"), [json!({"value": 3})]);
    assert_eq!(
        view("reduce users by-country --prefix [\"UK\"]"),
        [json!({"value": 2})]
    );
    let groups = view("reduce users by-country --group [\"UK\", 36]");
    assert_eq!(groups, [json!({"key": ["UK", 36], "value": 1})]);
    stop.send(()).unwrap();
    runtime.block_on(running).unwrap().unwrap();
}
