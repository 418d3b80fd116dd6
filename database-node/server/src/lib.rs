//! The PliantDB server.
