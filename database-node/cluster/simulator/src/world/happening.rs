//! What will happen, in the order of its time.

use std::cmp::Ordering;

use pliantdb_cluster::node::{Answer, Ask};

use super::Time;

/// Something that will happen.
#[derive(Debug)]
pub enum Happening {
    /// A process is to look at its clock.
    Tick {
        /// On which machine.
        host: usize,
        /// Of which start of it.
        life: u64,
    },
    /// A message arrives.
    Deliver {
        /// At which machine.
        to: usize,
        /// As bytes.
        envelope: Vec<u8>,
    },
    /// The disk has finished what it was given.
    DiskDone {
        /// Of which machine.
        host: usize,
        /// Of which start of it.
        life: u64,
        /// The last batch of it.
        number: u64,
    },
    /// The applier takes its next task.
    Apply {
        /// On which machine.
        host: usize,
        /// Of which start of it.
        life: u64,
    },
    /// A process looks at what follows from all that it has taken.
    Give {
        /// On which machine.
        host: usize,
        /// Of which start of it.
        life: u64,
    },
    /// A question of a client arrives.
    Asked {
        /// At which machine.
        host: usize,
        /// What it is known by.
        token: u64,
        /// What.
        ask: Box<Ask>,
    },
    /// An answer arrives at a client.
    Answered {
        /// To which question.
        token: u64,
        /// What.
        answer: Box<Answer>,
        /// From which machine.
        from: usize,
    },
    /// A client goes on, or waits no longer for an answer.
    Client {
        /// Which.
        client: usize,
        /// Void when it has gone on since.
        turn: u64,
    },
    /// A client that asks one machine goes on.
    Watch {
        /// Which.
        watcher: usize,
    },
    /// A node has taken a step.
    Stepped(crate::steps::Stepped),
    /// The next fault strikes.
    Fault,
    /// What a fault began ends.
    Mend(crate::faults::Mending),
}

/// When something will happen.
pub(super) struct Scheduled {
    pub(super) at: Time,
    /// In the order in which they were scheduled.
    pub(super) number: u64,
    pub(super) what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
