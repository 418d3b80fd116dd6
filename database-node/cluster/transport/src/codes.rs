//! Why connections are closed; the other side shows the text beside the code.

use quinn::VarInt;

/// A reason to close a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// It is not needed any more.
    Done = 0,
    /// It has said what cannot be understood.
    Malformed = 1,
    /// It has not said what it should in time.
    Slow = 2,
    /// It has shown no certificate.
    NoCertificate = 3,
    /// It is not the one that this connection is for.
    WrongPeer = 4,
    /// It has sent in the name of another.
    FalseSender = 5,
    /// There are too many.
    Busy = 6,
}

impl From<Code> for VarInt {
    fn from(code: Code) -> Self {
        Self::from_u32(code as u32)
    }
}
