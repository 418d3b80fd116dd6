//! Databases as they were at one moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pliantdb_core::{
    Connection, DocumentId, Error, FeedStart, Freshness, StorageConnection, Stored, TakeSnapshot, Transaction,
};

use crate::schema::{ByAge, ByCountry, ByEmail, Greet, Invoice, Order, Page, User, Words};
use crate::views::later;
use crate::{DatabaseOf, Door, SnapshotOf, shop};

/// Everything that can be read of the shop.
#[derive(Debug, PartialEq)]
struct Everything {
    users: Vec<Stored<User>>,
    count: u64,
    first: Option<Stored<User>>,
    orders: Vec<Stored<Order>>,
    invoices: Vec<Stored<Invoice>>,
    home: Option<Stored<Page>>,
    countries: Vec<(String, u64)>,
    in_uk: Vec<(DocumentId, u32)>,
    words: u64,
    ages: Vec<(u32, u64)>,
    age: u64,
    emails: Vec<String>,
    keys: Vec<(String, u32)>,
    key: Option<u32>,
    soon: Option<u32>,
    changes: usize,
}

fn read<D: Door>(door: &D, snapshot: &SnapshotOf<D>) -> Everything {
    let users = snapshot.collection::<User>();
    let emails = door.wait_at(snapshot.view::<ByEmail>().query()).unwrap();
    let keys = door.wait_at(snapshot.key_value("n").list().all::<u32>()).unwrap();
    let uk = snapshot.view::<ByCountry>().key(&"UK".to_owned());
    let in_uk = door.wait_at(uk.query_with_documents()).unwrap();
    let page = door.wait_at(snapshot.changes(FeedStart::Oldest, 10_000, Duration::from_secs(60)));
    Everything {
        users: door.wait_at(users.list().all()).unwrap(),
        count: door.wait_at(users.list().count()).unwrap(),
        first: door.wait_at(users.get(&id("000"))).unwrap(),
        orders: door.wait_at(snapshot.collection::<Order>().list().all()).unwrap(),
        invoices: door
            .wait_at(snapshot.collection::<Invoice>().list().all())
            .unwrap(),
        home: door
            .wait_at(snapshot.collection::<Page>().by_name("home"))
            .unwrap(),
        countries: door
            .wait_at(snapshot.view::<ByCountry>().reduce_grouped())
            .unwrap(),
        in_uk: in_uk
            .into_iter()
            .map(|(row, user)| (row.id, user.contents.age))
            .collect(),
        words: door.wait_at(snapshot.view::<Words>().reduce()).unwrap(),
        ages: door.wait_at(snapshot.view::<ByAge>().reduce_grouped()).unwrap(),
        age: door.wait_at(snapshot.view::<ByAge>().reduce()).unwrap(),
        emails: emails.into_iter().map(|row| row.key).collect(),
        keys: keys
            .into_iter()
            .map(|(key, value)| (key.as_str().to_owned(), value))
            .collect(),
        key: door.wait_at(snapshot.key_value("n").get("k")).unwrap(),
        soon: door.wait_at(snapshot.key_value("n").get("soon")).unwrap(),
        changes: page.unwrap().transactions.len(),
    }
}

fn id(text: &str) -> DocumentId {
    text.parse().unwrap()
}

fn user(n: u32) -> User {
    User::new(&format!("{n}@x"), ["UK", "DE"][n as usize % 2], n)
}

/// So many users, an order, an invoice, a page, keys.
fn fill<D: Door>(door: &D, database: &DatabaseOf<D>, users: u32) {
    for n in 0..users {
        door.wait(
            database
                .collection::<User>()
                .insert_as(&id(&format!("{n:03}")), user(n)),
        )
        .unwrap();
    }
    let order = Order {
        user: id("000"),
        item: "tea".to_owned(),
    };
    door.wait(database.collection::<Order>().insert_as(&id("o"), order))
        .unwrap();
    door.wait(
        database
            .collection::<Invoice>()
            .insert(Invoice { number: 7, total: 1 }),
    )
    .unwrap();
    let (title, text) = ("home".to_owned(), String::new());
    door.wait(database.collection::<Page>().insert(Page { title, text }))
        .unwrap();
    door.wait(database.key_value("n").set("k", &1)).unwrap();
    door.wait(
        database
            .key_value("n")
            .set_for("soon", &2, Duration::from_secs(2)),
    )
    .unwrap();
}

