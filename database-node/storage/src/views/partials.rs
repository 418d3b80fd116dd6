//! Stored partial results of a reduce, so that reducing a million entries reads a few hundred values.
//!
//! The entries of a view in a slot are cut into runs at entries whose hash ends in so many zero bits: six for level 1,
//! so a run has 64 entries on average, twelve for level 2, and so on. Of each run of each level the reduced value is
//! kept. So the cuts depend on the entries only, and an entry that comes or goes changes one run, or two, of each level:
//! a skip list whose levels are drawn by a hash, as in Auvolat and Taïani, "Merkle Search Trees" (2019).
//!
//! Whatever changes an entry marks it as stale, in the same batch. A reader does not use a run with a stale entry but
//! the runs below it, and at the bottom the entries: so it is right at every moment, and partials only make it fast. When
//! there are many marks, the runs with stale entries are made anew and the marks removed that were seen.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::PoisonError;

use pliantdb_core::{Error, Order, Slot, Timestamp, ViewPolicy, ViewSchema};
use xxhash_rust::xxh3::xxh3_64;

use super::{Place, Readable, ViewRuntime, stored};
use crate::engine::Engine;
use crate::keys::{self, Space};
use crate::machine::Pending;
use crate::records::{self, Partial};
use crate::store::{Cursor, KeyRange, OrderedStore, Snapshot, StoreError};

/// How many zero bits the hash of an entry ends in for each level that it begins a run of.
const BITS: u32 = 6;
/// Runs of the last level have some 16 million entries.
const LEVELS: u8 = 4;
/// With more stale entries in a slot, its partials are made anew.
const MANY: usize = 64;
/// With more, it is quicker to begin from nothing; in the local slot, with so many for each slot that there is.
const TOO_MANY: usize = 4096;
/// So many values are reduced at once.
const VALUES: usize = 1024;

/// The highest level of which an entry begins a run; 0 for none.
fn level_of(entry: &[u8]) -> u8 {
    u8::try_from(xxh3_64(entry).trailing_zeros() / BITS).map_or(LEVELS, |level| level.min(LEVELS))
}

/// In each slot, the time before which a view has no marks of stale entries any more, nor will have any.
pub(super) type MarkedFrom = BTreeMap<Slot, Timestamp>;

/// The view's partials and entries in one slot, at one moment.
pub(super) struct InSlot<'s, S> {
    snapshot: &'s S,
    entries: Vec<u8>,
    partials: Vec<u8>,
    /// Entries that partials do not count.
    stale: BTreeSet<Vec<u8>>,
    /// Where that is said.
    marks: Vec<Vec<u8>>,
}

impl<'s, S: Snapshot> InSlot<'s, S> {
    /// No mark is of an earlier time than `marked_from`, which was known before the snapshot was taken.
    pub(super) fn open(
        snapshot: &'s S,
        view: &Readable,
        slot: Slot,
        marked_from: Option<Timestamp>,
    ) -> Result<Self, StoreError> {
        let base = |space| keys::view(view.database.id, slot, space, view.id, 0);
        let marked = base(Space::Stale);
        let (mut stale, mut marks) = (BTreeSet::new(), Vec::new());
        let mut range = KeyRange::prefixed(&marked);
        range
            .start
            .extend_from_slice(&marked_from.unwrap_or(Timestamp::ZERO).bits().to_be_bytes());
        let mut cursor = snapshot.scan(range, Order::Ascending)?;
        while let Some((key, _)) = cursor.entry() {
            stale.insert(key.get(marked.len() + 8..).unwrap_or_default().to_vec());
            marks.push(key.to_vec());
            cursor.advance()?;
        }
        Ok(Self {
            snapshot,
            entries: base(Space::Entries),
            partials: base(Space::Partials),
            stale,
            marks,
        })
    }

