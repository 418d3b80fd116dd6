//! What the contenders of `e2e/bench server` share, and those of `e2e/bench nodes` use too.
//!
//! - [`node`]: a `pliant-node` process
//! - [`postgres`]: a PostgreSQL server

pub mod node;
pub mod postgres;
