//! Where the record is kept: a Swarm config, or a file of the data directory.
//!
//! The record is in a label of the config `swarmgate.registered`, because labels are all that an engine lets anybody
//! change of a config, and it takes a change only together with the version that was read. So Raft decides who is
//! first, at the creation and at each change after it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::record::{BadRecord, Record};
use crate::associate::{Swarm, SwarmError, refused};
use crate::data_dir;
use crate::model::NodeId;

/// The config, and its label.
const NAME: &str = "swarmgate.registered";
/// The file of a host without a Swarm.
const FILE: &str = "registered.json";
/// A config cannot be empty, and this is what somebody finds who looks into it.
const TEXT: &str =
    "The label swarmgate.registered says as what these agents are registered with Portainer.\n";
/// 10 s: what a Raft that is electing a leader may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) enum Ledger<'a> {
    Swarm(&'a Swarm),
    File { path: PathBuf, here: NodeId },
}

/// A record as it was read; only who read it last can replace it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) record: Record,
    /// `None`: a file.
    config: Option<Config>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum LedgerFail {
    #[error("use the Swarm config {NAME}")]
    Swarm(#[from] SwarmError),
    #[error("use {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("understand {place}; to register anew: {remedy}")]
    Bad {
        place: String,
        remedy: String,
        #[source]
        source: BadRecord,
    },
}

/// As an engine shows a config.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(rename = "ID")]
    id: String,
    version: Version,
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    index: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    name: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    data: String,
}

impl<'a> Ledger<'a> {
    pub(super) fn in_swarm(swarm: &'a Swarm) -> Self {
        Self::Swarm(swarm)
    }

    pub(super) fn in_file(data: &Path, here: NodeId) -> Self {
        Self::File { path: data.join(FILE), here }
    }

    /// What an operator does to have the environment created anew.
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Swarm(_) => format!("`docker config rm {NAME}` on a manager"),
            Self::File { path, .. } => format!("remove {}", path.display()),
        }
    }

    pub(super) async fn read(&self) -> Result<Option<Seen>, LedgerFail> {
        match self {
            Self::Swarm(swarm) => self.read_config(swarm).await,
            Self::File { path, here } => {
                let at = path.clone();
                let read = blocking(move || std::fs::read(at)).await;
                let text = match read {
                    Ok(text) => text,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(source) => return Err(LedgerFail::File { path: path.clone(), source }),
                };
                let record = Record::read(&text).map_err(|source| self.bad(source))?;
                // A copied volume copies no registration.
                Ok((record.node == *here).then_some(Seen { record, config: None }))
            }
        }
    }

    /// Puts `record` in the place of what was read. `None`: somebody else has written since.
    pub(super) async fn write(
        &self,
        seen: Option<&Seen>,
        record: Record,
    ) -> Result<Option<Seen>, LedgerFail> {
        match self {
            Self::Swarm(swarm) => {
                write_config(swarm, seen.and_then(|seen| seen.config.as_ref()), &record).await?;
                // Whoever was first: after an answer that was lost another manager was asked, which says that
                // somebody was, and that may have been us.
                Ok(self.read_config(swarm).await?.filter(|seen| seen.record == record))
            }
            Self::File { path, .. } => {
                let (at, text) = (path.clone(), record.write());
                let written = blocking(move || data_dir::replace(&at, text.as_bytes())).await;
                written.map_err(|source| LedgerFail::File { path: path.clone(), source })?;
                Ok(Some(Seen { record, config: None }))
            }
        }
    }

    async fn read_config(&self, swarm: &Swarm) -> Result<Option<Seen>, LedgerFail> {
        let path = format!("/configs/{NAME}");
        let body = match swarm.ask(&Method::GET, &path, &Bytes::new(), PATIENCE).await? {
            (StatusCode::OK, body) => body,
            (StatusCode::NOT_FOUND, _) => return Ok(None),
            (status, body) => return Err(refused(status, &body).into()),
        };
        let config: Config = serde_json::from_slice(&body).map_err(|e| self.bad(e.into()))?;
        let label = config.spec.labels.as_ref().and_then(|labels| labels.get(NAME));
        let record = Record::read(label.map_or(&[], |label| label.as_bytes()));
        let record = record.map_err(|source| self.bad(source))?;
        Ok(Some(Seen { record, config: Some(config) }))
    }

    fn bad(&self, source: BadRecord) -> LedgerFail {
        let place = match self {
            Self::Swarm(_) => format!("the Swarm config {NAME}"),
            Self::File { path, .. } => path.display().to_string(),
        };
        LedgerFail::Bad { place, remedy: self.remedy(), source }
    }
}

