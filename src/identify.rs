//! Headers in, who asks out. No I/O and no clock: what is associated now comes in as a value, and a key that
//! nobody holds yet goes out as a claim for the store to judge.

pub mod portainer;

use http::HeaderMap;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::model::{Caller, Fingerprint};
pub use portainer::PublicKey;
use portainer::{Message, Presented};

/// What Portainer's server signs when no secret is set.
const DEFAULT_MESSAGE: &str = "Portainer-App";

/// By which rules a signature counts, as the operator configured them. Made once.
pub struct Rules {
    message: Message,
    keys: Keys,
    /// The life of what no association opened: it ends with the process.
    never: CancellationToken,
}

/// Which keys count.
enum Keys {
    /// Any: the secret is the credential.
    Any,
    /// These, with or without a secret.
    Pinned(Vec<Fingerprint>),
    /// The associated one.
    Associated,
}

/// What the association's store says at this moment.
#[derive(Clone, Debug)]
pub enum Association {
    /// The engine has not said yet whether it is in a Swarm, or no record could be read.
    Unknown,
    /// Nobody yet; the first key whose signature verifies may claim.
    Open,
    /// Nobody, and nobody may claim any more without a reset.
    Closed,
    /// This key may call, until `revoked`.
    Held { key: PublicKey, revoked: CancellationToken },
    /// A reset named this key; it may call without a claim, until `revoked`.
    Reserved { key: Fingerprint, revoked: CancellationToken },
}

/// What a valid signature means.
#[derive(Clone, Debug)]
pub enum Identified {
    /// This caller, until the token is cancelled.
    Caller(Caller, CancellationToken),
    /// A verified key that asks to be associated.
    Claim(PublicKey),
}

/// Why a request is refused. The texts are the client's; Portainer's server looks for some of their words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("Missing request signature headers")]
    Missing,
    #[error("Invalid request signature")]
    Invalid,
    /// The signature verifies, but under a key that does not count here; the operator must hear of it.
    #[error("Invalid request signature: this agent is associated with another key")]
    Other(Fingerprint),
    // Without the words of `Invalid`: on those, Portainer's server tells its user a wrong reason.
    #[error(
        "this agent is not associated with a Portainer server and may not be claimed any more: \
         run `swarmgate association reset` on it"
    )]
    Closed,
    #[error("this agent does not know yet whether it is associated: try again shortly, or see its log")]
    NotYet,
}

impl Rules {
    pub fn of(portainer: &config::Portainer) -> Self {
        let message = portainer.secret.as_ref().map_or(DEFAULT_MESSAGE, |secret| secret.reveal());
        let keys = match (&portainer.secret, portainer.pins.as_slice()) {
            (Some(_), []) => Keys::Any,
            (None, []) => Keys::Associated,
            (_, pins) => Keys::Pinned(pins.to_vec()),
        };
        Self { message: Message::new(message), keys, never: CancellationToken::new() }
    }
}

/// Who asks, by Portainer's signature. Other credentials beside it are not looked at.
pub fn identify(rules: &Rules, association: &Association, headers: &HeaderMap) -> Result<Identified, Denied> {
    match &rules.keys {
        Keys::Any => {
            let key = Presented::read(headers)?.verified(&rules.message)?;
            Ok(caller(key.fingerprint, &rules.never))
        }
        Keys::Pinned(pins) => {
            let key = Presented::read(headers)?.verified(&rules.message)?;
            only(pins.contains(&key.fingerprint), key.fingerprint, &rules.never)
        }
        Keys::Associated => by_association(association, &rules.message, headers),
    }
}

fn by_association(
    association: &Association,
    message: &Message,
    headers: &HeaderMap,
) -> Result<Identified, Denied> {
    if let Association::Closed = association {
        return Err(Denied::Closed);
    }
    let presented = Presented::read(headers)?;
    match association {
        Association::Held { key, revoked } if presented.is(key) => {
            presented.verify(key, message)?;
            Ok(caller(key.fingerprint, revoked))
        }
        Association::Held { .. } => Err(Denied::Other(presented.verified(message)?.fingerprint)),
        Association::Reserved { key, revoked } => {
            let fingerprint = presented.verified(message)?.fingerprint;
            only(fingerprint == *key, fingerprint, revoked)
        }
        Association::Open => presented.verified(message).map(Identified::Claim),
        Association::Unknown => presented.verified(message).and(Err(Denied::NotYet)),
        Association::Closed => Err(Denied::Closed),
    }
}

