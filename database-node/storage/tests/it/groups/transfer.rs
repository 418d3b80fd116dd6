//! Snapshots that are sent, received and installed.

use std::sync::Arc;

use pliantdb_core::GroupId;
use pliantdb_storage::StorageError;
use pliantdb_storage::group::{
    Chunk, GroupSnapshot, GroupState, LogEntry, Position, discard_staged, install, is_installing, stage,
    staged,
};
use pliantdb_storage::store::{Fault, MemoryStore, OrderedStore, StoreError};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::interrupted::Interrupted;
use super::log::apply;
use super::script::{logged, script};
use super::{GROUP, answers, create, data, replicated, shard};
use crate::store::{Kind, encrypted, everything};

/// All chunks of a snapshot.
pub(super) fn chunks<S: OrderedStore>(snapshot: &GroupSnapshot<S>, limit: usize) -> Vec<Chunk> {
    let (mut chunks, mut after) = (Vec::new(), Some(Vec::new()));
    while let Some(at) = after {
        let chunk = snapshot.chunk(&at, limit).unwrap();
        after = chunk.next.clone();
        chunks.push(chunk);
    }
    chunks
}

/// Always the same one.
fn some_log() -> Vec<LogEntry> {
    let tree = script(300).new_tree(&mut TestRunner::deterministic());
    tree.unwrap().current()
}