/// Writes, unless somebody else has written since; then it changes nothing.
async fn write_config(swarm: &Swarm, before: Option<&Config>, record: &Record) -> Result<(), SwarmError> {
    let (path, spec) = match before {
        None => ("/configs/create".to_owned(), Spec::of(record, None)),
        Some(Config { id, version, spec }) => {
            let path = format!("/configs/{id}/update?version={}", version.index);
            (path, Spec::of(record, Some(spec)))
        }
    };
    let body = Bytes::from(serde_json::to_vec(&spec).map_err(SwarmError::Malformed)?);
    let (status, body) = swarm.ask(&Method::POST, &path, &body, PATIENCE).await?;
    match status {
        StatusCode::CREATED | StatusCode::OK => Ok(()),
        // Somebody has created it, or has removed it.
        StatusCode::CONFLICT | StatusCode::NOT_FOUND => Ok(()),
        // An engine has no status for a version that is not the last one: it says so in a 500.
        _ if memchr::memmem::find(&body, b"out of sequence").is_some() => Ok(()),
        _ => Err(refused(status, &body)),
    }
}

impl Spec {
    /// All but the label must be as it was.
    fn of(record: &Record, before: Option<&Self>) -> Self {
        let mut labels = before.and_then(|spec| spec.labels.clone()).unwrap_or_default();
        labels.insert(NAME.to_owned(), record.write());
        let data = before.map_or_else(|| STANDARD.encode(TEXT), |spec| spec.data.clone());
        Self { name: NAME.to_owned(), labels: Some(labels), data }
    }
}

/// An fsync may take as long as the disk likes.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::record::State;
    use super::super::record::tests::{entry, record};
    use super::*;

    #[tokio::test]
    async fn a_file_holds_the_record_of_its_own_node() {
        let data = tempfile::tempdir().unwrap();
        let ledger = Ledger::in_file(data.path(), NodeId::parse("n1").unwrap());
        assert!(ledger.read().await.unwrap().is_none());
        for state in [State::Claimed { since: 1 }, State::Registered { id: 2 }] {
            let record = record("n1", entry("a", "tcp://b:1"), state);
            let seen = ledger.read().await.unwrap();
            assert_eq!(ledger.write(seen.as_ref(), record.clone()).await.unwrap().unwrap().record, record);
            assert_eq!(ledger.read().await.unwrap().unwrap().record, record);
        }
        let copied = Ledger::in_file(data.path(), NodeId::parse("n2").unwrap());
        assert!(copied.read().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_understood_is_an_error_with_its_remedy() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join(FILE), "{").unwrap();
        let ledger = Ledger::in_file(data.path(), NodeId::parse("n1").unwrap());
        let said = ledger.read().await.unwrap_err().to_string();
        assert!(said.contains("to register anew: remove /") && said.ends_with(FILE), "{said}");
    }

    #[test]
    fn a_change_touches_only_our_label() {
        let labels = BTreeMap::from([("theirs".to_owned(), "kept".to_owned())]);
        let before = Spec { name: NAME.into(), labels: Some(labels), data: "a2VwdA==".into() };
        let record = record("n1", entry("a", "tcp://b:1"), State::Registered { id: 2 });
        let after = serde_json::to_value(Spec::of(&record, Some(&before))).unwrap();
        let expected = serde_json::json!({
            "Name": NAME, "Labels": { "theirs": "kept", NAME: record.write() }, "Data": "a2VwdA==",
        });
        assert_eq!(after, expected);
    }
}
