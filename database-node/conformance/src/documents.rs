//! Documents of a collection.

use pliantdb_core::{
    Body, Change, ChangeAction, Connection, DocumentId, Error, Precondition, Rejection, Request, Transaction,
};
use serde::{Deserialize, Serialize};

use crate::schema::{Invoice, Order, Page, User};
use crate::{Door, shop};

/// Insert, get, overwrite, update, delete.
pub fn writes_and_reads<D: Door>() {
    let (door, database) = shop::<D>();
    let users = database.collection::<User>();
    let mut ada = door.wait(users.insert(User::new("ada@a", "UK", 36))).unwrap();
    assert_eq!(door.wait(users.get(&ada.id)), Ok(Some(ada.clone())));
    ada.contents.age += 1;
    let revision = door.wait(users.update(&ada)).unwrap();
    assert!(revision > ada.revision);
    ada.revision = revision;
    assert_eq!(door.wait(users.get(&ada.id)), Ok(Some(ada.clone())));

    let bob: DocumentId = "bob".parse().unwrap();
    assert_eq!(door.wait(users.get(&bob)), Ok(None));
    let first = door.wait(users.insert_as(&bob, User::new("", "DE", 1))).unwrap();
    let second = door.wait(users.overwrite(&bob, User::new("", "DE", 2))).unwrap();
    assert!(second.revision > first.revision);
    let all = door
        .wait(users.get_multiple(&[bob.clone(), "nobody".parse().unwrap(), ada.id.clone()]))
        .unwrap();
    assert_eq!(all, [second.clone(), ada.clone()]);

    door.wait(users.delete(&ada)).unwrap();
    assert_eq!(door.wait(users.get(&ada.id)), Ok(None));
    door.wait(users.delete_by_id(&bob)).unwrap();
    let gone = door.wait(users.delete_by_id(&bob)).unwrap_err();
    assert!(
        matches!(
            gone,
            Error::Rejected(Rejection::PreconditionFailed { current: None, .. })
        ),
        "{gone:?}"
    );
    let third = door.wait(users.insert_as(&bob, User::new("", "DE", 3))).unwrap();
    assert!(third.revision > second.revision, "a revision never comes back");
}

/// Nobody overwrites what they have not seen.
pub fn refuses_what_was_changed_meanwhile<D: Door>() {
    let (door, database) = shop::<D>();
    let users = database.collection::<User>();
    let stale = door.wait(users.insert(User::new("a@a", "UK", 1))).unwrap();
    let current = door.wait(users.update(&stale)).unwrap();
    for error in [
        door.wait(users.update(&stale)).map(|_| ()).unwrap_err(),
        door.wait(users.delete(&stale)).unwrap_err(),
    ] {
        assert!(
            matches!(&error, Error::Rejected(Rejection::PreconditionFailed { id, current: Some(now), .. })
                if *id == stale.id && *now == current),
            "{error:?}"
        );
        assert!(error.to_string().contains(&current.to_string()), "{error}");
    }
    let taken = door
        .wait(users.insert_as(&stale.id, User::new("", "UK", 1)))
        .unwrap_err();
    assert!(taken.to_string().contains("exists already"), "{taken}");
}

/// Changes of the same document by many are all made.
pub fn modifies_under_contention<D: Door>() {
    let (door, database) = shop::<D>();
    let ada = door
        .wait(database.collection::<User>().insert(User::new("a@a", "UK", 0)))
        .unwrap();
    let jobs: Vec<_> = (0..4)
        .map(|_| {
            (0..10)
                .map(|_| {
                    database
                        .collection::<User>()
                        .modify(&ada.id, |user| user.age += 1)
                })
                .collect::<Vec<_>>()
        })
        .collect();
    for answer in jobs.into_iter().flatten() {
        door.wait(answer).unwrap().unwrap();
    }
    let ada = door
        .wait(database.collection::<User>().get(&ada.id))
        .unwrap()
        .unwrap();
    assert_eq!(ada.contents.age, 40);
    let nobody = "nobody".parse().unwrap();
    assert_eq!(
        door.wait(
            database
                .collection::<User>()
                .modify(&nobody, |user| user.age += 1)
        ),
        Ok(None)
    );
}