    /// Values that reduce to that of the entries from `start`, inclusive, to `end`, exclusive.
    pub(super) fn values(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        to: &mut Vec<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let mut position = start.to_vec();
        // Runs begin with the first entry of all, and with those that a level begins with.
        let mut begins_run = start.is_empty();
        let is_within = |entry: &[u8]| end.is_none_or(|end| entry < end);
        loop {
            if begins_run && let Some(run) = self.run_at(&position, end)? {
                to.push(run.value);
                match run.end {
                    Some(next) if is_within(&next) => position = next,
                    _ => return Ok(()),
                }
                continue;
            }
            // Entry by entry, until one begins a run.
            let mut cursor = self.scan(&self.entries, &position, end)?;
            let mut is_first = true;
            loop {
                let Some((key, value)) = cursor.entry() else {
                    return Ok(());
                };
                let entry = key.get(self.entries.len()..).unwrap_or_default();
                // At the first there was no run to be used, unless it lies behind where we are.
                if level_of(entry) > 0 && !(is_first && begins_run && entry == position) {
                    position = entry.to_vec();
                    begins_run = true;
                    break;
                }
                to.push(value.to_vec());
                is_first = false;
                cursor.advance()?;
            }
        }
    }

    /// The longest run that begins at an entry, ends at `end` at the latest, and has no stale entry.
    fn run_at(&self, start: &[u8], end: Option<&[u8]>) -> Result<Option<Partial>, StoreError> {
        for level in (1..=LEVELS).rev() {
            let key = self.partial(level, start);
            let Some(run) = self.snapshot.get(&key, records::decode_partial)?.transpose()? else {
                continue;
            };
            let is_within = match (&run.end, end) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(run_end), Some(end)) => run_end.as_slice() <= end,
            };
            let behind = run.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut stale = self.stale.range::<[u8], _>((Bound::Included(start), behind));
            if is_within && stale.next().is_none() {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    fn partial(&self, level: u8, start: &[u8]) -> Vec<u8> {
        [self.partials.as_slice(), &[level], start].concat()
    }

    fn scan(&self, base: &[u8], start: &[u8], end: Option<&[u8]>) -> Result<S::Cursor<'s>, StoreError> {
        let mut range = KeyRange::prefixed(base);
        range.start.extend_from_slice(start);
        if let Some(end) = end {
            range.end = Some([base, end].concat());
        }
        self.snapshot.scan(range, Order::Ascending)
    }

    /// What the runs of a level are made of: entries, or the runs of the level below.
    fn below(&self, level: u8) -> Vec<u8> {
        match level {
            1 => self.entries.clone(),
            _ => self.partial(level - 1, &[]),
        }
    }

    /// Where the run of a level begins that has an entry in it, or would have: at `entry` itself, or before it.
    fn start_of_run(&self, level: u8, entry: &[u8], may_be_itself: bool) -> Result<Vec<u8>, StoreError> {
        let base = self.below(level);
        let mut range = KeyRange::prefixed(&base);
        // The first key behind the entry is the same with a zero byte added.
        let end = if may_be_itself {
            [entry, &[0]].concat()
        } else {
            entry.to_vec()
        };
        range.end = Some([base.as_slice(), &end].concat());
        let mut cursor = self.snapshot.scan(range, Order::Descending)?;
        while let Some((key, _)) = cursor.entry() {
            let start = key.get(base.len()..).unwrap_or_default();
            if level_of(start) >= level {
                return Ok(start.to_vec());
            }
            cursor.advance()?;
        }
        Ok(Vec::new())
    }

    /// Makes a run of a level anew, out of what is below it. `None` if there is nothing.
    fn make_run(&self, level: u8, start: &[u8], schema: &Reducing<'_>) -> Result<Option<Partial>, Error> {
        let base = self.below(level);
        let mut cursor = stored(self.scan(&base, start, None))?;
        let (mut values, mut end) = (Vec::new(), None);
        while let Some((key, value)) = cursor.entry() {
            let here = key.get(base.len()..).unwrap_or_default();
            if here != start && level_of(here) >= level {
                end = Some(here.to_vec());
                break;
            }
            values.push(match level {
                1 => value.to_vec(),
                _ => stored(records::decode_partial(value))?.value,
            });
            stored(cursor.advance())?;
        }
        match values.is_empty() {
            true => Ok(None),
            false => Ok(Some(Partial {
                end,
                value: schema.reduce(values)?,
            })),
        }
    }
}

