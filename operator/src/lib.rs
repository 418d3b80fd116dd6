//! The Kubernetes operator of PliantDB.
