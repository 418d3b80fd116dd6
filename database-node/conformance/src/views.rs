//! Views.

use std::collections::BTreeMap;

use pliantdb_core::{
    Connection, DocumentId, Emit, Error, Freshness, Map, Reduce, Rejection, StorageConnection, Transaction,
    View, ViewStatus,
};
use serde::{Deserialize, Serialize};

use crate::schema::{ByAge, ByCountry, ByEmail, Shop, User, Words};
use crate::{DatabaseOf, Door, shop};

/// Inserts, updates and deletes documents, and looks at `keys` each time.
fn follow<D: Door, T: PartialEq + std::fmt::Debug>(
    keys: impl Fn(&D, &DatabaseOf<D>) -> Vec<T>,
    key: impl Fn(&User) -> T,
    sort: impl Fn(&mut Vec<T>),
) {
    let (door, database) = shop::<D>();
    let users = database.collection::<User>();
    let mut known = BTreeMap::new();
    for n in 0..60u32 {
        let country = ["UK", "DE", "FR", "New Zealand"][n as usize % 4];
        let user = User::new(&format!("{n}@a"), country, n * 7 % 50);
        match n % 6 {
            5 => {
                let (_, user) = known.pop_first().unwrap();
                door.wait(users.delete(&user)).unwrap();
            }
            4 => {
                let (id, mut known_user): (DocumentId, pliantdb_core::Stored<User>) =
                    known.pop_last().unwrap();
                known_user.contents = user;
                known_user.revision = door.wait(users.update(&known_user)).unwrap();
                known.insert(id, known_user);
            }
            _ => {
                let user = door.wait(users.insert(user)).unwrap();
                known.insert(user.id.clone(), user);
            }
        }
        if n % 7 == 0 || n > 50 {
            let mut expected: Vec<T> = known.values().map(|user| key(&user.contents)).collect();
            sort(&mut expected);
            assert_eq!(keys(&door, &database), expected, "after change {n}");
        }
    }
}

/// A lazy view shows what was committed before the query.
pub fn lazy_views_follow_every_change<D: Door>() {
    follow::<D, String>(
        |door, database| {
            let rows = door.wait(database.view::<ByCountry>().query()).unwrap();
            rows.into_iter().map(|row| row.key).collect()
        },
        |user| user.country.clone(),
        |keys| keys.sort(),
    );
}

/// An eager view does so in the same transaction.
pub fn eager_views_follow_every_change<D: Door>() {
    follow::<D, u32>(
        |door, database| {
            let rows = door
                .wait(database.view::<ByAge>().freshness(Freshness::Stale).query())
                .unwrap();
            rows.into_iter().map(|row| row.key).collect()
        },
        |user| user.age,
        |keys| keys.sort_unstable(),
    );
}

/// Ranges of keys, both ways, with limits and pages.
pub fn ranges_orders_and_pages<D: Door>() {
    let (door, database) = shop::<D>();
    let mut transaction = Transaction::new();
    for age in 0..200 {
        transaction = transaction.insert(&User::new("", ["UK", "UKR", "DE"][age as usize % 3], age));
    }
    door.wait(transaction.apply(&database)).unwrap();
    let ages = |query: pliantdb_core::ViewQuery<'_, DatabaseOf<D>, ByAge>| {
        door.wait(query.query())
            .unwrap()
            .into_iter()
            .map(|row| row.key)
            .collect::<Vec<_>>()
    };
    let view = || database.view::<ByAge>();
    assert_eq!(ages(view()), (0..200).collect::<Vec<_>>());
    assert_eq!(ages(view().descending()), (0..200).rev().collect::<Vec<_>>());
    assert_eq!(ages(view().key_range(10..13)), [10, 11, 12]);
    assert_eq!(ages(view().key_range(10..=13).descending()), [13, 12, 11, 10]);
    assert_eq!(ages(view().key_range(197..)), [197, 198, 199]);
    assert_eq!(ages(view().key_range(..3)), [0, 1, 2]);
    assert_eq!(ages(view().key_range(5..5)), [] as [u32; 0]);
    assert_eq!(ages(view().key(&255)), [] as [u32; 0]);
    assert_eq!(ages(view().limit(3)), [0, 1, 2]);
    assert_eq!(ages(view().limit(0)), [] as [u32; 0]);
    assert_eq!(ages(view().key_range(..100).descending().limit(2)), [99, 98]);

    for descending in [false, true] {
        let (mut pages, mut cursor) = (Vec::new(), None);
        loop {
            let mut query = view().limit(33);
            if descending {
                query = query.descending();
            }
            if let Some(cursor) = cursor.take() {
                query = query.after(cursor);
            }
            let (rows, next) = door.wait(query.page()).unwrap();
            pages.extend(rows.into_iter().map(|row| row.key));
            match next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        let mut expected: Vec<u32> = (0..200).collect();
        if descending {
            expected.reverse();
        }
        assert_eq!(pages, expected);
    }

    let countries = |query: pliantdb_core::ViewQuery<'_, DatabaseOf<D>, ByCountry>| {
        door.wait(query.query()).unwrap().len()
    };
    let view = || database.view::<ByCountry>();
    assert_eq!(
        countries(view().key(&"UK".to_owned())),
        67,
        "not those that only begin with it"
    );
    assert_eq!(countries(view().key_prefix("UK")), 134);
    assert_eq!(countries(view().key_prefix("")), 200);
}