/// A view that reduces.
pub(super) struct Reducing<'v> {
    view: &'v Readable,
    schema: &'v ViewSchema,
}

impl<'v> Reducing<'v> {
    pub(super) fn of(view: &'v Readable) -> Result<Self, Error> {
        let schema = view.schema()?;
        Ok(Self { view, schema })
    }

    /// One value for several, however many.
    pub(super) fn reduce(&self, mut values: Vec<Vec<u8>>) -> Result<Vec<u8>, Error> {
        let reduce = |values: &[Vec<u8>]| {
            let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            let reduced = self
                .schema
                .reduce(&values)
                .unwrap_or_else(|| Err("it has no reduce".to_owned()));
            reduced.map_err(|reason| self.view.failed(reason))
        };
        while values.len() > VALUES {
            values = values.chunks(VALUES).map(reduce).collect::<Result<_, _>>()?;
        }
        reduce(&values)
    }
}

impl<S: OrderedStore> Engine<S> {
    /// Makes the partials of all slots out of nothing.
    pub(super) fn make_partials(&self, view: &Readable) -> Result<(), Error> {
        if view.record.definition.reduces {
            let runtime = self.views.get(view.database.id, view.id);
            // Or who refreshes them at the same time would write what is older over them.
            let _one_at_a_time = runtime.partials.lock().unwrap_or_else(PoisonError::into_inner);
            let schema = Reducing::of(view)?;
            for slot in view.place().slots() {
                self.make_partials_in(view, &schema, slot, None)?;
            }
        }
        Ok(())
    }

