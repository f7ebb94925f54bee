//! Finds the node that has an object: the nodes are asked at once, and whose object the reference means best wins.
//!
//! As one engine does among its own: a full id before a name, a name before the beginning of an id. What an engine
//! says of its object goes on as it came.

use std::cmp::Ordering;
use std::sync::Arc;

use futures_util::future::Either;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::{StatusCode, header};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

use super::budget::Lease;
use super::part::{Missed, Part, Question, missed, nobodys_fault, split, unheard};
use super::slices::Slices;
use super::{Answer, Asked, Candidate, Executor, Fail, Tally};
use crate::body::Body;
use crate::decide::{Absent, Route};
use crate::model::{Cluster, Member};

/// What the objects that are looked for are called.
const WHAT: &str = "container";
/// An engine's words for an id's beginning that several of its own objects have; 500 before 24.0, 400 since.
const MANY: &[u8] = b"IDs found with provided prefix";

/// Who is asked, and who cannot be.
pub(super) struct Among {
    pub(super) members: Vec<Arc<Member>>,
    pub(super) missing: Vec<Absent>,
}

/// How a reference matches an object. The greater wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Prefix,
    Name,
    Id,
}

/// The part of an inspect answer that says what matched and when it was made.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspected {
    pub(super) id: String,
    name: Option<String>,
    pub(super) created: Option<String>,
}

impl Inspected {
    pub(super) fn class(&self, reference: &str) -> Class {
        let bare = |name: &str| name.strip_prefix('/').unwrap_or(name) == reference.trim_start_matches('/');
        if self.id == reference {
            Class::Id
        } else if self.name.as_deref().is_some_and(bare) || !self.id.starts_with(reference) {
            // An engine that found it neither way knows it by another name, such as a link's.
            Class::Name
        } else {
            Class::Prefix
        }
    }
}

/// A node that says it has what is meant.
struct Owner {
    part: Part,
    class: Class,
    /// `None`: it has several.
    id: Option<String>,
}

impl Executor {
    /// # Errors
    /// Several nodes have it: [`Fail::Several`]. None that was heard has it: [`Fail::Unheard`].
    pub(super) async fn locate(
        &self,
        route: &Route,
        among: Among,
        asked: &mut Asked,
        cluster: &Cluster,
    ) -> Result<Answer, Fail> {
        let reference = route.named(&asked.path);
        let lease = Mutex::new(self.budget.lease());
        // The version goes as it came: one node answers, not all.
        let question = Question::of(asked, asked.path.version());
        let (parts, mut missed) =
            split(self.until_settled(&among, &question, &asked.query, reference, &lease).await);
        nobodys_fault(&missed)?;
        let (mut owners, refusals) = weigh(parts, reference, &mut missed);
        match owners.len() {
            0 => {
                let missing = unheard(&missed, &among.missing, cluster);
                let own = refusals.into_iter().find(|part| part.member.is_here());
                if let (Some(own), true) = (own, missing.is_empty()) {
                    return Ok(own.into_answer());
                }
                let of = among.members.len() + among.missing.len();
                let tally = Tally { answered: among.members.len() - missed.len(), of, missing };
                Err(Fail::Unheard { what: WHAT, reference: reference.to_owned(), tally })
            }
            1 => Ok(self.found(owners.swap_remove(0).part, lease.into_inner(), asked)),
            _ => Err(several(owners, reference)),
        }
    }

    /// Everyone's answer, or only those that came in time once there is an object of the very id.
    ///
    /// The own engine is asked first where it can settle that alone.
    async fn until_settled(
        &self,
        among: &Among,
        question: &Question<'_>,
        query: &str,
        reference: &str,
        lease: &Mutex<Lease>,
    ) -> Vec<Result<Part, Missed>> {
        let is_it = |answer: &Result<Part, Missed>| {
            let inspected = answer.as_ref().ok().filter(|part| part.status == StatusCode::OK).map(inspected);
            inspected.flatten().is_some_and(|inspected| inspected.class(reference) == Class::Id)
        };
        let (here, others): (Vec<_>, Vec<_>) = among.members.iter().partition(|member| member.is_here());
        let mut answers = Vec::with_capacity(among.members.len());
        let mut asking = FuturesUnordered::new();
        for member in here {
            let mut own = Box::pin(self.part(member, question, query, lease));
            // An engine that hangs must not keep others from being asked.
            let first =
                if is_id(reference) { timeout(self.limits.silence, &mut own).await.ok() } else { None };
            match first {
                Some(answer) if is_it(&answer) => return vec![answer],
                Some(answer) => answers.push(answer),
                None => asking.push(Either::Left(own)),
            }
        }
        asking.extend(
            others.into_iter().map(|member| Either::Right(self.part(member, question, query, lease))),
        );
        let mut until = None;
        loop {
            let next = match until {
                None => asking.next().await,
                // Ids repeat on cloned machines only, and whoever hangs must not hold up what is settled.
                Some(until) => timeout_at(until, asking.next()).await.unwrap_or(None),
            };
            let Some(answer) = next else { return answers };
            if until.is_none() && is_it(&answer) {
                until = Some(Instant::now() + self.limits.silence);
            }
            answers.push(answer);
        }
    }

