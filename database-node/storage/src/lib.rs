//! The state machine of PliantDB on RocksDB, and the embedded database.
