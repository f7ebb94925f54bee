//! `swarmgate association show | reset`: the record itself, read and replaced. There is no channel to the running
//! agents; they read again within seconds.

use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;

use super::file::{self, FileError};
use super::judge::{self, Standing, Survey, Why};
use super::record::{Holder, Mode, Read, Record, RecordKey, Seals, remaining, timestamp, unix_seconds};
use super::swarm::{self, Created, SwarmError, Way};
use crate::body::Body;
use crate::config::render::duration;
use crate::dial::Engine;
use crate::model::{Fingerprint, NodeId, chain};

/// 5 s: a person waits, and an engine that is alive answers at once.
const INFO_PATIENCE: Duration = Duration::from_secs(5);
/// Three tries for a free number, as the agents have.
const ROUNDS: usize = 3;

/// What the subcommands work on.
pub struct Desk<'a> {
    pub engine: &'a Engine,
    /// The data directory.
    pub data: &'a Path,
    /// What a reset without a key opens.
    pub window: Duration,
    /// As the agents have them; empty where there is neither a cluster secret nor a service.
    pub record_keys: &'a [RecordKey],
    /// This node's id outside a Swarm, if one was made already.
    pub here: Option<NodeId>,
    /// The agent that decides without a Swarm, where it is another one: no agent reads this host's own file then.
    pub elsewhere: Option<String>,
}

/// What to print and to exit with: 0 done, 1 failed, 2 not on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub text: String,
    pub code: u8,
}

/// Where the own engine stands.
#[derive(Debug, PartialEq, Eq)]
enum Seat {
    Standalone,
    /// The same, where another host's agent decides.
    Elsewhere(String),
    Manager(String),
    Worker {
        managers: Vec<String>,
    },
    /// In a Swarm that cannot be asked now, such as a locked one.
    Unusable(String),
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("ask the engine whether it is in a Swarm")]
    Engine(#[source] SwarmError),
    #[error("the engine's answer to /info cannot be understood")]
    Info(#[source] serde_json::Error),
    #[error("the engine is in a Swarm but says {0}")]
    Unusable(String),
    #[error(
        "this node is a worker; the association can be changed on a manager only. Managers: {}",
        if .0.is_empty() { "none is known here".to_owned() } else { .0.join(", ") }
    )]
    Worker(Vec<String>),
    #[error("without a Swarm the first agent of AGENT_PEERS, {0}, decides; run this there")]
    Elsewhere(String),
    #[error("use the Swarm's configs")]
    Swarm(#[from] SwarmError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("write {path}")]
    Write {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the agents prove their records to each other, and what they prove them with is not known here: run this \
         inside an agent's container, or set AGENT_CLUSTER_SECRET_FILE"
    )]
    Keyless,
    #[error("this node has no id yet: start the agent once with this data directory")]
    Nameless,
    #[error("others wrote the association at the same moment; try again")]
    Contended,
}

/// Tells what the record says.
pub async fn show(desk: &Desk<'_>, now: SystemTime) -> Outcome {
    outcome(look(desk).await.map(|(record, place)| describe(record.as_ref(), &place, now)))
}

/// The same in one line without its end, as things stand now. On a worker: as its agent last saw it.
pub async fn brief(desk: &Desk<'_>, now: SystemTime) -> Outcome {
    let (found, note) = match find(desk).await {
        Ok((survey, _)) => (Ok(survey), ""),
        Err(failed @ Failed::Worker(_)) => match cached(desk) {
            Some(read) => {
                (Ok(Survey { best: Some(read), ..Survey::default() }), ", as seen last on this worker")
            }
            None => (Err(failed), ""),
        },
        Err(failed) => (Err(failed), ""),
    };
    outcome(found.map(|survey| format!("{}{note}", in_short(&survey, desk.window, now))))
}

