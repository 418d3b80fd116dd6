//! How RocksDB lays out a log: blocks of 32 KiB with fragments, of which records are made, each a batch.
//!
//! ```text
//! fragment   crc32c, masked (u32)   of all behind the length
//!            length (u16)           of the payload; a fragment never crosses the end of a block
//!            type (u8)              1 = a whole record, 2, 3, 4 = the first, a middle, the last part of one;
//!                                   5 to 8 = the same in a log whose file may have been another log before
//!            log (u32)              of types 5 to 8: the number of the log, or what fits of it
//!            payload
//! batch      sequence number of its first change (u64), number of changes (u32), changes
//! ```
//! Numbers are little-endian. Ours are the first and the last entry of a batch, which RocksDB carries in the log and
//! otherwise ignores: up to which sequence number the log was synced when the batch was written, and a checksum of
//! the whole batch, for those of fragments do not notice when one is in another's place.

use std::io::{self, Read};

use xxhash_rust::xxh3::xxh3_64;

const BLOCK: usize = 32 * 1024;
const FRAGMENT_HEADER: usize = 7;
/// Of a fragment that has the number of its log.
const NUMBERED_HEADER: usize = FRAGMENT_HEADER + 4;
const BATCH_HEADER: usize = 12;
/// RocksDB's tag of an entry that it ignores.
const LOG_DATA: u8 = 3;
const SYNCED: u8 = 1;
const CHECKSUM: u8 = 2;
/// An entry of ours in the log: RocksDB's tag, the length, our tag, a number.
const ENTRY: usize = 2 + NOTE;
const NOTE: usize = 9;

/// The first entry of a batch: the log is synced up to this sequence number.
pub(crate) fn synced_note(sequence: u64) -> [u8; NOTE] {
    note(SYNCED, sequence)
}

/// The last entry of the batch that so far has these bytes.
pub(crate) fn checksum_note(batch: &[u8]) -> [u8; NOTE] {
    note(CHECKSUM, xxh3_64(batch.get(BATCH_HEADER..).unwrap_or_default()))
}

fn note(tag: u8, number: u64) -> [u8; NOTE] {
    let mut note = [tag; NOTE];
    note[1..].copy_from_slice(&number.to_le_bytes());
    note
}

/// What a log holds, from its beginning to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A record of which every fragment is intact.
    Record { start: u64, bytes: Vec<u8> },
    /// A record of which some fragments are intact, but not all; without bytes if the first is not.
    Begun { start: u64, bytes: Vec<u8> },
    /// Bytes that are no fragment.
    Damage { start: u64 },
    /// An intact fragment of the log that the file was before.
    Old { start: u64 },
    /// An intact fragment of a kind that this program does not write.
    Foreign { start: u64 },
}

/// Calls `found` with everything in a log, in order. `number` is that of the log when its fragments have it. Behind a damaged place it looks for the next intact fragment at
/// every byte, for the damaged length cannot be trusted.
pub(super) fn read(mut log: impl Read, number: Option<u32>, found: impl FnMut(Found)) -> io::Result<()> {
    let mut reader = Reader {
        number,
        record: None,
        found,
    };
    let mut block = Vec::with_capacity(BLOCK);
    let mut base = 0;
    loop {
        block.clear();
        let length = log.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        reader.block(base, &block);
        base += length as u64;
        if length < BLOCK {
            reader.give_up();
            return Ok(());
        }
    }
}

struct Reader<F> {
    /// The number that fragments of the log have.
    number: Option<u32>,
    /// Where the record in the making begins, and its bytes so far.
    record: Option<(u64, Vec<u8>)>,
    found: F,
}

impl<F: FnMut(Found)> Reader<F> {
    fn block(&mut self, base: u64, block: &[u8]) {
        let (mut at, mut is_lost) = (0, false);
        let header = self.number.map_or(FRAGMENT_HEADER, |_| NUMBERED_HEADER);
        while let Some(rest) = block.get(at..).filter(|rest| rest.len() >= header) {
            let start = base + at as u64;
            let found = fragment(rest, self.number);
            if let Some(Fragment::Own { kind, payload }) = found {
                is_lost = false;
                self.fragment(start, kind, payload);
                at += header + payload.len();
                continue;
            }
            if !is_lost {
                self.damage(start);
            }
            is_lost = true;
            at += match found {
                Some(Fragment::Old { length }) => {
                    (self.found)(Found::Old { start });
                    length
                }
                _ => 1,
            };
        }
        // In a whole block, what is too short for a header is padding.
        if block.len() < BLOCK && at < block.len() && !is_lost {
            self.damage(base + at as u64);
        }
    }

