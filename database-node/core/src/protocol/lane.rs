//! Messages on a stream of bytes.

/// The longest message, in bytes, that travels on the lane; a longer one has a stream of its own.
pub const LANE_MESSAGE: usize = 64 << 10;

/// The bytes of a length.
pub const LENGTH: usize = 4;

/// A message that is longer than is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message has {length} bytes, and {most} is the most that is taken")]
pub struct TooLong {
    /// Its length, in bytes.
    pub length: usize,
    /// The longest that is taken, in bytes.
    pub most: usize,
}

/// What stands before a message: its length (u32, big-endian).
///
/// # Errors
/// [`TooLong`] for one of 4 GiB or more.
pub fn prefix(message: &[u8]) -> Result<[u8; LENGTH], TooLong> {
    let length = u32::try_from(message.len()).map_err(|_| TooLong {
        length: message.len(),
        most: u32::MAX as usize,
    })?;
    Ok(length.to_be_bytes())
}

/// The length that stands before a message.
///
/// # Errors
/// [`TooLong`] when it is more than `most`.
pub fn length_of(prefix: [u8; LENGTH], most: usize) -> Result<usize, TooLong> {
    let length = u32::from_be_bytes(prefix) as usize;
    match length <= most {
        true => Ok(length),
        false => Err(TooLong { length, most }),
    }
}

/// Appends a message with its [`prefix`] before it.
///
/// # Errors
/// [`TooLong`] for one of 4 GiB or more.
pub fn framed(message: &[u8], to: &mut Vec<u8>) -> Result<(), TooLong> {
    to.extend_from_slice(&prefix(message)?);
    to.extend_from_slice(message);
    Ok(())
}

/// Cuts what arrives on a stream into messages. It never holds more than one message of the greatest length and what
/// arrived with its end.
///
/// ```
/// use pliantdb_core::protocol::{Lane, framed};
///
/// let mut sent = Vec::new();
/// framed(b"one", &mut sent).unwrap();
/// framed(b"two", &mut sent).unwrap();
/// let mut lane = Lane::new(100);
/// let mut got = Vec::new();
/// for bytes in sent.chunks(5) {
///     lane.arrived(bytes);
///     while let Some(message) = lane.message().unwrap() {
///         got.push(message.to_vec());
///     }
/// }
/// assert_eq!(got, [b"one", b"two"]);
/// ```
#[derive(Debug)]
pub struct Lane {
    bytes: Vec<u8>,
    /// Where the first message that was not given yet begins.
    start: usize,
    most: usize,
}

impl Lane {
    /// For messages of at most `most` bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            most,
        }
    }

    /// From now on, messages can have `most` bytes.
    pub fn allow(&mut self, most: usize) {
        self.most = most;
    }

    /// Takes what arrived.
    pub fn arrived(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
            // One large message must not hold its memory for as long as the connection lives.
            self.bytes.shrink_to(2 * LANE_MESSAGE);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, if all of it has arrived.
    ///
    /// # Errors
    /// [`TooLong`], as soon as its length is known. Nothing can be read after it.
    pub fn message(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = length_of(*length, self.most)?;
        let Some(message) = rest.get(..length) else {
            return Ok(None);
        };
        self.start += LENGTH + length;
        Ok(Some(message))
    }

    /// Whether part of a message has arrived.
    #[must_use]
    pub fn is_amid(&self) -> bool {
        self.start < self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tells_of_one_that_is_too_long_before_it_came() {
        let mut lane = Lane::new(10);
        lane.arrived(&11_u32.to_be_bytes());
        assert_eq!(lane.message(), Err(TooLong { length: 11, most: 10 }));
    }

    proptest! {
        #[test]
        fn gives_what_was_sent_however_it_arrives(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20),
            cut in 1_usize..300,
        ) {
            let mut sent = Vec::new();
            for message in &messages {
                framed(message, &mut sent).unwrap();
            }
            let (mut lane, mut got) = (Lane::new(200), Vec::new());
            for bytes in sent.chunks(cut) {
                lane.arrived(bytes);
                while let Some(message) = lane.message().unwrap() {
                    got.push(message.to_vec());
                }
            }
            prop_assert_eq!(got, messages);
            prop_assert!(!lane.is_amid());
        }
    }
}