/// Several keys, and the documents with the entries.
pub fn several_keys_and_documents<D: Door>() {
    let (door, database) = shop::<D>();
    for (email, country) in [("a@a", "UK"), ("b@a", "DE"), ("c@a", "UK"), ("d@a", "FR")] {
        door.wait(database.collection::<User>().insert(User::new(email, country, 1)))
            .unwrap();
    }
    let keys = ["UK", "FR", "UK", "IT"].map(str::to_owned);
    let found = door
        .wait(database.view::<ByCountry>().keys(&keys).query_with_documents())
        .unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|(row, user)| (row.key.as_str(), user.contents.email.as_str()))
        .collect();
    assert_eq!(found, [("FR", "d@a"), ("UK", "a@a"), ("UK", "c@a")]);
    let one = door
        .wait(
            database
                .view::<ByEmail>()
                .key(&"b@a".to_owned())
                .query_with_documents(),
        )
        .unwrap();
    assert_eq!(one[0].1.contents.country, "DE");
    assert_eq!(
        door.wait(database.view::<ByEmail>().key(&"x@a".to_owned()).query())
            .unwrap()
            .len(),
        0
    );
}

/// A document can emit a key more than once.
pub fn the_same_key_twice<D: Door>() {
    let (door, database) = shop::<D>();
    let users = database.collection::<User>();
    let mut user = door.wait(users.insert(User::new("", "a b a a", 1))).unwrap();
    door.wait(users.insert(User::new("", "b c", 1))).unwrap();
    let counts = || door.wait(database.view::<Words>().reduce_grouped()).unwrap();
    let of = |counts: &[(&str, u64)]| {
        counts
            .iter()
            .map(|(word, count)| ((*word).to_owned(), *count))
            .collect::<Vec<_>>()
    };
    assert_eq!(counts(), of(&[("a", 3), ("b", 2), ("c", 1)]));
    user.contents.country = "a c".to_owned();
    user.revision = door.wait(users.update(&user)).unwrap();
    assert_eq!(counts(), of(&[("a", 1), ("b", 1), ("c", 2)]));
    door.wait(users.delete(&user)).unwrap();
    assert_eq!(counts(), of(&[("b", 1), ("c", 1)]));
}

