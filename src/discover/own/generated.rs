//! The id of a node that no Swarm has named: made once, kept in the data directory.

use std::path::Path;

use tracing::warn;

use crate::model::{Cluster, Kind, NodeId};

/// The id in use, else the one in `<data>/node-id`, else a new one. Where it cannot be kept it lasts as long as the
/// process.
pub(super) async fn id(data: &Path, cluster: &Cluster) -> NodeId {
    if matches!(cluster.kind, Kind::Standalone | Kind::Fixed) {
        return cluster.here.clone();
    }
    let file = data.join("node-id");
    let kept = tokio::fs::read_to_string(&file).await.unwrap_or_default();
    if let Ok(id) = NodeId::parse(kept.trim()) {
        return id;
    }
    let id = new();
    if let Err(problem) = keep(&file, &id).await {
        warn!(file = %file.display(), %problem, "the node's id cannot be kept; it will be another after a restart");
    }
    id
}

/// 16 random bytes: never the same twice, also on cloned machines.
#[expect(
    clippy::expect_used,
    reason = "hex digits are a node id; a system without random bytes cannot do TLS"
)]
fn new() -> NodeId {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("random bytes");
    NodeId::parse(&hex::encode(bytes)).expect("a node id")
}

/// Under another name first, so that a crash leaves no half of it.
async fn keep(file: &Path, id: &NodeId) -> std::io::Result<()> {
    let half = file.with_extension("new");
    tokio::fs::write(&half, format!("{id}\n")).await?;
    tokio::fs::rename(&half, file).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_made_once_and_kept() {
        let data = tempfile::tempdir().unwrap();
        let cluster = crate::discover::nobody_yet();
        let first = id(data.path(), &cluster).await;
        assert_eq!(id(data.path(), &cluster).await, first);
        assert_ne!(id(&data.path().join("absent"), &cluster).await, first, "unwritable: in memory only");
    }
}
