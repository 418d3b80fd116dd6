//! Everything here that reads bytes or texts from outside, on input that nobody would write: docs/testing.md.

use std::fmt::Display;
use std::str::FromStr;

use pliantdb_fuzzing::{Input, RUNS, bytes};

use crate::access::Permission;
use crate::{
    Body, CollectionName, Command, DatabaseName, DocumentAction, DocumentChange, DocumentId, Emitted,
    FeedCursor, Key, KeyAction, KeyName, NamespaceName, Number, Operation, Precondition, Request, RequestId,
    Response, Revision, SchemaName, SlotCount, Timestamp, Topic, TopicPattern, ViewEntry, ViewId, ViewName,
    WriteAction, key, key_json,
};

/// A text that is taken is written as it was read, and one that is not gets a message of bearable length.
fn reads<T: FromStr<Err: Display> + Display>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => assert_eq!(value.to_string(), text),
        Err(error) => assert!(error.to_string().len() < 4000, "{text:?}"),
    }
}

#[test]
fn texts() {
    let cursor = FeedCursor::new(1, Timestamp::from_bits(7)).to_string();
    let seeds = [
        "0190f2a4c1d30000",
        "orders",
        "a/b é",
        "018f2a4c-1d30-7000-8000-0000000000ff",
        "a.*.b",
        "a/#",
        "read,write on collection shop/orders",
        "all on topic shop/a.**",
        &cursor,
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    bolero::check!()
        .with_iterations(RUNS)
        .with_type::<Input>()
        .for_each(|input| {
            let bytes = bytes(input, &seeds);
            let Ok(text) = str::from_utf8(&bytes) else { return };
            reads::<Revision>(text);
            reads::<DatabaseName>(text);
            reads::<CollectionName>(text);
            reads::<NamespaceName>(text);
            reads::<DocumentId>(text);
            reads::<FeedCursor>(text);
            match text.parse::<Permission>() {
                Ok(permission) => assert_eq!(permission.to_string().parse(), Ok(permission)),
                Err(error) => assert!(error.to_string().len() < 4000, "{text:?}"),
            }
            let _ = (text.parse::<SchemaName>(), text.parse::<ViewName>());
            if let Ok(key) = text.parse::<KeyName>() {
                assert_eq!(key.as_str(), text);
            }
            if let (Ok(topic), Ok(pattern)) = (text.parse::<Topic>(), text.parse::<TopicPattern>()) {
                let _ = pattern.matches(&topic);
            }
            if let Some(number) = Number::from_json(text) {
                assert_eq!(Number::from_json(number.to_json().as_str()), Some(number));
            }
        });
}

#[test]
fn bodies() {
    let seeds = [
        "{\"a\":[1,-2.5e300,\"\\u00e9\\n\",null,true]}",
        "[[[[]]]]",
        "\"x\"",
        " 7 ",
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    bolero::check!()
        .with_iterations(RUNS)
        .with_type::<(Input, u8)>()
        .for_each(|(input, depth)| {
            let mut bytes = bytes(input, &seeds);
            if depth % 8 == 0 {
                let depth = usize::from(*depth) * 3;
                bytes = [b"[".repeat(depth), bytes, b"]".repeat(depth)].concat();
            }
            match Body::parse(bytes.clone()) {
                Ok(body) => {
                    assert_eq!(body.as_str().as_bytes(), bytes, "kept as it was sent");
                    let _ = body.read::<serde_json::Value>();
                }
                Err(error) => assert!(error.to_string().len() < 4000),
            }
        });
}

#[test]
fn view_keys() {
    type Nested = (Option<i64>, (String, bool, f64), Vec<u8>);
    let nested: Nested = (Some(-300), ("a\0b".to_owned(), true, -1.5), vec![0, 255]);
    let seeds = [
        nested.encoded(),
        (None::<u8>, u64::MAX).encoded(),
        "é\0".to_owned().encoded(),
        i64::MIN.encoded(),
    ];
    bolero::check!()
        .with_iterations(RUNS)
        .with_type::<Input>()
        .for_each(|input| {
            let bytes = bytes(input, &seeds);
            let length = key::encoded_length(&bytes);
            assert!(length.is_none_or(|length| length <= bytes.len()));
            decodes::<Nested>(&bytes);
            decodes::<(Option<u8>, u64)>(&bytes);
            decodes::<String>(&bytes);
            decodes::<Vec<u8>>(&bytes);
            decodes::<DocumentId>(&bytes);
            decodes::<i64>(&bytes);
            decodes::<u8>(&bytes);
            decodes::<f64>(&bytes);
            decodes::<bool>(&bytes);
            decodes::<()>(&bytes);
        });
}

/// A key that is read has the length that is told without knowing its type, and is written such that it can be read.
fn decodes<K: Key>(bytes: &[u8]) {
    let mut rest = bytes;
    if let Ok(key) = K::decode(&mut rest) {
        assert_eq!(key::encoded_length(bytes), Some(bytes.len() - rest.len()));
        let again = key.encoded();
        let decoded = K::decode(&mut again.as_slice()).map(|key| key.encoded());
        assert_eq!(decoded.as_ref(), Ok(&again));
        let length = again.len();
        assert_eq!(
            key::encoded_length(&[again, b"more".to_vec()].concat()),
            Some(length)
        );
    }
}

#[test]
fn view_keys_as_json() {
    let seeds = [
        r#"["Berlin",[-3,null,1.5e-7],{"$bytes":"00ff"},{"$float":"NaN"}]"#,
        "18446744073709551615",
        r#""a\u0000é""#,
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    bolero::check!()
        .with_iterations(RUNS)
        .with_type::<Input>()
        .for_each(|input| {
            let bytes = bytes(input, &seeds);
            let _ = key_json::write(&bytes);
            let Ok(text) = str::from_utf8(&bytes) else { return };
            let _ = (key_json::read_many(text), key_json::read_prefix(text));
            match key_json::read(text) {
                Ok(key) => {
                    let again = key_json::write(&key).unwrap();
                    assert_eq!(key_json::read(&again), Ok(key), "{again}");
                }
                Err(error) => assert!(error.to_string().len() < 4000),
            }
        });
}

#[test]
fn view_keys_sort_as_values_do() {
    type Sorted = (Option<i64>, String, Vec<u8>, bool);
    bolero::check!()
        .with_iterations(RUNS)
        .with_type::<(Sorted, Sorted)>()
        .for_each(|(a, b)| {
            assert_eq!(a.encoded().cmp(&b.encoded()), a.cmp(b));
        });
}

fn commands() -> Vec<Vec<u8>> {
    let database = DatabaseName::default_database();
    let emitted = Emitted {
        view: ViewId::FIRST,
        entries: vec![ViewEntry {
            key: vec![1],
            value: b"1".to_vec(),
        }],
    };
    let change = |action| DocumentChange {
        collection: "orders".parse().unwrap(),
        id: "1".parse().unwrap(),
        precondition: Precondition::Revision(Revision::at(Timestamp::from_bits(1 << 60))),
        action,
    };
    let body = Body::parse(b"{\"a\":1}".to_vec()).unwrap();
    let create = DocumentAction::Create {
        body: body.clone(),
        emitted: Vec::new(),
    };
    let put = DocumentAction::Put {
        body,
        emitted: vec![emitted],
    };
    let operations = [
        Operation::CreateDatabase {
            name: database.clone(),
            slots: SlotCount::default(),
        },
        Operation::Transact {
            database: database.clone(),
            changes: vec![change(put), change(create), change(DocumentAction::Delete)],
        },
        Operation::ChangeKey {
            database: database.clone(),
            namespace: "n".parse().unwrap(),
            key: "k".parse().unwrap(),
            action: KeyAction::Increment {
                by: Number::from(1.5),
            },
        },
        Operation::TrimChanges {
            database: database.clone(),
            before: Timestamp::from_bits(1 << 50),
        },
        Operation::Once {
            database,
            id: RequestId::new(1 << 40, 1 << 70),
            write: WriteAction::Transact(vec![change(DocumentAction::Check)]),
        },
    ];
    let command = |operation| Command::new(Timestamp::from_bits(1 << 60), operation);
    let encoded = operations.map(|operation| postcard::to_stdvec(&command(operation)).unwrap());
    encoded.to_vec()
}

/// What a node gets from another, or from its log.
#[test]
fn messages() {
    let seeds = commands();
    bolero::check!()
        .with_iterations(RUNS)
        .with_type::<Input>()
        .for_each(|input| {
            let bytes = bytes(input, &seeds);
            if let Ok(command) = postcard::from_bytes::<Command>(&bytes) {
                let again = postcard::to_stdvec(&command).unwrap();
                let decoded = postcard::from_bytes::<Command>(&again).unwrap();
                assert_eq!(postcard::to_stdvec(&decoded).unwrap(), again);
                let _ = command.operation.size();
            }
            if let Ok(request) = postcard::from_bytes::<Request>(&bytes) {
                let again = postcard::to_stdvec(&request).unwrap();
                let decoded = postcard::from_bytes::<Request>(&again).unwrap();
                assert_eq!(postcard::to_stdvec(&decoded).unwrap(), again);
            }
            let _ = postcard::from_bytes::<Response>(&bytes);
        });
}
