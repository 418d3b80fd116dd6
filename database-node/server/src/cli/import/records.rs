//! The records of a file, one after the other, each with where it begins and ends.

use std::io::{self, BufRead};

/// The longest record, in bytes. No document can be larger; what goes on for longer has lost a line end or a quote.
pub(super) const LONGEST: usize = 64 << 20;

/// Where a record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// At the end of its line.
    Line,
    /// At the end of a line that is not within quotes; fields are separated by this byte.
    UnquotedLine(u8),
}

/// A record as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Where it begins, in bytes.
    pub(super) offset: u64,
    /// Where the next begins.
    pub(super) end: u64,
    /// The line that it begins on, from 1.
    pub(super) line: u64,
    /// Its bytes without the line end; only the first [`LONGEST`].
    pub(super) bytes: Vec<u8>,
    /// Whether it was longer.
    pub(super) is_cut: bool,
}

/// Reads records.
pub(super) struct Records<R> {
    from: R,
    ends: Ends,
    offset: u64,
    line: u64,
}

/// Where in a record its reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the first byte of a field.
    FieldStart,
    Unquoted,
    Quoted,
    /// Behind a quote within quotes: the end of them, or the first of two that stand for one.
    Quote,
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(from: R, ends: Ends) -> Self {
        Self {
            from,
            ends,
            offset: 0,
            line: 1,
        }
    }

    /// The next record; `None` at the end of the file.
    ///
    /// # Errors
    /// What reading says.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        let mut record = Record {
            offset: self.offset,
            end: self.offset,
            line: self.line,
            bytes: Vec::new(),
            is_cut: false,
        };
        let mut at = At::FieldStart;
        loop {
            let buffer = self.from.fill_buf()?;
            if buffer.is_empty() {
                break;
            }
            let (length, lines, is_over) = self.ends.find(buffer, &mut at);
            let taken = buffer.get(..length).unwrap_or_default();
            let room = LONGEST.saturating_sub(record.bytes.len());
            record.is_cut |= taken.len() > room;
            record.bytes.extend_from_slice(taken.get(..room).unwrap_or(taken));
            self.from.consume(length);
            self.offset += length as u64;
            self.line += lines;
            if is_over {
                break;
            }
        }
        record.end = self.offset;
        if record.end == record.offset {
            return Ok(None);
        }
        for end in [b'\n', b'\r'] {
            if record.bytes.last() == Some(&end) {
                record.bytes.pop();
            }
        }
        Ok(Some(record))
    }
}

impl Ends {
    /// How many bytes belong to the record, with its line end, how many line ends that are, and whether it ends with them.
    fn find(self, buffer: &[u8], at: &mut At) -> (usize, u64, bool) {
        let Self::UnquotedLine(separator) = self else {
            return match buffer.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, 1, true),
                None => (buffer.len(), 0, false),
            };
        };
        let mut lines = 0;
        for (index, byte) in buffer.iter().enumerate() {
            lines += u64::from(*byte == b'\n');
            *at = match (*at, *byte) {
                (At::Quoted, b'"') => At::Quote,
                (At::Quoted, _) => At::Quoted,
                (At::FieldStart | At::Quote, b'"') => At::Quoted,
                (_, b'\n') => return (index + 1, lines, true),
                (_, byte) if byte == separator => At::FieldStart,
                _ => At::Unquoted,
            };
        }
        (buffer.len(), lines, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, ends: Ends) -> Vec<(u64, u64, u64, String)> {
        // With a small buffer, so that records go over its ends.
        let mut records = Records::new(io::BufReader::with_capacity(3, text.as_bytes()), ends);
        let mut found = Vec::new();
        while let Some(record) = records.next().unwrap() {
            found.push((
                record.offset,
                record.end,
                record.line,
                String::from_utf8(record.bytes).unwrap(),
            ));
        }
        found
    }

    fn record(offset: u64, end: u64, line: u64, text: &str) -> (u64, u64, u64, String) {
        (offset, end, line, text.to_owned())
    }

    #[test]
    fn lines() {
        assert_eq!(read("", Ends::Line), []);
        assert_eq!(
            read("ab\r\n\n\"c\nlast", Ends::Line),
            [
                record(0, 4, 1, "ab"),
                record(4, 5, 2, ""),
                record(5, 8, 3, "\"c"),
                record(8, 12, 4, "last")
            ]
        );
    }

    #[test]
    fn quoted_line_ends_belong_to_the_record() {
        let text = "a,\"b\n\"\"c\"\n5\" pipe,\"x\"\nend";
        assert_eq!(
            read(text, Ends::UnquotedLine(b',')),
            [
                record(0, 10, 1, "a,\"b\n\"\"c\""),
                record(10, 22, 3, "5\" pipe,\"x\""),
                record(22, 25, 4, "end")
            ]
        );
        assert_eq!(read("\"open\nfor ever", Ends::UnquotedLine(b',')).len(), 1);
    }
}
