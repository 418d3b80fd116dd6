//! Who may ask what, by QUIC and WebSocket: both doors, and everything that can be asked.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pliantdb_client::{
    Body, Client, Connection, Error, Options, Secret, StorageConnection, Subscriber, TakeSnapshot,
};
use pliantdb_conformance::http;
use pliantdb_core::access::{Action, Need, Permission, administrator, examples, needed};
use pliantdb_core::protocol::{AccountsAsk, Ask, Credentials, Reply};
use pliantdb_core::{DatabaseName, Request, UserName};

use crate::node::Node;

const PASSWORD: &str = "correct horse battery";

fn connect(address: &str, user: &str) -> Result<Client, Error> {
    let options = Options {
        credentials: Some(Credentials::Password {
            user: user.to_owned(),
            password: Secret::new(PASSWORD),
        }),
        ..Options::default()
    };
    Client::connect(address, options)
}

/// Somebody at a door.
enum Asking {
    /// By QUIC or WebSocket.
    Connected(Client),
    /// By HTTP, with each request.
    Http(http::Client),
}

impl Asking {
    /// `None` when the door has no way to ask that.
    fn ask(&self, asked: Ask) -> Option<Result<(), Error>> {
        match self {
            Self::Connected(client) => Some(ask(client, asked)),
            Self::Http(client) => client.ask(&asked),
        }
    }
}

/// A user at each of the doors.
fn at_doors(node: &Node, user: &str) -> [Asking; 3] {
    let [quic, websocket] = doors(node).map(|door| Asking::Connected(connect(&door, user).unwrap()));
    let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{PASSWORD}")));
    let http = http::Client::new(node.address).with_authorization(basic);
    [quic, websocket, Asking::Http(http)]
}

/// How clients reach a node.
fn doors(node: &Node) -> [String; 2] {
    [node.quic_url(), node.websocket_url()]
}

fn set_user(client: &Client, name: &str, role: Option<&str>) {
    let roles: BTreeSet<_> = role.map(|role| role.parse().unwrap()).into_iter().collect();
    let set = AccountsAsk::SetUser {
        name: name.parse().unwrap(),
        password: Some(Secret::new(PASSWORD)),
        roles: Some(roles),
        is_disabled: None,
    };
    assert_eq!(client.ask(Ask::Accounts(set)), Ok(Reply::Done));
}

fn set_role(client: &Client, name: &str, permissions: Vec<Permission>) {
    let name = name.parse().unwrap();
    let set = AccountsAsk::SetRole { name, permissions };
    assert_eq!(client.ask(Ask::Accounts(set)), Ok(Reply::Done));
}

/// A connection of the first user, an administrator.
fn root(node: &Node) -> Client {
    let open = Client::connect(&node.quic_url(), Options::default()).unwrap();
    set_user(&open, "root", Some(administrator().as_str()));
    // Nobody in particular may do nothing any more.
    assert!(matches!(open.databases(), Err(Error::Unauthenticated(_))));
    assert!(matches!(
        Client::connect(&node.quic_url(), Options::default()),
        Err(Error::Unauthenticated(_))
    ));
    connect(&node.quic_url(), "root").unwrap()
}

fn permissions(texts: &[&str]) -> Vec<Permission> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Asks by way of a door, also for what the client has methods of its own for.
fn ask(client: &Client, ask: Ask) -> Result<(), Error> {
    match ask {
        // Of the client's own, which it takes first.
        Ask::RequestAt { request, .. } => {
            let database = client.database::<()>("shop")?.snapshot()?;
            match request {
                Request::Reduce(_) => database.collection::<Order>().list().all().map(drop),
                _ => panic!("the example is another"),
            }
        }
        Ask::Request { database, request } => {
            let database = DatabaseName::clone(&database.name);
            let ask = Ask::Request {
                database: database.into(),
                request,
            };
            client.ask(ask).map(drop)
        }
        ask => client.ask(ask).map(drop),
    }
}

#[derive(Debug, serde::Serialize, serde::Deserialize, pliantdb_client::Collection)]
#[collection(name = "orders")]
struct Order(u32);

