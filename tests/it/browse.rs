//! Files of volumes and of the host, through the entry agent and through another one.

mod changing;
mod reading;
mod refusals;
mod transfers;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{Client, Reply};
use crate::support::cluster::{Cluster, Setup};
use crate::support::engine::answers;

const HOSTS: [&str; 2] = ["node1", "node2"];
/// Nobody in particular.
const OWNER: u32 = 1234;

/// Two nodes, each with a volume `v1` in a folder of its own. All is asked of the first one's agent.
struct Volumes {
    cluster: Cluster,
    folders: [TempDir; 2],
}

impl Volumes {
    async fn start() -> Self {
        Self::of(Setup::fixed(&HOSTS)).await
    }

    async fn of(setup: Setup) -> Self {
        let volumes =
            Self { cluster: setup.start().await, folders: [(); 2].map(|()| tempfile::tempdir().unwrap()) };
        for (at, folder) in volumes.folders.iter().enumerate() {
            fs::create_dir(folder.path().join("_data")).unwrap();
            let engine = volumes.cluster.engine(at);
            engine.on(
                "/volumes/*",
                answers::respond(404, answers::JSON, r#"{"message":"get x: no such volume"}"#),
            );
            volumes.volume(
                at,
                "v1",
                &json!({ "Driver": "local", "Mountpoint": folder.path().join("_data") }),
            );
        }
        volumes
    }

    /// Makes the engine know a volume.
    fn volume(&self, at: usize, name: &str, document: &Value) {
        let rule = answers::respond(200, answers::JSON, document.to_string());
        self.cluster.engine(at).on(&format!("/volumes/{name}"), rule);
    }

    /// A path in the volume `v1`.
    fn path(&self, at: usize, path: &str) -> PathBuf {
        self.folders[at].path().join("_data").join(path)
    }

    /// What is in the volume's root.
    fn names(&self, at: usize) -> Vec<String> {
        let entries = fs::read_dir(self.path(at, "")).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The files that an upload has open in a data directory, though they have no name any more.
    fn spooled(&self, at: usize) -> usize {
        let uploads = self.cluster.nodes[at].config.data.join("uploads");
        let links = fs::read_dir("/proc/self/fd").unwrap().flatten();
        links.filter(|link| fs::read_link(link.path()).is_ok_and(|to| to.starts_with(&uploads))).count()
    }

    fn client(&self) -> Client {
        self.cluster.client(0)
    }

    /// How to ask for each node, and which one it is.
    fn nodes() -> [([(&'static str, &'static str); 1], usize); 2] {
        [([("X-PortainerAgent-Target", "")], 0), ([("X-PortainerAgent-Target", "node2")], 1)]
    }
}

/// A form as a browser sends it; a part with a file name is a file.
fn form(parts: &[(&str, Option<&str>, &str)]) -> (String, String) {
    let mut text = String::new();
    for (name, file, contents) in parts {
        let file =
            file.map(|file| format!("; filename=\"{file}\"\r\nContent-Type: text/plain")).unwrap_or_default();
        text += &format!(
            "--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{contents}\r\n"
        );
    }
    ("multipart/form-data; boundary=b0undary".into(), text + "--b0undary--\r\n")
}

async fn put(
    client: &Client,
    query: &str,
    target: &[(&'static str, &str)],
    parts: &[(&str, Option<&str>, &str)],
) -> Reply {
    let (kind, body) = form(parts);
    let mut headers = target.to_vec();
    headers.push(("Content-Type", &kind));
    client.call("POST", &format!("/v2/browse/put?{query}"), &headers, body).await
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Every error has Docker's shape, and says something.
fn refused(reply: &Reply, status: u16, says: &str, what: &str) {
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (status, "application/json"),
        "{what}: {}",
        reply.text()
    );
    assert!(reply.message().contains(says), "{what}: {}", reply.message());
}

async fn rename(client: &Client, target: &[(&str, &str)], from: &str, to: &str) -> Reply {
    let body = json!({ "CurrentFilePath": from, "NewFilePath": to }).to_string();
    client.call("PUT", "/v2/browse/rename?volumeID=v1", target, body).await
}