    fn fragment(&mut self, start: u64, kind: u8, payload: &[u8]) {
        match (kind, self.record.take()) {
            (1, begun) => {
                self.begun(begun);
                let bytes = payload.to_vec();
                (self.found)(Found::Record { start, bytes });
            }
            (2, begun) => {
                self.begun(begun);
                self.record = Some((start, payload.to_vec()));
            }
            (3, Some((start, mut bytes))) => {
                bytes.extend_from_slice(payload);
                self.record = Some((start, bytes));
            }
            (4, Some((start, mut bytes))) => {
                bytes.extend_from_slice(payload);
                (self.found)(Found::Record { start, bytes });
            }
            // Its beginning is not there.
            (3 | 4, None) => {
                let bytes = Vec::new();
                (self.found)(Found::Begun { start, bytes });
            }
            (_, begun) => {
                self.begun(begun);
                (self.found)(Found::Foreign { start });
            }
        }
    }

    fn damage(&mut self, start: u64) {
        self.give_up();
        (self.found)(Found::Damage { start });
    }

    /// The record in the making will not be whole any more.
    fn give_up(&mut self) {
        let begun = self.record.take();
        self.begun(begun);
    }

    fn begun(&mut self, record: Option<(u64, Vec<u8>)>) {
        if let Some((start, bytes)) = record {
            (self.found)(Found::Begun { start, bytes });
        }
    }
}

/// An intact fragment.
enum Fragment<'b> {
    /// Of this log, or of a kind that this program does not write.
    Own { kind: u8, payload: &'b [u8] },
    /// Of an earlier log in the same file; its length, all in all.
    Old { length: usize },
}

/// The fragment that `bytes` begin with, if it is intact. `number` is that of the log when its fragments have it.
fn fragment(bytes: &[u8], number: Option<u32>) -> Option<Fragment<'_>> {
    let (checksum, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let kind = *rest.first()?;
    let of_log = match kind {
        5..=8 | 11 | 131 => 4,
        // All others that RocksDB knows; a zero is room that was never written.
        1..=4 | 9 | 10 | 130 => 0,
        _ => return None,
    };
    let checked = rest.get(..1 + of_log + usize::from(u16::from_le_bytes(*length)))?;
    let checksum = u32::from_le_bytes(*checksum).wrapping_sub(0xa282_ead8);
    if crc32c::crc32c(checked) != checksum.rotate_left(15) {
        return None;
    }
    let payload = checked.get(1 + of_log..)?;
    let Some(number) = number else {
        return Some(Fragment::Own { kind, payload });
    };
    // Of what looks like a fragment without a number, nothing tells that it is not a part of a value.
    let found = checked.get(1..).filter(|_| of_log > 0)?.first_chunk()?;
    match u32::from_le_bytes(*found) == number {
        true => Some(Fragment::Own {
            // As it is without a number.
            kind: if matches!(kind, 5..=8) { kind - 4 } else { kind },
            payload,
        }),
        false => Some(Fragment::Old {
            length: FRAGMENT_HEADER + checked.len() - 1,
        }),
    }
}

/// What the beginning of a batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    /// The sequence number of its first change.
    pub(super) first: u64,
    /// That of its last.
    pub(super) last: u64,
    /// Up to which the log was synced when it was written. 0 in a log from before there were such notes.
    pub(super) synced: u64,
}

impl Batch {
    /// Reads the beginning of a record; `None` when it is too short, or no batch.
    pub(super) fn begun(record: &[u8]) -> Option<Self> {
        let (first, rest) = record.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (first, count) = (u64::from_le_bytes(*first), u32::from_le_bytes(*count));
        Some(Self {
            first,
            last: first.checked_add(u64::from(count).checked_sub(1)?)?,
            synced: number(SYNCED, rest).unwrap_or(0),
        })
    }

    /// Reads a whole record; `None` when it is not what was written.
    pub(super) fn whole(record: &[u8]) -> Option<Self> {
        let batch = Self::begun(record)?;
        if number(SYNCED, record.get(BATCH_HEADER..)?).is_some() {
            let (before, last) = record.split_at_checked(record.len().checked_sub(ENTRY)?)?;
            let checksum = xxh3_64(before.get(BATCH_HEADER..)?);
            if number(CHECKSUM, last) != Some(checksum) {
                return None;
            }
        }
        Some(batch)
    }
}

