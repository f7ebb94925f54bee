//! Asks all nodes at once and merges what they answer. Whoever does not answer is named.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::part::{Missed, Part, Question, Wanted, missed, nobodys_fault, split, unheard};
use super::slices::Slices;
use super::{Answer, Asked, Executor, Fail, Tally, headers, pivot};
use crate::body::Body;
use crate::decide::Merge;
use crate::merge::{self, Order, Parsed};
use crate::model::{ApiVersion, Cluster, Dialect, Member};

impl Executor {
    pub(super) async fn fan_out(
        &self,
        wanted: Wanted,
        asked: &mut Asked,
        cluster: &Arc<Cluster>,
    ) -> Result<Answer, Fail> {
        let lease = Mutex::new(self.budget.lease());
        let question = Question::of(asked, asked.path.version().or(newest_of_all(&wanted.members)));
        let selected = pivot::select(self, &asked.query, &question, &wanted, cluster, &lease).await?;
        let kind = &kind_of(&wanted.merge, &wanted.base);
        // Each is read while the others are still on their way.
        let asking = selected
            .queries
            .iter()
            .map(async |(member, query)| check(kind, self.part(member, &question, query, &lease).await?));
        let (checked, mut missed) = split(join_all(asking).await);
        nobodys_fault(&missed)?;
        let (good, mut refusals) = apart(checked);
        if let Some(refused) = refused_by_all(&good, &refusals, &missed) {
            return Ok(refusals.swap_remove(refused).into_answer());
        }
        let head = head_of(&good, &refusals, &wanted.base);
        missed.extend(refusals.iter().map(refusal));
        let parsed: Vec<Parsed> = good.into_iter().map(|good| good.parsed).collect();
        let absent = wanted.missing.iter().filter(|(member, _)| !selected.excluded.contains(&member.id));
        let of = wanted.members.len() + wanted.missing.len() - selected.excluded.len();
        let tally = Tally { answered: parsed.len(), of, missing: unheard(&missed, absent, cluster) };
        if parsed.is_empty() {
            return Err(all_failed(missed, &wanted, tally));
        }
        if asked.strict && !tally.missing.is_empty() {
            return Err(Fail::Partial(tally));
        }
        let merged = merge_parts(parsed, asked, &selected, &tally);
        let body = Slices::new(merged, lease.into_inner(), self.until_sent(asked));
        let mut response = Response::new(Body::Empty);
        *response.headers_mut() = head;
        response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
        *response.body_mut() = Body::boxed(body);
        Ok(Answer { response, by: Arc::clone(cluster.me()), tally: Some(tally) })
    }

    /// A client that takes a merged answer in drips holds memory that others wait for: in the end its connection is
    /// cut. Cancelling the token calls that off.
    pub(super) fn until_sent(&self, asked: &Asked) -> CancellationToken {
        let (sent, client, after) =
            (CancellationToken::new(), Arc::clone(&asked.client), self.limits.plain_get);
        let watched = sent.clone();
        self.shutdown.spawn(async move {
            if tokio::time::timeout(after, watched.cancelled()).await.is_err() {
                client.cut();
            }
        });
        sent
    }
}

fn newest_of_all(members: &[Arc<Member>]) -> Option<ApiVersion> {
    members.iter().filter_map(|member| member.api.map(|api| api.max)).min()
}

/// Where every engine refuses (a bad filter, say; older ones say 500 to that), it is the caller's error and not a
/// node's. The entry node's answer, if it is among them, says so for all.
fn refused_by_all(good: &[Good], refusals: &[Part], missed: &[Missed]) -> Option<usize> {
    let all = good.is_empty() && missed.is_empty() && refusals.iter().all(|part| part.status.as_u16() >= 400);
    let own = refusals.iter().position(|part| part.member.is_here()).unwrap_or(0);
    (all && !refusals.is_empty()).then_some(own)
}

fn kind_of(merge: &Merge, base: &Arc<Member>) -> merge::Kind {
    match merge {
        Merge::Containers => merge::Kind::Containers,
        Merge::Images => merge::Kind::Images,
        Merge::Volumes => merge::Kind::Volumes,
        Merge::Networks => merge::Kind::Networks,
        Merge::Info => merge::Kind::Info { base: base.id.clone() },
    }
}

/// One node's answer, read whole.
enum Checked {
    Good(Good),
    /// Anything but 200.
    Refused(Part),
}

struct Good {
    member: Arc<Member>,
    headers: HeaderMap,
    parsed: Parsed,
}

fn check(kind: &merge::Kind, part: Part) -> Result<Checked, Missed> {
    if part.status != StatusCode::OK {
        return Ok(Checked::Refused(part));
    }
    let Part { member, headers, body, .. } = part;
    match merge::parse(kind.clone(), &member, body) {
        Ok(parsed) => Ok(Checked::Good(Good { member, headers, parsed })),
        Err(malformed) => Err(missed(&member, "malformed", &malformed)),
    }
}

fn apart(checked: Vec<Checked>) -> (Vec<Good>, Vec<Part>) {
    let (mut good, mut refusals) = (Vec::new(), Vec::new());
    for checked in checked {
        match checked {
            Checked::Good(one) => good.push(one),
            Checked::Refused(part) => refusals.push(part),
        }
    }
    (good, refusals)
}

fn refusal(part: &Part) -> Missed {
    let said = String::from_utf8_lossy(part.body.get(..200.min(part.body.len())).unwrap_or_default());
    missed(&part.member, "engine", &format!("{}: {said}", part.status))
}

/// The base node's head, else the first good one's.
fn head_of(good: &[Good], refusals: &[Part], base: &Arc<Member>) -> HeaderMap {
    let Some(first) = good.iter().find(|good| good.member.id == base.id).or(good.first()) else {
        return HeaderMap::new();
    };
    let mut head = headers::of_merged(&first.headers);
    // One version has to be named: the oldest under which any engine was asked instead of the client's.
    let version = |headers: &HeaderMap| ApiVersion::parse(headers.get(headers::API_VERSION)?.to_str().ok()?);
    let all = good.iter().map(|good| &good.headers).chain(refusals.iter().map(|part| &part.headers));
    if let Some(Ok(oldest)) = all.filter_map(version).min().map(|v| HeaderValue::from_str(&v.to_string())) {
        head.insert(headers::API_VERSION, oldest);
    }
    head
}

fn all_failed(missed: Vec<Missed>, wanted: &Wanted, tally: Tally) -> Fail {
    let absent = wanted.missing.iter().map(|(m, absence)| (m.shown.to_string(), absence.as_str().to_owned()));
    let failed = missed.into_iter().map(|m| (m.member.shown.to_string(), m.detail));
    Fail::AllFailed { nodes: failed.chain(absent).collect(), tally }
}

fn merge_parts(parsed: Vec<Parsed>, asked: &Asked, selected: &pivot::Selected, tally: &Tally) -> Vec<Bytes> {
    let missing: Vec<_> = tally.missing.iter().map(|(name, why)| (name.clone(), (*why).to_owned())).collect();
    merge::merge(
        parsed,
        &Order {
            dialect: asked.dialect,
            limit: selected.limit,
            before: selected.before.clone(),
            since: selected.since.clone(),
            missing: &missing,
            decorate: asked.dialect == Dialect::Portainer,
            dangling: selected.dangling,
        },
    )
}