/// Replaces the record by one that opens a new window, or that lets `key` alone call.
pub async fn reset(desk: &Desk<'_>, key: Option<Fingerprint>, now: SystemTime) -> Outcome {
    let holder = key.map(Holder::Named);
    let done = match seat(desk).await {
        Ok(Seat::Manager(node)) => reset_swarm(desk, &node, holder, now).await,
        Ok(Seat::Standalone) => reset_file(desk, holder, now),
        Ok(Seat::Elsewhere(first)) => Err(Failed::Elsewhere(first)),
        Ok(Seat::Worker { managers }) => Err(Failed::Worker(managers)),
        Ok(Seat::Unusable(state)) => Err(Failed::Unusable(state)),
        Err(failed) => Err(failed),
    };
    outcome(done.map(|(record, place)| {
        let described = describe(Some(&record), &place, now);
        format!("{described}Running agents follow within 5 seconds, and end what the old key opened.\n")
    }))
}

async fn look(desk: &Desk<'_>) -> Result<(Option<Record>, String), Failed> {
    let (survey, place) = find(desk).await?;
    let ignored = match survey.bad.len() {
        0 => String::new(),
        bad => format!(" ({bad} not of this service ignored)"),
    };
    Ok((survey.best.map(|read| read.record), format!("{place}{ignored}")))
}

/// All records, and where they are.
async fn find(desk: &Desk<'_>) -> Result<(Survey, String), Failed> {
    match seat(desk).await? {
        Seat::Manager(_) => {
            let survey = Way::Here(desk.engine).survey(&Seals::new(desk.record_keys)).await?;
            Ok((survey, "the Swarm's configs".to_owned()))
        }
        Seat::Standalone => {
            let path = desk.data.join(file::RECORD);
            let read = file::peek(&path, &Seals::default())?;
            Ok((Survey::of(read.map(|read| (read.record.n, Ok(read)))), path.display().to_string()))
        }
        Seat::Elsewhere(first) => Err(Failed::Elsewhere(first)),
        Seat::Worker { managers } => Err(Failed::Worker(managers)),
        Seat::Unusable(state) => Err(Failed::Unusable(state)),
    }
}

/// The copy that this node's agent keeps of a Swarm's record, if it is there and proved.
fn cached(desk: &Desk<'_>) -> Option<Read> {
    file::peek(&desk.data.join(file::CACHE), &Seals::new(desk.record_keys)).ok()?
}

async fn reset_swarm(
    desk: &Desk<'_>,
    node: &str,
    holder: Option<Holder>,
    now: SystemTime,
) -> Result<(Record, String), Failed> {
    let (seals, way) = (Seals::new(desk.record_keys), Way::Here(desk.engine));
    for _ in 0..ROUNDS {
        let survey = way.survey(&seals).await?;
        if desk.record_keys.is_empty() && survey.bad.iter().any(|(_, bad)| bad.is_unproved()) {
            return Err(Failed::Keyless);
        }
        // Agents refuse a number below one they saw, also when its config is gone since.
        let cached = file::peek(&desk.data.join(file::CACHE), &seals).ok().flatten();
        let seen = cached.filter(|read| read.node.as_deref() == Some(node)).map(|read| read.record);
        let record = judge::reset(&survey, seen.as_ref(), holder.clone(), desk.window, now);
        if way.create(&record, &seals).await? == Created::First {
            let place = format!("Swarm config {}", swarm::name(record.n));
            return Ok((record, place));
        }
    }
    Err(Failed::Contended)
}

fn reset_file(desk: &Desk<'_>, holder: Option<Holder>, now: SystemTime) -> Result<(Record, String), Failed> {
    let path = desk.data.join(file::RECORD);
    let read = match file::peek(&path, &Seals::default()) {
        // Nothing to keep of a file that nobody understands.
        Err(FileError::Bad { .. }) => None,
        read => read?,
    };
    let wrote = read.as_ref().and_then(|read| NodeId::parse(read.node.as_deref()?).ok());
    let here = desk.here.clone().or(wrote).ok_or(Failed::Nameless)?;
    let survey = Survey::of(read.map(|read| (read.record.n, Ok(read))));
    let record = judge::reset(&survey, None, holder, desk.window, now);
    let place = path.display().to_string();
    file::store(&path, &record, &here, &Seals::default())
        .map_err(|source| Failed::Write { path: place.clone(), source })?;
    Ok((record, place))
}

