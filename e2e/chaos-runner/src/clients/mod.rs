//! Clients by every door, and what they do.
//!
//! - [`ask`]: what is asked and answered, whichever the door
//! - [`http`], [`remote`]: the doors: HTTP; WebSocket and QUIC by the Rust client
//! - [`record`]: writes down what happens
//! - [`keys`]: which objects are worked on at the moment
//! - [`writer`]: reads and writes
//! - [`followers`], [`messages`]: follow the changes, publish and subscribe
//! - [`probe`]: whether a node serves; who has heard from its node
//! - [`last`]: what every node shows at the end

pub mod ask;
pub mod followers;
pub mod http;
pub mod keys;
pub mod last;
pub mod messages;
pub mod probe;
pub mod record;
pub mod remote;
pub mod writer;

use std::sync::Arc;
use std::time::Duration;

use crate::bed::node::Place;
use record::Recorder;

/// What all clients share.
pub struct Shared {
    /// The nodes.
    pub places: Vec<Arc<Place>>,
    /// The administrator's token.
    pub token: String,
    /// How long an operation is tried.
    pub patience: Duration,
    /// Where all is written down.
    pub recorder: Recorder,
    /// What is worked on.
    pub keys: keys::Keys,
    /// Who has heard from its node, and when.
    pub heard: probe::Heard,
    /// The last round that is over, counted from 1; and whether the load is to end.
    pub state: tokio::sync::watch::Sender<State>,
}

/// How far the run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State {
    /// Rounds that are over.
    pub rounds: usize,
    /// Nobody writes any more.
    pub is_ending: bool,
    /// Nobody listens any more.
    pub is_over: bool,
}

impl Shared {
    /// Whether nobody writes any more.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.state.borrow().is_ending
    }

    /// A node by its place, counted round.
    #[must_use]
    pub fn place(&self, index: usize) -> Option<&Arc<Place>> {
        self.places.get(index % self.places.len().max(1))
    }

    /// Waits until nobody listens any more.
    pub async fn over(&self) {
        // Fails only when the sender, which this holds, is gone.
        let _ = self.state.subscribe().wait_for(|state| state.is_over).await;
    }
}
