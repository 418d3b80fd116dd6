//! Import and export.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{at, done, failed, json as lines, on};
use crate::node::{Node, command};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn json_lines_there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"));
    let (from, to) = (folder.path().join("from.jsonl"), folder.path().join("to.jsonl"));
    let content = "{\"_id\":\"a\",\"n\":1.50,\"big\":12345678901234567890123}\n{\"_id\":\"b\"}\n{\"_id\":\"c\",\"_body\":[1]}\n";
    fs::write(&from, content).unwrap();
    let import = ["import", "users", "--from", text(&from)];
    let summary = [json!({"imported": 3, "skipped": 0, "rejected": 0, "bytes": content.len()})];
    assert_eq!(done(&at(&node, &import)), summary);
    let exported = done(&at(&node, &["export", "users", "--to", text(&to)]));
    assert_eq!(exported, [json!({"exported": 3, "types": null})]);
    assert_eq!(fs::read_to_string(&to).unwrap(), content);
    // Again: the same documents. Those that are there can be left, or be a reason to reject.
    assert_eq!(done(&at(&node, &import)), summary);
    let skipped = done(&at(&node, &[&import[..], &["--on-conflict", "skip"]].concat()));
    assert_eq!([&skipped[0]["imported"], &skipped[0]["skipped"]], [0, 3]);
    fs::write(&from, "{\"_id\":\"a\"}\n{\"_id\":\"d\"}\n{\"_id\":\"b\"}\n").unwrap();
    let output = at(&node, &[&import[..], &["--on-conflict", "reject"]].concat());
    let error = failed(&output, 2);
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("1 lines were rejected"),
        "{error}"
    );
    assert_eq!(
        [
            &lines(&output.stdout)[0]["imported"],
            &lines(&output.stdout)[0]["rejected"]
        ],
        [2, 1]
    );
    let error = failed(&at(&node, &["export", "users", "--to", text(&to)]), 1);
    assert!(
        error["message"].as_str().unwrap().contains("cannot create"),
        "{error}"
    );
    // Without ids, they are made of what and where the lines are: again, the same ones.
    fs::write(&from, "{\"x\":1}\n\n7\n{\"x\":1}\n").unwrap();
    for _ in 0..2 {
        done(&at(&node, &["import", "other", "--from", text(&from)]));
        assert_eq!(done(&at(&node, &["shell", "-c", "count other"]))[0]["count"], 3);
    }
}

#[test]
fn csv_there_and_back_and_what_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let (data, from) = (folder.path().join("data"), folder.path().join("people.csv"));
    Node::start(&data).stop();
    let rejects = folder.path().join("rejects");
    let content = "id;name;age;ok;tags\n1;\"Ada; L\";36;true;\"[\"\"a\"\"]\"\n2;\"two\nlines\";;;\n3;x;old;;\n;y;1;;\n5;z;1\n6;\u{e9};-1.5e3;false;null\n";
    fs::write(&from, content).unwrap();
    let import = [
        "import",
        "people",
        "--from",
        text(&from),
        "--delimiter",
        ";",
        "--id-column",
        "id",
        "--types",
        "age:number,ok:bool,tags:json",
    ];
    let with_file = [&import[..], &["--rejects", text(&rejects), "--batch", "2"]].concat();
    let output = on(&data, &with_file);
    failed(&output, 2);
    let summary = &lines(&output.stdout)[0];
    assert_eq!([&summary["imported"], &summary["rejected"]], [3, 3]);
    let rejected = lines(&fs::read(&rejects).unwrap());
    let found: Vec<_> = rejected
        .iter()
        .map(|reject| reject["line"].as_u64().unwrap())
        .collect();
    assert_eq!(found, [5, 6, 7]);
    assert!(
        rejected[0]["reason"]
            .as_str()
            .unwrap()
            .contains("\"age\" is \"old\""),
        "{rejected:?}"
    );
    assert_eq!(rejected[2]["text"], "5;z;1");
    let error = failed(&on(&data, &[&import[..], &["--max-rejects", "1"]].concat()), 1);
    assert!(error["message"].as_str().unwrap().contains("line 6"), "{error}");

    let shown = done(&on(&data, &["shell", "-c", "get people 1 2 6"]));
    assert_eq!(
        shown[0]["body"],
        json!({"name": "Ada; L", "age": 36, "ok": true, "tags": ["a"]})
    );
    assert_eq!(shown[1]["body"], json!({"name": "two\nlines"}));
    assert_eq!(
        shown[2]["body"],
        json!({"name": "\u{e9}", "age": -1500.0, "ok": false, "tags": null})
    );
    // Exported, and imported by the types that the export tells: the same documents.
    let to = folder.path().join("to.csv");
    let exported = done(&on(&data, &["export", "people", "--to", text(&to)]));
    assert_eq!(exported[0]["types"], "age:number,ok:bool,tags:json");
    let back = [
        "import",
        "again",
        "--from",
        text(&to),
        "--types",
        exported[0]["types"].as_str().unwrap(),
    ];
    done(&on(&data, &back));
    let again = done(&on(&data, &["shell", "-c", "list again"]));
    let bodies = |shown: &[Value]| shown.iter().map(|it| it["body"].clone()).collect::<Vec<_>>();
    assert_eq!(bodies(&again), bodies(&shown));
}

