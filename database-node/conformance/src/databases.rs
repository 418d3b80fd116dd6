//! Many databases in a storage.

use pliantdb_core::{Collection as _, Connection, Error, Rejection, StorageConnection};

use crate::Door;
use crate::schema::{Order, Shop, User};

/// Databases come and go, each with its own documents.
pub fn creates_lists_and_deletes<D: Door>() {
    let door = D::open();
    let storage = door.storage();
    let names = || {
        let names = door.wait(storage.databases()).unwrap();
        names
            .iter()
            .map(|name| name.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(), ["default"]);
    let a = door.wait(storage.create_database::<Shop>("a")).unwrap();
    let b = door.wait(storage.create_database::<Shop>("b")).unwrap();
    assert_eq!(names(), ["a", "b", "default"]);
    let again = door.wait(storage.create_database::<Shop>("a")).map(|_| ());
    assert!(
        matches!(again, Err(Error::Rejected(Rejection::DatabaseExists { .. }))),
        "{again:?}"
    );
    let invalid = door
        .wait(storage.create_database::<Shop>("_a"))
        .map(|_| ())
        .unwrap_err();
    assert!(invalid.to_string().contains("\"_a\""), "{invalid}");

    let ada = door
        .wait(a.collection::<User>().insert(User::new("ada@a", "UK", 36)))
        .unwrap();
    assert_eq!(door.wait(b.collection::<User>().get(&ada.id)), Ok(None));

    door.wait(storage.delete_database("a")).unwrap();
    assert_eq!(names(), ["b", "default"]);
    let gone = door.wait(storage.delete_database("a")).unwrap_err();
    assert!(matches!(gone, Error::UnknownDatabase(_)), "{gone:?}");
    assert!(matches!(
        door.wait(a.collection::<User>().get(&ada.id)),
        Err(Error::UnknownDatabase(_))
    ));
    let write = door.wait(a.collection::<User>().insert(User::new("", "UK", 36)));
    assert!(matches!(write, Err(Error::UnknownDatabase(_))), "{write:?}");

    // A new one of the same name has nothing of the old, and is not meant by those who had the old.
    let old = a;
    let a = door.wait(storage.create_database::<Shop>("a")).unwrap();
    assert_eq!(door.wait(a.collection::<User>().get(&ada.id)), Ok(None));
    assert_eq!(door.wait(a.collection::<User>().list().all()), Ok(vec![]));
    let write = door.wait(old.collection::<User>().insert(User::new("", "UK", 36)));
    assert!(matches!(write, Err(Error::UnknownDatabase(_))), "{write:?}");
    assert!(matches!(
        door.wait(old.collection::<User>().get(&ada.id)),
        Err(Error::UnknownDatabase(_))
    ));
}

/// A database keeps the schema that it was given.
pub fn keeps_schemas_apart<D: Door>() {
    let door = D::open();
    let storage = door.storage();
    let orders = door.wait(storage.create_database::<Order>("orders")).unwrap();
    let order = Order {
        user: "u".parse().unwrap(),
        item: "tea".to_owned(),
    };
    door.wait(orders.collection::<Order>().insert(order)).unwrap();
    let error = door
        .wait(storage.database::<Shop>("orders"))
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(error, Error::Rejected(Rejection::OtherSchema { .. })),
        "{error:?}"
    );
    assert!(
        error.to_string().contains(Order::NAME) && error.to_string().contains("shop"),
        "{error}"
    );
    // Without a schema any JSON can be kept, and any schema is still open.
    door.wait(storage.database::<()>("default")).unwrap();
    door.wait(storage.database::<Shop>("default")).unwrap();
    door.wait(storage.database::<Shop>("default")).unwrap();
    let unknown = door
        .wait(storage.database::<Shop>("nowhere"))
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(unknown, Error::UnknownDatabase(_)), "{unknown:?}");
}

/// What was written is there after the storage was closed and opened.
pub fn survives_reopening<D: Door>() {
    let mut door = D::open();
    let database = door.wait(door.storage().create_database::<Shop>("shop")).unwrap();
    let ada = door
        .wait(database.collection::<User>().insert(User::new("ada@a", "UK", 36)))
        .unwrap();
    door.wait(database.key_value("n").set("k", &1)).unwrap();
    drop(database);
    door.reopen();
    let database = door.wait(door.storage().database::<Shop>("shop")).unwrap();
    assert_eq!(
        door.wait(database.collection::<User>().get(&ada.id)),
        Ok(Some(ada.clone()))
    );
    assert_eq!(door.wait(database.key_value("n").get::<u32>("k")), Ok(Some(1)));
    let later = door
        .wait(database.collection::<User>().insert(User::new("b@a", "UK", 36)))
        .unwrap();
    assert!(later.revision > ada.revision && later.id > ada.id);
}
