//! The id of a node that no Swarm has named: made once, kept in the data directory.

use std::io::{self, ErrorKind};
use std::path::Path;

use tokio::task::spawn_blocking;
use tracing::warn;

use crate::data_dir;
use crate::model::{Cluster, Kind, NodeId};

/// The id in use, else the one in `<data>/node-id`, else a new one. Where it cannot be kept it lasts as long as the
/// process.
///
/// # Errors
/// There may be a file, and it cannot be read now: the association belongs to that id, and to no other.
pub(super) async fn id(data: &Path, cluster: &Cluster) -> io::Result<NodeId> {
    if matches!(cluster.kind, Kind::Standalone | Kind::Fixed) {
        return Ok(cluster.here.clone());
    }
    if let Some(id) = kept(data)? {
        return Ok(id);
    }
    let (id, file) = (new(), data.join("node-id"));
    let (kept, line) = (file.clone(), format!("{id}\n"));
    let kept = spawn_blocking(move || data_dir::replace(&kept, line.as_bytes())).await;
    if let Err(problem) = kept.map_err(io::Error::other).flatten() {
        warn!(file = %file.display(), %problem, "the node's id cannot be kept; it will be another after a restart");
    }
    Ok(id)
}

/// The id in `<data>/node-id`.
pub(super) fn kept(data: &Path) -> io::Result<Option<NodeId>> {
    match std::fs::read_to_string(data.join("node-id")) {
        Ok(text) => Ok(NodeId::parse(text.trim()).ok()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// 16 random bytes: never the same twice, also on machines that were cloned before their first start.
#[expect(
    clippy::expect_used,
    reason = "hex digits are a node id; a system without random bytes cannot do TLS"
)]
fn new() -> NodeId {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("random bytes");
    NodeId::parse(&hex::encode(bytes)).expect("a node id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_made_once_and_kept() {
        let data = tempfile::tempdir().unwrap();
        let cluster = crate::discover::nobody_yet();
        let first = id(data.path(), &cluster).await.unwrap();
        assert_eq!(id(data.path(), &cluster).await.unwrap(), first);
        let absent = id(&data.path().join("absent"), &cluster).await.unwrap();
        assert_ne!(absent, first, "unwritable: in memory only");
    }

    #[tokio::test]
    async fn one_that_cannot_be_read_now_is_not_replaced() {
        let data = tempfile::tempdir().unwrap();
        std::fs::create_dir(data.path().join("node-id")).unwrap();
        assert!(id(data.path(), &crate::discover::nobody_yet()).await.is_err());
    }
}
