//! Everything that can be asked, for tests of who may ask it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use super::KeyOwner;
use crate::protocol::{AccountsAsk, Ask, DatabaseHandle, SchemaOffer, Secret};
use crate::{
    Body, Change, ChangeAction, FeedStart, Freshness, KeyAction, KeyCondition, KeyListing, KeySelection,
    Listing, Message, Number, Order, Precondition, Query, Request,
};

fn request(request: Request) -> Ask {
    Ask::Request {
        database: DatabaseHandle::from("shop".parse::<crate::DatabaseName>().unwrap()),
        request,
    }
}

fn change(collection: &str, action: ChangeAction) -> Change {
    Change {
        collection: collection.parse().unwrap(),
        action,
    }
}

fn query() -> Query {
    Query {
        collection: "orders".parse().unwrap(),
        view: "by-day".parse().unwrap(),
        keys: KeySelection::All,
        order: Order::Ascending,
        limit: None,
        after: None,
        freshness: Freshness::Current,
    }
}

fn keys(action: KeyAction) -> Ask {
    request(Request::ChangeKey {
        namespace: "carts".parse().unwrap(),
        key: "k".parse().unwrap(),
        action,
    })
}

/// Everything that can be asked, of the database `shop`, with the permissions that are just enough.
#[must_use]
pub fn table() -> Vec<(Ask, &'static [&'static str])> {
    let body = || Body::parse(b"1".to_vec()).unwrap();
    let collection = || "orders".parse().unwrap();
    let id = || "1".parse().unwrap();
    let precondition = Precondition::None;
    let schema = || SchemaOffer {
        name: "shop".parse().unwrap(),
        views: Vec::new(),
    };
    let (name, database) = (
        || "shop".parse().unwrap(),
        || DatabaseHandle {
            name: "shop".parse().unwrap(),
            number: Some(1),
        },
    );
    const ADMINISTER: &[&str] = &["administer on server"];
    let accounts = |ask, needs: &'static [&'static str]| (Ask::Accounts(ask), needs);
    vec![
        (Ask::Databases, &["list on server"]),
        (
            Ask::CreateDatabase {
                name: name(),
                schema: None,
            },
            &["create on database shop"],
        ),
        (
            Ask::CreateDatabase {
                name: name(),
                schema: Some(schema()),
            },
            &["create on database shop"],
        ),
        (
            Ask::OpenDatabase {
                name: name(),
                schema: None,
            },
            &["call on api shop/search"],
        ),
        (
            Ask::OpenDatabase {
                name: name(),
                schema: Some(schema()),
            },
            &["define on database shop"],
        ),
        (Ask::DeleteDatabase { name: name() }, &["drop on database shop"]),
        (
            Ask::Subscribe {
                database: database(),
                patterns: vec!["orders.*".parse().unwrap(), "news".parse().unwrap()],
            },
            &["subscribe on topic shop/orders.*", "subscribe on topic shop/news"],
        ),
        (
            Ask::Snapshot { database: database() },
            &["read on keys shop/carts"],
        ),
        (
            Ask::RequestAt {
                snapshot: 1,
                request: Request::Reduce(query()),
            },
            ADMINISTER,
        ),
        (
            request(Request::Get {
                collection: collection(),
                ids: vec![id()],
            }),
            &["read on collection shop/orders"],
        ),
        (
            request(Request::List {
                collection: collection(),
                listing: Listing::default(),
            }),
            &["read on collection shop/orders"],
        ),
        (
            request(Request::Count {
                collection: collection(),
                listing: Listing::default(),
            }),
            &["read on collection shop/orders"],
        ),
        (
            request(Request::Transact(vec![
                change(
                    "a",
                    ChangeAction::Insert {
                        id: None,
                        body: body(),
                    },
                ),
                change(
                    "b",
                    ChangeAction::Put {
                        id: id(),
                        body: body(),
                        precondition,
                    },
                ),
                change(
                    "c",
                    ChangeAction::Delete {
                        id: id(),
                        precondition,
                    },
                ),
                change(
                    "d",
                    ChangeAction::Check {
                        id: id(),
                        precondition,
                    },
                ),
                change(
                    "a",
                    ChangeAction::Delete {
                        id: id(),
                        precondition,
                    },
                ),
            ])),
            &[
                "write on collection shop/a",
                "write on collection shop/b",
                "delete on collection shop/c",
                "read on collection shop/d",
                "delete on collection shop/a",
            ],
        ),
        (
            request(Request::Query {
                query: query(),
                with_documents: false,
            }),
            &["read on view shop/orders/by-day"],
        ),
        (
            request(Request::Query {
                query: query(),
                with_documents: true,
            }),
            &["read on collection shop/orders"],
        ),
        (
            request(Request::Reduce(query())),
            &["read on view shop/orders/by-day"],
        ),
        (
            request(Request::ReduceGrouped(query())),
            &["read on view shop/orders/by-day"],
        ),
        (
            request(Request::DeleteMatching(query())),
            &[
                "read on view shop/orders/by-day",
                "delete on collection shop/orders",
            ],
        ),
        (
            request(Request::ViewStatus {
                collection: collection(),
                view: "by-day".parse().unwrap(),
            }),
            &["read on view shop/orders/by-day"],
        ),
        (
            request(Request::GetKey {
                namespace: "carts".parse().unwrap(),
                key: "k".parse().unwrap(),
            }),
            &["read on keys shop/carts"],
        ),
        (
            request(Request::ListKeys {
                namespace: "carts".parse().unwrap(),
                listing: KeyListing::default(),
            }),
            &["read on keys shop/carts"],
        ),
        (
            keys(KeyAction::Set {
                value: body(),
                expiry: crate::Expiry::Never,
                condition: KeyCondition::Always,
            }),
            &["read on keys shop/carts", "write on keys shop/carts"],
        ),
        (
            keys(KeyAction::Increment {
                by: Number::Integer(1),
            }),
            &["read on keys shop/carts", "write on keys shop/carts"],
        ),
        (
            keys(KeyAction::Expire {
                expiry: crate::Expiry::Never,
            }),
            &["read on keys shop/carts", "write on keys shop/carts"],
        ),
        (
            keys(KeyAction::Delete {
                condition: KeyCondition::Always,
            }),
            &["read on keys shop/carts", "delete on keys shop/carts"],
        ),
        (
            request(Request::Publish(Message {
                topic: "orders.new".parse().unwrap(),
                payload: body(),
            })),
            &["publish on topic shop/orders.*"],
        ),
        (
            request(Request::Changes {
                from: FeedStart::Oldest,
                limit: 1,
                wait: std::time::Duration::ZERO,
            }),
            &["read on database shop"],
        ),
        (
            request(Request::Call {
                api: "search".parse().unwrap(),
                body: body(),
            }),
            &["call on api shop/search"],
        ),
        accounts(AccountsAsk::WhoAmI, &[]),
        accounts(AccountsAsk::LogOut, &[]),
        accounts(
            AccountsAsk::ChangePassword {
                old: Secret::new(""),
                new: Secret::new(""),
            },
            &[],
        ),
        accounts(AccountsAsk::Users, ADMINISTER),
        accounts(
            AccountsAsk::SetUser {
                name: "ada".parse().unwrap(),
                password: None,
                roles: None,
                is_disabled: None,
            },
            ADMINISTER,
        ),
        accounts(
            AccountsAsk::DeleteUser {
                name: "ada".parse().unwrap(),
            },
            ADMINISTER,
        ),
        accounts(AccountsAsk::Roles, ADMINISTER),
        accounts(
            AccountsAsk::SetRole {
                name: "clerk".parse().unwrap(),
                permissions: Vec::new(),
            },
            ADMINISTER,
        ),
        accounts(
            AccountsAsk::DeleteRole {
                name: "clerk".parse().unwrap(),
            },
            ADMINISTER,
        ),
        accounts(AccountsAsk::ApiKeys, ADMINISTER),
        accounts(
            AccountsAsk::CreateApiKey {
                name: "ci".parse().unwrap(),
                owner: KeyOwner::Roles(BTreeSet::new()),
                lifetime: None,
            },
            ADMINISTER,
        ),
        accounts(
            AccountsAsk::DeleteApiKey {
                name: "ci".parse().unwrap(),
            },
            ADMINISTER,
        ),
        (
            Ask::Backup {
                to: "/backups".to_owned(),
            },
            &["backup on server"],
        ),
        (Ask::Nodes { database: None }, &[]),
    ]
}

