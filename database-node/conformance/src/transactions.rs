//! Transactions.

use pliantdb_core::{ChangeOutcome, Connection, DocumentId, Error, Rejection, Transaction};

use crate::schema::{Invoice, Order, Page, User};
use crate::{Door, shop};

fn order(user: &DocumentId, item: &str) -> Order {
    Order {
        user: user.clone(),
        item: item.to_owned(),
    }
}

/// Over several collections, all or none.
pub fn are_all_or_nothing<D: Door>() {
    let (door, database) = shop::<D>();
    let ada: DocumentId = "ada".parse().unwrap();
    let transaction = Transaction::new()
        .insert_as(&ada, &User::new("ada@a", "UK", 36))
        .insert(&order(&ada, "tea"))
        .insert(&Invoice { number: 1, total: 3 });
    let outcomes = door.wait(transaction.apply(&database)).unwrap();
    let revisions: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            ChangeOutcome::Written {
                revision, created, ..
            } => {
                assert!(created);
                *revision
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(
        revisions.len() == 3 && revisions.iter().all(|revision| *revision == revisions[0]),
        "one commit"
    );
    let user = door
        .wait(database.collection::<User>().get(&ada))
        .unwrap()
        .unwrap();

    // The last change cannot be made, so none is.
    let mut older = user.clone();
    older.contents.age = 37;
    let transaction = Transaction::new()
        .update(&older)
        .insert(&order(&ada, "milk"))
        .delete_by_id::<Invoice>(&1)
        .insert(&Invoice { number: 1, total: 4 })
        .insert(&Invoice { number: 1, total: 5 });
    let error = door.wait(transaction.apply(&database)).unwrap_err();
    assert!(
        matches!(error, Error::Rejected(Rejection::PreconditionFailed { .. })),
        "{error:?}"
    );
    assert_eq!(door.wait(database.collection::<User>().get(&ada)), Ok(Some(user)));
    assert_eq!(
        door.wait(database.collection::<Order>().list().all())
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        door.wait(database.collection::<Invoice>().get(&1))
            .unwrap()
            .unwrap()
            .contents
            .total,
        3
    );
    assert_eq!(
        door.wait(database.view::<crate::schema::ByAge>().reduce()),
        Ok(36)
    );
    assert_eq!(door.wait(Transaction::new().apply(&database)), Ok(vec![]));
}

/// Checks change nothing, and stop a transaction.
pub fn check_without_changing<D: Door>() {
    let (door, database) = shop::<D>();
    let ada = door
        .wait(database.collection::<User>().insert(User::new("a@a", "UK", 1)))
        .unwrap();
    let nobody: DocumentId = "nobody".parse().unwrap();
    let checks = Transaction::new()
        .check_current(&ada)
        .check_exists::<User>(&ada.id)
        .check_absent::<User>(&nobody);
    let outcomes = door
        .wait(checks.clone().insert(&order(&ada.id, "tea")).apply(&database))
        .unwrap();
    assert_eq!(
        outcomes[..3],
        [
            ChangeOutcome::Checked,
            ChangeOutcome::Checked,
            ChangeOutcome::Checked
        ]
    );
    door.wait(database.collection::<User>().update(&ada)).unwrap();
    for failing in [
        checks,
        Transaction::new().check_exists::<User>(&nobody),
        Transaction::new().check_absent::<User>(&ada.id),
    ] {
        let result = door.wait(failing.insert(&order(&ada.id, "milk")).apply(&database));
        assert!(
            matches!(result, Err(Error::Rejected(Rejection::PreconditionFailed { .. }))),
            "{result:?}"
        );
    }
    assert_eq!(
        door.wait(database.collection::<Order>().list().all())
            .unwrap()
            .len(),
        1
    );
}

/// Each change sees those before it.
pub fn see_their_own_changes<D: Door>() {
    let (door, database) = shop::<D>();
    let a: DocumentId = "a".parse().unwrap();
    let transaction = Transaction::new()
        .insert_as(&a, &User::new("", "UK", 1))
        .overwrite(&a, &User::new("", "UK", 2))
        .check_exists::<User>(&a)
        .delete_by_id::<User>(&a)
        .check_absent::<User>(&a)
        .insert_as(&a, &User::new("", "UK", 3));
    let outcomes = door.wait(transaction.apply(&database)).unwrap();
    let created: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            ChangeOutcome::Written { created, .. } => Some(*created),
            _ => None,
        })
        .collect();
    assert_eq!(created, [true, false, true]);
    assert_eq!(
        door.wait(database.collection::<User>().get(&a))
            .unwrap()
            .unwrap()
            .contents
            .age,
        3
    );
    assert_eq!(
        door.wait(database.view::<crate::schema::ByAge>().query())
            .unwrap()
            .len(),
        1
    );
}

/// A unique key goes from one document to another in one step, and not to two.
pub fn move_a_unique_key<D: Door>() {
    let (door, database) = shop::<D>();
    let pages = database.collection::<Page>();
    let page = |title: &str| Page {
        title: title.to_owned(),
        text: String::new(),
    };
    let mut a = door.wait(pages.insert(page("a"))).unwrap();
    let mut b = door.wait(pages.insert(page("b"))).unwrap();
    (a.contents.title, b.contents.title) = ("b".to_owned(), "a".to_owned());
    let error = door
        .wait(Transaction::new().update(&a).update(&b).apply(&database))
        .unwrap_err();
    assert!(
        matches!(error, Error::Rejected(Rejection::NotUnique { .. })),
        "{error:?}"
    );
    let swap = Transaction::new().delete(&b).update(&a).insert(&page("a"));
    door.wait(swap.apply(&database)).unwrap();
    assert_eq!(door.wait(pages.by_name("b")).unwrap().unwrap().id, a.id);
    assert_ne!(door.wait(pages.by_name("a")).unwrap().unwrap().id, a.id);
}
