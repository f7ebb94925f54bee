//! Certificates: what the public listener shows, and what peers prove to each other.
//!
//! In go files of the data directory and the cluster secret; out come rustls configurations. No socket is touched.

mod issue;
mod kept;
pub mod peer;
pub mod public;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use peer::{Authority, PeerTls, any_node, node_of, peer_tls, server_name};
pub use public::PublicIdentity;

/// The only protocol on every hop: HTTP/2 has no upgrades, and whole classes of floods are h2's.
const ALPN: &[u8] = b"http/1.1";

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("find a certificate in {path}")]
    NoCertificate { path: PathBuf },
    #[error("find a private key in {path}")]
    NoKey { path: PathBuf },
    #[error("use {certificate} with {key}")]
    Pair {
        certificate: PathBuf,
        key: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("use {certificate}: it is valid only from {from} until {until}")]
    NotNow { certificate: PathBuf, from: String, until: String },
    #[error("parse a certificate")]
    Parse,
    #[error("stretch the cluster secret")]
    Stretch,
    #[error("name node {0} in a certificate: an id has 1 to 63 of a-z, 0-9 and -")]
    Name(String),
    #[error("make a certificate")]
    Make(#[from] rcgen::Error),
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
}

/// Said explicitly everywhere, so that a second provider in the dependency graph could never make rustls ask which.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
