//! Dump and load: everything in a storage as JSON lines, which is independent of how it is stored. docs/backup.md
//! describes the format.

mod dumping;
mod line;
mod loading;

pub use dumping::{DumpError, dump};
pub use line::Totals;
pub use loading::{LoadError, check_dump, load};
