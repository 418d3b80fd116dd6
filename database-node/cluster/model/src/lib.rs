//! A model of how a PliantDB cluster switches between one leader and quorum, gives up a leader that is gone,
//! and takes back nodes that restart, for a checker that looks at every order in which it can happen.
//!
//! Three nodes hold up to two shards. Raft is trusted: a step of the model is what raft makes of many
//! messages ([`shard`]). The meta group is one history ([`meta`]); orders that follow from it may reach a
//! shard at any later time, so an outdated supervisor is always there. What was found is in
//! docs/decisions/0008-cluster-model.md.

pub mod actions;
pub mod bound;
mod force;
pub mod heal;
pub mod log;
pub mod meta;
pub mod node;
pub mod properties;
pub mod scenarios;
pub mod shard;
pub mod state;
mod symmetry;

use stateright::{Model, Property};

use crate::actions::Action;
use crate::bound::Bound;
use crate::state::State;

/// A cluster within a bound.
#[derive(Clone, Copy, Debug)]
pub struct Cluster {
    /// What may happen.
    pub bound: Bound,
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(&self.bound)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        Action::candidates(&self.bound, state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let next = action.take(&self.bound, last)?;
        Some(if self.bound.symmetry {
            next.canonical(self.bound.shards == 2 && !self.bound.coarse)
        } else {
            next
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
