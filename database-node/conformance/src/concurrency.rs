//! Many clients at once, while the schema changes and views are built.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pliantdb_core::{
    Collection, Connection, DocumentId, Error, Freshness, Key, KeySelection, Order, Query, Rejection,
    Request, Response, StorageConnection,
};

use crate::schema::{Shop, User};
use crate::views::later;
use crate::{DatabaseOf, Door, shop};

const CLIENTS: u32 = 4;

/// The ids behind a key of a view of the users, whichever version it has.
fn ids<D: Door>(door: &D, database: &DatabaseOf<D>, view: &str, key: Vec<u8>) -> Vec<DocumentId> {
    let query = Query {
        collection: User::NAME.parse().unwrap(),
        view: view.parse().unwrap(),
        keys: KeySelection::These(vec![key]),
        order: Order::Ascending,
        limit: None,
        after: None,
        freshness: Freshness::Current,
    };
    let with_documents = false;
    let request = Request::Query {
        query,
        with_documents,
    };
    let rows = door.wait(database.ask(Ok(request), |answer| match answer {
        Response::Rows(rows) => Ok(rows.rows),
        other => panic!("{other:?}"),
    }));
    rows.unwrap().into_iter().map(|row| row.id).collect()
}

/// Whoever has written finds it, in views of every kind, before, while and after their versions change; and nothing is lost.
pub fn clients_go_on_while_views_are_rebuilt<D: Door>() {
    let (door, database) = shop::<D>();
    let (is_over, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
    let work = |client: u32| {
        let users = database.collection::<User>();
        let mut stored: BTreeMap<DocumentId, User> = BTreeMap::new();
        let mut counted = 0;
        for n in 0.. {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let id: DocumentId = format!("{client}-{}", n % 20).parse().unwrap();
            let before = stored.get(&id).cloned();
            // Nobody else has these.
            let number = n * CLIENTS + client;
            let user = User::new(&format!("{number}@x"), &format!("c{number}"), number);
            if n % 7 == 6 {
                if stored.remove(&id).is_some() {
                    door.wait(users.delete_by_id(&id)).unwrap();
                }
            } else {
                door.wait(users.overwrite(&id, user.clone())).unwrap();
                stored.insert(id.clone(), user.clone());
            }
            let now = Vec::from_iter(stored.contains_key(&id).then(|| id.clone()));
            assert_eq!(
                ids(&door, &database, "by-country", user.country.encoded()),
                now,
                "lazy, {number}"
            );
            assert_eq!(
                ids(&door, &database, "by-age", user.age.encoded()),
                now,
                "eager or unique, {number}"
            );
            if let Some(before) = before {
                assert_eq!(ids(&door, &database, "by-country", before.country.encoded()), []);
                assert_eq!(ids(&door, &database, "by-age", before.age.encoded()), []);
            }
            door.wait(database.key_value("n").increment("writes", 1)).unwrap();
            counted += 1;
            rounds.fetch_add(1, Ordering::Relaxed);
        }
        (stored, counted)
    };
    let more_rounds = || {
        let until = rounds.load(Ordering::Relaxed) + 40;
        while rounds.load(Ordering::Relaxed) < until {
            assert!(!is_over.load(Ordering::Relaxed));
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    };
    /// Also when something fails, or those who work would do so for ever.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = std::thread::scope(|scope| {
        let working: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (work, is_over) = (&work, &is_over);
                scope.spawn(move || {
                    let over = Over(is_over);
                    let done = work(client);
                    std::mem::forget(over);
                    done
                })
            })
            .collect();
        let over = Over(&is_over);
        for _ in 0..3 {
            more_rounds();
            let later = door.wait(door.storage().database::<later::Shop>("shop")).unwrap();
            door.wait(later.view::<later::ByAge>().limit(1).query()).unwrap();
            more_rounds();
            door.wait(door.storage().database::<Shop>("shop")).unwrap();
            ids(&door, &database, "by-email", "nobody@x".to_owned().encoded());
        }
        more_rounds();
        drop(over);
        working
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect::<Vec<_>>()
    });
    let mut stored = BTreeMap::new();
    let mut counted = 0;
    for (of_client, count) in done {
        stored.extend(of_client);
        counted += count;
    }
    let writes = door.wait(database.key_value("n").get::<i64>("writes"));
    assert_eq!(writes, Ok(Some(counted)), "no count is lost");
    let found = door.wait(database.collection::<User>().list().all()).unwrap();
    let found: BTreeMap<_, _> = found.into_iter().map(|user| (user.id, user.contents)).collect();
    assert_eq!(found, stored, "no document is lost, and none came back");
    for (id, user) in &stored {
        for (view, key) in [
            ("by-country", user.country.encoded()),
            ("by-age", user.age.encoded()),
            ("by-email", user.email.encoded()),
        ] {
            assert_eq!(
                ids(&door, &database, view, key),
                std::slice::from_ref(id),
                "{view}"
            );
        }
    }
}

/// Those who want the same key while the view that has it is built: one gets it, and is told so.
pub fn a_unique_view_is_built_under_contention<D: Door>() {
    let (door, database) = shop::<D>();
    let users = database.collection::<User>();
    for age in 0..500 {
        door.wait(users.insert(User::new("", "UK", age))).unwrap();
    }
    let is_defined = AtomicBool::new(false);
    let contend = |client: u32| {
        let mut own = 1000 * (client + 1);
        while !is_defined.load(Ordering::Relaxed) {
            door.wait(users.insert(User::new("", "UK", own))).unwrap();
            own += 1;
        }
        let mut won = Vec::new();
        for age in 100_000..100_050 {
            match door.wait(users.insert(User::new("", "UK", age))) {
                Ok(user) => won.push((age, user.id)),
                Err(Error::Rejected(Rejection::NotUnique { .. })) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        (own - 1000 * (client + 1), won)
    };
    let (later, done) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let contend = &contend;
                scope.spawn(move || contend(client))
            })
            .collect();
        let later = door.wait(door.storage().database::<later::Shop>("shop"));
        is_defined.store(true, Ordering::Relaxed);
        let done = clients.into_iter().map(|client| client.join().unwrap());
        (later.unwrap(), done.collect::<Vec<_>>())
    });
    let rows = door.wait(later.view::<later::ByAge>().query()).unwrap();
    let found: BTreeMap<_, _> = rows.iter().map(|row| (row.key, row.id.clone())).collect();
    assert_eq!(found.len(), rows.len(), "no key is there twice");
    let own: u32 = done.iter().map(|(own, _)| own).sum();
    assert_eq!(rows.len() as u32, 500 + own + 50, "no write is lost");
    assert_eq!(door.wait(users.list().count()), Ok(rows.len() as u64));
    let mut won: Vec<_> = done.into_iter().flat_map(|(_, won)| won).collect();
    won.sort();
    let of_contended = found.into_iter().filter(|(age, _)| *age >= 100_000);
    assert_eq!(won, of_contended.collect::<Vec<_>>(), "who was told so has it");
    assert_eq!(
        door.wait(later.view::<later::ByCountry>().reduce()),
        Ok(rows.len() as u64)
    );
    let twice = door.wait(users.insert(User::new("", "UK", 7))).unwrap_err();
    assert!(
        matches!(twice, Error::Rejected(Rejection::NotUnique { .. })),
        "{twice:?}"
    );
}
