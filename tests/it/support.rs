//! What tests share: the far ends of the sockets, and the agents between them.

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod engine;
pub(crate) mod hub;
pub(crate) mod portainer;
pub(crate) mod relay;
pub(crate) mod sign;

use std::time::Duration;

/// 60 s: what has not happened by then does not happen, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for an event, and names it when it does not come.
pub(crate) async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(done) => done,
        Err(_) => panic!("did not happen: {what}"),
    }
}
