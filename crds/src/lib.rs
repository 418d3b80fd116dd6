//! The custom resources of PliantDB (group `pliantdb.dev`) as Rust types.
//!
//! The types are the single source of the API: their doc comments become the text of
//! `kubectl explain`, their validation attributes become the CEL rules that the API server enforces,
//! and `cargo run -p pliant-crds` writes the manifests in `crds/yaml/` from them.

mod cluster;
mod pod_template;
mod quantity;
mod resources;
mod status;
mod storage;
mod tls;
mod yaml;

pub use cluster::{MAX_NAME_LENGTH, PliantCluster, PliantClusterSpec};
pub use pod_template::{PodTemplate, RESERVED_LABEL_PREFIXES, RESERVED_VARIABLES};
pub use quantity::{InvalidQuantity, Quantity};
pub use resources::ComputeResources;
pub use status::{ConditionType, PliantClusterStatus};
pub use storage::{Retention, Storage};
pub use tls::Tls;
pub use yaml::{MANIFEST_FOLDERS, Manifest, manifests};

/// The API group of every custom resource here.
pub const GROUP: &str = "pliantdb.dev";