fn only(counts: bool, key: Fingerprint, until: &CancellationToken) -> Result<Identified, Denied> {
    if counts { Ok(caller(key, until)) } else { Err(Denied::Other(key)) }
}

fn caller(key: Fingerprint, until: &CancellationToken) -> Identified {
    Identified::Caller(Caller::Portainer(key), until.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::model::Secret;

    const MADE_BY_A: &str = "valid_default";
    const MADE_BY_B: &str = "valid_default_key_b";

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../tests/data/signature_vectors.json")).unwrap()
    }

    fn row(id: &str) -> Value {
        let all = vectors();
        all["vectors"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap().clone()
    }

    fn headers(row: &Value) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, field) in [
            ("x-portaineragent-publickey", "public_key_header"),
            ("x-portaineragent-signature", "signature_header"),
        ] {
            headers.insert(name, row[field].as_str().unwrap().parse().unwrap());
        }
        headers
    }

    fn rules(secret: &str, pins: &[Fingerprint]) -> Rules {
        let portainer = config::Portainer {
            secret: (!secret.is_empty()).then(|| Secret::new(secret)),
            pins: pins.to_vec(),
            window: std::time::Duration::ZERO,
            agent_version: String::new(),
        };
        Rules::of(&portainer)
    }

    fn mode_rules(all: &Value, mode: &Value) -> Rules {
        rules(if mode == "secret" { all["secret"].as_str().unwrap() } else { "" }, &[])
    }

    fn key_of(id: &str) -> PublicKey {
        PublicKey::parse(&hex::decode(row(id)["public_key_header"].as_str().unwrap()).unwrap()).unwrap()
    }

    fn held(id: &str) -> Association {
        Association::Held { key: key_of(id), revoked: CancellationToken::new() }
    }

    fn denied(rules: &Rules, association: &Association, headers: &HeaderMap) -> Denied {
        identify(rules, association, headers).expect_err("must be refused")
    }

    #[test]
    fn every_vector_is_judged_as_recommended() {
        let all = vectors();
        let rows = all["vectors"].as_array().unwrap();
        for row in rows {
            let id = row["id"].as_str().unwrap();
            let rules = mode_rules(&all, &row["agent_mode"]);
            let outcome = identify(&rules, &Association::Open, &headers(row));
            // What may be judged either way is refused: one form of key and signature is enough.
            let accept = row["recommended"] == "accept";
            assert_eq!(outcome.is_ok(), accept, "{id}: {outcome:?}");
            if let Err(denied) = outcome {
                let expected = if id.starts_with("empty_") { Denied::Missing } else { Denied::Invalid };
                assert_eq!(denied, expected, "{id}");
            }
        }
        assert_eq!(rows.len(), 37);
        assert_eq!(rows.iter().filter(|row| row["recommended"] == "accept").count(), 5);
    }

    #[test]
    fn every_sequence_ends_as_recommended() {
        let all = vectors();
        let sequences = all["sequences"].as_array().unwrap();
        let mut steps_seen = 0;
        for sequence in sequences {
            let rules = mode_rules(&all, &sequence["agent_mode"]);
            let mut association = Association::Open;
            let steps = sequence["steps"].as_array().unwrap();
            for (at, step) in steps.iter().enumerate() {
                let sent = step[0].as_str().map_or_else(|| step[0].clone(), row);
                let last = sequence["recommended_last"].as_str().filter(|_| at + 1 == steps.len());
                let accept = last.unwrap_or(step[1].as_str().unwrap()).starts_with("accept");
                let outcome = identify(&rules, &association, &headers(&sent));
                assert_eq!(outcome.is_ok(), accept, "{} step {at}: {outcome:?}", sequence["id"]);
                if let Ok(Identified::Claim(key)) = outcome {
                    association = Association::Held { key, revoked: CancellationToken::new() };
                }
                steps_seen += 1;
            }
        }
        assert_eq!((sequences.len(), steps_seen), (4, 9));
    }

    #[test]
    fn a_held_association_admits_its_key_and_names_another_that_signed() {
        let rules = rules("", &[]);
        let outcome = identify(&rules, &held(MADE_BY_A), &headers(&row(MADE_BY_A))).unwrap();
        assert!(
            matches!(outcome, Identified::Caller(Caller::Portainer(key), _) if key == key_of(MADE_BY_A).fingerprint)
        );
        let refused = denied(&rules, &held(MADE_BY_A), &headers(&row(MADE_BY_B)));
        assert_eq!(refused, Denied::Other(key_of(MADE_BY_B).fingerprint));
        assert!(refused.to_string().contains("Invalid request signature"));
        assert_eq!(denied(&rules, &held(MADE_BY_A), &headers(&row("wrong_key"))), Denied::Invalid);
    }

    #[test]
    fn the_caller_lives_as_long_as_the_association() {
        let revoked = CancellationToken::new();
        let association = Association::Held { key: key_of(MADE_BY_A), revoked: revoked.clone() };
        let outcome = identify(&rules("", &[]), &association, &headers(&row(MADE_BY_A))).unwrap();
        revoked.cancel();
        assert!(matches!(outcome, Identified::Caller(_, until) if until.is_cancelled()));
    }

    #[test]
    fn a_reserved_association_admits_the_named_key_alone() {
        let key = key_of(MADE_BY_A).fingerprint;
        let reserved = Association::Reserved { key, revoked: CancellationToken::new() };
        let rules = rules("", &[]);
        assert!(identify(&rules, &reserved, &headers(&row(MADE_BY_A))).is_ok());
        assert!(matches!(denied(&rules, &reserved, &headers(&row(MADE_BY_B))), Denied::Other(_)));
        assert_eq!(denied(&rules, &reserved, &headers(&row("wrong_message"))), Denied::Invalid);
    }

    #[test]
    fn a_closed_window_refuses_everything_with_the_remedy() {
        for id in [MADE_BY_A, "wrong_key", "empty_key"] {
            let refused = denied(&rules("", &[]), &Association::Closed, &headers(&row(id)));
            assert_eq!(refused, Denied::Closed, "{id}");
        }
        assert!(!Denied::Closed.to_string().contains("Invalid request signature"));
        assert!(Denied::Closed.to_string().contains("swarmgate association reset"));
    }

    #[test]
    fn before_the_engine_has_spoken_only_a_valid_signature_is_asked_to_wait() {
        let rules = rules("", &[]);
        assert_eq!(denied(&rules, &Association::Unknown, &headers(&row(MADE_BY_A))), Denied::NotYet);
        assert_eq!(denied(&rules, &Association::Unknown, &headers(&row("wrong_key"))), Denied::Invalid);
        assert_eq!(denied(&rules, &Association::Unknown, &HeaderMap::new()), Denied::Missing);
    }

    #[test]
    fn with_a_secret_an_association_opens_nothing() {
        let with_secret = rules("s3cr3t-Shared-Value", &[]);
        assert_eq!(denied(&with_secret, &held(MADE_BY_A), &headers(&row(MADE_BY_A))), Denied::Invalid);
        for association in [Association::Unknown, Association::Closed, held(MADE_BY_B)] {
            assert!(identify(&with_secret, &association, &headers(&row("valid_secret"))).is_ok());
        }
    }

    #[test]
    fn only_pinned_keys_count_and_with_a_secret_both_must_hold() {
        let (a, b) = (key_of(MADE_BY_A).fingerprint, key_of(MADE_BY_B).fingerprint);
        let cases = [
            ("", a, MADE_BY_A, None),
            ("", b, MADE_BY_A, Some(Denied::Other(a))),
            ("s3cr3t-Shared-Value", a, "valid_secret", None),
            ("s3cr3t-Shared-Value", b, "valid_secret", Some(Denied::Other(a))),
            ("s3cr3t-Shared-Value", a, MADE_BY_A, Some(Denied::Invalid)),
        ];
        for (secret, pin, sent, expected) in cases {
            let outcome = identify(&rules(secret, &[pin]), &Association::Open, &headers(&row(sent)));
            assert_eq!(outcome.err(), expected, "secret {secret:?}, pin {pin}, sent {sent}");
        }
    }

    #[test]
    fn other_credentials_beside_a_valid_signature_are_not_looked_at() {
        let mut sent = headers(&row(MADE_BY_A));
        sent.insert("authorization", "Bearer nonsense".parse().unwrap());
        sent.insert("cookie", "session=stolen".parse().unwrap());
        assert!(identify(&rules("", &[]), &held(MADE_BY_A), &sent).is_ok());
    }
}