/// Where a crash comes: after so many writes, with so many of the unsynced batches left.
fn crashes() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((0..8usize, 0..6usize), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// A shard is sent while it goes on, in chunks of any size, to a replica that may have an older one and that crashes at
    /// any step. It then has what the source had, and comes to the same from there.
    #[test]
    fn a_snapshot_makes_a_replica_of_the_shard(
        log in script(60),
        marks in [any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>()],
        has_older in any::<bool>(),
        limits in prop::collection::vec(prop_oneof![Just(0usize), 1..300usize, Just(1 << 20)], 1..5),
        crashes in crashes(),
    ) {
        let mut marks = marks.map(|mark| mark.index(log.len() + 1));
        marks.sort_unstable();
        let [older, taken, applied] = marks;
        let shard = shard(0, 8);
        let source = Arc::new(MemoryStore::default());
        let mut state = create(&source, GROUP, shard.clone());
        let mut results = apply(&mut state, &log[..taken], &[3]);
        let snapshot = state.snapshot();
        let expected = (data(&*source, &shard), state.makeup(), state.position().clone(), answers(&state));
        results.extend(apply(&mut state, &log[taken..applied], &[2]));

        let target = Arc::new(Interrupted::default());
        if has_older {
            let mut old = create(&target, GROUP, shard.clone());
            apply(&mut old, &log[..older], &[5]);
            target.sync().unwrap();
        }
        let before = (data(&*target, &shard), GroupState::open(&target, GROUP).unwrap().map(|old| old.position().clone()));
        let mut crashes = crashes.into_iter();
        let mut limits = limits.iter().cycle();
        let mut sent = state;
        let mut rest = log[applied..].chunks(1);
        let mut kept = 0;
        let new = loop {
            match crashes.next() {
                Some((after, next_kept)) => {
                    target.interrupt_after(after);
                    kept = next_kept;
                }
                None => target.interrupt_after(usize::MAX),
            }
            let mut go_on = || loop {
                if is_installing(&*target, GROUP).unwrap() {
                    assert!(GroupState::open(&target, GROUP).unwrap().is_none());
                    return install(&target, GROUP);
                }
                let has = staged(&*target, GROUP).unwrap();
                let (number, after) = match has {
                    Some(has) if has.is_complete => return install(&target, GROUP),
                    Some(has) => (has.chunks, has.next.unwrap()),
                    None => (0, Vec::new()),
                };
                let limit = *limits.next().unwrap();
                let chunk = snapshot.chunk(&after, limit).unwrap();
                // Sent while the source goes on.
                if let Some(entries) = rest.next() {
                    results.extend(sent.apply(entries).unwrap());
                }
                stage(&*target, GROUP, 1, number, &chunk)?;
            };
            match go_on() {
                Ok(new) => break new,
                Err(error) => prop_assert!(matches!(error, StorageError::Commit(_)), "{}", error),
            }
            target.crash_keeping(kept);
            // There is the old one, whole, or none.
            if !is_installing(&*target, GROUP).unwrap() {
                let now = (data(&*target, &shard), GroupState::open(&target, GROUP).unwrap().map(|old| old.position().clone()));
                prop_assert!(now == before || now.1.as_ref() == Some(&expected.2));
            }
        };
        for entries in rest {
            results.extend(sent.apply(entries).unwrap());
        }
        let has = (data(&*target, &shard), new.makeup(), new.position().clone(), answers(&new));
        prop_assert!(has == expected);
        prop_assert_eq!(new.shard(), &shard);
        prop_assert_eq!(target.durable(), target.written(), "it is synced");
        prop_assert!(staged(&*target, GROUP).unwrap().is_none() && !is_installing(&*target, GROUP).unwrap());
        target.crash_keeping(0);
        let mut new = GroupState::open(&target, GROUP).unwrap().unwrap();
        prop_assert_eq!(&apply(&mut new, &log[taken..], &[4]), &results[taken..]);
        prop_assert!(data(&*target, &shard) == data(&*source, &shard));
        prop_assert_eq!(answers(&new), answers(&sent));
        prop_assert_eq!(new.makeup(), sent.makeup());
        prop_assert!(replicated(&*target) == replicated(&*source));
    }

    /// Of chunks that are not what comes next, none is taken, and nothing is changed.
    #[test]
    fn what_is_not_the_next_chunk_is_refused(
        log in script(60),
        limit in 1..200usize,
        staged_before in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let source = Arc::new(MemoryStore::default());
        let mut state = create(&source, GROUP, shard(0, 8));
        apply(&mut state, &log, &[7]);
        let good = chunks(&state.snapshot(), limit);
        // Of the same shard a moment later, and of another group.
        let next = log.len() as u64 + 1;
        let nothing = pliantdb_core::Operation::ForgetRequests { database: shard(0, 8).database, before: 0 };
        state.apply(&[logged(next, nothing)]).unwrap();
        let later = chunks(&state.snapshot(), limit);
        let elsewhere = Arc::new(MemoryStore::default());
        let mut foreign = create(&elsewhere, GroupId::new(6), shard(0, 8));
        apply(&mut foreign, &log, &[7]);
        let foreign = chunks(&foreign.snapshot(), limit);

        let target = MemoryStore::default();
        let number = staged_before.index(good.len());
        for (number, chunk) in (0..).zip(&good[..number]) {
            stage(&target, GROUP, 1, number, chunk).unwrap();
        }
        let before = everything(&target);
        let number = number as u32;
        let refused = |snapshot: u128, number: u32, chunk: &Chunk| {
            let error = stage(&target, GROUP, snapshot, number, chunk);
            assert!(matches!(error, Err(StorageError::InvalidChunk { .. })), "{error:?}");
            assert!(everything(&target) == before);
        };
        let right = &good[number as usize];
        let mut damaged = right.clone();
        let place = at.index(damaged.bytes.len());
        damaged.bytes[place] ^= 1 << bit;
        refused(1, number, &damaged);
        let mut short = right.clone();
        short.bytes.truncate(place);
        refused(1, number, &short);
        let mut long = right.clone();
        long.bytes.push(0);
        refused(1, number, &long);
        let mut misled = right.clone();
        misled.next = match misled.next {
            Some(_) => None,
            None => Some(b"more".to_vec()),
        };
        refused(1, number, &misled);
        refused(1, number + 1, right);
        refused(1, number, &foreign[number as usize]);
        if number > 0 {
            refused(1, number, &later[number as usize]);
            refused(2, number, right);
            refused(1, number - 1, right);
            refused(2, 0, right);
        }
        let other = other.index(good.len());
        if other != number as usize {
            refused(1, number, &good[other]);
        }
        // The chunk itself is taken, and once more.
        for _ in 0..2 {
            stage(&target, GROUP, 1, number, right).unwrap();
        }
        let has = staged(&target, GROUP).unwrap().unwrap();
        prop_assert_eq!((has.snapshot, has.chunks, &has.next), (1, number + 1, &right.next));
        prop_assert_eq!(has.is_complete, number as usize + 1 == good.len());
        // A new snapshot starts over.
        stage(&target, GROUP, 2, 0, &later[0]).unwrap();
        let fresh = MemoryStore::default();
        stage(&fresh, GROUP, 2, 0, &later[0]).unwrap();
        prop_assert!(everything(&target) == everything(&fresh));
        discard_staged(&target, GROUP).unwrap();
        prop_assert!(everything(&target).is_empty());
    }

    /// A chunk has its limit and one entry at most; all chunks together have every entry once.
    #[test]
    fn chunks_are_as_large_as_asked(log in script(60), limit in 0..2000usize) {
        let store = Arc::new(MemoryStore::default());
        let mut state = create(&store, GROUP, shard(0, 8));
        apply(&mut state, &log, &[7]);
        let data = data(&*store, &shard(0, 8));
        let size = |entries: &[(Vec<u8>, Vec<u8>)]| entries.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        let mut rest = data.as_slice();
        let all = chunks(&state.snapshot(), limit);
        for chunk in &all {
            let count = match &chunk.next {
                Some(next) => rest.iter().position(|(key, _)| key == next).unwrap() + 1,
                None => rest.len(),
            };
            let (entries, behind) = rest.split_at(count);
            prop_assert!(count <= 1 || size(&entries[..count - 1]) < limit.max(1));
            prop_assert!(chunk.next.is_none() || size(entries) >= limit);
            rest = behind;
        }
        prop_assert!(rest.is_empty());
    }
}

