//! Certificates: a cluster's own authority, a node's certificate, and whom a node takes for another.

mod authority;
mod credentials;
mod error;
pub(crate) mod files;
mod key;
pub(crate) mod trust;

pub use authority::{Authority, Fingerprint};
pub use credentials::{CertificateFiles, Credentials};
pub use error::CertificateError;
pub use key::NodeKey;
pub use trust::NODE_URI;