/// Across collections, views, keys and changes, whatever is written since.
pub fn show_one_moment<D: Door>() {
    let (door, database) = shop::<D>();
    let empty = door.wait(database.snapshot()).unwrap();
    fill(&door, &database, 10);
    // One that has read all, and others that have not.
    assert_eq!(door.wait(database.view::<ByCountry>().reduce()), Ok(10));
    door.wait(database.collection::<User>().overwrite(&id("000"), user(0)))
        .unwrap();
    let snapshot = door.wait(database.snapshot()).unwrap();
    let before = read(&door, &snapshot);
    assert_eq!((before.count, before.in_uk.len(), before.words), (10, 5, 10));
    assert_eq!(before.countries, [("DE".to_owned(), 5), ("UK".to_owned(), 5)]);
    assert_eq!((before.age, before.emails.len(), before.changes), (45, 10, 14));
    assert_eq!(
        (before.key, before.soon, before.keys.len()),
        (Some(1), Some(2), 2)
    );
    assert!(before.home.is_some() && before.orders.len() == 1 && before.invoices.len() == 1);

    let here = door
        .wait_at(snapshot.changes(FeedStart::Now, 10, Duration::ZERO))
        .unwrap()
        .next;
    let all = door.wait(database.collection::<User>().list().all()).unwrap();
    let mut changed = Transaction::new()
        .delete_by_id::<Order>(&id("o"))
        .delete_by_id::<Invoice>(&7);
    for (n, mut user) in all.into_iter().enumerate() {
        user.contents.country = "FR FR".to_owned();
        user.contents.age += 1000;
        changed = if n % 3 == 0 {
            changed.delete(&user)
        } else {
            changed.update(&user)
        };
    }
    door.wait(changed.apply(&database)).unwrap();
    door.wait(database.collection::<User>().insert(User::new("new@x", "UK", 1)))
        .unwrap();
    door.wait(database.key_value("n").delete("k")).unwrap();
    door.wait(database.key_value("n").set("l", &9)).unwrap();
    door.wait(database.view::<ByCountry>().reduce()).unwrap();
    door.wait(database.view::<Words>().reduce()).unwrap();
    assert_eq!(read(&door, &snapshot), before);
    assert_eq!(read(&door, &snapshot.clone()), before, "again");
    std::thread::sleep(Duration::from_millis(2100));
    assert_eq!(door.wait(database.key_value("n").get::<u32>("soon")), Ok(None));
    assert_eq!(read(&door, &snapshot), before, "nothing expires in it");
    assert_eq!(read(&door, &empty).count, 0);

    let after = door
        .wait(database.changes(FeedStart::After(here), 10, Duration::ZERO))
        .unwrap();
    assert_eq!(after.transactions.len(), 2, "the feed goes on from the snapshot");
    let later = door.wait(database.snapshot()).unwrap();
    let later = read(&door, &later);
    assert_eq!((later.count, later.words), (7, 13));
    assert_eq!(later.countries, [("FR FR".to_owned(), 6), ("UK".to_owned(), 1)]);
}

