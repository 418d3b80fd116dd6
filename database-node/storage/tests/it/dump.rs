//! Dump and load.

use std::io::{BufReader, Read};
use std::time::Duration;

use pliantdb_core::{
    Body, CollectionName, DatabaseName, DocumentId, Expiry, KeyAction, KeyCondition, Precondition, Request,
    SlotCount,
};
use pliantdb_storage::Storage;
use pliantdb_storage::dump::{DumpError, LoadError, Totals, check_dump, dump, load};

use crate::encryption::{get, master_key, open, put};

fn dumped(storage: &Storage) -> String {
    let mut out = Vec::new();
    dump(storage, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The lines in an order that does not depend on slots.
fn sorted(dump: &str) -> Vec<&str> {
    let mut lines: Vec<_> = dump.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn everything_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(&root.path().join("a"), None).unwrap();
    let other: DatabaseName = "other".parse().unwrap();
    storage.create(&other, SlotCount::try_from(3).unwrap()).unwrap();
    storage
        .create(&"empty".parse().unwrap(), SlotCount::default())
        .unwrap();
    put(
        &storage,
        "ada",
        "{\n  \"π\": 3.141592653589793238462643383279,\r\n  \"text\": \"a\\nb\"\n}",
    );
    put(&storage, "null", "null");
    let database = storage.get(&other).unwrap();
    for n in 0..300 {
        let id: DocumentId = format!("{n}/\u{e9}").parse().unwrap();
        let body = Body::parse(format!("[{n}]").into_bytes()).unwrap();
        let collection: CollectionName = ["x", "x.y"][n % 2].parse().unwrap();
        database.put(&collection, &id, body, Precondition::None).unwrap();
    }
    let key = |name: &str, expiry| {
        let action = KeyAction::Set {
            value: Body::parse(b"{\n}".to_vec()).unwrap(),
            expiry,
            condition: KeyCondition::Always,
        };
        let (namespace, key) = ("sessions".parse().unwrap(), name.parse().unwrap());
        let request = Request::ChangeKey {
            namespace,
            key,
            action,
        };
        database.execute(request).unwrap();
    };
    key("for ever", Expiry::Never);
    key("an hour", Expiry::After(Duration::from_secs(3600)));
    let text = dumped(&storage);
    let totals = Totals {
        databases: 3,
        documents: 302,
        values: 2,
    };
    assert_eq!(check_dump(text.as_bytes()), Ok(totals));
    assert!(text.contains(r#"{   "π": 3.141592653589793238462643383279,    "text": "a\nb" }"#));

    // Into an encrypted one, which is how a directory comes to be encrypted.
    let loaded = open(&root.path().join("b"), Some(master_key(1))).unwrap();
    assert_eq!(load(&loaded, text.as_bytes()), Ok(totals));
    // When it expires is the same to a few milliseconds.
    let expires = |text: &str| -> (u64, String) {
        let (before, rest) = text.split_once("\"expires\":").unwrap();
        let (millis, rest) = rest.split_once('}').unwrap();
        (millis.parse().unwrap(), [before, rest].concat())
    };
    let ((before, text_without), (after, loaded_without)) = (expires(&text), expires(&dumped(&loaded)));
    assert!(before.abs_diff(after) < 60_000, "{before} {after}");
    assert_eq!(sorted(&loaded_without), sorted(&text_without));
    assert_eq!(get(&loaded, "null").as_deref(), Some("null"));

    // What has expired since is not brought back.
    let past = text.replace(&format!("\"expires\":{before}"), "\"expires\":1000");
    let late = open(&root.path().join("c"), None).unwrap();
    load(&late, past.as_bytes()).unwrap();
    assert!(dumped(&late).contains("\"documents\":302,\"values\":1"));

    // Nothing is overwritten.
    put(&loaded, "ada", "1");
    let error = load(&loaded, text.as_bytes()).unwrap_err();
    assert!(
        matches!(&error, LoadError::Store { line, .. } if text.lines().nth(*line as usize - 1).unwrap().contains("\"id\"")),
        "{error}"
    );
    assert_eq!(get(&loaded, "ada").as_deref(), Some("1"));
}

const HEADER: &str = "{\"pliantdbDump\":1}\n";
const DATABASE: &str = "{\"database\":\"default\",\"slots\":16}\n";
const ADA: &str = "{\"collection\":\"people\",\"id\":\"ada\",\"body\":1815}\n";
const END: &str = "{\"end\":{\"databases\":1,\"documents\":1,\"values\":0}}\n";

#[test]
fn a_wrong_line_is_named() {
    let good = [HEADER, DATABASE, ADA, END].concat();
    let totals = Totals {
        databases: 1,
        documents: 1,
        values: 0,
    };
    assert_eq!(check_dump(good.as_bytes()), Ok(totals));
    let line = |expected: u64| move |error: &LoadError| matches!(error, LoadError::Line { line, .. } if *line == expected);
    let incomplete =
        |expected: u64| move |error: &LoadError| *error == LoadError::Incomplete { line: expected };
    type Expected<'a> = &'a dyn Fn(&LoadError) -> bool;
    let cases: [(&[&str], Expected<'_>); 12] = [
        (&[], &incomplete(0)),
        (&[HEADER], &incomplete(1)),
        (&[HEADER, DATABASE, ADA], &incomplete(3)),
        (&[HEADER, DATABASE, ADA, END.trim_end()], &incomplete(3)),
        (&["{\"pliantdbDump\":2,\"new\":true}\n", "whatever"], &|error| {
            *error == LoadError::Newer { found: 2 }
        }),
        (&["hello\n"], &line(1)),
        (&[DATABASE, ADA, END], &line(1)),
        (&[HEADER, ADA, END], &line(2)),
        (&[HEADER, DATABASE, ADA, HEADER], &line(4)),
        (&[HEADER, DATABASE, END], &line(3)),
        (&[HEADER, DATABASE, ADA, END, ADA], &line(5)),
        (
            &[
                HEADER,
                DATABASE,
                "{\"collection\":\"_x\",\"id\":\"ada\",\"body\":1}\n",
                END,
            ],
            &line(3),
        ),
    ];
    for (lines, expected) in cases {
        let error = check_dump(lines.concat().as_bytes()).unwrap_err();
        assert!(expected(&error), "{lines:?}: {error}");
    }
    let not_utf8 = [HEADER.as_bytes(), b"\xff\n"].concat();
    assert!(line(2)(&check_dump(&*not_utf8).unwrap_err()));
    // A line without an end is not read into memory without one.
    let endless = std::io::repeat(b' ').take(300 << 20);
    assert!(line(1)(
        &check_dump(BufReader::with_capacity(1 << 20, endless)).unwrap_err()
    ));
}

#[test]
fn a_dump_that_cannot_be_written_is_an_error() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path(), None).unwrap();
    assert!(matches!(dump(&storage, Full), Err(DumpError::Write(_))));
}
