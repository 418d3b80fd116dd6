//! An ordered map that costs little to copy.

use std::ops::Bound;
use std::sync::Arc;

use crate::store::KeyRange;

/// A leaf that has grown to more entries is cut in two.
const LEAF: usize = 64;

type Leaf = Vec<(Arc<[u8]>, Arc<[u8]>)>;

/// An ordered map of byte strings. A copy shares everything with the original until one of them changes, and then all
/// but the list of leaves and the leaf in question: with `n` entries, a change after a copy costs `n / 64` pointers.
#[derive(Debug, Clone, Default)]
pub(super) struct Map {
    /// None is empty.
    leaves: Arc<Vec<Arc<Leaf>>>,
}

/// A place between two entries: the leaf, and the entry in it that comes next. One past the last entry of the last leaf
/// is the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    leaf: usize,
    entry: usize,
}

fn first(leaf: &Leaf) -> &[u8] {
    leaf.first().map_or(&[], |(key, _)| key)
}

fn find(leaf: &Leaf, key: &[u8]) -> Result<usize, usize> {
    leaf.binary_search_by(|(found, _)| found.as_ref().cmp(key))
}

impl Map {
    /// The leaf that has `key` if any has.
    fn leaf_of(&self, key: &[u8]) -> usize {
        self.leaves
            .partition_point(|leaf| first(leaf) <= key)
            .saturating_sub(1)
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let leaf = self.leaves.get(self.leaf_of(key))?;
        let (_, value) = leaf.get(find(leaf, key).ok()?)?;
        Some(value)
    }

    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) {
        let at = self.leaf_of(key);
        let leaves = Arc::make_mut(&mut self.leaves);
        let Some(leaf) = leaves.get_mut(at) else {
            leaves.push(Arc::new(vec![(key.into(), value.into())]));
            return;
        };
        let leaf = Arc::make_mut(leaf);
        match find(leaf, key) {
            Ok(found) => leaf
                .iter_mut()
                .skip(found)
                .take(1)
                .for_each(|entry| entry.1 = value.into()),
            Err(place) => leaf.insert(place, (key.into(), value.into())),
        }
        if leaf.len() > LEAF {
            // What grows at its end leaves full leaves behind.
            let is_last_of_all = at + 1 == leaves.len();
            let Some(leaf) = leaves.get_mut(at).map(Arc::make_mut) else {
                return;
            };
            let middle = if is_last_of_all { LEAF } else { LEAF / 2 };
            let rest = leaf.split_off(middle);
            leaves.insert(at + 1, Arc::new(rest));
        }
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        let at = self.leaf_of(key);
        let found = self.leaves.get(at).and_then(|leaf| find(leaf, key).ok());
        let Some(found) = found else { return };
        let leaves = Arc::make_mut(&mut self.leaves);
        let Some(leaf) = leaves.get_mut(at).map(Arc::make_mut) else {
            return;
        };
        leaf.remove(found);
        if leaf.is_empty() {
            leaves.remove(at);
        }
    }

    /// Removes the keys from `start` up to, not including, `end`.
    pub(super) fn remove_range(&mut self, start: &[u8], end: Option<&[u8]>) {
        let from = self.place(Bound::Included(start));
        let to = self.place(end.map_or(Bound::Unbounded, Bound::Excluded));
        if from >= to {
            return;
        }
        let leaves = Arc::make_mut(&mut self.leaves);
        if from.leaf == to.leaf {
            if let Some(leaf) = leaves.get_mut(from.leaf).map(Arc::make_mut) {
                leaf.drain(from.entry..to.entry);
            }
        } else {
            if let Some(leaf) = leaves.get_mut(to.leaf).map(Arc::make_mut) {
                leaf.drain(..to.entry);
            }
            if let Some(leaf) = leaves.get_mut(from.leaf).map(Arc::make_mut) {
                leaf.truncate(from.entry);
            }
            leaves.drain(from.leaf + 1..to.leaf);
        }
        leaves.retain(|leaf| !leaf.is_empty());
    }

    /// The places where a range begins and ends.
    pub(super) fn places(&self, range: &KeyRange) -> (Place, Place) {
        let end = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        (self.place(Bound::Included(&range.start)), self.place(end))
    }

    /// The place before `key`, whether it is there or not; or the end.
    fn place(&self, key: Bound<&[u8]>) -> Place {
        let (Bound::Included(key) | Bound::Excluded(key)) = key else {
            return Place {
                leaf: self.leaves.len(),
                entry: 0,
            };
        };
        let leaf = self.leaf_of(key);
        let entry = self.leaves.get(leaf).map_or(0, |leaf| match find(leaf, key) {
            Ok(entry) | Err(entry) => entry,
        });
        self.settled(Place { leaf, entry })
    }

    /// The same place, in the leaf of the entry that comes next.
    fn settled(&self, place: Place) -> Place {
        match self.leaves.get(place.leaf) {
            Some(leaf) if place.entry >= leaf.len() => Place {
                leaf: place.leaf + 1,
                entry: 0,
            },
            _ => place,
        }
    }

    /// The entry behind a place.
    pub(super) fn entry(&self, place: Place) -> Option<(&[u8], &[u8])> {
        let (key, value) = self.leaves.get(place.leaf)?.get(place.entry)?;
        Some((key, value))
    }

    /// The place behind the entry that is behind a place.
    pub(super) fn next(&self, place: Place) -> Place {
        self.settled(Place {
            entry: place.entry + 1,
            ..place
        })
    }

    /// The place before the entry that is before a place; the first has itself.
    pub(super) fn previous(&self, place: Place) -> Place {
        match (place.entry.checked_sub(1), place.leaf.checked_sub(1)) {
            (Some(entry), _) => Place { entry, ..place },
            (None, Some(leaf)) => Place {
                leaf,
                entry: self
                    .leaves
                    .get(leaf)
                    .map_or(0, |leaf| leaf.len().saturating_sub(1)),
            },
            (None, None) => place,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Change {
        Insert(u16, u8),
        Remove(u16),
        RemoveRange(u16, Option<u16>),
        Copy,
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            20 => (0..500u16, any::<u8>()).prop_map(|(key, value)| Change::Insert(key, value)),
            6 => (0..500u16).prop_map(Change::Remove),
            1 => (0..500u16, prop::option::weighted(0.9, 0..500u16)).prop_map(|(from, to)| Change::RemoveRange(from, to)),
            1 => Just(Change::Copy),
        ]
    }

    type Model = BTreeMap<Vec<u8>, Vec<u8>>;

    fn check(map: &Map, model: &Model) {
        let range = KeyRange::prefixed(b"");
        let (mut place, end) = map.places(&range);
        let mut entries = Vec::new();
        while place < end {
            let (key, value) = map.entry(place).unwrap();
            entries.push((key.to_vec(), value.to_vec()));
            place = map.next(place);
        }
        assert_eq!(entries, model.clone().into_iter().collect::<Vec<_>>());
        assert!(
            map.leaves
                .iter()
                .all(|leaf| !leaf.is_empty() && leaf.len() <= LEAF)
        );
        for (key, value) in model {
            assert_eq!(map.get(key), Some(value.as_slice()));
        }
    }

    proptest! {
        #[test]
        fn is_a_map_and_copies_stay(changes in prop::collection::vec(change(), 0..400)) {
            let (mut map, mut model) = (Map::default(), Model::new());
            let mut copies = Vec::new();
            for change in changes {
                let bytes = |key: u16| key.to_be_bytes().to_vec();
                match change {
                    Change::Insert(key, value) => {
                        map.insert(&bytes(key), &[value]);
                        model.insert(bytes(key), vec![value]);
                    }
                    Change::Remove(key) => {
                        map.remove(&bytes(key));
                        model.remove(&bytes(key));
                    }
                    Change::RemoveRange(from, to) => {
                        let to = to.map(bytes);
                        map.remove_range(&bytes(from), to.as_deref());
                        model.retain(|key, _| *key < bytes(from) || to.as_ref().is_some_and(|to| key >= to));
                    }
                    Change::Copy => copies.push((map.clone(), model.clone())),
                }
            }
            check(&map, &model);
            for (map, model) in copies {
                check(&map, &model);
            }
        }
    }
}