#[test]
fn everything_asks_for_its_permission_at_every_door() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"));
    let root = root(&node);
    for name in ["with", "without"] {
        set_role(&root, name, Vec::new());
        set_user(&root, name, Some(name));
    }
    let doors = ["QUIC", "WebSocket", "HTTP"].into_iter();
    let asking = at_doors(&node, "with")
        .into_iter()
        .zip(at_doors(&node, "without"));
    for (door, (with, without)) in doors.zip(asking) {
        let mut kinds = BTreeSet::new();
        for (asked, enough) in examples::table() {
            kinds.insert(examples::kind(&asked));
            // It is there for those that may look.
            let _ = root.create_database::<()>("shop");
            if enough.is_empty() {
                // Everybody may, and it would end the connection.
                continue;
            }
            // What only a connection knows the database of needs just what it would without a snapshot.
            let enough = match &asked {
                Ask::RequestAt { .. } => &["read on collection shop/orders"],
                _ => enough,
            };
            set_role(&root, "with", permissions(enough));
            let Some(result) = with.ask(asked.clone()) else {
                let belongs = matches!(
                    asked,
                    Ask::Snapshot { .. } | Ask::RequestAt { .. } | Ask::Backup { .. }
                );
                assert!(belongs && door == "HTTP", "{door} has no way to ask {asked:?}");
                continue;
            };
            assert!(
                !matches!(result, Err(Error::Denied(_) | Error::Unauthenticated(_))),
                "{door}: {asked:?} with {enough:?}: {result:?}"
            );
            for need in needed(&asked) {
                let lacking = match need {
                    // Any would do, so there is none.
                    Need::Any(_) => vec!["all on server".parse().unwrap()],
                    _ if matches!(asked, Ask::RequestAt { .. }) => permissions(&["all on keys shop/*"]),
                    Need::Action(needed, _) => Action::ALL
                        .into_iter()
                        .filter(|action| *action != needed)
                        .map(|action| format!("{action} on everything").parse().unwrap())
                        .collect(),
                };
                set_role(&root, "without", lacking);
                if matches!(asked, Ask::OpenDatabase { schema: Some(_), .. }) {
                    // The schema that it has anyway would be no change.
                    root.delete_database("shop").unwrap();
                    drop(root.create_database::<()>("shop").unwrap());
                }
                let result = without.ask(asked.clone());
                assert!(
                    matches!(&result, Some(Err(Error::Denied(why))) if why.contains("needs the permission")),
                    "{door}: {asked:?} without {need}: {result:?}"
                );
            }
        }
        assert!(kinds.into_iter().eq(0..examples::KINDS), "one is missing");
    }
}

#[test]
fn who_is_disabled_loses_what_they_have_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"));
    let root = root(&node);
    for door in doors(&node) {
        set_user(&root, "ada", Some("writer"));
        let ada = connect(&door, "ada").unwrap();
        let database = ada.database::<()>("default").unwrap();
        let topic = "news".parse().unwrap();
        let news = database.subscribe(&["news"]).unwrap();
        let publish = |text: &str| {
            let payload = Body::of(&text).unwrap();
            let message = pliantdb_core::Message {
                topic: "news".parse().unwrap(),
                payload,
            };
            let database: DatabaseName = "default".parse().unwrap();
            let request = Request::Publish(message);
            root.ask(Ask::Request {
                database: database.into(),
                request,
            })
            .unwrap();
        };
        publish("one");
        assert_eq!(news.receive().unwrap().topic, topic);
        let snapshot = database.snapshot().unwrap();
        assert!(snapshot.collection::<Order>().list().all().is_ok());

        let name: UserName = "ada".parse().unwrap();
        let disable = |is_disabled| {
            let set = AccountsAsk::SetUser {
                name: name.clone(),
                password: None,
                roles: None,
                is_disabled: Some(is_disabled),
            };
            assert_eq!(root.ask(Ask::Accounts(set)), Ok(Reply::Done));
        };
        disable(true);
        let refused = |error: Error| assert!(matches!(error, Error::Unauthenticated(_)), "{error}");
        refused(ada.databases().unwrap_err());
        refused(snapshot.collection::<Order>().list().all().unwrap_err());
        publish("two");
        // The subscription has ended, and what was sent since is not received.
        assert_eq!(news.receive().unwrap_err(), Error::Closed);
        refused(connect(&door, "ada").map(drop).unwrap_err());
        disable(false);
        std::thread::sleep(Duration::from_millis(10));
        assert!(ada.databases().is_ok(), "the connection is there");
    }
}
