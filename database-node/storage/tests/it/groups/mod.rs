//! The shards of consensus groups.

mod database;
mod interrupted;
mod log;
mod script;
mod transfer;

use std::sync::Arc;

use pliantdb_core::{
    CollectionName, GroupId, KeyListing, Listing, NamespaceName, Request, Response, SlotCount, Timestamp,
};
use pliantdb_storage::group::{GroupState, Position, Shard};
use pliantdb_storage::store::{KeyRange, OrderedStore};
use pliantdb_storage::{DatabaseEntry, DatabaseId};

use crate::store::{Entries, entries, everything};

const GROUP: GroupId = GroupId::new(7);

/// Of the first database, which has eight slots.
fn shard(first_slot: u16, end_slot: u16) -> Shard {
    Shard {
        database: "shop".parse().unwrap(),
        entry: DatabaseEntry {
            id: DatabaseId::FIRST,
            slots: SlotCount::try_from(8).unwrap(),
        },
        first_slot,
        end_slot,
    }
}

fn create<S: OrderedStore>(store: &Arc<S>, group: GroupId, shard: Shard) -> GroupState<S> {
    GroupState::create(store, group, shard, Position::default()).unwrap()
}

/// Everything in a store but what is local to a node: spaces 7 and 8 of a database's slots.
fn replicated(store: &impl OrderedStore) -> Entries {
    let mut found = everything(store);
    found.retain(|(key, _)| key[..4] == [0; 4] || !matches!(key[6], 7 | 8));
    found
}

/// What every replica of a shard has in its slots.
fn data(store: &impl OrderedStore, shard: &Shard) -> Entries {
    let bound = |slot: u16| {
        let id = shard.entry.id.get().to_be_bytes();
        [&id[..], &slot.to_be_bytes()].concat()
    };
    let range = KeyRange {
        start: bound(shard.first_slot),
        end: Some(bound(shard.end_slot)),
    };
    let mut found = entries(&store.snapshot(), range);
    found.retain(|(key, _)| !matches!(key[6], 7 | 8));
    found
}

/// Everything that can be read of a shard.
fn answers<S: OrderedStore>(state: &GroupState<S>) -> Vec<Response> {
    let mut requests = Vec::new();
    for collection in ["orders", "plain"] {
        let collection: CollectionName = collection.parse().unwrap();
        let listing = Listing::default();
        requests.push(Request::Count {
            collection: collection.clone(),
            listing: listing.clone(),
        });
        requests.push(Request::List { collection, listing });
    }
    let namespace: NamespaceName = "n".parse().unwrap();
    requests.push(Request::ListKeys {
        namespace,
        listing: KeyListing::default(),
    });
    requests
        .iter()
        .map(|request| state.answer(request).unwrap())
        .collect()
}

fn at(millis: u64) -> Timestamp {
    Timestamp::at_millis(millis)
}
