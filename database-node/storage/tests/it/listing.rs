//! Listings over slots equal a sorted map.

use std::collections::BTreeMap;

use pliantdb_core::{Body, CollectionName, DatabaseName, DocumentId, Precondition, SlotCount};
use pliantdb_storage::{Database, Listing, Storage};
use proptest::prelude::*;

fn id() -> impl Strategy<Value = DocumentId> {
    "[ab/é%]{1,5}".prop_map(|id| id.parse().unwrap())
}

fn fill(database: &Database, collection: &CollectionName, ids: &[DocumentId]) -> BTreeMap<DocumentId, Body> {
    let mut model = BTreeMap::new();
    for (n, id) in ids.iter().enumerate() {
        let body = Body::parse(n.to_string().into_bytes()).unwrap();
        database
            .put(collection, id, body.clone(), Precondition::None)
            .unwrap();
        model.insert(id.clone(), body);
    }
    model
}

fn pages(database: &Database, collection: &CollectionName, listing: &Listing) -> Vec<(DocumentId, Body)> {
    let mut listing = listing.clone();
    let mut all = Vec::new();
    loop {
        let page = database.list(collection, &listing).unwrap();
        assert!(page.documents.len() <= listing.limit);
        assert_eq!(
            page.next.is_some(),
            page.next.is_some() && !page.documents.is_empty()
        );
        all.extend(
            page.documents
                .into_iter()
                .map(|document| (document.id, document.body)),
        );
        match page.next {
            Some(next) => listing.after = Some(next),
            None => return all,
        }
    }
}

#[test]
fn equals_a_sorted_map() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(directory.path()).unwrap();
    let case = std::cell::Cell::new(0);
    proptest!(ProptestConfig::with_cases(48), |(
        ids in prop::collection::vec(id(), 0..60),
        slots in prop_oneof![Just(1u16), Just(16), Just(50)],
        prefix in "[ab/é%]{0,2}",
        after in prop::option::of(id()),
        limit in 1..20usize,
    )| {
        case.set(case.get() + 1);
        let name: DatabaseName = format!("case{}", case.get()).parse().unwrap();
        let database = storage.create(&name, SlotCount::try_from(slots).unwrap()).unwrap();
        let collection = "c".parse().unwrap();
        // Neighbours that must not show.
        let other = fill(&database, &"c.".parse().unwrap(), &ids[..ids.len() / 2]);
        let model = fill(&database, &collection, &ids);
        let expected = model
            .into_iter()
            .filter(|(id, _)| id.as_str().starts_with(&prefix) && after.as_ref().is_none_or(|after| id > after))
            .collect::<Vec<_>>();
        let listing = Listing { prefix, after, limit, ..Listing::default() };
        prop_assert_eq!(pages(&database, &collection, &listing), expected);
        let listed = pages(&database, &"c.".parse().unwrap(), &Listing::default());
        prop_assert_eq!(listed, other.into_iter().collect::<Vec<_>>());
    });
}

#[test]
fn a_page_ends_when_its_bytes_are_enough() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(directory.path()).unwrap();
    let database = storage.get(&DatabaseName::default_database()).unwrap();
    let collection = "c".parse().unwrap();
    let ids = (0..10)
        .map(|n| n.to_string().parse().unwrap())
        .collect::<Vec<DocumentId>>();
    fill(&database, &collection, &ids);
    let listing = Listing {
        max_bytes: 5,
        ..Listing::default()
    };
    let page = database.list(&collection, &listing).unwrap();
    assert_eq!(
        page.documents.len(),
        2,
        "two bytes each; a third would exceed five"
    );
    assert_eq!(page.next, Some(ids[1].clone()));
    assert_eq!(pages(&database, &collection, &listing).len(), 10);
    let page = database
        .list(
            &collection,
            &Listing {
                max_bytes: 0,
                ..Listing::default()
            },
        )
        .unwrap();
    assert_eq!(page.documents.len(), 1, "never none, or nobody would get on");
    let bounded = Listing {
        max_first: 1,
        ..Listing::default()
    };
    let page = database.list(&collection, &bounded).unwrap();
    assert_eq!((page.documents.len(), page.too_large), (0, Some(2)));
}

/// Large bodies, for which cursors are closed and opened again, among small ones.
#[test]
fn lists_large_bodies_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(directory.path()).unwrap();
    let database = storage.get(&DatabaseName::default_database()).unwrap();
    let collection = "c".parse().unwrap();
    let mut expected = Vec::new();
    for n in 0..60usize {
        let id: DocumentId = format!("{n:02}").parse().unwrap();
        let size = [3, 200_000, 70_000][n % 3];
        let body = Body::parse(format!("\"{n} {}\"", "x".repeat(size)).into_bytes()).unwrap();
        database
            .put(&collection, &id, body.clone(), Precondition::None)
            .unwrap();
        expected.push((id, body));
    }
    for max_bytes in [4 << 20, 300_000, 1] {
        let listing = Listing {
            max_bytes,
            limit: 7,
            ..Listing::default()
        };
        assert!(pages(&database, &collection, &listing) == expected, "{max_bytes}");
    }
    // From tables and blob files too.
    storage.close().unwrap();
    drop((storage, database));
    let storage = Storage::open(directory.path()).unwrap();
    let database = storage.get(&DatabaseName::default_database()).unwrap();
    assert!(pages(&database, &collection, &Listing::default()) == expected);
}