/// No two documents have a key.
pub fn unique_views_refuse_a_second<D: Door>() {
    let (door, database) = shop::<D>();
    let users = database.collection::<User>();
    let ada = door.wait(users.insert(User::new("ada@a", "UK", 1))).unwrap();
    let error = door.wait(users.insert(User::new("ada@a", "DE", 2))).unwrap_err();
    assert!(
        matches!(&error, Error::Rejected(Rejection::NotUnique { existing, .. }) if *existing == ada.id),
        "{error:?}"
    );
    assert!(error.to_string().contains("by-email"), "{error}");
    door.wait(users.insert(User::new("", "DE", 2))).unwrap();
    door.wait(users.insert(User::new("", "DE", 2))).unwrap();
    door.wait(users.overwrite(&ada.id, User::new("ada@a", "FR", 3)))
        .unwrap();
    let owners = door.wait(database.view::<ByEmail>().query()).unwrap();
    assert_eq!(owners.len(), 1);
    assert_eq!(owners[0].id, ada.id);
    door.wait(users.delete_by_id(&ada.id)).unwrap();
    door.wait(users.insert(User::new("ada@a", "DE", 2))).unwrap();
    assert_eq!(
        door.wait(users.list().all()).unwrap().len(),
        3,
        "nothing of the refused one was written"
    );
}

/// One value for all, for a range, for each key.
pub fn reduces_and_groups<D: Door>() {
    let (door, database) = shop::<D>();
    let total = || door.wait(database.view::<ByAge>().reduce()).unwrap();
    assert_eq!(total(), 0, "of nothing");
    assert_eq!(door.wait(database.view::<ByAge>().reduce_grouped()), Ok(vec![]));
    for age in 0..100 {
        door.wait(database.collection::<User>().insert(User::new(
            "",
            ["UK", "DE"][age as usize % 2],
            age / 10,
        )))
        .unwrap();
    }
    assert_eq!(total(), 450);
    assert_eq!(door.wait(database.view::<ByAge>().key(&3).reduce()), Ok(30));
    assert_eq!(
        door.wait(database.view::<ByAge>().key_range(3..5).reduce()),
        Ok(70)
    );
    assert_eq!(
        door.wait(database.view::<ByAge>().keys(&[1, 9, 1, 77]).reduce()),
        Ok(100)
    );
    let groups = door
        .wait(database.view::<ByAge>().key_range(..=2).reduce_grouped())
        .unwrap();
    assert_eq!(groups, [(0, 0), (1, 10), (2, 20)]);
    let countries = door
        .wait(database.view::<ByCountry>().descending().reduce_grouped())
        .unwrap();
    assert_eq!(countries, [("UK".to_owned(), 50), ("DE".to_owned(), 50)]);
    let error = door.wait(database.view::<ByAge>().limit(1).reduce()).unwrap_err();
    assert!(error.to_string().contains("limit"), "{error}");
}

/// Enough entries for stored partial results, which stay right while documents change.
pub fn reduces_many_with_changes<D: Door>() {
    let (door, database) = shop::<D>();
    let users = database.collection::<User>();
    let mut ages = BTreeMap::new();
    for chunk in 0..20u32 {
        let mut transaction = Transaction::new();
        for n in 0..1000u32 {
            let (id, age) = ((chunk * 1000 + n), (chunk * 1000 + n * 7919) % 5000);
            transaction = transaction.overwrite(
                &format!("{id:06}").parse().unwrap(),
                &User::new("", ["UK", "DE"][n as usize % 2], age),
            );
            ages.insert(id, age);
        }
        door.wait(transaction.apply(&database)).unwrap();
    }
    let check = |ages: &BTreeMap<u32, u32>| {
        let sum = |from: u32, to: u32| {
            ages.values()
                .filter(|age| (from..to).contains(*age))
                .map(|age| u64::from(*age))
                .sum::<u64>()
        };
        assert_eq!(door.wait(database.view::<ByAge>().reduce()), Ok(sum(0, u32::MAX)));
        for (from, to) in [(0, 2500), (17, 18), (1234, 4321), (4999, 6000)] {
            assert_eq!(
                door.wait(database.view::<ByAge>().key_range(from..to).reduce()),
                Ok(sum(from, to)),
                "{from}..{to}"
            );
        }
        assert_eq!(
            door.wait(database.view::<ByCountry>().reduce()),
            Ok(ages.len() as u64)
        );
        let groups = door.wait(database.view::<ByCountry>().reduce_grouped()).unwrap();
        assert_eq!(
            groups.iter().map(|(_, count)| *count).sum::<u64>(),
            ages.len() as u64
        );
    };
    check(&ages);
    for n in 0..300u32 {
        let key = n * 61 % 20_000;
        let id: DocumentId = format!("{key:06}").parse().unwrap();
        if n % 3 == 0 {
            if ages.remove(&key).is_some() {
                door.wait(users.delete_by_id(&id)).unwrap();
            }
        } else {
            ages.insert(key, n);
            door.wait(users.overwrite(&id, User::new("", "UK", n))).unwrap();
        }
        if n % 50 == 7 {
            check(&ages);
        }
    }
    check(&ages);
}

