//! Records as Swarm configs. Raft decides who is first: of several creators of one name, one gets 201.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::judge::Survey;
use super::record::{BadRecord, Read, Record, Seals};
use crate::body::{Body, BoxError};
use crate::dial::{Engine, Fail, Peers};
use crate::model::{Cluster, Member};

const NAME: &str = "swarmgate.association.";
/// `filters={"label":["swarmgate.association"]}`
const LIST: &str = "/configs?filters=%7B%22label%22%3A%5B%22swarmgate.association%22%5D%7D";
const CREATE: &str = "/configs/create";

/// 2 s: a list takes milliseconds, and a manager that hangs must not keep a revoked key alive.
const LIST_PATIENCE: Duration = Duration::from_secs(2);
/// 10 s: what a Raft that is electing a leader may take.
const CREATE_PATIENCE: Duration = Duration::from_secs(10);
/// 4 MiB: thousands of records.
const LARGEST: usize = 4 << 20;

/// The ways to a manager: the own engine, or another agent's.
#[derive(Clone)]
pub struct Swarm {
    pub engine: Engine,
    pub peers: Peers,
    pub cluster: watch::Receiver<Arc<Cluster>>,
}

/// One engine that may be a manager's.
pub(super) enum Way<'a> {
    Here(&'a Engine),
    Through(&'a Peers, &'a Member),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Created {
    First,
    /// Somebody else was first.
    Taken,
}

#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    #[error("no manager is known to be reachable")]
    NoManager,
    #[error("the manager gave no answer")]
    Dial(#[source] Fail),
    #[error("the manager gave no answer within {0:?}")]
    Silent(Duration),
    #[error("the manager's answer broke off")]
    Broken(#[source] BoxError),
    #[error("the manager answered {status}: {message}")]
    Refused { status: StatusCode, message: String },
    #[error("the manager's answer is no list of configs")]
    Malformed(#[source] serde_json::Error),
    #[error("build a request for the manager")]
    Request(#[from] http::Error),
}

/// What a config's data may be read as.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    spec: Spec,
    #[serde(default)]
    created_at: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    name: String,
    #[serde(default)]
    data: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NewConfig<'a> {
    name: &'a str,
    labels: Labels,
    data: String,
}

#[derive(Serialize)]
struct Labels {
    #[serde(rename = "swarmgate.association")]
    n: String,
}

impl Swarm {
    pub(super) async fn survey(&self, seals: &Seals) -> Result<Survey, SwarmError> {
        let cluster = self.snapshot();
        let mut last = SwarmError::NoManager;
        for way in self.ways(&cluster) {
            match way.survey(seals).await {
                Err(error) if error.is_of_this_way() => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    /// Creates the record's config. After an answer that was lost a second manager is asked all the same: if the
    /// first one did create it, the second says that it is taken, and reading again tells by whom.
    pub(super) async fn create(&self, record: &Record, seals: &Seals) -> Result<Created, SwarmError> {
        let cluster = self.snapshot();
        let mut last = SwarmError::NoManager;
        for way in self.ways(&cluster) {
            match way.create(record, seals).await {
                Err(error) if error.is_of_this_way() => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    /// Asks a manager, the nearest first, about anything else. Another one is asked when the answer was lost, so a
    /// write must be one that cannot happen twice.
    pub async fn ask(
        &self,
        method: &Method,
        path: &str,
        body: &Bytes,
        patience: Duration,
    ) -> Result<(StatusCode, Bytes), SwarmError> {
        let cluster = self.snapshot();
        let mut last = SwarmError::NoManager;
        for way in self.ways(&cluster) {
            let request = request(method.clone(), path, Body::from(body.clone()))?;
            match way.ask(request, patience).await {
                Ok((status, body)) if is_no_manager(status) => last = refused(status, &body),
                Err(error) if error.is_of_this_way() => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    /// Asks the own engine.
    pub async fn ask_here(&self, path: &str, patience: Duration) -> Result<(StatusCode, Bytes), SwarmError> {
        Way::Here(&self.engine).ask(request(Method::GET, path, Body::Empty)?, patience).await
    }

    pub fn snapshot(&self) -> Arc<Cluster> {
        Arc::clone(&self.cluster.borrow())
    }

    /// The nearest manager first, then the others.
    fn ways<'a>(&'a self, cluster: &'a Cluster) -> impl Iterator<Item = Way<'a>> {
        let nearest = cluster.nearest_manager();
        let others = cluster.members.values().filter(move |member| {
            member.is_manager() && member.is_reachable() && nearest.is_none_or(|first| first.id != member.id)
        });
        nearest.into_iter().chain(others).map(|member| match member.is_here() {
            true => Way::Here(&self.engine),
            false => Way::Through(&self.peers, member),
        })
    }
}

impl Way<'_> {
    pub(super) async fn survey(&self, seals: &Seals) -> Result<Survey, SwarmError> {
        let request = request(Method::GET, LIST, Body::Empty)?;
        match self.ask(request, LIST_PATIENCE).await? {
            (StatusCode::OK, body) => survey(&body, seals),
            (status, body) => Err(refused(status, &body)),
        }
    }

    pub(super) async fn create(&self, record: &Record, seals: &Seals) -> Result<Created, SwarmError> {
        let body = new_config(record, seals).map_err(SwarmError::Malformed)?;
        let request = request(Method::POST, CREATE, Body::from(Bytes::from(body)))?;
        match self.ask(request, CREATE_PATIENCE).await? {
            (StatusCode::CREATED, _) => Ok(Created::First),
            (StatusCode::CONFLICT, _) => Ok(Created::Taken),
            (status, body) => Err(refused(status, &body)),
        }
    }

    /// Asks and reads the whole answer.
    pub(super) async fn ask(
        &self,
        request: Request<Body>,
        patience: Duration,
    ) -> Result<(StatusCode, Bytes), SwarmError> {
        let asked = async {
            let answer = match self {
                Self::Here(engine) => engine.request(request).await,
                Self::Through(peers, member) => peers.request(member, request).await,
            };
            let (head, body) = answer.map_err(SwarmError::Dial)?.into_parts();
            let body = Limited::new(body, LARGEST).collect().await.map_err(SwarmError::Broken)?;
            Ok((head.status, body.to_bytes()))
        };
        tokio::time::timeout(patience, asked).await.map_err(|_| SwarmError::Silent(patience))?
    }
}

impl SwarmError {
    /// Whether another manager may do better.
    fn is_of_this_way(&self) -> bool {
        match self {
            Self::Refused { status, .. } => is_no_manager(*status),
            Self::Dial(_) | Self::Silent(_) | Self::Broken(_) | Self::Malformed(_) => true,
            Self::NoManager | Self::Request(_) => false,
        }
    }
}

/// An engine that is no manager any more answers 503, an old one 406; an agent that does not take us for a peer of its
/// own 421.
fn is_no_manager(status: StatusCode) -> bool {
    [StatusCode::SERVICE_UNAVAILABLE, StatusCode::NOT_ACCEPTABLE, StatusCode::MISDIRECTED_REQUEST]
        .contains(&status)
}

/// The Swarm config that holds record `n`.
pub(super) fn name(n: u64) -> String {
    format!("{NAME}{n}")
}

pub(super) fn request(method: Method, path: &str, body: Body) -> Result<Request<Body>, http::Error> {
    // The engine insists on a Host, whatever it says.
    let request = Request::builder().method(method).uri(path).header(http::header::HOST, "docker");
    request.header(http::header::CONTENT_TYPE, "application/json").body(body)
}

/// Reads an engine's list of configs. What is named like a record and is none is told, not fatal.
fn survey(body: &[u8], seals: &Seals) -> Result<Survey, SwarmError> {
    // An engine may say null for an empty list.
    let configs: Option<Vec<Config>> = serde_json::from_slice(body).map_err(SwarmError::Malformed)?;
    let records = configs.into_iter().flatten().filter_map(|config| {
        let n = number(&config.spec.name)?;
        let data = STANDARD.decode(&config.spec.data).map_err(|_| BadRecord::Field("Data"));
        let since = seconds(&config.created_at);
        let read = data.and_then(|data| Record::read(&data, seals));
        Some((n, read.map(|read| Read { since, ..read })))
    });
    Ok(Survey::of(records))
}

/// A moment as engines write it, `2026-07-22T15:00:00.123456789Z`, without fractions and as we write it.
fn seconds(moment: &str) -> Option<String> {
    let (day, time) = moment.split_at_checked(19)?.0.split_once('T')?;
    let digits = |b: u8| b.is_ascii_digit() || b == b'-' || b == b':';
    (day.bytes().chain(time.bytes()).all(digits) && moment.ends_with('Z'))
        .then(|| format!("{day} {time} UTC"))
}

/// The number in a config's name, in its one spelling.
fn number(config: &str) -> Option<u64> {
    let n = config.strip_prefix(NAME)?.parse().ok()?;
    (name(n) == config).then_some(n)
}

fn new_config(record: &Record, seals: &Seals) -> Result<Vec<u8>, serde_json::Error> {
    let data = STANDARD.encode(record.write(seals, None));
    let labels = Labels { n: record.n.to_string() };
    serde_json::to_vec(&NewConfig { name: &name(record.n), labels, data })
}

/// What an engine that refused said.
pub fn refused(status: StatusCode, body: &[u8]) -> SwarmError {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    let message = serde_json::from_slice(body).map_or_else(|_| String::new(), |said: Message| said.message);
    SwarmError::Refused { status, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::associate::record::Holder;
    use crate::associate::record::tests::{key, record};

    /// A list as an engine would answer it, of these names with these records' data.
    fn list(configs: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let configs: Vec<_> = configs
            .iter()
            .map(|(name, data)| {
                serde_json::json!({
                    "ID": "ktnbjxoalbkvbvedmg1urrz8h",
                    "Version": {"Index": 11},
                    "Spec": {"Name": name, "Labels": {"swarmgate.association": "1"}, "Data": STANDARD.encode(data)},
                })
            })
            .collect();
        serde_json::to_vec(&configs).unwrap()
    }

    #[test]
    fn what_is_created_is_found_again() {
        let seals = Seals::new(&[[1; 32]]);
        let record = record(3, Some(Holder::Key(key("A"))));
        let created: serde_json::Value =
            serde_json::from_slice(&new_config(&record, &seals).unwrap()).unwrap();
        assert_eq!(created["Name"], "swarmgate.association.3");
        assert_eq!(created["Labels"], serde_json::json!({"swarmgate.association": "3"}));
        let listed = serde_json::to_vec(&serde_json::json!([{"ID": "x", "Spec": created}])).unwrap();
        let best = survey(&listed, &seals).unwrap().best.unwrap();
        assert_eq!(best.record, record);
    }

    #[test]
    fn strangers_among_the_configs_are_told_or_passed_over() {
        let seals = Seals::new(&[[1; 32]]);
        let ours = record(2, None).write(&seals, None);
        let forged = record(9, Some(Holder::Key(key("B")))).write(&Seals::new(&[[2; 32]]), None);
        let listed = list(&[
            ("swarmgate.association.2", ours.clone()),
            ("swarmgate.association.9", forged),
            ("swarmgate.association.4", ours.clone()),
            ("swarmgate.association.5", b"not a record".to_vec()),
            ("swarmgate.association.02", ours.clone()),
            ("swarmgate.association.x", ours.clone()),
            ("another", ours),
        ]);
        let survey = survey(&listed, &seals).unwrap();
        assert_eq!((survey.best.unwrap().record, survey.top), (record(2, None), 9));
        let mut bad: Vec<_> = survey.bad.iter().map(|(n, _)| *n).collect();
        bad.sort_unstable();
        assert_eq!(bad, [4, 5, 9]);
    }

    #[test]
    fn an_empty_list_is_empty_in_both_spellings() {
        for body in ["[]", "null"] {
            assert!(survey(body.as_bytes(), &Seals::default()).unwrap().best.is_none(), "{body}");
        }
        for body in ["", "{}", "[{}]", "[1]"] {
            assert!(survey(body.as_bytes(), &Seals::default()).is_err(), "{body}");
        }
    }

    #[test]
    fn the_filter_in_the_path_is_the_one_meant() {
        let decoded = percent_encoding::percent_decode_str(LIST).decode_utf8().unwrap();
        assert_eq!(decoded, r#"/configs?filters={"label":["swarmgate.association"]}"#);
    }

    #[test]
    fn another_manager_is_asked_only_where_it_may_know_better() {
        let refused = |status| SwarmError::Refused { status, message: String::new() };
        assert!(refused(StatusCode::SERVICE_UNAVAILABLE).is_of_this_way());
        assert!(refused(StatusCode::NOT_ACCEPTABLE).is_of_this_way());
        assert!(!refused(StatusCode::INTERNAL_SERVER_ERROR).is_of_this_way());
        assert!(!SwarmError::NoManager.is_of_this_way());
    }

    #[test]
    fn when_a_config_was_made_is_told_if_it_can_be_read() {
        let rows = [
            ("2026-07-22T15:00:00.123456789Z", Some("2026-07-22 15:00:00 UTC")),
            ("2026-07-22T15:00:00Z", Some("2026-07-22 15:00:00 UTC")),
            ("2026-07-22T15:00:00+02:00", None),
            ("2026-07-22\u{1b}15:00:00Z", None),
            ("\u{1b}[31mTxxxxxxxxxxxxxxxxxxZ", None),
            ("", None),
        ];
        for (moment, expected) in rows {
            assert_eq!(seconds(moment).as_deref(), expected, "{moment:?}");
        }
    }
}