    /// The owner's answer. Its bytes count as held until they are sent.
    fn found(&self, part: Part, lease: Lease, asked: &Asked) -> Answer {
        let mut answer = part.into_answer();
        if let Body::Full(bytes) = std::mem::replace(answer.response.body_mut(), Body::Empty) {
            let body = Slices::new(vec![bytes], lease, self.until_sent(asked));
            answer.response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
            *answer.response.body_mut() = Body::boxed(body);
        }
        answer
    }
}

/// Whether it can only be a container's full id, which no name beats.
fn is_id(reference: &str) -> bool {
    reference.len() == 64 && reference.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn inspected(part: &Part) -> Option<Inspected> {
    serde_json::from_slice(&part.body).ok()
}

/// Those who have it by the best class there is, and those who say that they do not. Whoever said neither is missed.
fn weigh(parts: Vec<Part>, reference: &str, missed_by: &mut Vec<Missed>) -> (Vec<Owner>, Vec<Part>) {
    let alike = alike(&parts, missed_by);
    let (mut owners, mut refusals): (Vec<Owner>, _) = (Vec::new(), Vec::new());
    for part in parts {
        let owner = match part.status {
            StatusCode::OK => match inspected(&part) {
                Some(object) => Owner { class: object.class(reference), id: Some(object.id), part },
                None => {
                    missed_by.push(missed(&part.member, "malformed", &"no object that has an id"));
                    continue;
                }
            },
            _ if has_many(&part) => Owner { class: Class::Prefix, id: None, part },
            status if status == StatusCode::NOT_FOUND || alike => {
                refusals.push(part);
                continue;
            }
            status => {
                missed_by.push(missed(&part.member, "engine", &status));
                continue;
            }
        };
        match owners.first().map_or(Ordering::Equal, |best| owner.class.cmp(&best.class)) {
            Ordering::Less => {}
            Ordering::Equal => owners.push(owner),
            Ordering::Greater => owners = vec![owner],
        }
    }
    (owners, refusals)
}

/// Whether all refuse with one status: it is the caller's error then, and not a node's.
pub(super) fn alike(parts: &[Part], missed: &[Missed]) -> bool {
    let Some(status) = parts.first().map(|part| part.status) else { return false };
    missed.is_empty() && status.is_client_error() && parts.iter().all(|part| part.status == status)
}

pub(super) fn has_many(part: &Part) -> bool {
    let status = matches!(part.status, StatusCode::BAD_REQUEST | StatusCode::INTERNAL_SERVER_ERROR);
    status && memchr::memmem::find(&part.body, MANY).is_some()
}

fn several(owners: Vec<Owner>, reference: &str) -> Fail {
    let by = owners.first().map_or(Class::Prefix, |owner| owner.class);
    let candidate = |owner: Owner| Candidate {
        node: owner.part.member.shown.to_string(),
        node_id: owner.part.member.id.clone(),
        id: owner.id,
    };
    let mut candidates: Vec<_> = owners.into_iter().map(candidate).collect();
    candidates.sort_by(|a, b| (&a.node, &a.node_id).cmp(&(&b.node, &b.node_id)));
    Fail::Several { what: WHAT, reference: reference.to_owned(), by, candidates }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4c01db0b339c4c01db0b339c4c01db0b339c4c01db0b339c4c01db0b339c4c01";

    #[test]
    fn a_full_id_beats_a_name_and_a_name_the_beginning_of_an_id() {
        let object = |name: &str| Inspected { id: ID.to_owned(), name: Some(name.to_owned()), created: None };
        let rows = [
            (ID, "/web", Class::Id),
            ("web", "/web", Class::Name),
            ("/web", "/web", Class::Name),
            ("4c01", "/4c01", Class::Name),
            ("4c01", "/web", Class::Prefix),
            // The name under which a linked container knows it.
            ("shop/db", "/db", Class::Name),
            ("WEB", "/web", Class::Name),
        ];
        for (reference, name, class) in rows {
            assert_eq!(object(name).class(reference), class, "{reference} of {name}");
        }
        assert!(Class::Id > Class::Name && Class::Name > Class::Prefix);
        let nameless = Inspected { id: ID.to_owned(), name: None, created: None };
        assert_eq!(nameless.class("4c01"), Class::Prefix);
    }

    #[test]
    fn only_64_hex_digits_are_an_id() {
        assert!(is_id(ID));
        for other in [&ID[1..], &ID.to_uppercase(), &format!("{ID}0"), &ID.replace('4', "g"), ""] {
            assert!(!is_id(other), "{other}");
        }
    }
}
