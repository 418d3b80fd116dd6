//! Writes that are sent again are made once.

use std::sync::Arc;

use pliantdb_core::{
    Body, Change, ChangeAction, ChangeOutcome, Document, DocumentId, Error, KeyAction, KeyCondition,
    KeyOutcome, Listing, Number, Precondition, REQUEST_MEMORY, Rejection, Request, RequestId, Response,
};
use pliantdb_storage::{AsyncDatabase, Database, DatabaseName, Storage};

fn body(text: &str) -> Body {
    Body::parse(text.as_bytes().to_vec()).unwrap()
}

fn default(storage: &Storage) -> Database {
    storage.get(&DatabaseName::default_database()).unwrap()
}

fn id(storage: &Storage) -> RequestId {
    RequestId::new(storage.now_ms(), rand::random())
}

fn transact(actions: impl IntoIterator<Item = ChangeAction>) -> Request {
    let change = |action| Change {
        collection: "c".parse().unwrap(),
        action,
    };
    Request::Transact(actions.into_iter().map(change).collect())
}

fn insert(text: &str) -> ChangeAction {
    let (id, body) = (None, body(text));
    ChangeAction::Insert { id, body }
}

fn change_key(action: KeyAction) -> Request {
    Request::ChangeKey {
        namespace: "n".parse().unwrap(),
        key: "k".parse().unwrap(),
        action,
    }
}

fn increment() -> Request {
    let by = Number::from(1);
    change_key(KeyAction::Increment { by })
}

fn documents(database: &Database) -> Vec<Document> {
    let page = database.list(&"c".parse().unwrap(), &Listing::default()).unwrap();
    page.documents
}

fn count(database: &Database) -> Option<Body> {
    let (namespace, key) = ("n".parse().unwrap(), "k".parse().unwrap());
    match database.execute(Request::GetKey { namespace, key }).unwrap() {
        Response::Value(value) => value,
        other => panic!("{other:?}"),
    }
}

fn inserted(response: Response) -> Vec<DocumentId> {
    let Response::Transacted(outcomes) = response else {
        panic!("{response:?}")
    };
    let id = |outcome| match outcome {
        ChangeOutcome::Written {
            id, created: true, ..
        } => id,
        other => panic!("{other:?}"),
    };
    outcomes.into_iter().map(id).collect()
}

#[test]
fn a_write_that_is_sent_again_comes_to_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(directory.path()).unwrap();
    let database = default(&storage);
    let (inserting, other, counting) = (id(&storage), id(&storage), id(&storage));
    let three = || transact([insert("1"), insert("2"), insert("3")]);
    let first = database.execute_once(inserting, three()).unwrap();
    assert_eq!(database.execute_once(inserting, three()), Ok(first.clone()));
    let ids = inserted(first.clone());
    let stored = documents(&database);
    assert_eq!(
        stored.iter().map(|document| &document.id).collect::<Vec<_>>(),
        ids.iter().collect::<Vec<_>>()
    );
    assert_eq!(
        stored
            .into_iter()
            .map(|document| document.body)
            .collect::<Vec<_>>(),
        ["1", "2", "3"].map(body),
        "in the order of the transaction"
    );
    // Another request is another write, though it says the same.
    let second = inserted(database.execute_once(other, three()).unwrap());
    assert!(second.iter().all(|id| !ids.contains(id)));
    assert_eq!(documents(&database).len(), 6);

    let counted = database.execute_once(counting, increment()).unwrap();
    assert_eq!(database.execute_once(counting, increment()), Ok(counted.clone()));
    assert!(matches!(&counted, Response::Key(KeyOutcome { current: Some(one), .. }) if *one == body("1")));
    database.execute_once(id(&storage), increment()).unwrap();
    assert_eq!(count(&database), Some(body("2")));

    // Also when the process was started anew meanwhile, and somebody has written since.
    storage.close().unwrap();
    drop((storage, database));
    let storage = Storage::open(directory.path()).unwrap();
    let database = default(&storage);
    database.execute(increment()).unwrap();
    assert_eq!(database.execute_once(inserting, three()), Ok(first));
    assert_eq!(database.execute_once(counting, increment()), Ok(counted));
    assert_eq!(
        (documents(&database).len(), count(&database)),
        (6, Some(body("3")))
    );
    drop((storage, database));
    let report = pliantdb_storage::check::check(directory.path(), None).unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);
}

#[test]
fn a_request_that_was_rejected_is_tried_anew() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(directory.path()).unwrap();
    let database = default(&storage);
    let (request, ada) = (id(&storage), "ada".parse::<DocumentId>().unwrap());
    let delete = || {
        let (id, precondition) = (ada.clone(), Precondition::None);
        transact([ChangeAction::Delete { id, precondition }])
    };
    let error = database.execute_once(request, delete()).unwrap_err();
    assert!(
        matches!(error, Error::Rejected(Rejection::UnknownDocument { .. })),
        "{error}"
    );
    let put = || database.put(&"c".parse().unwrap(), &ada, body("1"), Precondition::None);
    put().unwrap();
    for _ in 0..2 {
        let deleted = database.execute_once(request, delete());
        assert_eq!(deleted, Ok(Response::Transacted(vec![ChangeOutcome::Deleted])));
    }
    put().unwrap();
    assert!(database.execute_once(request, delete()).is_ok());
    assert_eq!(documents(&database).len(), 1, "it was deleted once");
}

#[test]
fn an_expired_request_is_an_error_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(directory.path()).unwrap();
    let database = default(&storage);
    let memory = REQUEST_MEMORY.as_millis() as u64;
    let set = || {
        change_key(KeyAction::Set {
            value: body("1"),
            expiry: pliantdb_core::Expiry::Never,
            condition: KeyCondition::Always,
        })
    };
    for made in [
        0,
        storage.now_ms() - memory - 10,
        storage.now_ms() + memory + 60_000,
    ] {
        let request = RequestId::new(made, 1);
        for write in [transact([insert("1")]), increment(), set()] {
            let error = database.execute_once(request, write).unwrap_err();
            assert!(
                matches!(error, Error::Rejected(Rejection::RequestExpired { id, .. }) if id == request),
                "{error}"
            );
            assert!(error.to_string().contains(&request.to_string()), "{error}");
        }
        // What reads has nothing to expire.
        let (namespace, key) = ("n".parse().unwrap(), "k".parse().unwrap());
        let read = database.execute_once(request, Request::GetKey { namespace, key });
        assert_eq!(read, Ok(Response::Value(None)));
    }
    assert_eq!((documents(&database).len(), count(&database)), (0, None));
}

#[test]
fn one_effect_of_many_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(directory.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    drop(storage);
    runtime.block_on(async {
        let database = AsyncDatabase::open::<()>(directory.path()).await.unwrap();
        for round in 1..=20 {
            let [counting, inserting] = [(); 2].map(|()| id(&database.blocking().storage().unwrap()));
            let barrier = Arc::new(tokio::sync::Barrier::new(8));
            let tasks = [(); 8].map(|()| {
                let (database, barrier) = (database.clone(), Arc::clone(&barrier));
                tokio::spawn(async move {
                    barrier.wait().await;
                    let counted = database.execute_once(counting, increment()).await.unwrap();
                    let inserted = database
                        .execute_once(inserting, transact([insert("1")]))
                        .await
                        .unwrap();
                    (counted, inserted)
                })
            });
            let mut answers = Vec::new();
            for task in tasks {
                answers.push(task.await.unwrap());
            }
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
            assert_eq!(count(database.blocking()), Some(body(&round.to_string())));
            assert_eq!(documents(database.blocking()).len(), round);
        }
    });
}
