//! The vocabulary: values that every stage speaks of. No I/O, no clock, nothing of ours imported.

pub mod api_path;
pub mod caller;
pub mod chain;
pub mod cluster;
pub mod node;
pub mod secret;

pub use caller::{Caller, Dialect, Fingerprint};
pub use chain::chain;
pub use cluster::{Cluster, Hint, Kind, Lookup, Service};
pub use node::{Absence, ApiRange, ApiVersion, Member, NodeId, Reach, Role};
pub use secret::Secret;