/// By id, both ways, by prefix, in pages.
pub fn lists_in_order<D: Door>() {
    let (door, database) = shop::<D>();
    let users = database.collection::<User>();
    let mut ids: Vec<DocumentId> = Vec::new();
    for n in 0..100 {
        let id: DocumentId = format!("{}{n:02}", if n % 2 == 0 { "a" } else { "b" })
            .parse()
            .unwrap();
        door.wait(users.insert_as(&id, User::new("", "UK", n))).unwrap();
        ids.push(id);
    }
    ids.sort();
    let found = |list: pliantdb_core::List<'_, crate::DatabaseOf<D>, User>| {
        door.wait(list.all())
            .unwrap()
            .into_iter()
            .map(|user| user.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(found(users.list()), ids);
    assert_eq!(found(users.list().limit(7)), ids[..7]);
    assert_eq!(found(users.list().after(&ids[50]).limit(7)), ids[51..58]);
    assert_eq!(found(users.list().prefix("b")), ids[50..]);
    ids.reverse();
    assert_eq!(found(users.list().descending()), ids);
    assert_eq!(
        found(users.list().descending().after(&ids[10]).limit(3)),
        ids[11..14]
    );
    assert_eq!(found(users.list().descending().prefix("a")), ids[50..]);
    assert_eq!(found(users.list().limit(0)), []);
    assert_eq!(door.wait(users.list().count()), Ok(100));
    assert_eq!(door.wait(users.list().prefix("b").count()), Ok(50));
    ids.sort();
    assert_eq!(door.wait(users.list().after(&ids[39]).limit(1).count()), Ok(60));
    assert_eq!(
        door.wait(users.list().prefix("a").after(&ids[39]).count()),
        Ok(10)
    );
    assert_eq!(
        door.wait(users.list().descending().after(&ids[39]).count()),
        Ok(39)
    );
    assert_eq!(found(users.list().prefix("c")), []);
    assert_eq!(door.wait(database.collection::<Order>().list().all()), Ok(vec![]));
}

/// A document's own number is its id.
pub fn takes_natural_ids<D: Door>() {
    let (door, database) = shop::<D>();
    let invoices = database.collection::<Invoice>();
    for number in [10, 9, u64::MAX, 0] {
        let invoice = door.wait(invoices.insert(Invoice { number, total: -1 })).unwrap();
        assert_eq!(invoice.id, number);
    }
    let numbers: Vec<u64> = door
        .wait(invoices.list().all())
        .unwrap()
        .into_iter()
        .map(|invoice| invoice.id)
        .collect();
    assert_eq!(numbers, [0, 9, 10, u64::MAX], "in the order of the numbers");
    let again = door
        .wait(invoices.insert(Invoice { number: 9, total: 1 }))
        .unwrap_err();
    assert!(
        matches!(again, Error::Rejected(Rejection::PreconditionFailed { .. })),
        "{again:?}"
    );
    assert_eq!(door.wait(invoices.get(&9)).unwrap().unwrap().contents.total, -1);
}

/// A document's id and its contents never disagree, by whichever request.
pub fn keeps_natural_ids<D: Door>() {
    let (door, database) = shop::<D>();
    let invoices = database.collection::<Invoice>();
    let mut seven = door
        .wait(invoices.insert(Invoice { number: 7, total: 1 }))
        .unwrap();
    let other = |error: Error| {
        assert!(
            matches!(&error, Error::OtherNaturalId { id, natural, .. }
                if id.as_str() == "00000000000000000007" && natural.as_str() == "00000000000000000008"),
            "{error:?}"
        );
        for part in ["invoices", "0007", "0008", "insert"] {
            assert!(error.to_string().contains(part), "{error}");
        }
    };
    let kept = seven.clone();
    seven.contents.number = 8;
    other(door.wait(invoices.update(&seven)).unwrap_err());
    other(
        door.wait(invoices.modify(&7, |invoice| invoice.number += 1))
            .unwrap_err(),
    );
    let eight = || Invoice { number: 8, total: 2 };
    other(door.wait(invoices.overwrite(&7, eight())).unwrap_err());
    other(door.wait(invoices.insert_as(&7, eight())).unwrap_err());
    let transaction = Transaction::new().delete(&kept).overwrite(&7, &eight());
    other(door.wait(transaction.apply(&database)).unwrap_err());
    let raw = |id: &str| {
        let action = ChangeAction::Put {
            id: id.parse().unwrap(),
            body: Body::of(&eight()).unwrap(),
            precondition: Precondition::None,
        };
        let collection = "invoices".parse().unwrap();
        let request = Request::Transact(vec![Change { collection, action }]);
        door.wait(database.ask(Ok(request), |_| Ok(())))
    };
    other(raw("00000000000000000007").unwrap_err());
    assert_eq!(door.wait(invoices.list().all()), Ok(vec![kept.clone()]));
    raw("00000000000000000008").unwrap();
    // What stays what it is can change otherwise.
    seven.contents = Invoice { number: 7, total: 3 };
    door.wait(invoices.update(&seven)).unwrap();
    assert_eq!(door.wait(invoices.list().count()), Ok(2));
}

/// A document can be found by its name, which is unique.
pub fn finds_by_name<D: Door>() {
    let (door, database) = shop::<D>();
    let pages = database.collection::<Page>();
    let page = |title: &str, text: &str| Page {
        title: title.to_owned(),
        text: text.to_owned(),
    };
    let mut home = door.wait(pages.insert(page("home", "1"))).unwrap();
    assert_eq!(door.wait(pages.by_name("home")), Ok(Some(home.clone())));
    assert_eq!(door.wait(pages.by_name("hom")), Ok(None));
    let twice = door.wait(pages.insert(page("home", "2"))).unwrap_err();
    assert!(
        matches!(&twice, Error::Rejected(Rejection::NotUnique { existing, .. }) if *existing == home.id),
        "{twice:?}"
    );
    home.contents.title = "start".to_owned();
    home.revision = door.wait(pages.update(&home)).unwrap();
    assert_eq!(door.wait(pages.by_name("home")), Ok(None));
    assert_eq!(door.wait(pages.by_name("start")), Ok(Some(home.clone())));
    door.wait(pages.insert(page("home", "2"))).unwrap();
    door.wait(pages.delete(&home)).unwrap();
    assert_eq!(door.wait(pages.by_name("start")), Ok(None));
}

/// Nothing gets into a typed collection that is not of its type, by whichever request.
pub fn refuses_other_types<D: Door>() {
    let (door, database) = shop::<D>();
    let put = |collection: &str, id: &str, body: &str| {
        let action = ChangeAction::Put {
            id: id.parse().unwrap(),
            body: Body::parse(body.into()).unwrap(),
            precondition: Precondition::None,
        };
        let change = Change {
            collection: collection.parse().unwrap(),
            action,
        };
        door.wait(database.ask(Ok(Request::Transact(vec![change])), |_| Ok(())))
    };
    let error = put("users", "x", r#"{"email": "", "country": "UK"}"#).unwrap_err();
    assert!(
        matches!(&error, Error::OtherType { .. }) && error.to_string().contains("age"),
        "{error}"
    );
    let error = put("invoices", "seven", r#"{"number": 7, "total": 1}"#).unwrap_err();
    assert!(
        matches!(&error, Error::OtherType { .. }) && error.to_string().contains("seven"),
        "{error}"
    );
    assert_eq!(
        put(
            "users",
            "x",
            r#"{"email": "", "country": "UK", "age": 1, "more": true}"#
        ),
        Ok(())
    );
    assert_eq!(
        put("elsewhere", "x", "[1]"),
        Ok(()),
        "a collection without a type"
    );
}

/// Ids that cannot be.
pub fn refuses_hostile_ids<D: Door>() {
    let (door, database) = shop::<D>();
    // Ids of other types are texts that are not checked before they are used.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, pliantdb_core::Collection)]
    #[collection(name = "users", id = String)]
    struct Raw {
        email: String,
        country: String,
        age: u32,
    }
    let users = database.collection::<Raw>();
    let raw = || Raw {
        email: String::new(),
        country: "UK".to_owned(),
        age: 1,
    };
    for id in ["", "a\nb", "a\0b", "..", &"x".repeat(1025)] {
        let error = door.wait(users.overwrite(&id.to_owned(), raw())).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
        assert!(matches!(
            door.wait(users.get(&id.to_owned())),
            Err(Error::Invalid(_))
        ));
    }
    for id in [" ", "a/b?c#d%", "é😀", "{}", "'; --", &"x".repeat(1024)] {
        let id = id.to_owned();
        door.wait(users.overwrite(&id, raw())).unwrap();
        assert_eq!(door.wait(users.get(&id)).unwrap().unwrap().id, id);
    }
}

/// As deep and large as can be, and no deeper.
pub fn holds_deep_and_large_documents<D: Door>() {
    /// Any JSON.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, pliantdb_core::Collection)]
    #[collection(name = "trees")]
    struct Tree(Vec<Tree>);
    let (door, database) = shop::<D>();
    let trees = database.collection::<Tree>();
    let nested = |levels| (1..levels).fold(Tree(vec![]), |inner, _| Tree(vec![inner]));
    let deep = door.wait(trees.insert(nested(128))).unwrap();
    assert_eq!(door.wait(trees.get(&deep.id)), Ok(Some(deep)));
    let error = door.wait(trees.insert(nested(129))).unwrap_err();
    assert!(error.to_string().contains("128 levels"), "{error}");

    let large = Page {
        title: "large".to_owned(),
        text: "x\"\n".repeat(1 << 20),
    };
    let large = door.wait(database.collection::<Page>().insert(large)).unwrap();
    assert_eq!(
        door.wait(database.collection::<Page>().get(&large.id)),
        Ok(Some(large))
    );
    let too_large = Page {
        title: "too large".to_owned(),
        text: "x".repeat(65 << 20),
    };
    let error = door
        .wait(database.collection::<Page>().insert(too_large))
        .unwrap_err();
    assert!(error.to_string().contains("67108864"), "{error}");
}
