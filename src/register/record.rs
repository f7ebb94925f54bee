//! What is written down of the registration: who is about to make it, or which environment it made. No I/O.

use serde::{Deserialize, Serialize};

use crate::model::NodeId;

/// An environment as Portainer shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The server, as AGENT_PORTAINER_URL.
    pub(super) portainer: String,
    pub(super) name: String,
    /// Where the server reaches an agent: `tcp://host:port`.
    pub(super) url: String,
}

/// The registration of a cluster: there is one record or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The registrar: the node whose agent asks the server.
    pub(super) node: NodeId,
    pub(super) entry: Entry,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The registrar is about to create the environment, or has just done it. In unix seconds; 0 once it gave up.
    Claimed { since: u64 },
    /// The server gave the environment this id.
    Registered { id: u64 },
}

/// Why text is no record of ours.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadRecord {
    #[error("not a record of a registration")]
    Json(#[from] serde_json::Error),
    #[error("its field {0} cannot be read")]
    Field(&'static str),
}

/// A record as JSON. Of `Id` and `Since` there is one.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    portainer: String,
    name: String,
    #[serde(rename = "URL")]
    url: String,
    node: String,
}

impl Record {
    pub(super) fn read(text: &[u8]) -> Result<Self, BadRecord> {
        let Written { id, since, portainer, name, url, node } = serde_json::from_slice(text)?;
        let state = match (id, since) {
            (Some(id), None) => State::Registered { id },
            (None, Some(since)) => State::Claimed { since },
            _ => return Err(BadRecord::Field("Id")),
        };
        let node = NodeId::parse(&node).map_err(|_| BadRecord::Field("Node"))?;
        Ok(Self { node, entry: Entry { portainer, name, url }, state })
    }

    pub(super) fn write(&self) -> String {
        let Entry { portainer, name, url } = self.entry.clone();
        let (id, since) = match self.state {
            State::Registered { id } => (Some(id), None),
            State::Claimed { since } => (None, Some(since)),
        };
        let written = Written { id, since, portainer, name, url, node: self.node.to_string() };
        // Strings and numbers only: this cannot fail, and an empty record would be refused by every reader.
        serde_json::to_string(&written).unwrap_or_default()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::register) fn entry(name: &str, url: &str) -> Entry {
        Entry { portainer: "https://portainer".into(), name: name.into(), url: url.into() }
    }

    pub(in crate::register) fn record(node: &str, entry: Entry, state: State) -> Record {
        Record { node: NodeId::parse(node).unwrap(), entry, state }
    }

    #[test]
    fn what_is_written_reads_back() {
        for state in [State::Claimed { since: 7 }, State::Registered { id: 7 }] {
            let record = record("n1", entry("the \"swarm\"", "tcp://[::1]:9001"), state);
            assert_eq!(Record::read(record.write().as_bytes()).unwrap(), record);
        }
    }

    #[test]
    fn the_record_is_plain_json() {
        let record = record("n1", entry("a", "tcp://b:1"), State::Registered { id: 3 });
        let expected = r#"{"Id":3,"Portainer":"https://portainer","Name":"a","URL":"tcp://b:1","Node":"n1"}"#;
        assert_eq!(record.write(), expected);
    }

    #[test]
    fn nonsense_is_no_record() {
        let fields = r#""Portainer":"","Name":"","URL":"""#;
        let both = format!(r#"{{"Id":1,"Since":1,{fields},"Node":"a"}}"#);
        let neither = format!(r#"{{{fields},"Node":"a"}}"#);
        let nameless = format!(r#"{{"Id":1,{fields},"Node":""}}"#);
        for text in ["", "null", "{}", &both, &neither, &nameless] {
            assert!(Record::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