#[test]
fn an_import_that_is_killed_goes_on_without_loss_or_double() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"));
    let (from, resume, rejects) = (
        folder.path().join("from.jsonl"),
        folder.path().join("resume"),
        folder.path().join("rejects"),
    );
    let count = 3000;
    let line = |n: usize| match n % 100 {
        99 => format!("{{broken {n}\n"),
        _ => format!("{{\"n\":{n}}}\n"),
    };
    let content: String = (0..count).map(line).collect();
    fs::write(&from, &content).unwrap();
    let arguments = [
        "import",
        "numbers",
        "--from",
        text(&from),
        "--batch",
        "5",
        "--resume",
        text(&resume),
        "--rejects",
        text(&rejects),
        "--on-conflict",
        "reject",
    ];
    let mut kills = 0;
    let start = Instant::now();
    for progress in [200, 10_000, 20_000] {
        let mut child = command()
            .args(["--output", "json"])
            .args(arguments)
            .args(["--fingerprint", &node.fingerprint, "--server"])
            .arg(format!("pliant://{}", node.quic))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let offset = || {
            let state: Value =
                serde_json::from_slice(&fs::read(&resume).unwrap_or_default()).unwrap_or_default();
            state["offset"].as_u64().unwrap_or(0)
        };
        while offset() < progress && child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(1));
        }
        kills += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(kills > 0, "it was over before it was killed");
    let output = at(&node, &arguments);
    failed(&output, 2);
    let summary = &lines(&output.stdout)[0];
    assert_eq!(
        [&summary["imported"], &summary["rejected"], &summary["bytes"]],
        [2970, 30, content.len()]
    );
    let rejected = lines(&fs::read(&rejects).unwrap());
    let found: Vec<_> = rejected
        .iter()
        .map(|reject| reject["line"].as_u64().unwrap())
        .collect();
    assert_eq!(found, (1..=30).map(|n| n * 100).collect::<Vec<_>>());
    let listed = done(&at(&node, &["shell", "-c", "list numbers --limit 5000"]));
    let mut numbers: Vec<_> = listed
        .iter()
        .map(|it| it["body"]["n"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..3000).filter(|n| n % 100 != 99).collect::<Vec<_>>());

    // What was added is imported; what is another file is refused.
    fs::write(&from, format!("{content}{{\"n\":3000}}\n")).unwrap();
    failed(&at(&node, &arguments), 2);
    assert_eq!(
        done(&at(&node, &["shell", "-c", "count numbers"]))[0]["count"],
        2971
    );
    fs::write(&from, content.replace("{\"n\":0}", "{\"n\":9}")).unwrap();
    let error = failed(&at(&node, &arguments), 3);
    assert!(
        error["message"].as_str().unwrap().contains("not what it was"),
        "{error}"
    );
    let other = [
        "import",
        "elsewhere",
        "--from",
        text(&from),
        "--resume",
        text(&resume),
    ];
    let error = failed(&at(&node, &other), 3);
    assert!(
        error["message"].as_str().unwrap().contains("another import"),
        "{error}"
    );
}
