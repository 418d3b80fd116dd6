//! Changes that happen together.

use super::KeyRange;

/// One change of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'b> {
    /// Sets the value of a key.
    Put(&'b [u8], &'b [u8]),
    /// Removes a key, which need not exist.
    Delete(&'b [u8]),
    /// Removes every key from the first on and before the second, those put earlier in the batch included; without a
    /// second, to the end.
    DeleteRange(&'b [u8], Option<&'b [u8]>),
}

impl<'b> Change<'b> {
    /// Its key, or the first of its range.
    pub(crate) fn key(self) -> &'b [u8] {
        match self {
            Self::Put(key, _) | Self::Delete(key) | Self::DeleteRange(key, _) => key,
        }
    }

    /// Whether all that it changes lies in a range.
    pub(crate) fn is_within(self, range: &KeyRange) -> bool {
        let is_before_end = |key: &[u8]| range.end.as_ref().is_none_or(|end| key < end.as_slice());
        range.start.as_slice() <= self.key()
            && match self {
                Self::Put(..) | Self::Delete(_) => is_before_end(self.key()),
                Self::DeleteRange(_, Some(end)) => {
                    range.end.as_ref().is_none_or(|last| end <= last.as_slice())
                }
                Self::DeleteRange(_, None) => range.end.is_none(),
            }
    }
}

/// Changes that happen together or not at all; a later one of the same key wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// All keys and values, one behind the other: a batch of thousands costs no more allocations than one of one.
    bytes: Vec<u8>,
    changes: Vec<Place>,
}

/// Where in the bytes a change is: its key, and from `middle` on its value or the end of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    kind: Kind,
    start: usize,
    middle: usize,
    end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Put,
    Delete,
    DeleteRange,
    DeleteToTheEnd,
}

impl Batch {
    /// Sets the value of `key`.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.put_with(key, |to| to.extend_from_slice(value.as_ref()));
    }

    /// Sets the value of `key` to what `write` appends.
    pub(crate) fn put_with(&mut self, key: impl AsRef<[u8]>, write: impl FnOnce(&mut Vec<u8>)) {
        self.add(Kind::Put, key.as_ref(), write);
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) {
        self.add(Kind::Delete, key.as_ref(), |_| {});
    }

    /// Removes every key of `range`, those put earlier in this batch included. It costs about as much as one delete,
    /// however many keys there are.
    pub fn delete_range(&mut self, range: KeyRange) {
        match &range.end {
            _ if range.is_empty() => {}
            Some(end) => self.add(Kind::DeleteRange, &range.start, |to| to.extend_from_slice(end)),
            None => self.add(Kind::DeleteToTheEnd, &range.start, |_| {}),
        }
    }

    fn add(&mut self, kind: Kind, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let middle = self.bytes.len();
        write(&mut self.bytes);
        let end = self.bytes.len();
        self.changes.push(Place {
            kind,
            start,
            middle,
            end,
        });
    }

    /// Adds the changes of another batch behind its own.
    pub fn append(&mut self, other: &Self) {
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.changes.extend(other.changes.iter().map(|place| Place {
            kind: place.kind,
            start: place.start + offset,
            middle: place.middle + offset,
            end: place.end + offset,
        }));
    }

    /// Drops the changes after the first `length`.
    pub fn truncate(&mut self, length: usize) {
        if let Some(first) = self.changes.get(length) {
            self.bytes.truncate(first.start);
            self.changes.truncate(length);
        }
    }

    /// The bytes of all keys and values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How many changes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes, in order.
    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        self.changes.iter().map(|place| self.at(*place))
    }

    /// The `number`-th change, from 0.
    pub(crate) fn change(&self, number: usize) -> Option<Change<'_>> {
        self.changes.get(number).map(|place| self.at(*place))
    }

    fn at(&self, place: Place) -> Change<'_> {
        let bytes = |from, to| self.bytes.get(from..to).unwrap_or_default();
        let (key, rest) = (bytes(place.start, place.middle), bytes(place.middle, place.end));
        match place.kind {
            Kind::Put => Change::Put(key, rest),
            Kind::Delete => Change::Delete(key),
            Kind::DeleteRange => Change::DeleteRange(key, Some(rest)),
            Kind::DeleteToTheEnd => Change::DeleteRange(key, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_put_in() {
        let mut batch = Batch::default();
        batch.put(b"a", b"1");
        batch.delete(b"bc");
        batch.delete_range(KeyRange::prefixed(b"d"));
        batch.delete_range(KeyRange::prefixed(b""));
        batch.delete_range(KeyRange {
            start: b"z".to_vec(),
            end: Some(b"y".to_vec()),
        });
        batch.put_with(b"", |to| to.extend_from_slice(b"23"));
        let all = [
            Change::Put(b"a", b"1"),
            Change::Delete(b"bc"),
            Change::DeleteRange(b"d", Some(b"e")),
            Change::DeleteRange(b"", None),
            Change::Put(b"", b"23"),
        ];
        assert_eq!(batch.changes().collect::<Vec<_>>(), all);
        assert_eq!((batch.len(), batch.size()), (5, 8));
        batch.truncate(9);
        assert_eq!(batch.len(), 5);
        batch.truncate(2);
        batch.put(b"e", b"");
        let left = [
            Change::Put(b"a", b"1"),
            Change::Delete(b"bc"),
            Change::Put(b"e", b""),
        ];
        assert_eq!(batch.changes().collect::<Vec<_>>(), left);
        assert_eq!(batch.change(2), Some(left[2]));
    }

    #[test]
    fn appends_another() {
        let (mut batch, mut other) = (Batch::default(), Batch::default());
        batch.put(b"a", b"1");
        other.put(b"b", b"23");
        other.delete_range(KeyRange::prefixed(b"c"));
        batch.append(&other);
        batch.append(&Batch::default());
        let all = [
            Change::Put(b"a", b"1"),
            Change::Put(b"b", b"23"),
            Change::DeleteRange(b"c", Some(b"d")),
        ];
        assert_eq!(batch.changes().collect::<Vec<_>>(), all);
        batch.truncate(2);
        assert_eq!((batch.len(), batch.size()), (2, 5));
    }
}
