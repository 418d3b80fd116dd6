//! States that differ only by the names of the shards, or of the two nodes that are alike, count as one.

use crate::state::{NODES, Nodes, State, Target};

impl State {
    /// The least of the states that this one may be renamed to.
    pub fn canonical(self, alike: bool) -> Self {
        let renamed = self.renamed();
        let (one, other) = (self.ordered(alike), renamed.ordered(alike));
        one.min(other)
    }

    fn ordered(mut self, alike: bool) -> Self {
        let key = |state: &Self, shard: usize| (state.meta.incarnations[shard], state.shards[shard]);
        if alike && key(&self, 0) > key(&self, 1) {
            self.shards.swap(0, 1);
            self.meta.incarnations.swap(0, 1);
            self.meta.lives.swap(0, 1);
            self.meta.confirmed.swap(0, 1);
        }
        self
    }

    /// Nodes 1 and 2 change places.
    fn renamed(mut self) -> Self {
        self.up = nodes(self.up);
        self.joined = nodes(self.joined);
        self.believes = nodes(self.believes);
        self.meta.home = node(self.meta.home);
        self.meta.given_up = nodes(self.meta.given_up);
        for target in &mut self.meta.targets {
            if let Target::One(home) = target {
                *home = node(*home);
            }
        }
        for (lives, newest) in self.meta.lives.iter_mut().zip(self.meta.incarnations) {
            for life in &mut lives[1..=usize::from(newest)] {
                life.holder = node(life.holder);
            }
        }
        for shard in &mut self.shards {
            shard.replicas.swap(1, 2);
            for replica in &mut shard.replicas {
                replica.promise = nodes(replica.promise);
                replica
                    .log
                    .rename(|replicas| nodes(replicas & 7) | nodes(replicas >> NODES) << NODES);
            }
        }
        self
    }
}

fn node(node: u8) -> u8 {
    match node {
        1 => 2,
        2 => 1,
        other => other,
    }
}

fn nodes(nodes: Nodes) -> Nodes {
    nodes & 1 | (nodes & 2) << 1 | (nodes & 4) >> 1
}
