//! What the contenders of `e2e/bench server` share.
//!
//! - [`node`]: a `pliant-node` process

pub mod node;