/// Which kind of ask it is, of [`KINDS`]. One that is added does not compile until it is here, and then the table must
/// have it.
#[must_use]
pub fn kind(ask: &Ask) -> usize {
    match ask {
        Ask::Databases => 0,
        Ask::CreateDatabase { .. } => 1,
        Ask::OpenDatabase { schema: None, .. } => 2,
        Ask::OpenDatabase { schema: Some(_), .. } => 3,
        Ask::DeleteDatabase { .. } => 4,
        Ask::Subscribe { .. } => 5,
        Ask::Snapshot { .. } => 6,
        Ask::RequestAt { .. } => 7,
        Ask::Request { request, .. } => match request {
            Request::Get { .. } => 8,
            Request::List { .. } => 9,
            Request::Count { .. } => 10,
            Request::Transact(_) => 11,
            Request::Query {
                with_documents: false,
                ..
            } => 12,
            Request::Query {
                with_documents: true, ..
            } => 13,
            Request::Reduce(_) => 14,
            Request::ReduceGrouped(_) => 15,
            Request::DeleteMatching(_) => 16,
            Request::ViewStatus { .. } => 17,
            Request::GetKey { .. } => 18,
            Request::ListKeys { .. } => 19,
            Request::ChangeKey { action, .. } => match action {
                KeyAction::Set { .. } => 20,
                KeyAction::Increment { .. } => 21,
                KeyAction::Expire { .. } => 22,
                KeyAction::Delete { .. } => 23,
            },
            Request::Publish(_) => 24,
            Request::Changes { .. } => 25,
            Request::Call { .. } => 26,
        },
        Ask::Accounts(ask) => match ask {
            AccountsAsk::WhoAmI => 27,
            AccountsAsk::LogOut => 28,
            AccountsAsk::ChangePassword { .. } => 29,
            AccountsAsk::Users => 30,
            AccountsAsk::SetUser { .. } => 31,
            AccountsAsk::DeleteUser { .. } => 32,
            AccountsAsk::Roles => 33,
            AccountsAsk::SetRole { .. } => 34,
            AccountsAsk::DeleteRole { .. } => 35,
            AccountsAsk::ApiKeys => 36,
            AccountsAsk::CreateApiKey { .. } => 37,
            AccountsAsk::DeleteApiKey { .. } => 38,
        },
        Ask::Backup { .. } => 39,
        Ask::Nodes { .. } => 40,
    }
}

/// How many kinds there are.
pub const KINDS: usize = 41;
