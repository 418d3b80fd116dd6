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
}

impl Judge {
    /// `synced` is what the file beside the logs says.
    pub(super) fn new(synced: u64) -> Self {
        Self {
            synced,
            next: None,
            damage: None,
            missing: None,
            foreign: None,
            log: 0,
            is_first_of_log: true,
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
            Found::Damage { start } => (*start, None, false),
            Found::Foreign { start } => (*start, None, false),
        };
        let place = Place {
            log: self.log,
            byte: start,
        };
        if let Found::Foreign { .. } = found {
            self.foreign.get_or_insert(place);
        }
        // What comes before everything that was read already is from an earlier use of the same room on the disk.
        let batch = batch.filter(|batch| self.next.is_none_or(|next| batch.first >= next));
        let Some(batch) = batch else {
            self.damage.get_or_insert(place);
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
        } else if is_whole {
            self.damage = None;
            self.next = batch.last.checked_add(1);
        } else {
            self.damage.get_or_insert(place);
        }
    }

    pub(super) fn verdict(self) -> Verdict {
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
