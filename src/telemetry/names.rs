//! The names of fields in logs. One word per idea, so that a search finds all of it.
//!
//! `tracing::info!({ names::NODE } = %id, "member joined")`

/// The cluster.
pub const NODE: &str = "node";
pub const HOST: &str = "host";
pub const ROLE: &str = "role";
pub const ADDRESS: &str = "address";
pub const REASON: &str = "reason";
pub const AGENT_VERSION: &str = "agent_version";
pub const API_VERSION: &str = "api_version";

/// A request.
pub const METHOD: &str = "method";
pub const PATH: &str = "path";
pub const STATUS: &str = "status";
pub const CALLER: &str = "caller";
pub const REMOTE: &str = "remote";
pub const ROUTE: &str = "route";
pub const PLAN: &str = "plan";
pub const TOOK: &str = "took_ms";
pub const SENT: &str = "sent_bytes";
pub const RECEIVED: &str = "received_bytes";
pub const ANSWERED: &str = "answered";

/// The process.
pub const ERROR: &str = "error";
pub const PORT: &str = "port";
pub const COUNT: &str = "count";
pub const FINGERPRINT: &str = "fingerprint";

/// All of them.
pub const ALL: [&str; 22] = [
    NODE,
    HOST,
    ROLE,
    ADDRESS,
    REASON,
    AGENT_VERSION,
    API_VERSION,
    METHOD,
    PATH,
    STATUS,
    CALLER,
    REMOTE,
    ROUTE,
    PLAN,
    TOOK,
    SENT,
    RECEIVED,
    ANSWERED,
    ERROR,
    PORT,
    COUNT,
    FINGERPRINT,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_used_twice() {
        let distinct: std::collections::BTreeSet<_> = ALL.into_iter().collect();
        assert_eq!(distinct.len(), ALL.len());
        assert!(ALL.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }
}
