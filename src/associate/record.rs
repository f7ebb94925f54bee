//! The record of an association: what is written, and what proves who wrote it. No I/O.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

use crate::config::{self, render::duration};
use crate::identify::PublicKey;
use crate::model::{Fingerprint, NodeId};

/// The key under which a cluster's agents prove their records to each other.
pub type RecordKey = [u8; 32];

/// What an agent protects itself with. A record notes it, so that a later start with less opens no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The first key whose signature verifies.
    Associate,
    /// AGENT_SECRET, with or without pinned keys.
    Secret,
    /// AGENT_PORTAINER_KEYS.
    Pins,
}

/// Whose the association is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    Key(PublicKey),
    /// As a reset named it: only the fingerprint is known.
    Named(Fingerprint),
}

/// One state of the association. A higher `n` replaces a lower one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub n: u64,
    pub holder: Option<Holder>,
    /// The window's end in unix seconds; no restart moves it. [`ENDED`] by every clock.
    pub until: u64,
    pub mode: Mode,
}

/// The end of a window that some agent found to be over: no clock is before it, however far behind.
pub const ENDED: u64 = 0;

/// Why bytes are no record of ours.
#[derive(Debug, thiserror::Error)]
pub enum BadRecord {
    #[error("not a record of an association")]
    Json(#[from] serde_json::Error),
    #[error("its field {0} cannot be read")]
    Field(&'static str),
    #[error("its MAC was made with another cluster secret, or in another service")]
    Mac,
}

impl BadRecord {
    /// A whole record, but not by any key that we have.
    pub fn is_unproved(&self) -> bool {
        matches!(self, Self::Mac)
    }
}

/// The keys that prove records. The first signs, all verify, so that a secret can be replaced step by step.
/// Without any, records carry no proof: then whoever may write where they are kept is trusted.
#[derive(Clone, Debug, Default)]
pub struct Seals(Vec<hmac::Key>);

/// What was read, and what came with it.
#[derive(Debug)]
pub struct Read {
    pub record: Record,
    /// The node whose data directory it was written into. `None`: a Swarm config.
    pub node: Option<String>,
    /// Which of the seals proved it; 0 is the present one.
    pub seal: usize,
    /// When it was written, if whoever keeps it has told.
    pub since: Option<String>,
}

/// A record as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    n: u64,
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    until: u64,
    mode: Mode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
}

impl Mode {
    pub fn of(portainer: &config::Portainer) -> Self {
        match (&portainer.secret, portainer.pins.is_empty()) {
            (Some(_), _) => Self::Secret,
            (None, false) => Self::Pins,
            (None, true) => Self::Associate,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Associate => "associate",
            Self::Secret => "secret",
            Self::Pins => "pins",
        }
    }

    /// Whether it needs no association, and never opens a window.
    pub fn is_protected(self) -> bool {
        self != Self::Associate
    }
}

impl Holder {
    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Key(key) => key.fingerprint,
            Self::Named(fingerprint) => *fingerprint,
        }
    }
}

impl Record {
    /// Reads a record and checks its proof.
    pub fn read(bytes: &[u8], seals: &Seals) -> Result<Read, BadRecord> {
        let written: Written = serde_json::from_slice(bytes)?;
        let key = written.key.as_deref().map(read_key).transpose()?.map(Holder::Key);
        let named = written.fingerprint.as_deref().map(Fingerprint::parse).transpose();
        let named = named.map_err(|_| BadRecord::Field("Fingerprint"))?.map(Holder::Named);
        let record = Self { n: written.n, holder: key.or(named), until: written.until, mode: written.mode };
        let seal = seals.prove(&record, written.mac.as_deref())?;
        Ok(Read { record, node: written.node, seal, since: None })
    }

    /// As JSON, under the present seal. `node`: whose data directory it goes into.
    pub fn write(&self, seals: &Seals, node: Option<&NodeId>) -> Vec<u8> {
        let (key, fingerprint) = match &self.holder {
            None => (None, None),
            Some(Holder::Key(key)) => (Some(hex::encode(key.der())), None),
            Some(Holder::Named(fingerprint)) => (None, Some(fingerprint.to_string())),
        };
        let node = node.map(ToString::to_string);
        let (n, until, mode, mac) = (self.n, self.until, self.mode, seals.seal(self));
        let written = Written { n, key, fingerprint, until, mode, node, mac };
        // Strings and numbers only: this cannot fail, and an empty record would be refused by every reader.
        serde_json::to_vec(&written).unwrap_or_default()
    }

    /// The same with its window over by every clock.
    pub fn ended(&self, n: u64) -> Self {
        Self { n, until: ENDED, ..self.clone() }
    }

    /// Whether its window is over by every clock.
    pub fn is_ended(&self) -> bool {
        self.until == ENDED
    }

    /// What the MAC covers: all but the node, since a cached copy is the same record.
    fn proved_text(&self) -> String {
        let holder = match &self.holder {
            None => "nobody".to_owned(),
            Some(Holder::Key(key)) => hex::encode(key.der()),
            Some(Holder::Named(fingerprint)) => fingerprint.to_string(),
        };
        format!("swarmgate-association-v1\n{}\n{holder}\n{}\n{}\n", self.n, self.until, self.mode.as_str())
    }
}

impl Seals {
    pub fn new(keys: &[RecordKey]) -> Self {
        Self(keys.iter().map(|key| hmac::Key::new(hmac::HMAC_SHA256, key)).collect())
    }

    fn seal(&self, record: &Record) -> Option<String> {
        let tag = hmac::sign(self.0.first()?, record.proved_text().as_bytes());
        Some(hex::encode(tag.as_ref()))
    }

