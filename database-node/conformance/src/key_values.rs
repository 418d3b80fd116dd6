//! The key-value store.

use std::time::Duration;

use pliantdb_core::{
    Body, Connection, Error, Expiry, KeyCondition, KeyList, KeyListing, KeyStatus, Number, Rejection,
    Request, Response,
};

use crate::{DatabaseOf, Door, shop};

/// Set, get, delete, in namespaces.
pub fn sets_gets_and_deletes<D: Door>() {
    let (door, database) = shop::<D>();
    let (a, b) = (database.key_value("a"), database.key_value("b"));
    assert_eq!(door.wait(a.get::<u32>("k")), Ok(None));
    let outcome = door.wait(a.set("k", &1)).unwrap();
    assert_eq!((outcome.status, outcome.previous), (KeyStatus::Created, None));
    let outcome = door.wait(a.set("k", &vec!["x", "y"])).unwrap();
    assert_eq!(
        (outcome.status, outcome.previous),
        (KeyStatus::Updated, Some(Body::of(&1).unwrap()))
    );
    assert_eq!(
        door.wait(a.get::<Vec<String>>("k")),
        Ok(Some(vec!["x".to_owned(), "y".to_owned()]))
    );
    assert_eq!(door.wait(b.get::<u32>("k")), Ok(None));
    let error = door.wait(a.get::<u32>("k")).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    let outcome = door.wait(a.delete("k")).unwrap();
    assert_eq!(
        (outcome.status, outcome.previous),
        (KeyStatus::Deleted, Some(Body::of(&["x", "y"]).unwrap()))
    );
    assert_eq!(door.wait(a.delete("k")).unwrap().status, KeyStatus::Unchanged);
}

/// Only if present, vacant, or a certain value.
pub fn conditions_decide<D: Door>() {
    let (door, database) = shop::<D>();
    let keys = database.key_value("n");
    let set = |value: u32, condition| {
        door.wait(keys.set_with("k", &value, Expiry::Never, condition))
            .unwrap()
    };
    assert_eq!(set(1, KeyCondition::Present).status, KeyStatus::Unchanged);
    assert_eq!(set(1, KeyCondition::Vacant).status, KeyStatus::Created);
    let outcome = set(2, KeyCondition::Vacant);
    assert_eq!(
        (outcome.status, outcome.current),
        (KeyStatus::Unchanged, Some(Body::of(&1).unwrap()))
    );
    assert_eq!(set(2, KeyCondition::Present).status, KeyStatus::Updated);
    assert_eq!(
        set(2, KeyCondition::Always).status,
        KeyStatus::Updated,
        "the same value is written too"
    );
    assert_eq!(door.wait(keys.compare_and_set("k", &1, &3)), Ok(false));
    assert_eq!(door.wait(keys.compare_and_set("k", &2, &3)), Ok(true));
    assert_eq!(door.wait(keys.get::<u32>("k")), Ok(Some(3)));
    assert_eq!(door.wait(keys.compare_and_set("nothing", &1, &2)), Ok(false));
}

/// Values end when they are to.
pub fn expires<D: Door>() {
    let (door, database) = shop::<D>();
    let keys = database.key_value("n");
    let soon = Duration::from_millis(300);
    door.wait(keys.set_for("soon", &1, soon)).unwrap();
    door.wait(keys.set_for("later", &1, Duration::from_secs(3600)))
        .unwrap();
    door.wait(keys.set_for("kept", &1, soon)).unwrap();
    door.wait(keys.set("kept", &2)).unwrap();
    // Where the machine is so slow that they end before the next step, once more.
    loop {
        door.wait(keys.set_for("again", &1, soon)).unwrap();
        let kept = keys.set_with("again", &2, Expiry::Keep, KeyCondition::Always);
        if door.wait(kept).unwrap().status == KeyStatus::Updated {
            break;
        }
    }
    loop {
        door.wait(keys.set("counted", &1)).unwrap();
        door.wait(keys.expire("counted", Expiry::After(soon))).unwrap();
        // The expiry stays.
        if door.wait(keys.increment("counted", 1)) == Ok(Number::Integer(2)) {
            break;
        }
        door.wait(keys.delete("counted")).unwrap();
    }
    std::thread::sleep(soon + Duration::from_millis(20));
    for gone in ["soon", "counted", "again"] {
        assert_eq!(door.wait(keys.get::<u32>(gone)), Ok(None), "{gone}");
    }
    assert_eq!(door.wait(keys.get::<u32>("kept")), Ok(Some(2)));
    let listed: Vec<_> = door.wait(keys.list().all::<u32>()).unwrap();
    assert_eq!(
        listed.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
        ["kept", "later"]
    );
    let anew = door
        .wait(keys.set_with("soon", &9, Expiry::Keep, KeyCondition::Vacant))
        .unwrap();
    assert_eq!((anew.status, anew.previous), (KeyStatus::Created, None));
    assert_eq!(
        door.wait(keys.increment("counted", 5)),
        Ok(Number::Integer(5)),
        "from nothing"
    );
    assert_eq!(
        door.wait(keys.expire("nothing", Expiry::Never)).unwrap().status,
        KeyStatus::Unchanged
    );
}

