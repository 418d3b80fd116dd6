//! One suite of tests that every way to a PliantDB database must pass: blocking and asynchronous, embedded, and later
//! over the network and against clusters. Whoever adds a way implements [`Door`] and calls [`conformance!`]; the tests
//! themselves know nothing of it.
//!
//! Tests fail by panicking, as tests do.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "these are tests"
)]

pub mod apis;
pub mod concurrency;
pub mod databases;
pub mod documents;
pub mod feed;
pub mod http;
pub mod key_values;
pub mod messages;
pub mod schema;
pub mod snapshots;
pub mod transactions;
pub mod views;

use pliantdb_core::{Answer, Connection, Error, StorageConnection, TakeSnapshot};

/// A way to a storage. Each test has a storage of its own, which ends when the door is dropped.
pub trait Door: Sync {
    /// What leads to the storage.
    type Storage: StorageConnection<Database: TakeSnapshot>;

    /// A new, empty storage that answers [`schema::Greet`] with [`schema::greet`] and keeps changes for
    /// [`feed::RETENTION`].
    fn open() -> Self;

    /// The storage.
    fn storage(&self) -> &Self::Storage;

    /// Closes the storage and opens it again, with everything in it.
    fn reopen(&mut self);

    /// Waits for an answer.
    ///
    /// # Errors
    /// The answer's.
    fn wait<T: Send + 'static>(&self, answer: Answer<Self::Storage, T>) -> Result<T, Error>;

    /// Waits for an answer of a snapshot.
    ///
    /// # Errors
    /// The answer's.
    fn wait_at<T: Send + 'static>(
        &self,
        answer: <SnapshotOf<Self> as Connection>::Output<T>,
    ) -> Result<T, Error>;
}

/// A database behind a door.
pub type DatabaseOf<D> = <<D as Door>::Storage as StorageConnection>::Database;

/// What reads a moment of a database behind a door.
pub type SnapshotOf<D> = <DatabaseOf<D> as TakeSnapshot>::Snapshot;

/// What a database behind a door gives.
pub type Output<D, T> = <DatabaseOf<D> as Connection>::Output<T>;

/// A door with a database that has the schema [`schema::Shop`].
pub(crate) fn shop<D: Door>() -> (D, DatabaseOf<D>) {
    let door = D::open();
    let database = door
        .wait(door.storage().create_database::<schema::Shop>("shop"))
        .unwrap();
    (door, database)
}

/// Makes a test of every function of the suite, for a door; or of some of its modules, for one that cannot do the rest.
#[macro_export]
macro_rules! conformance {
    ($door:ty) => {
        $crate::conformance!($door: databases, documents, transactions, views, key_values, messages, feed, snapshots,
            concurrency, apis);
    };
    ($door:ty: $($module:ident),+) => {
        $($crate::tests_in!($door, $module);)+
    };
}

/// Makes a test of every function of a module.
#[macro_export]
#[doc(hidden)]
macro_rules! tests_in {
    ($door:ty, databases) => {
        $crate::tests_of!($door, databases: creates_lists_and_deletes, keeps_schemas_apart, survives_reopening);
    };
    ($door:ty, documents) => {
        $crate::tests_of!($door, documents:
            writes_and_reads, refuses_what_was_changed_meanwhile, modifies_under_contention, lists_in_order,
            takes_natural_ids, keeps_natural_ids, finds_by_name, refuses_other_types, refuses_hostile_ids,
            holds_deep_and_large_documents);
    };
    ($door:ty, transactions) => {
        $crate::tests_of!($door, transactions:
            are_all_or_nothing, check_without_changing, see_their_own_changes, move_a_unique_key);
    };
    ($door:ty, views) => {
        $crate::tests_of!($door, views:
            lazy_views_follow_every_change, eager_views_follow_every_change, ranges_orders_and_pages,
            several_keys_and_documents, the_same_key_twice, unique_views_refuse_a_second, reduces_and_groups,
            reduces_many_with_changes, deletes_matching_documents, a_new_version_is_built_while_the_old_one_serves,
            a_failed_build_says_why, unknown_views_are_named, a_map_that_panics_is_an_error);
    };
    ($door:ty, key_values) => {
        $crate::tests_of!($door, key_values:
            sets_gets_and_deletes, conditions_decide, expires, counts_atomically, lists_in_order, lists_in_pages,
            refuses_hostile_keys);
    };
    ($door:ty, messages) => {
        $crate::tests_of!($door, messages:
            reach_whom_they_concern, tell_of_what_was_dropped, end_with_the_database);
    };
    ($door:ty, feed) => {
        $crate::tests_of!($door, feed:
            tells_every_change_in_order, goes_on_from_a_cursor, waits_for_more, expires_with_an_error);
    };
    ($door:ty, snapshots) => {
        $crate::tests_of!($door, snapshots: show_one_moment, change_nothing, stay_whatever_happens);
    };
    ($door:ty, concurrency) => {
        $crate::tests_of!($door, concurrency:
            clients_go_on_while_views_are_rebuilt, a_unique_view_is_built_under_contention);
    };
    ($door:ty, apis) => {
        $crate::tests_of!($door, apis: answer_and_refuse, unknown_apis_are_named);
    };
}

/// Makes tests of the functions of a module.
#[macro_export]
#[doc(hidden)]
macro_rules! tests_of {
    ($door:ty, $module:ident: $($test:ident),+) => {
        mod $module {
            #[allow(unused_imports, reason = "the door may be named by its path")]
            use super::*;
            $(
                #[test]
                fn $test() {
                    $crate::$module::$test::<$door>();
                }
            )+
        }
    };
}