/// Deletes the documents behind entries.
pub fn deletes_matching_documents<D: Door>() {
    let (door, database) = shop::<D>();
    let mut transaction = Transaction::new();
    for n in 0..1500 {
        transaction = transaction.insert(&User::new("", ["UK UK", "DE"][n % 2], 1));
    }
    door.wait(transaction.apply(&database)).unwrap();
    let words = || database.view::<Words>();
    assert_eq!(
        door.wait(words().key(&"UK".to_owned()).limit(20).delete_documents()),
        Ok(10),
        "each is there twice"
    );
    assert_eq!(
        door.wait(words().key(&"UK".to_owned()).delete_documents()),
        Ok(740)
    );
    assert_eq!(door.wait(words().key(&"UK".to_owned()).delete_documents()), Ok(0));
    assert_eq!(
        door.wait(database.collection::<User>().list().all())
            .unwrap()
            .len(),
        750
    );
    assert_eq!(door.wait(words().reduce()), Ok(750));
}

/// The shop of a later program: another map under the same name, and a view that is new.
pub(crate) mod later {
    use super::*;

    /// As the users of [`crate::schema`].
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, pliantdb_core::Collection)]
    #[collection(name = "users", views = [ByCountry, ByAge])]
    pub(crate) struct User {
        pub(crate) email: String,
        pub(crate) country: String,
        pub(crate) age: u32,
    }

    #[derive(View)]
    #[view(collection = User, name = "by-country", key = String, value = u64, version = 2, reduce)]
    pub(crate) struct ByCountry;

    impl Map for ByCountry {
        fn map(_: &DocumentId, user: &User, emit: &mut Emit<Self>) {
            emit.entry(user.country.to_lowercase(), 1);
        }
    }

    impl Reduce for ByCountry {
        fn reduce(counts: &[u64]) -> u64 {
            counts.iter().sum()
        }
    }

    /// Unique, which the documents may not allow.
    #[derive(View)]
    #[view(collection = User, name = "by-age", key = u32, policy = unique, version = 2)]
    pub(crate) struct ByAge;

    impl Map for ByAge {
        fn map(_: &DocumentId, user: &User, emit: &mut Emit<Self>) {
            emit.entry(user.age, ());
        }
    }

    #[derive(pliantdb_core::Schema)]
    #[schema(name = "shop", collections = [User])]
    pub(crate) struct Shop;
}

/// A changed view is built in the background.
pub fn a_new_version_is_built_while_the_old_one_serves<D: Door>() {
    let mut door = D::open();
    let database = door.wait(door.storage().create_database::<Shop>("shop")).unwrap();
    for age in 0..300 {
        door.wait(database.collection::<User>().insert(User::new("", "UK", age)))
            .unwrap();
    }
    assert_eq!(
        door.wait(database.view::<ByCountry>().key(&"UK".to_owned()).reduce()),
        Ok(300)
    );
    drop(database);
    door.reopen();
    let database = door.wait(door.storage().database::<later::Shop>("shop")).unwrap();
    // A key that another document has is refused from the first moment on.
    let twice = || later::User {
        email: String::new(),
        country: "UK".to_owned(),
        age: 7,
    };
    let error = door
        .wait(database.collection::<later::User>().insert(twice()))
        .unwrap_err();
    assert!(
        matches!(error, Error::Rejected(Rejection::NotUnique { .. })),
        "{error:?}"
    );
    // Who does not want to wait gets either version; others the new one.
    let either = door
        .wait(
            database
                .view::<later::ByCountry>()
                .freshness(Freshness::Stale)
                .query(),
        )
        .unwrap();
    assert_eq!(either.len(), 300);
    let view = || database.view::<later::ByCountry>();
    assert_eq!(door.wait(view().key(&"uk".to_owned()).reduce()), Ok(300));
    assert_eq!(door.wait(view().key(&"UK".to_owned()).reduce()), Ok(0));
    assert_eq!(
        door.wait(database.view::<later::ByCountry>().status()),
        Ok(ViewStatus::Ready)
    );
    let rows = door.wait(database.view::<later::ByAge>().query()).unwrap();
    assert_eq!(rows.len(), 300);
    let error = door
        .wait(database.collection::<later::User>().insert(twice()))
        .unwrap_err();
    assert!(
        matches!(error, Error::Rejected(Rejection::NotUnique { .. })),
        "{error:?}"
    );
}

