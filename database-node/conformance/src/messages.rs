//! PubSub.

use pliantdb_core::{Connection, Error, StorageConnection, Subscriber};

use crate::schema::Shop;
use crate::{Door, shop};

/// Topics, patterns, and databases apart.
pub fn reach_whom_they_concern<D: Door>() {
    let (door, database) = shop::<D>();
    let other = door
        .wait(door.storage().create_database::<Shop>("other"))
        .unwrap();
    assert_eq!(
        door.wait(database.publish("orders.created", &0)),
        Ok(0),
        "nobody listens yet"
    );
    let orders = door.wait(database.subscribe(&["orders.*"])).unwrap();
    let everything = door.wait(database.subscribe(&["users", "**"])).unwrap();
    let elsewhere = door.wait(other.subscribe(&["**"])).unwrap();
    assert_eq!(door.wait(database.publish("orders.created", &1)), Ok(2));
    assert_eq!(door.wait(database.publish("orders.created.eu", &2)), Ok(1));
    assert_eq!(
        door.wait(database.publish("users", &3)),
        Ok(1),
        "once, although two patterns match"
    );
    let received = door.wait(orders.receive()).unwrap();
    assert_eq!(
        (received.topic.as_str(), received.payload.read::<u32>().unwrap()),
        ("orders.created", 1)
    );
    assert_eq!(orders.try_receive(), Ok(None));
    for expected in 1..=3 {
        assert_eq!(
            door.wait(everything.receive())
                .unwrap()
                .payload
                .read::<u32>()
                .unwrap(),
            expected
        );
    }
    assert_eq!(elsewhere.try_receive(), Ok(None));
    drop(orders);
    assert_eq!(door.wait(database.publish("orders.created", &4)), Ok(1));
    for topic in ["", "a b", "a..b", "a.*"] {
        let error = door.wait(database.publish(topic, &1)).unwrap_err();
        assert!(error.to_string().contains("is not a topic"), "{error}");
    }
    let error = door.wait(database.subscribe(&["**.a"])).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("is not a pattern"), "{error}");
}

/// A slow subscriber learns what it missed.
pub fn tell_of_what_was_dropped<D: Door>() {
    let (door, database) = shop::<D>();
    let slow = door.wait(database.subscribe(&["t"])).unwrap();
    for n in 0..2000u32 {
        door.wait(database.publish("t", &n)).unwrap();
    }
    let Err(Error::Lagged(dropped)) = door.wait(slow.receive()) else {
        panic!("it was not told");
    };
    assert!((1..2000).contains(&dropped));
    let next = door.wait(slow.receive()).unwrap().payload.read::<u64>().unwrap();
    assert_eq!(next, dropped, "the oldest were dropped, and the rest is whole");
}

/// Subscriptions do not wait for a database that is gone.
pub fn end_with_the_database<D: Door>() {
    let (door, database) = shop::<D>();
    let subscriber = door.wait(database.subscribe(&["t"])).unwrap();
    door.wait(database.publish("t", &1)).unwrap();
    door.wait(door.storage().delete_database("shop")).unwrap();
    assert!(door.wait(subscriber.receive()).is_ok(), "what had come");
    assert_eq!(door.wait(subscriber.receive()), Err(Error::Closed));
}
