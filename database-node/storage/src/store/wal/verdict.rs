//! Whether what is damaged in the logs was ever acknowledged.

use super::format::{Batch, Found};

/// A place in the logs: which one, counted from the oldest, and the byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) log: usize,
    pub(super) byte: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is damaged, or it does no harm.
    Whole,
    /// From here on nothing is known to have been acknowledged.
    Torn(Place),
    /// Batches are missing from here on, and at least up to this sequence number they were acknowledged.
    Damaged(Place, u64),
    /// There is something here that this program did not write.
    Foreign(Place),
}

/// Goes through the logs, from the oldest to the newest.
///
/// The sequence numbers of batches follow each other, so what is missing can be told from what comes after it. It was
/// synced, hence perhaps acknowledged, if a later batch or the file beside the logs says so.
#[derive(Debug)]
pub(super) struct Judge {
    /// The highest sequence number that is known to have been synced.
    synced: u64,
    /// The sequence number of the next batch.
    next: Option<u64>,
    /// The first damage after the last batch that follows on those before it.
    damage: Option<Place>,
    /// The first sequence number that is missing, once a later one has been found.
    missing: Option<u64>,
    foreign: Option<Place>,
    log: usize,
    is_first_of_log: bool,
    /// Whether files are used again, so that a log ends where what is left of an earlier one begins.
    is_recycled: bool,
    /// Behind the damage: the first intact fragment of an earlier log in the same file.
    old: Option<Place>,
    /// Whether anything of this log is behind the damage, or in it.
    is_torn: bool,
    rooms: Vec<Room>,
}

/// What is left in the file of a log behind its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) place: Place,
    /// From which byte on it is known to be of an earlier log.
    pub(super) old: Option<u64>,
}

impl Judge {
    /// `synced` is what the file beside the logs says; `is_recycled`, whether files are used again.
    pub(super) fn new(synced: u64, is_recycled: bool) -> Self {
        Self {
            synced,
            next: None,
            damage: None,
            missing: None,
            foreign: None,
            log: 0,
            is_first_of_log: true,
            is_recycled,
            old: None,
            is_torn: false,
            rooms: Vec::new(),
        }
    }

    /// What is found from now on is in that log.
    pub(super) fn begin(&mut self, log: usize) {
        self.log = log;
        self.is_first_of_log = true;
    }

    pub(super) fn see(&mut self, found: &Found) {
        let (start, batch, is_whole) = match found {
            Found::Record { start, bytes } => match Batch::whole(bytes) {
                Some(batch) => (*start, Some(batch), true),
                None => (*start, Batch::begun(bytes), false),
            },
            Found::Begun { start, bytes } => (*start, Batch::begun(bytes), false),
            Found::Damage { start } | Found::Old { start } => (*start, None, false),
            Found::Foreign { start } => (*start, None, false),
        };
        let place = Place {
            log: self.log,
            byte: start,
        };
        match found {
            Found::Foreign { .. } => drop(self.foreign.get_or_insert(place)),
            Found::Old { .. } => drop(self.old.get_or_insert(place)),
            Found::Record { .. } | Found::Begun { .. } | Found::Damage { .. } => {}
        }
        let is_own = matches!(found, Found::Record { .. } | Found::Begun { .. });
        // What comes before everything that was read already is from an earlier use of the same room on the disk.
        let batch = batch.filter(|batch| self.next.is_none_or(|next| batch.first >= next));
        let Some(batch) = batch else {
            self.damage.get_or_insert(place);
            self.is_torn |= is_own;
            return;
        };
        self.synced = self.synced.max(batch.synced);
        if self.missing.is_some() {
            return;
        }
        // Between logs numbers may be missing: old logs are removed in any order.
        let may_skip = self.damage.is_none() && std::mem::take(&mut self.is_first_of_log);
        let follows = self.next == Some(batch.first) || may_skip;
        if !follows {
            self.damage.get_or_insert(place);
            // Without a batch before, nobody knows where it begins.
            self.missing = Some(self.next.unwrap_or(0));
            self.is_torn = true;
        } else if is_whole {
            let ended = self.damage.take().filter(|damage| damage.log < self.log);
            self.room(ended);
            (self.old, self.is_torn) = (None, false);
            self.next = batch.last.checked_add(1);
        } else {
            self.damage.get_or_insert(place);
            self.is_torn = true;
        }
    }

    /// A log ends at this place.
    fn room(&mut self, place: Option<Place>) {
        let Some(place) = place.filter(|_| self.is_recycled) else {
            return;
        };
        let old = self.old.filter(|old| old.log == place.log).map(|old| old.byte);
        self.rooms.push(Room { place, old });
    }

    /// The sequence number of the last batch that is intact and follows on those before it; 0 for none.
    pub(super) fn end(&self) -> u64 {
        self.next.map_or(0, |next| next.saturating_sub(1))
    }

    /// What came of it, and what is left in files behind the ends of logs.
    pub(super) fn verdict(mut self) -> (Verdict, Vec<Room>) {
        // Nothing of the last log is behind its end, and what is there is of an earlier one.
        let is_room = self.is_recycled && !self.is_torn && self.old.is_some();
        let is_lost = self
            .missing
            .or(self.next)
            .is_some_and(|missing| self.synced >= missing);
        if is_room && !is_lost {
            let place = self.damage.take();
            self.room(place);
        }
        (self.judge(), self.rooms)
    }

    fn judge(&self) -> Verdict {
        match (self.foreign, self.damage, self.missing.or(self.next)) {
            (Some(place), ..) => Verdict::Foreign(place),
            (None, None, _) => Verdict::Whole,
            (None, Some(place), Some(missing)) if self.synced >= missing => {
                Verdict::Damaged(place, self.synced)
            }
            (None, Some(place), _) => Verdict::Torn(place),
        }
    }
}