/// What would is an error that says so.
pub fn change_nothing<D: Door>() {
    let (door, database) = shop::<D>();
    fill(&door, &database, 4);
    let snapshot = door.wait(database.snapshot()).unwrap();
    let before = read(&door, &snapshot);
    let users = snapshot.collection::<User>();
    let first = before.first.clone().unwrap();
    let refused: Vec<Error> = vec![
        door.wait_at(users.insert(user(9))).unwrap_err(),
        door.wait_at(users.update(&first)).unwrap_err(),
        door.wait_at(users.modify(&first.id, |user| user.age = 1))
            .unwrap_err(),
        door.wait_at(users.delete(&first)).unwrap_err(),
        door.wait_at(Transaction::new().insert(&user(9)).apply(&snapshot))
            .unwrap_err(),
        door.wait_at(snapshot.view::<ByAge>().delete_documents())
            .unwrap_err(),
        door.wait_at(snapshot.key_value("n").set("k", &1)).unwrap_err(),
        door.wait_at(snapshot.key_value("n").increment("k", 1))
            .unwrap_err(),
        door.wait_at(snapshot.publish("topic", &1)).unwrap_err(),
        door.wait_at(snapshot.subscribe(&["topic"]))
            .map(drop)
            .unwrap_err(),
        door.wait_at(snapshot.call(&Greet {
            name: "Ada".to_owned(),
        }))
        .unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, Error::ReadOnlySnapshot(_)), "{error:?}");
        assert!(error.to_string().contains("read-only"), "{error}");
    }
    assert_eq!(read(&door, &snapshot), before);
    assert_eq!(door.wait(database.collection::<User>().list().count()), Ok(4));
}

/// Writes, deletes, view updates, a schema that replaces its views, the deletion of the database.
pub fn stay_whatever_happens<D: Door>() {
    let (door, database) = shop::<D>();
    fill(&door, &database, 200);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let users = database.collection::<User>();
            for n in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let id = id(&format!("{:03}", n % 200));
                if n % 7 == 3 {
                    // It may be deleted already.
                    let _ = door.wait(users.delete_by_id(&id));
                } else {
                    let (email, country) = (format!("{n}@y"), ["UK", "DE DE", "FR"][n as usize % 3]);
                    door.wait(users.overwrite(&id, User::new(&email, country, n)))
                        .unwrap();
                }
            }
        });
        let mut kept: Vec<(SnapshotOf<D>, Everything)> = Vec::new();
        for _ in 0..5 {
            let snapshot = door.wait(database.snapshot()).unwrap();
            let found = read(&door, &snapshot);
            // It agrees with itself.
            let users = || found.users.iter().map(|user| &user.contents);
            let uk = users().filter(|user| user.country == "UK").map(|user| user.age);
            let (mut uk, mut in_uk) = (
                uk.collect::<Vec<_>>(),
                found.in_uk.iter().map(|(_, age)| *age).collect::<Vec<_>>(),
            );
            uk.sort_unstable();
            in_uk.sort_unstable();
            assert_eq!(uk, in_uk);
            let sum = found.countries.iter().map(|(_, count)| count).sum();
            assert_eq!((found.count, found.emails.len() as u64), (sum, sum));
            assert_eq!(users().map(|user| u64::from(user.age)).sum::<u64>(), found.age);
            let words = users().map(|user| user.country.split(' ').count() as u64);
            assert_eq!(words.sum::<u64>(), found.words);
            door.wait(database.view::<Words>().reduce()).unwrap();
            kept.push((snapshot, found));
        }
        is_over.store(true, Ordering::Relaxed);
        writing.join().unwrap();
        for (snapshot, found) in &kept {
            assert_eq!(read(&door, snapshot), *found);
        }
        // Other versions of its views, of which one fails for what the documents hold.
        let ages = door.wait(database.view::<ByAge>().reduce_grouped()).unwrap();
        let replaced = door.wait(door.storage().database::<later::Shop>("shop")).unwrap();
        let built = door.wait(replaced.view::<later::ByCountry>().reduce()).unwrap();
        assert!(built > 0 && !ages.is_empty());
        let anew = door.wait(replaced.snapshot()).unwrap();
        assert_eq!(door.wait_at(anew.view::<later::ByCountry>().reduce()), Ok(built));
        let gone = door
            .wait_at(anew.view::<Words>().freshness(Freshness::Stale).reduce())
            .unwrap_err();
        assert!(matches!(gone, Error::UnknownView { .. }), "{gone:?}");
        for (snapshot, found) in &kept {
            assert_eq!(read(&door, snapshot), *found, "with its own views");
        }
        door.wait(door.storage().delete_database("shop")).unwrap();
        for (snapshot, found) in &kept {
            assert_eq!(read(&door, snapshot), *found, "the database is gone");
        }
        let error = door.wait(database.snapshot()).map(drop).unwrap_err();
        assert!(matches!(error, Error::UnknownDatabase(_)), "{error:?}");
    });
}