    /// From when on a view may have marks of stale entries.
    pub(super) fn marked_from(&self, view: &Readable) -> MarkedFrom {
        let runtime = self.views.get(view.database.id, view.id);
        runtime
            .partials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes the partials anew of runs with stale entries, where there are many. The view is not the version before.
    pub(super) fn refresh_partials(&self, view: &Readable, runtime: &ViewRuntime) -> Result<(), Error> {
        if !view.record.definition.reduces {
            return Ok(());
        }
        // All marks up to here are there: those to come are of later commits, or of later updates of a lazy view.
        let complete = match view.record.definition.policy {
            ViewPolicy::Lazy => *runtime.up_to.lock().unwrap_or_else(PoisonError::into_inner),
            _ => Some(self.progress.applied()),
        };
        let mut marked_from = runtime.partials.lock().unwrap_or_else(PoisonError::into_inner);
        let schema = Reducing::of(view)?;
        let too_many = match view.place() {
            Place::Local => TOO_MANY * usize::from(view.database.slots.get()),
            Place::Slots(_) => TOO_MANY,
        };
        for slot in view.place().slots() {
            let from = marked_from.get(&slot).copied();
            let snapshot = self.store.snapshot();
            let InSlot { stale, marks, .. } = stored(InSlot::open(&snapshot, view, slot, from))?;
            drop(snapshot);
            if stale.len() > too_many {
                self.make_partials_in(view, &schema, slot, from)?;
            } else if stale.len() > MANY {
                for level in 1..=LEVELS {
                    self.refresh_level(view, &schema, slot, level, &stale, from)?;
                }
                self.remove_marks(marks)?;
            } else if !stale.is_empty() {
                continue;
            }
            if let Some(complete) = complete {
                marked_from.insert(slot, Timestamp::from_bits(complete.bits() + 1));
            }
        }
        Ok(())
    }

    /// Makes the runs of a level anew that have stale entries. Those of the level below are made already.
    fn refresh_level(
        &self,
        view: &Readable,
        schema: &Reducing<'_>,
        slot: Slot,
        level: u8,
        stale: &BTreeSet<Vec<u8>>,
        marked_from: Option<Timestamp>,
    ) -> Result<(), Error> {
        let snapshot = self.store.snapshot();
        let in_slot = stored(InSlot::open(&snapshot, view, slot, marked_from))?;
        let mut starts = BTreeSet::new();
        for entry in stale {
            starts.insert(stored(in_slot.start_of_run(level, entry, true))?);
            if level_of(entry) >= level {
                // It cuts the run before it, or does so no more; and its own may be gone.
                starts.insert(stored(in_slot.start_of_run(level, entry, false))?);
                starts.insert(entry.clone());
            }
        }
        let mut pending = Pending::new(self.store.as_ref());
        for start in starts {
            let is_there = start.is_empty() || stored(in_slot.begins(level, &start))?;
            let run = if is_there {
                in_slot.make_run(level, &start, schema)?
            } else {
                None
            };
            let key = in_slot.partial(level, &start);
            match run {
                Some(run) => pending.put_unread(key, stored(records::encode_partial(&run))?),
                None => pending.delete_unread(key),
            }
        }
        self.write_pending(pending)
    }

    fn make_partials_in(
        &self,
        view: &Readable,
        schema: &Reducing<'_>,
        slot: Slot,
        marked_from: Option<Timestamp>,
    ) -> Result<(), Error> {
        let snapshot = self.store.snapshot();
        let in_slot = stored(InSlot::open(&snapshot, view, slot, marked_from))?;
        let mut pending = Pending::new(self.store.as_ref());
        stored(self.remove(&mut pending, KeyRange::prefixed(&in_slot.partials)))?;
        // The run of each level that is being read: where it began, and its values.
        let mut open: Vec<(Vec<u8>, Vec<Vec<u8>>)> = vec![(Vec::new(), Vec::new()); usize::from(LEVELS)];
        let mut cursor = stored(in_slot.scan(&in_slot.entries, &[], None))?;
        loop {
            let entry = cursor
                .entry()
                .map(|(key, value)| (key.get(in_slot.entries.len()..).unwrap_or_default(), value));
            let ended = entry.map_or(LEVELS, |(entry, _)| level_of(entry));
            for level in 1..=ended {
                let Some((start, values)) = open.get_mut(usize::from(level) - 1) else {
                    break;
                };
                let start = std::mem::replace(start, entry.map_or(Vec::new(), |(entry, _)| entry.to_vec()));
                let values = std::mem::take(values);
                if values.is_empty() {
                    continue;
                }
                let value = schema.reduce(values)?;
                if let Some((_, above)) = open.get_mut(usize::from(level)) {
                    above.push(value.clone());
                }
                let end = entry.map(|(entry, _)| entry.to_vec());
                let run = stored(records::encode_partial(&Partial { end, value }))?;
                pending.put_unread(in_slot.partial(level, &start), run);
            }
            let Some((_, value)) = entry else { break };
            if let Some((_, values)) = open.first_mut() {
                values.push(value.to_vec());
            }
            stored(cursor.advance())?;
        }
        drop(cursor);
        let marks = in_slot.marks;
        self.write_pending(pending)?;
        self.remove_marks(marks)
    }

    fn remove_marks(&self, marks: Vec<Vec<u8>>) -> Result<(), Error> {
        let mut pending = Pending::new(self.store.as_ref());
        marks.into_iter().for_each(|mark| pending.delete_unread(mark));
        self.write_pending(pending)
    }
}

impl<S: Snapshot> InSlot<'_, S> {
    /// Whether there is something at `start` that a run of a level can begin with.
    fn begins(&self, level: u8, start: &[u8]) -> Result<bool, StoreError> {
        let key = [self.below(level).as_slice(), start].concat();
        Ok(self.snapshot.get(&key, |_| ())?.is_some())
    }
}