/// The number in our entry with that tag, if `bytes` begin with one.
fn number(tag: u8, bytes: &[u8]) -> Option<u64> {
    let number = bytes.strip_prefix(&[LOG_DATA, NOTE as u8, tag])?.first_chunk()?;
    Some(u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fragments of one record that lies in a log from its beginning, with the log's number if it is to have one.
    fn log(record: &[u8], number: Option<u32>) -> Vec<u8> {
        let mut log = Vec::new();
        let header = number.map_or(FRAGMENT_HEADER, |_| NUMBERED_HEADER);
        let number = number.map(u32::to_le_bytes);
        let number = number.as_ref().map_or(&[][..], |number| number);
        let parts = record.chunks(BLOCK - header).collect::<Vec<_>>();
        for (n, part) in parts.iter().enumerate() {
            let kind = match (n == 0, n + 1 == parts.len()) {
                (true, true) => 1,
                (true, false) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            let kind = if number.is_empty() { kind } else { kind + 4 };
            let checked = [&[kind], number, *part].concat();
            let checksum = crc32c::crc32c(&checked)
                .rotate_right(15)
                .wrapping_add(0xa282_ead8);
            log.extend_from_slice(&checksum.to_le_bytes());
            log.extend_from_slice(&u16::try_from(part.len()).unwrap().to_le_bytes());
            log.extend_from_slice(&checked);
        }
        log
    }

    fn batch(size: usize) -> Vec<u8> {
        let mut batch = [&7u64.to_le_bytes()[..], &1u32.to_le_bytes(), &[LOG_DATA, 9]].concat();
        batch.extend_from_slice(&synced_note(6));
        batch.extend(vec![b'x'; size]);
        let checksum = checksum_note(&batch);
        batch.extend_from_slice(&[LOG_DATA, 9]);
        batch.extend_from_slice(&checksum);
        batch
    }

    fn found(log: &[u8], number: Option<u32>) -> Vec<Found> {
        let mut all = Vec::new();
        read(log, number, |found| all.push(found)).unwrap();
        all
    }

    #[test]
    fn reads_what_was_written() {
        for size in [0, 100, 32_700, 100_000] {
            let bytes = batch(size);
            let expected = Batch {
                first: 7,
                last: 7,
                synced: 6,
            };
            assert_eq!(Batch::whole(&bytes), Some(expected));
            for number in [None, Some(7)] {
                let bytes = bytes.clone();
                assert_eq!(
                    found(&log(&bytes, number), number),
                    [Found::Record { start: 0, bytes }]
                );
            }
        }
        assert_eq!(found(b"", None), []);
    }

    #[test]
    fn tells_an_earlier_log_in_the_same_file() {
        let (new, old) = (log(&batch(100), Some(8)), log(&batch(40_000), Some(7)));
        // The new log has taken the beginning of the file.
        let file = [&new, &old[new.len()..]].concat();
        let bytes = batch(100);
        let start = new.len() as u64;
        let damage = |start| Found::Damage { start };
        let (block, record) = (BLOCK as u64, Found::Record { start: 0, bytes });
        let expected = [record, damage(start), damage(block), Found::Old { start: block }];
        assert_eq!(found(&file, Some(8)), expected);
        // A log of the other kind is none of this, and the other way about.
        assert_eq!(found(&log(&batch(10), None), Some(8))[0], damage(0));
        assert_eq!(found(&new, None)[0], Found::Foreign { start: 0 });
    }

    #[test]
    fn logs() {
        let numbers = [None, Some(7), Some(8)];
        let seeds = [0, 33_000, 66_000]
            .into_iter()
            .flat_map(|size| numbers.map(|number| log(&batch(size), number)))
            .collect::<Vec<_>>();
        bolero::check!()
            .with_iterations(3_000)
            .with_type::<(u8, pliantdb_fuzzing::Input)>()
            .for_each(|(number, input)| {
                let log = pliantdb_fuzzing::bytes(input, &seeds);
                for found in found(&log, numbers[usize::from(*number) % 3]) {
                    let (Found::Record { start, bytes } | Found::Begun { start, bytes }) = found else {
                        continue;
                    };
                    assert!(start < log.len() as u64 && bytes.len() <= log.len());
                    let (begun, whole) = (Batch::begun(&bytes), Batch::whole(&bytes));
                    assert!(whole.is_none() || whole == begun);
                }
            });
    }
}