async fn seat(desk: &Desk<'_>) -> Result<Seat, Failed> {
    let asked = swarm::request(Method::GET, "/info", Body::Empty).map_err(SwarmError::from);
    let answered = Way::Here(desk.engine).ask(asked.map_err(Failed::Engine)?, INFO_PATIENCE).await;
    let (status, body): (StatusCode, Bytes) = answered.map_err(Failed::Engine)?;
    if status != StatusCode::OK {
        return Err(Failed::Engine(swarm::refused(status, &body)));
    }
    Ok(match (read_seat(&body).map_err(Failed::Info)?, &desk.elsewhere) {
        (Seat::Standalone, Some(first)) => Seat::Elsewhere(first.clone()),
        (seat, _) => seat,
    })
}

fn read_seat(info: &[u8]) -> Result<Seat, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Info {
        swarm: Option<Swarm>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Swarm {
        #[serde(rename = "NodeID")]
        node_id: String,
        local_node_state: String,
        control_available: bool,
        remote_managers: Option<Vec<Remote>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Remote {
        addr: String,
    }
    let swarm = serde_json::from_slice::<Info>(info)?.swarm.unwrap_or_default();
    Ok(match swarm.local_node_state.as_str() {
        "" | "inactive" => Seat::Standalone,
        "active" if swarm.control_available => Seat::Manager(swarm.node_id),
        "active" => {
            let managers = swarm.remote_managers.into_iter().flatten().map(|manager| manager.addr);
            Seat::Worker { managers: managers.collect() }
        }
        _ => Seat::Unusable(swarm.local_node_state),
    })
}

fn outcome(done: Result<String, Failed>) -> Outcome {
    match done {
        Ok(text) => Outcome { text, code: 0 },
        Err(failed) => {
            let code = if let Failed::Worker(_) | Failed::Elsewhere(_) = failed { 2 } else { 1 };
            Outcome { text: chain(&failed) + "\n", code }
        }
    }
}

fn describe(record: Option<&Record>, place: &str, now: SystemTime) -> String {
    let Some(record) = record else { return format!("no association is recorded in {place}\n") };
    let key = match &record.holder {
        Some(Holder::Key(key)) => format!("{} (associated)", key.fingerprint),
        Some(Holder::Named(key)) => format!("{key} (named by a reset)"),
        None => "nobody's".to_owned(),
    };
    let window = match timestamp(record.until) {
        _ if record.is_ended() => "over".to_owned(),
        until if unix_seconds(now) < record.until => format!("open until {until}"),
        until => format!("over since {until}"),
    };
    let note = match record.mode {
        Mode::Associate => "",
        Mode::Secret | Mode::Pins => " (agents without it open no window until a reset)",
    };
    let (n, mode) = (record.n, record.mode.as_str());
    format!("record {n} in {place}\n  key:    {key}\n  window: {window}\n  mode:   {mode}{note}\n")
}

fn in_short(survey: &Survey, window: Duration, now: SystemTime) -> String {
    let Some(read) = &survey.best else {
        if survey.bad.iter().any(|(_, bad)| bad.is_unproved()) {
            return "none that counts: what is recorded was made with another cluster secret, or in another service"
                .to_owned();
        }
        return format!("none yet; a window of {} opens when the agent starts", duration(window));
    };
    // Whoever ended it wrote the record as soon as it was over.
    let ended = match &read.since {
        Some(since) if read.record.is_ended() => format!(" {since}"),
        None if read.record.is_ended() => String::new(),
        _ => format!(" {}", timestamp(read.record.until)),
    };
    match judge::standing(&read.record, Mode::Associate, now) {
        Standing::Open => format!("none yet; window ends in {}", remaining(&read.record, now)),
        Standing::Held(holder) => {
            let since = read.since.as_ref().map_or_else(String::new, |since| format!(" since {since}"));
            format!("key {}{since}", holder.fingerprint())
        }
        Standing::Closed(Why::Over) => {
            format!("none; window ended{ended}; `swarmgate association reset` opens a new one")
        }
        Standing::Closed(Why::Weaker | Why::Protected) => {
            "none; agents ran with AGENT_SECRET or AGENT_PORTAINER_KEYS before, so that without them only \
             `swarmgate association reset` opens a window"
                .to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::associate::record::tests::{key, record};

    #[test]
    fn the_engines_info_tells_where_it_stands() {
        let worker = Seat::Worker { managers: vec!["10.0.0.1:2377".into(), "10.0.0.2:2377".into()] };
        let rows = [
            (r#"{}"#, Seat::Standalone),
            (
                r#"{"Swarm":{"NodeID":"","LocalNodeState":"inactive","RemoteManagers":null}}"#,
                Seat::Standalone,
            ),
            (
                r#"{"Swarm":{"NodeID":"n1","LocalNodeState":"active","ControlAvailable":true}}"#,
                Seat::Manager("n1".into()),
            ),
            (
                r#"{"Swarm":{"NodeID":"n1","LocalNodeState":"active","ControlAvailable":false,"RemoteManagers":
                [{"NodeID":"m1","Addr":"10.0.0.1:2377"},{"NodeID":"m2","Addr":"10.0.0.2:2377"}]}}"#,
                worker,
            ),
            (r#"{"Swarm":{"LocalNodeState":"locked"}}"#, Seat::Unusable("locked".into())),
        ];
        for (info, expected) in rows {
            assert_eq!(read_seat(info.as_bytes()).unwrap(), expected, "{info}");
        }
        assert!(read_seat(b"[]").is_err());
    }

    #[test]
    fn on_a_worker_the_managers_are_named_and_the_exit_is_two() {
        let refused = outcome(Err(Failed::Worker(vec!["10.0.0.1:2377".into()])));
        assert_eq!(refused.code, 2);
        assert!(refused.text.contains("10.0.0.1:2377"), "{}", refused.text);
        assert_eq!(outcome(Err(Failed::Contended)).code, 1);
    }

    #[test]
    fn a_record_is_described_in_full() {
        let now = std::time::UNIX_EPOCH;
        let text = describe(Some(&record(4, Some(Holder::Key(key("A"))))), "a file", now);
        let key = key("A").fingerprint;
        assert_eq!(
            text,
            format!(
                "record 4 in a file\n  key:    {key} (associated)\n  window: open until 1970-01-01 00:16:40 UTC\n  \
                 mode:   associate\n"
            )
        );
    }

    #[test]
    fn in_one_line_it_says_who_holds_it_or_how_long_it_is_open() {
        let seconds = |n| std::time::UNIX_EPOCH + Duration::from_secs(n);
        let found = |record: Record, since: Option<&str>| Survey {
            best: Some(Read { record, node: None, seal: 0, since: since.map(str::to_owned) }),
            ..Survey::default()
        };
        let held = || record(2, Some(Holder::Key(key("A"))));
        let named = record(3, Some(Holder::Named(key("B").fingerprint)));
        let pinned = Record { mode: Mode::Pins, ..record(1, None) };
        let (a, b) = (key("A").fingerprint, key("B").fingerprint);
        let unproved = Survey { bad: vec![(1, super::super::record::BadRecord::Mac)], ..Survey::default() };
        let rows = [
            (Survey::default(), 0, "none yet; a window of 1h30m opens when the agent starts".to_owned()),
            (
                found(Record { until: 2832, ..record(1, None) }, None),
                0,
                "none yet; window ends in 47m12s".to_owned(),
            ),
            (found(held(), Some("then")), 5000, format!("key {a} since then")),
            (found(held(), None), 5000, format!("key {a}")),
            (found(named, Some("then")), 0, format!("key {b} since then")),
            (
                found(record(1, None), None),
                1000,
                "none; window ended 1970-01-01 00:16:40 UTC; `swarmgate association reset` opens a new one"
                    .to_owned(),
            ),
            (
                found(Record { until: 0, ..record(2, None) }, Some("then")),
                0,
                "none; window ended then; `swarmgate association reset` opens a new one".to_owned(),
            ),
        ];
        for (survey, now, expected) in rows {
            assert_eq!(in_short(&survey, Duration::from_secs(5400), seconds(now)), expected);
        }
        let told = |survey| in_short(&survey, Duration::ZERO, seconds(0));
        assert!(told(found(pinned, None)).contains("AGENT_PORTAINER_KEYS before"));
        assert!(told(unproved).contains("another cluster secret"));
    }
}
