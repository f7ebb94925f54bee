//! Who a client turned out to be.

use std::fmt;

use super::node::NodeId;

/// SHA-256 over a public key's DER, written `sha256:<64 hex>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Reads `sha256:<64 hex digits>`; the prefix may be left out, case does not matter.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut bytes = [0; 32];
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| "expected sha256:<64 hex digits>")?;
        Ok(Self(bytes))
    }

    /// The first 16 hex digits: enough to tell keys apart in a log.
    pub fn short(&self) -> String {
        hex::encode(self.0.get(..8).unwrap_or_default())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Who asks, after authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nobody in particular: only what is open to all.
    Anyone,
    /// A Portainer server, known by the key that made its signature.
    Portainer(Fingerprint),
    /// Another agent, known by its certificate on the peer listener.
    Peer(NodeId),
}

/// How merged answers look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Docker's own shape; what is the same object on several nodes is collapsed.
    Docker,
    /// What a Portainer server expects: each element carries its node, nothing is collapsed.
    Portainer,
}
