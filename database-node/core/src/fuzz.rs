//! Everything here that reads bytes or texts from outside, on input that nobody would write: docs/testing.md.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use pliantdb_fuzzing::{Input, RUNS, bytes};

use crate::access::{Permission, examples};
use crate::protocol::{
    Credentials, FromClient, FromServer, Greeting, Hello, Lane, PROTOCOL_VERSION, Question, Reply, Secret,
    Sent, decode, encode, framed,
};
use crate::{
    Body, CollectionName, Command, Consistency, DatabaseName, DocumentAction, DocumentChange, DocumentId,
    Emitted, Error, FeedCursor, Key, KeyAction, KeyName, Message, NamespaceName, Number, Operation,
    Precondition, Request, RequestId, Response, Revision, SchemaName, SlotCount, Timestamp, Topic,
    TopicPattern, ViewEntry, ViewId, ViewName, WriteAction, key, key_json,
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

/// A client's first messages, and everything that can be asked.
fn from_clients() -> Vec<Vec<u8>> {
    let hello = |credentials| {
        encode(&Hello {
            oldest: PROTOCOL_VERSION,
            newest: PROTOCOL_VERSION,
            credentials,
            agent: "a client".to_owned(),
        })
    };
    let password = Credentials::Password {
        user: "ada".to_owned(),
        password: Secret::new("a password"),
    };
    let hellos = [
        None,
        Some(Credentials::Token(Secret::new("token"))),
        Some(password),
    ]
    .map(hello);
    let asked = (1..).zip(examples::table()).map(|(number, (ask, _))| {
        encode(&FromClient::Ask(Question {
            number,
            deadline: (number % 2 == 0).then_some(Duration::from_millis(1500)),
            request_id: (number % 3 == 0).then(|| RequestId::new(1 << 40, number.into())),
            consistency: Consistency::default(),
            ask,
        }))
    });
    let all = hellos
        .into_iter()
        .chain(asked)
        .chain([encode(&FromClient::Stop(7))]);
    all.map(Result::unwrap).collect()
}

/// A message that is taken is sent as it was read, and one that is not gets a message of bearable length.
fn sent<T: Sent + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    match decode::<T>(bytes) {
        Ok(message) => {
            let again = encode(&message).unwrap();
            let decoded = decode::<T>(&again).unwrap();
            // Not by the messages themselves, for there is a number in them that does not equal itself.
            assert_eq!(encode(&decoded).unwrap(), again);
        }
        Err(error) => assert!(error.to_string().len() < 4000),
    }
}

/// What clients send to a server.
#[test]
fn from_client() {
    let seeds = from_clients();
    bolero::check!()
        .with_iterations(RUNS)
        .with_type::<Input>()
        .for_each(|input| {
            let bytes = bytes(input, &seeds);
            sent::<FromClient>(&bytes);
            sent::<Hello>(&bytes);
        });
}

/// What a server sends to clients.
#[test]
fn from_server() {
    let body = Body::parse(b"[1]".to_vec()).unwrap();
    let message = Message {
        topic: "news".parse().unwrap(),
        payload: body,
    };
    let answer = |result| {
        encode(&FromServer::Answer {
            number: 1,
            result,
            position: None,
        })
    };
    let seeds = [
        answer(Ok(Reply::Done)),
        answer(Ok(Reply::Databases(vec![DatabaseName::default_database()]))),
        answer(Ok(Reply::Response(Response::Documents(Vec::new())))),
        answer(Err(Error::Lagged(3))),
        encode(&FromServer::Message {
            number: 2,
            message: Ok(message),
        }),
        encode(&FromServer::Leaving),
        encode(&Greeting::Refused(Error::Closed)),
    ];
    let seeds = seeds.map(Result::unwrap);
    bolero::check!()
        .with_iterations(RUNS)
        .with_type::<Input>()
        .for_each(|input| {
            let bytes = bytes(input, &seeds);
            sent::<FromServer>(&bytes);
            sent::<Greeting>(&bytes);
        });
}

/// The messages on a lane, until one is too long, and whether one has begun that is not there in full.
fn cut(bytes: &[u8], most: usize, at_once: usize) -> (Vec<Vec<u8>>, bool) {
    let (mut lane, mut messages) = (Lane::new(most), Vec::new());
    for arrived in bytes.chunks(at_once) {
        lane.arrived(arrived);
        loop {
            match lane.message() {
                Ok(Some(message)) => messages.push(message.to_vec()),
                Ok(None) => break,
                Err(error) => {
                    assert!(error.length > most);
                    return (messages, true);
                }
            }
        }
    }
    (messages, lane.is_amid())
}

/// What arrives on a stream: cut into the same messages however it arrives, and none is longer than may be.
#[test]
fn frames() {
    let mut stream = Vec::new();
    for message in from_clients().iter().take(6) {
        framed(message, &mut stream).unwrap();
    }
    let seeds = [stream, [0; 12].to_vec(), u32::MAX.to_be_bytes().to_vec()];
    bolero::check!()
        .with_iterations(RUNS)
        .with_type::<(Input, u8, u16)>()
        .for_each(|(input, at_once, most)| {
            let bytes = bytes(input, &seeds);
            let most = usize::from(*most) % 600;
            let (messages, is_amid) = cut(&bytes, most, bytes.len().max(1));
            assert!(messages.iter().all(|message| message.len() <= most));
            let at_once = usize::from(*at_once) + 1;
            assert_eq!(cut(&bytes, most, at_once), (messages.clone(), is_amid));
            let mut again = Vec::new();
            for message in &messages {
                framed(message, &mut again).unwrap();
            }
            assert!(bytes.starts_with(&again) && (again.len() < bytes.len()) == is_amid);
        });
}