    fn prove(&self, record: &Record, mac: Option<&str>) -> Result<usize, BadRecord> {
        let Some(mac) = mac else {
            return if self.0.is_empty() { Ok(0) } else { Err(BadRecord::Mac) };
        };
        let mac = hex::decode(mac).map_err(|_| BadRecord::Field("Mac"))?;
        let text = record.proved_text();
        let proves = |key: &hmac::Key| hmac::verify(key, text.as_bytes(), &mac).is_ok();
        self.0.iter().position(proves).ok_or(BadRecord::Mac)
    }
}

/// Seconds since 1970; 0 for a clock before it, which only closes windows later.
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// How long nobody's record stays claimable, as in `47m12s`.
pub(super) fn remaining(record: &Record, now: SystemTime) -> String {
    duration(left(record, now))
}

pub(super) fn left(record: &Record, now: SystemTime) -> Duration {
    Duration::from_secs(record.until.saturating_sub(unix_seconds(now)))
}

/// Seconds since 1970 for people.
pub(super) fn timestamp(unix: u64) -> String {
    let time = i64::try_from(unix).ok().and_then(|unix| time::OffsetDateTime::from_unix_timestamp(unix).ok());
    time.map_or_else(
        || "the end of time".to_owned(),
        |t| {
            let (year, month, day) = t.to_calendar_date();
            let (hour, minute, second) = t.to_hms();
            let month = u8::from(month);
            format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
        },
    )
}

fn read_key(text: &str) -> Result<PublicKey, BadRecord> {
    hex::decode(text).ok().and_then(|der| PublicKey::parse(&der)).ok_or(BadRecord::Field("Key"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The two keys of the recorded signatures.
    pub(in crate::associate) fn key(which: &str) -> PublicKey {
        let vectors = include_str!("../../tests/data/signature_vectors.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
        read_key(vectors["keys"][which]["spki_der_hex"].as_str().unwrap()).unwrap()
    }

    pub(in crate::associate) fn record(n: u64, holder: Option<Holder>) -> Record {
        Record { n, holder, until: 1000, mode: Mode::Associate }
    }

    fn holders() -> [Option<Holder>; 3] {
        [None, Some(Holder::Key(key("A"))), Some(Holder::Named(key("B").fingerprint))]
    }

    #[test]
    fn what_is_written_reads_back() {
        let node = NodeId::parse("node1").unwrap();
        for seals in [Seals::default(), Seals::new(&[[1; 32]])] {
            for holder in holders() {
                let record = record(7, holder);
                let read = Record::read(&record.write(&seals, Some(&node)), &seals).unwrap();
                assert_eq!((read.record, read.node.as_deref(), read.seal), (record, Some("node1"), 0));
            }
        }
    }

    #[test]
    fn the_record_is_plain_json() {
        let json = record(3, None).write(&Seals::default(), None);
        assert_eq!(String::from_utf8(json).unwrap(), r#"{"N":3,"Key":null,"Until":1000,"Mode":"associate"}"#);
    }

    #[test]
    fn a_record_of_other_hands_is_refused() {
        let ours = Seals::new(&[[1; 32]]);
        for (writer, what) in [(Seals::new(&[[2; 32]]), "another key"), (Seals::default(), "no key")] {
            let bytes = record(7, None).write(&writer, None);
            assert!(matches!(Record::read(&bytes, &ours), Err(BadRecord::Mac)), "{what}");
        }
        let sealed = record(7, None).write(&ours, None);
        assert!(matches!(Record::read(&sealed, &Seals::default()), Err(BadRecord::Mac)));
    }

    #[test]
    fn every_field_is_under_the_mac() {
        let seals = Seals::new(&[[1; 32]]);
        let json = String::from_utf8(record(7, Some(Holder::Key(key("A")))).write(&seals, None)).unwrap();
        let (a, b) = (hex::encode(key("A").der()), hex::encode(key("B").der()));
        let changes = [("\"N\":7", "\"N\":8"), ("1000", "2000"), ("associate", "secret"), (&a, &b)];
        for (from, to) in changes {
            let changed = json.replace(from, to);
            assert_ne!(changed, json, "{from}");
            assert!(matches!(Record::read(changed.as_bytes(), &seals), Err(BadRecord::Mac)), "{from}");
        }
    }

    #[test]
    fn a_record_under_the_previous_secret_is_told_apart() {
        let bytes = record(7, None).write(&Seals::new(&[[1; 32]]), None);
        assert_eq!(Record::read(&bytes, &Seals::new(&[[2; 32], [1; 32]])).unwrap().seal, 1);
    }

    #[test]
    fn nonsense_is_no_record() {
        let texts = [
            "",
            "null",
            "[]",
            "{}",
            r#"{"N":-1,"Key":null,"Until":0,"Mode":"associate"}"#,
            r#"{"N":1,"Key":"00","Until":0,"Mode":"associate"}"#,
            r#"{"N":1,"Key":null,"Fingerprint":"sha256:1","Until":0,"Mode":"associate"}"#,
            r#"{"N":1,"Key":null,"Until":0,"Mode":"open"}"#,
        ];
        for text in texts {
            assert!(Record::read(text.as_bytes(), &Seals::default()).is_err(), "{text}");
        }
    }

    #[test]
    fn far_and_broken_times_are_printed_all_the_same() {
        assert_eq!(timestamp(1_784_732_400), "2026-07-22 15:00:00 UTC");
        assert_eq!(timestamp(u64::MAX), "the end of time");
    }

    #[test]
    fn what_is_left_of_a_window_is_said_in_its_largest_units() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let rows = [(1000 - 60, "1m"), (1000 - 1, "1s"), (1000, "0"), (2000, "0"), (0, "16m40s")];
        for (now, expected) in rows {
            assert_eq!(remaining(&record(1, None), at(now)), expected, "{now}");
        }
    }
}