/// Real stores, encrypted at both ends, each with keys of its own.
#[test]
fn goes_from_store_to_store() {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [source, target] = directories
        .each_ref()
        .map(|directory| Arc::new(encrypted(Kind::State.open(directory.path()))));
    let log = some_log();
    let mut state = create(&source, GROUP, shard(0, 8));
    apply(&mut state, &log, &[10]);
    let snapshot = state.snapshot();
    let position = state.position().clone();
    drop(state);
    for (number, chunk) in (0..).zip(chunks(&snapshot, 1000)) {
        stage(&*target, GROUP, 9, number, &chunk).unwrap();
    }
    let new = install(&target, GROUP).unwrap();
    assert_eq!((new.position(), new.shard()), (&position, snapshot.shard()));
    assert_eq!(data(&*target, &shard(0, 8)), data(&*source, &shard(0, 8)));
    assert!(replicated(&*target) == replicated(&*source));
    assert_eq!(target.durable(), target.written());
}

#[test]
fn an_installation_is_finished_before_anything_else() {
    let source = Arc::new(MemoryStore::default());
    let mut state = create(&source, GROUP, shard(0, 8));
    let log = some_log();
    apply(&mut state, &log, &[10]);
    let sent = chunks(&state.snapshot(), 500);
    let target = Arc::new(Interrupted::default());
    let error = install(&target, GROUP).map(|_| ()).unwrap_err();
    assert_eq!(error, StorageError::NothingStaged(GROUP));
    for (number, chunk) in (0..).zip(&sent) {
        let error = install(&target, GROUP).map(|_| ()).unwrap_err();
        assert_eq!(error, StorageError::NothingStaged(GROUP), "not all are there");
        stage(&*target, GROUP, 1, number, chunk).unwrap();
    }
    // After the marker, the wipe and a chunk.
    target.interrupt_after(3);
    assert!(matches!(install(&target, GROUP), Err(StorageError::Commit(_))));
    target.crash_keeping(usize::MAX);
    assert!(is_installing(&*target, GROUP).unwrap() && GroupState::open(&target, GROUP).unwrap().is_none());
    assert_eq!(GroupState::list(&*target).unwrap(), [GROUP]);
    let installing = Err(StorageError::Installing(GROUP));
    assert_eq!(stage(&*target, GROUP, 2, 0, &sent[0]), installing);
    assert_eq!(discard_staged(&*target, GROUP), installing);
    let make = |group, shard| GroupState::create(&target, group, shard, Position::default()).map(|_| ());
    assert_eq!(make(GROUP, shard(0, 8)), Err(StorageError::GroupExists(GROUP)));
    let by = GROUP;
    let group = GroupId::new(8);
    assert_eq!(
        make(group, shard(0, 1)),
        Err(StorageError::SlotsTaken { group, by })
    );
    // What was staged can be damaged, and then only another copy helps.
    let chunks = b"\0\0\0\0\x03\0\0\0\0\0\0\0\x07\x06".to_vec();
    target.store.set_fault(Fault::Corrupt { prefix: chunks });
    let error = install(&target, GROUP).map(|_| ()).unwrap_err();
    assert!(
        matches!(error, StorageError::Store(StoreError::Corrupt(_))),
        "{error}"
    );
    target.store.set_fault(Fault::NoSpace);
    let error = install(&target, GROUP).map(|_| ()).unwrap_err();
    assert!(
        matches!(error, StorageError::Commit(StoreError::NoSpace(_))),
        "{error}"
    );
    target.store.set_fault(Fault::None);
    install(&target, GROUP).unwrap();
    assert!(replicated(&*target) == replicated(&*source));
    target.interrupt_after(usize::MAX);
    GroupState::destroy(&target, GROUP).unwrap();
    assert!(everything(&*target).is_empty());
}

/// A replica whose slots another group of the store has meanwhile.
#[test]
fn nothing_is_installed_over_another_group() {
    let source = Arc::new(MemoryStore::default());
    let state = create(&source, GROUP, shard(0, 8));
    let [chunk] = chunks(&state.snapshot(), 500).try_into().unwrap();
    let target = Arc::new(MemoryStore::default());
    stage(&*target, GROUP, 1, 0, &chunk).unwrap();
    let by = GroupId::new(8);
    drop(create(&target, by, shard(3, 4)));
    let before = everything(&*target);
    let error = install(&target, GROUP).map(|_| ()).unwrap_err();
    assert_eq!(error, StorageError::SlotsTaken { group: GROUP, by });
    assert!(everything(&*target) == before);
    GroupState::destroy(&target, by).unwrap();
    install(&target, GROUP).unwrap();
    assert_eq!(data(&*target, &shard(0, 8)), []);
}

#[test]
fn is_asked_for_by_its_own_cursors_only() {
    let source = Arc::new(MemoryStore::default());
    let state = create(&source, GROUP, shard(2, 4));
    let snapshot = state.snapshot();
    for cursor in [
        &b"a"[..],
        b"\0\0\0\x01\0\x01\x01",
        b"\0\0\0\x01\0\x04\x01",
        b"\0\0\0\x02\0\x02",
    ] {
        let error = snapshot.chunk(cursor, 100).unwrap_err();
        assert!(matches!(error, StorageError::InvalidChunk { .. }), "{error}");
    }
    assert!(snapshot.chunk(b"\0\0\0\x01\0\x03\x01", 100).is_ok());
}