/// Documents that a unique view cannot have are named, and the collection can be used.
pub fn a_failed_build_says_why<D: Door>() {
    let mut door = D::open();
    let database = door.wait(door.storage().create_database::<Shop>("shop")).unwrap();
    let a = door
        .wait(database.collection::<User>().insert(User::new("", "UK", 7)))
        .unwrap();
    let b = door
        .wait(database.collection::<User>().insert(User::new("", "UK", 7)))
        .unwrap();
    drop(database);
    door.reopen();
    let database = door.wait(door.storage().database::<later::Shop>("shop")).unwrap();
    let view = || database.view::<later::ByAge>();
    let error = door.wait(view().query()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(a.id.as_str()) && text.contains(b.id.as_str()) && text.contains("by-age"),
        "{text}"
    );
    assert!(matches!(door.wait(view().status()), Ok(ViewStatus::Failed(_))));
    door.wait(database.collection::<later::User>().delete_by_id(&b.id))
        .unwrap();
    drop(database);
    door.reopen();
    let database = door.wait(door.storage().database::<later::Shop>("shop")).unwrap();
    let view = || database.view::<later::ByAge>();
    assert_eq!(
        door.wait(view().query()).unwrap().len(),
        1,
        "opened again, it is tried again"
    );
}

/// Notes with a view that cannot take all of them.
pub(crate) mod panicking {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, pliantdb_core::Collection)]
    #[collection(name = "notes", views = [First])]
    pub(crate) struct Note(pub(super) String);

    #[derive(View)]
    #[view(collection = Note, name = "first", key = String)]
    pub(crate) struct First;

    impl Map for First {
        fn map(_: &DocumentId, note: &Note, emit: &mut Emit<Self>) {
            emit.entry(note.0.chars().next().unwrap().to_string(), ());
        }
    }
}

/// A map that panics is an error that names the view, and everything else goes on.
pub fn a_map_that_panics_is_an_error<D: Door>() {
    let door = D::open();
    let database = door
        .wait(door.storage().create_database::<panicking::Note>("notes"))
        .unwrap();
    let notes = database.collection::<panicking::Note>();
    door.wait(notes.insert(panicking::Note("a".to_owned()))).unwrap();
    assert_eq!(
        door.wait(database.view::<panicking::First>().query())
            .unwrap()
            .len(),
        1
    );
    let empty = door.wait(notes.insert(panicking::Note(String::new()))).unwrap();
    let error = door
        .wait(database.view::<panicking::First>().query())
        .unwrap_err();
    assert!(
        error.to_string().contains("first") && error.to_string().contains("panicked"),
        "{error}"
    );
    door.wait(notes.delete(&empty)).unwrap();
    assert_eq!(
        door.wait(database.view::<panicking::First>().query())
            .unwrap()
            .len(),
        1
    );
}

/// A view that the database does not have.
pub fn unknown_views_are_named<D: Door>() {
    let door = D::open();
    let database = door.wait(door.storage().database::<()>("default")).unwrap();
    let error = door.wait(database.view::<ByCountry>().query()).unwrap_err();
    assert!(matches!(error, Error::UnknownView { .. }), "{error:?}");
    assert!(
        error.to_string().contains("by-country") && error.to_string().contains("users"),
        "{error}"
    );
}
