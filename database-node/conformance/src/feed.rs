//! The feed of changes.

use std::time::{Duration, Instant};

use pliantdb_core::{
    ChangeKind, Connection, DocumentId, Error, FeedCursor, FeedStart, StorageConnection, Transaction,
};

use crate::schema::{Order, Shop, User};
use crate::{DatabaseOf, Door, shop};

/// How long the doors keep changes.
pub const RETENTION: Duration = Duration::from_secs(20);

fn read<D: Door>(
    door: &D,
    database: &DatabaseOf<D>,
    from: FeedStart,
) -> (Vec<Vec<(String, ChangeKind)>>, FeedCursor) {
    let page = door.wait(database.changes(from, 100, Duration::ZERO)).unwrap();
    let changes = page.transactions.iter().map(|transaction| {
        let change = |change: &pliantdb_core::ChangedDocument| {
            (
                format!("{}/{}", change.collection, change.id.as_str()),
                change.kind,
            )
        };
        transaction.changes.iter().map(change).collect()
    });
    (changes.collect(), page.next)
}

/// Inserted, updated, deleted; transactions whole.
pub fn tells_every_change_in_order<D: Door>() {
    let (door, database) = shop::<D>();
    let users = database.collection::<User>();
    let (a, b): (DocumentId, DocumentId) = ("a".parse().unwrap(), "b".parse().unwrap());
    let first = door.wait(users.insert_as(&a, User::new("", "UK", 1))).unwrap();
    door.wait(users.overwrite(&a, User::new("", "UK", 2))).unwrap();
    let order = Order {
        user: a.clone(),
        item: "tea".to_owned(),
    };
    let transaction = Transaction::new()
        .insert_as(&b, &order)
        .check_exists::<User>(&a)
        .delete_by_id::<User>(&a);
    door.wait(transaction.apply(&database)).unwrap();
    // What is rejected is no change.
    door.wait(users.update(&first)).unwrap_err();
    door.wait(database.key_value("n").set("k", &1)).unwrap();
    let (changes, next) = read(&door, &database, FeedStart::Oldest);
    let change = |name: &str, kind| (name.to_owned(), kind);
    assert_eq!(
        changes,
        [
            vec![change("users/a", ChangeKind::Inserted)],
            vec![change("users/a", ChangeKind::Updated)],
            vec![
                change("orders/b", ChangeKind::Inserted),
                change("users/a", ChangeKind::Deleted)
            ],
        ]
    );
    let page = door
        .wait(database.changes(FeedStart::Oldest, 1, Duration::ZERO))
        .unwrap();
    assert_eq!(page.transactions[0].revision(), first.revision);
    assert_eq!(read(&door, &database, FeedStart::After(next)).0.len(), 0);
}

/// Also in pages, after the storage was opened again, and from a text.
pub fn goes_on_from_a_cursor<D: Door>() {
    let mut door = D::open();
    let mut database = door.wait(door.storage().create_database::<Shop>("shop")).unwrap();
    for n in 0..50 {
        door.wait(database.collection::<User>().insert(User::new("", "UK", n)))
            .unwrap();
    }
    let mut cursor = FeedStart::Oldest;
    let mut seen = 0;
    loop {
        let page = door.wait(database.changes(cursor, 7, Duration::ZERO)).unwrap();
        if page.transactions.is_empty() {
            cursor = FeedStart::After(page.next);
            break;
        }
        seen += page.transactions.len();
        let text = page.next.to_string();
        cursor = FeedStart::After(text.parse().unwrap());
        if seen == 21 {
            drop(database);
            door.reopen();
            database = door.wait(door.storage().database::<Shop>("shop")).unwrap();
        }
    }
    assert_eq!(seen, 50);
    let other = door
        .wait(door.storage().create_database::<Shop>("other"))
        .unwrap();
    let error = door.wait(other.changes(cursor, 7, Duration::ZERO)).unwrap_err();
    assert!(error.to_string().contains("another database"), "{error}");
}

/// Waits for the next change, and not for ever.
pub fn waits_for_more<D: Door>() {
    let (door, database) = shop::<D>();
    let now = door
        .wait(database.changes(FeedStart::Now, 1, Duration::ZERO))
        .unwrap();
    assert!(now.transactions.is_empty());
    let start = Instant::now();
    let wait = Duration::from_millis(200);
    let none = door
        .wait(database.changes(FeedStart::After(now.next), 1, wait))
        .unwrap();
    assert!(none.transactions.is_empty() && start.elapsed() >= wait);
    let writer = {
        let user = database.collection::<User>().insert(User::new("", "UK", 1));
        door.wait(user).unwrap()
    };
    let page = door
        .wait(database.changes(FeedStart::After(none.next), 1, Duration::MAX))
        .unwrap();
    assert_eq!(page.transactions[0].revision(), writer.revision);
}

/// What is no longer kept is an error, never a gap.
pub fn expires_with_an_error<D: Door>() {
    let (door, database) = shop::<D>();
    let start = door
        .wait(database.changes(FeedStart::Now, 1, Duration::ZERO))
        .unwrap()
        .next;
    door.wait(database.collection::<User>().insert(User::new("", "UK", 1)))
        .unwrap();
    let deadline = Instant::now() + RETENTION * 4;
    loop {
        match door.wait(database.changes(FeedStart::After(start), 10, Duration::ZERO)) {
            Ok(page) => assert_eq!(page.transactions.len(), 1),
            Err(error) => {
                assert_eq!(error, Error::CursorExpired);
                break;
            }
        }
        assert!(Instant::now() < deadline, "the change is still there");
        std::thread::sleep(Duration::from_millis(100));
    }
    // One can begin again, and a view that has not read them is right.
    assert_eq!(read(&door, &database, FeedStart::Oldest).0.len(), 0);
    assert_eq!(
        door.wait(database.view::<crate::schema::ByCountry>().reduce()),
        Ok(1)
    );
}
