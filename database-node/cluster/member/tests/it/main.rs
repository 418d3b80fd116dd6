//! Members of clusters, as processes would be them: each with a directory and a socket of its own.

mod forming;
mod machines;
