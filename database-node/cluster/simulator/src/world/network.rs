//! The network: it delays, loses, repeats, reorders and cuts.

use std::collections::BTreeSet;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{MS, Time};

/// The network between all machines.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// From whom to whom nothing comes through.
    pub cut: BTreeSet<(usize, usize)>,
    /// How many of a thousand messages are lost.
    pub lost_per_mille: u32,
    /// How many of a thousand messages come twice.
    pub repeated_per_mille: u32,
    /// How many of a thousand messages come late.
    pub late_per_mille: u32,
}

impl Network {
    /// After how long each copy of a message arrives.
    pub fn deliveries(&self, from: usize, to: usize, random: &mut StdRng) -> Vec<Time> {
        if self.cut.contains(&(from, to)) {
            return Vec::new();
        }
        let mut chance = |per_mille: u32| per_mille > 0 && random.random_range(0..1000) < per_mille;
        if chance(self.lost_per_mille) {
            return Vec::new();
        }
        let copies = if chance(self.repeated_per_mille) { 2 } else { 1 };
        let is_late = chance(self.late_per_mille);
        let range = match is_late {
            true => 5 * MS..3_000 * MS,
            false => 100_000..3 * MS,
        };
        (0..copies).map(|_| random.random_range(range.clone())).collect()
    }

    /// Everything comes through again.
    pub fn heal(&mut self) {
        *self = Self::default();
    }
}
