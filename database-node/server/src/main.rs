//! `pliant-node`: the server, and what people do with it from the command line.

mod cli;

use std::process::ExitCode;

/// For RocksDB too, whose allocations go the same way. glibc's allocator keeps large blocks for itself, in each
/// of its arenas: in a container of 256 MiB six concurrent writes of 16 MiB ended in an OOM kill. How it is
/// tuned is in .cargo/config.toml.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
