//! Committed entries that are not handed on yet: until it is safe that they are committed, and until there is room to
//! apply them.

use std::collections::VecDeque;

use pliantdb_storage::store::StoreError;
use raft::eraftpb::Entry;

/// The entries, in their order.
pub(super) struct Held {
    /// So many bytes of them are held; of more it is only known up to where they go, for they are in the log.
    limit: u64,
    entries: VecDeque<Entry>,
    bytes: u64,
    /// Up to where more is committed than is held.
    unread: Option<u64>,
}

impl Held {
    /// None.
    pub(super) fn within(limit: u64) -> Self {
        Self {
            limit,
            entries: VecDeque::new(),
            bytes: 0,
            unread: None,
        }
    }

    /// None any more.
    pub(super) fn clear(&mut self) {
        *self = Self::within(self.limit);
    }

    /// Takes what follows.
    pub(super) fn push(&mut self, entries: Vec<Entry>) {
        let Some(last) = entries.last().map(|entry| entry.index) else {
            return;
        };
        match self.unread.is_some() || self.bytes >= self.limit {
            true => self.unread = Some(last),
            false => self.keep(entries),
        }
    }

    /// Reads the next ones when there are any and none is held. `read` gives some of those up to an index and of about so
    /// many bytes, one at least.
    pub(super) fn refill(
        &mut self,
        read: impl FnOnce(u64, u64) -> Result<Vec<Entry>, StoreError>,
    ) -> Result<(), StoreError> {
        if let Some(last) = self.unread.filter(|_| self.entries.is_empty()) {
            self.keep(read(last, self.limit)?);
            let is_all = self.entries.back().is_none_or(|entry| entry.index >= last);
            self.unread = self.unread.filter(|_| !is_all);
        }
        Ok(())
    }

    pub(super) fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= bytes_of(&entry);
        Some(entry)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.unread.is_none()
    }

    fn keep(&mut self, entries: Vec<Entry>) {
        self.bytes += entries.iter().map(bytes_of).sum::<u64>();
        self.entries.extend(entries);
    }
}

/// How much an entry has to say.
pub(super) fn bytes_of(entry: &Entry) -> u64 {
    (entry.data.len() + entry.context.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(indices: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
        let entry = |index| Entry {
            index,
            data: vec![7; 1 << 20].into(),
            ..Entry::default()
        };
        indices.map(entry).collect()
    }

    #[test]
    fn what_is_too_much_is_read_again() {
        let mut held = Held::within(4 << 20);
        for index in 1..=10 {
            held.push(entries(index..=index));
        }
        assert_eq!(held.entries.len(), 4);
        for expected in 1..=10 {
            held.refill(|last, _| {
                assert_eq!(last, 10);
                Ok(entries(expected..=10.min(expected + 3)))
            })
            .unwrap();
            assert!(held.entries.len() <= 4);
            assert_eq!(held.pop().unwrap().index, expected);
        }
        assert!(held.is_empty() && held.bytes == 0);
    }
}
