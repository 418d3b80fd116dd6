//! What machines have of groups: how far they are, and what is in their states.

use std::collections::BTreeMap;

use pliantdb_cluster::META;
use pliantdb_core::GroupId;
use xxhash_rust::xxh3::xxh3_64;

use crate::clients::{Contents, Database, contents};
use crate::faults::Faults;
use crate::invariants::Replica;
use crate::world::World;

/// What each machine has of each group.
pub(crate) fn states(world: &World) -> BTreeMap<GroupId, Vec<Replica>> {
    let mut replicas: BTreeMap<GroupId, Vec<Replica>> = BTreeMap::new();
    let Some((_, meta)) = Faults::meta(world) else {
        return replicas;
    };
    for (host, machine) in world.hosts.iter().enumerate() {
        let (Some(process), Some(node)) = (&machine.process, machine.node) else {
            continue;
        };
        for (group, record) in meta.groups().iter().filter(|(group, _)| **group != META) {
            if !record.replicas.contains_key(&node) {
                continue;
            }
            let is_of_this_life = process.node.incarnation(*group) == Some(record.incarnation);
            let snapshot = process.applier.snapshot(*group).filter(|_| is_of_this_life);
            let applied = snapshot.map(|snapshot| snapshot.position().index);
            replicas
                .entry(*group)
                .or_default()
                .push((host, applied.unwrap_or_default(), 0));
        }
    }
    replicas
}

/// Prints what differs between two machines.
fn tell_difference(world: &World, a: usize, b: usize) {
    use pliantdb_storage::store::{Cursor, KeyRange, OrderedStore, Snapshot};
    let all = |host: usize| {
        let mut all = BTreeMap::new();
        if let Some(machine) = world.hosts.get(host) {
            let snapshot = machine.state.snapshot();
            if let Ok(mut cursor) = snapshot.scan(KeyRange::prefixed(&[]), pliantdb_core::Order::Ascending) {
                while let Some((key, value)) = cursor.entry() {
                    all.insert(key.to_vec(), value.to_vec());
                    if cursor.advance().is_err() {
                        break;
                    }
                }
            }
        }
        all
    };
    let (first, second) = (all(a), all(b));
    for key in first
        .keys()
        .chain(second.keys())
        .collect::<std::collections::BTreeSet<_>>()
    {
        let (one, other) = (first.get(key), second.get(key));
        if one != other {
            world.say(|| format!("{key:?}: {one:?} on {a} and {other:?} on {b}"));
        }
    }
}

/// What is in each group on the machine that is furthest, and what each machine has, with digests.
pub(crate) fn look(
    world: &World,
    databases: &[&Database],
) -> (BTreeMap<GroupId, Contents>, BTreeMap<GroupId, Vec<Replica>>) {
    let mut replicas = states(world);
    let mut all = BTreeMap::new();
    for (group, of_group) in &mut replicas {
        for (host, _, digest) in of_group.iter_mut() {
            *digest = digest_of(world, *host, *group).unwrap_or_default();
        }
        let differs = of_group
            .iter()
            .find(|(_, _, digest)| of_group.first().is_some_and(|first| first.2 != *digest));
        if let (Some((a, ..)), Some((b, ..))) = (of_group.first(), differs)
            && world.is_loud
        {
            tell_difference(world, *a, *b);
        }
        let furthest = of_group.iter().max_by_key(|(_, applied, _)| *applied);
        let database = databases.iter().find(|database| database.group == *group);
        if let (Some((host, ..)), Some(database)) = (furthest, database)
            && let Some(contents) = contents(world, *host, database)
        {
            all.insert(*group, contents);
        }
    }
    (all, replicas)
}

/// A digest of the state that a machine has of a group.
fn digest_of(world: &World, host: usize, group: GroupId) -> Option<u64> {
    let process = world.hosts.get(host)?.process.as_ref()?;
    let snapshot = process.applier.snapshot(group)?;
    let (mut after, mut digests) = (Vec::new(), Vec::new());
    loop {
        let chunk = snapshot.chunk(&after, 1 << 20).ok()?;
        digests.extend(xxh3_64(&chunk.bytes).to_be_bytes());
        match chunk.next {
            Some(next) => after = next,
            None => return Some(xxh3_64(&digests)),
        }
    }
}