/// Whoever counts, nothing is lost.
pub fn counts_atomically<D: Door>() {
    let (door, database) = shop::<D>();
    let keys = database.key_value("n");
    let answers: Vec<_> = (0..50).map(|_| keys.increment("hits", 2)).collect();
    let mut sums: Vec<_> = answers
        .into_iter()
        .map(|answer| match door.wait(answer).unwrap() {
            Number::Integer(sum) => sum,
            Number::Float(float) => panic!("{float}"),
        })
        .collect();
    sums.sort_unstable();
    assert_eq!(sums, (1..=50).map(|n| n * 2).collect::<Vec<_>>());
    assert_eq!(door.wait(keys.increment("hits", -100)), Ok(Number::Integer(0)));
    assert_eq!(door.wait(keys.increment("hits", 0.5)), Ok(Number::Float(0.5)));
    door.wait(keys.set("text", &"1")).unwrap();
    door.wait(keys.set("most", &i64::MAX)).unwrap();
    for key in ["text", "most"] {
        let error = door.wait(keys.increment(key, 1)).unwrap_err();
        assert!(
            matches!(error, Error::Rejected(Rejection::NotCountable { .. })),
            "{error:?}"
        );
        assert!(error.to_string().contains(key), "{error}");
    }
    assert_eq!(door.wait(keys.get::<i64>("most")), Ok(Some(i64::MAX)));
}

/// In order, both ways, by prefix and in pages, within the namespace.
pub fn lists_in_order<D: Door>() {
    let (door, database) = shop::<D>();
    for (namespace, key) in [("n", "b/2"), ("n", "a"), ("n", "b/1"), ("n1", "b/3"), ("n", "c")] {
        door.wait(database.key_value(namespace).set(key, &key)).unwrap();
    }
    let keys = database.key_value("n");
    let found = |list: KeyList<'_, DatabaseOf<D>>| {
        let found = door.wait(list.all::<String>()).unwrap();
        let keys = found.into_iter().map(|(key, value)| {
            assert_eq!(key.as_str(), value);
            value
        });
        keys.collect::<Vec<_>>()
    };
    assert_eq!(found(keys.list()), ["a", "b/1", "b/2", "c"]);
    assert_eq!(found(keys.list().prefix("b/")), ["b/1", "b/2"]);
    assert_eq!(found(keys.list().limit(2)), ["a", "b/1"]);
    assert_eq!(found(keys.list().limit(0)), [] as [String; 0]);
    assert_eq!(found(keys.list().prefix("d")), [] as [String; 0]);
    assert_eq!(found(keys.list().after("b/1")), ["b/2", "c"]);
    assert_eq!(found(keys.list().after("b").limit(1)), ["b/1"]);
    assert_eq!(found(keys.list().prefix("b/").after("b/1")), ["b/2"]);
    assert_eq!(found(keys.list().prefix("b/").after("a")), ["b/1", "b/2"]);
    assert_eq!(found(keys.list().prefix("b/").after("c")), [] as [String; 0]);
    assert_eq!(found(keys.list().descending()), ["c", "b/2", "b/1", "a"]);
    assert_eq!(found(keys.list().descending().after("b/2").limit(1)), ["b/1"]);
    let hostile = door.wait(keys.list().after("a\n").all::<String>()).unwrap_err();
    assert!(hostile.to_string().contains("1 to 1024 bytes"), "{hostile}");
}

/// Also of more than an answer holds; without those that have expired.
pub fn lists_in_pages<D: Door>() {
    let (door, database) = shop::<D>();
    let keys = database.key_value("n");
    let large = "x".repeat(1 << 20);
    for n in 0..10 {
        door.wait(keys.set(&format!("{n}"), &large)).unwrap();
        door.wait(keys.set_for(&format!("{n}+"), &large, Duration::ZERO))
            .unwrap();
    }
    let mut all = door.wait(keys.list().all::<String>()).unwrap();
    assert_eq!(all.len(), 10);
    assert!(all.iter().all(|(_, value)| *value == large));
    let back = door
        .wait(keys.list().descending().limit(9).all::<String>())
        .unwrap();
    all.reverse();
    all.pop();
    assert_eq!(all, back);
    let listing = KeyListing {
        limit: 3,
        max_bytes: 5 << 19,
        ..KeyListing::default()
    };
    let (namespace, after) = ("n".parse().unwrap(), Some("1".parse().unwrap()));
    let listing = KeyListing { after, ..listing };
    let request = Request::ListKeys { namespace, listing };
    let page = door.wait(database.ask(Ok(request), |answer| match answer {
        Response::Keys(page) => Ok(page),
        other => panic!("{other:?}"),
    }));
    let page = page.unwrap();
    let names: Vec<_> = page.keys.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!((names, page.next), (vec!["2", "3"], Some("3".parse().unwrap())));
}

/// Keys and namespaces that cannot be.
pub fn refuses_hostile_keys<D: Door>() {
    let (door, database) = shop::<D>();
    for key in ["", "a\0", "a\nb", &"x".repeat(1025)] {
        let error = door.wait(database.key_value("n").set(key, &1)).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    }
    for namespace in ["", "_n", "a b", "é"] {
        let error = door
            .wait(database.key_value(namespace).get::<u32>("k"))
            .unwrap_err();
        assert!(error.to_string().contains("namespace"), "{error}");
    }
}
