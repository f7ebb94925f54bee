//! Asks all nodes at once and merges what they answer. Whoever does not answer is named.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::attend::Pulse;
use super::budget::Lease;
use super::slices::Slices;
use super::{Answer, Asked, Executor, Fail, Tally, headers, pivot};
use crate::body::Body;
use crate::decide::{Absent, Merge};
use crate::dial::{self, Patience};
use crate::merge::{self, Order, Parsed};
use crate::model::api_path::ApiPath;
use crate::model::{Absence, ApiVersion, Caller, Cluster, Dialect, Hint, Member};

/// No word for `X-Node-Errors`: it is not the node that is at fault.
pub(super) const BUSY: &str = "busy";
/// Nor is this: who is where has changed, and all is asked once more.
pub(super) const MOVED: &str = "moved";

/// 4 KiB: a quarter of the read buffer that a frame may pin.
const SMALL: usize = 4 << 10;

/// Who is asked, who cannot be, and what comes of it.
pub(super) struct Wanted {
    pub(super) members: Vec<Arc<Member>>,
    pub(super) missing: Vec<Absent>,
    pub(super) base: Arc<Member>,
    pub(super) merge: Merge,
}

/// One node's whole answer, held until it is merged.
pub(super) struct Part {
    pub(super) member: Arc<Member>,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why a node is not in the answer: the word for `X-Node-Errors`, and the log's text.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) member: Arc<Member>,
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

/// What every node is asked.
pub(super) struct Question<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) caller: &'a Caller,
    pub(super) path: &'a ApiPath,
    /// The version to ask under; the client's, else one that all nodes have, so that the parts have one shape.
    pub(super) version: Option<ApiVersion>,
    pub(super) sizes: bool,
    /// Whether the answer counts as it is, because nobody will ask again.
    pub(super) again: bool,
}

impl<'a> Question<'a> {
    /// What the client asks, under this version.
    pub(super) fn of(asked: &'a Asked, version: Option<ApiVersion>) -> Self {
        Self {
            version,
            sizes: ["size=1", "size=true", "size=True"].iter().any(|on| asked.query.contains(on)),
            again: asked.again || !asked.can_repeat(),
            headers: &asked.headers,
            caller: &asked.caller,
            path: &asked.path,
        }
    }
}

impl Part {
    /// This node's answer alone, as it came.
    pub(super) fn into_answer(self) -> Answer {
        let mut head = self.headers;
        headers::clean_answer(&mut head, self.status);
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = head;
        Answer { response, by: self.member, tally: None }
    }
}

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
        let asking =
            selected.queries.iter().map(|(member, query)| self.part(member, &question, query, &lease));
        let (mut parts, mut missed) = split(join_all(asking).await);
        nobodys_fault(&missed)?;
        if let Some(refused) = refused_alike(&parts, &missed) {
            return Ok(parts.swap_remove(refused).into_answer());
        }
        let kind = kind_of(&wanted.merge, &wanted.base);
        let (head, parsed) = check(&kind, parts, &wanted.base, &mut missed);
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

    /// One node's whole answer, or why there is none.
    pub(super) async fn part(
        &self,
        member: &Arc<Member>,
        question: &Question<'_>,
        query: &str,
        lease: &Mutex<Lease>,
    ) -> Result<Part, Missed> {
        let pulse = Pulse::default();
        let after = if question.sizes { self.limits.list_sizes } else { self.limits.list };
        let call = self.fetch(member, question, query, lease, &pulse);
        let answer = async {
            if member.is_here() {
                call.await
            } else {
                match self.attend(member, &pulse, Patience::Brief, async { Ok(call.await) }).await {
                    Ok(part) => part,
                    Err(fail) => Err(missed(member, fail.absence().as_str(), &fail)),
                }
            }
        };
        let mut answer = std::pin::pin!(answer);
        let answer = loop {
            match tokio::time::timeout(after, &mut answer).await {
                Ok(answer) => break answer,
                // It was we who made it wait.
                Err(_) if pulse.is_held_up() => {}
                Err(_) => break Err(missed(member, Absence::Timeout.as_str(), &"no answer in time")),
            }
        };
        if let Err(missed) = &answer {
            debug!(node = %missed.member.shown, reason = missed.reason, detail = %missed.detail, "a node is missing from an answer");
        }
        answer
    }

    async fn fetch(
        &self,
        member: &Arc<Member>,
        question: &Question<'_>,
        query: &str,
        lease: &Mutex<Lease>,
        pulse: &Pulse,
    ) -> Result<Part, Missed> {
        let answer = match self.ask(member, question, query).await {
            Err(dial::Fail::Broken { .. }) if !member.is_here() => self.ask(member, question, query).await,
            other => other,
        };
        let answer = answer.map_err(|fail| {
            if !member.is_here() {
                self.unreachable(member, &fail);
            }
            let reason = if member.is_here() { "engine" } else { fail.absence().as_str() };
            missed(member, reason, &fail)
        })?;
        pulse.beat();
        let (mut head, body) = answer.into_parts();
        if let (true, Some(asked), Some(api)) = (member.is_here(), question.version, member.api)
            && let Ok(version) = HeaderValue::from_str(&api.clamp(asked).to_string())
            && api.clamp(asked) != asked
        {
            head.headers.insert(headers::API_VERSION, version);
        }
        if head.status == StatusCode::MISDIRECTED_REQUEST {
            let _ = self.hints.try_send(Hint::StaleRole);
            let reason = if question.again { Absence::Unreachable.as_str() } else { MOVED };
            return Err(missed(member, reason, &"its address has passed to another node"));
        }
        if head.headers.contains_key(headers::FAILURE) {
            return Err(missed(member, "engine", &"its agent cannot reach the engine"));
        }
        if head.headers.contains_key(header::CONTENT_ENCODING) {
            return Err(missed(member, "malformed", &"an encoded answer that was not asked for"));
        }
        let body = self.collect(member, body, lease, pulse).await?;
        Ok(Part { member: Arc::clone(member), status: head.status, headers: head.headers, body })
    }

    async fn ask(
        &self,
        member: &Arc<Member>,
        question: &Question<'_>,
        query: &str,
    ) -> Result<Response<Incoming>, dial::Fail> {
        // Peers bring the version into their engines' range themselves.
        let path = match (question.version, member.api) {
            (Some(version), Some(range)) if member.is_here() => {
                question.path.with_version(range.clamp(version))
            }
            (Some(version), _) => question.path.with_version(version),
            (None, _) => question.path.canonical(),
        };
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        let mut request = Request::new(Body::Empty);
        *request.method_mut() = Method::GET;
        *request.uri_mut() = Uri::try_from(target).unwrap_or_default();
        *request.headers_mut() = if member.is_here() {
            headers::for_engine(question.headers, None)
        } else {
            headers::for_peer(question.headers, None, &member.id, question.caller)
        };
        // Parts are merged as they come, so they must come plain. And no body goes with them: a length that is
        // announced and not sent would eat the next request of that connection.
        for name in [header::ACCEPT_ENCODING, header::CONTENT_LENGTH, header::CONTENT_TYPE] {
            request.headers_mut().remove(name);
        }
        if member.is_here() {
            self.engine.request(request).await
        } else {
            self.peers.request(member, request).await
        }
    }

    async fn collect(
        &self,
        member: &Arc<Member>,
        mut body: Incoming,
        lease: &Mutex<Lease>,
        pulse: &Pulse,
    ) -> Result<Bytes, Missed> {
        let mut gathered = Gathered::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| missed(member, "malformed", &error))?;
            pulse.beat();
            let Ok(data) = frame.into_data() else { continue };
            if gathered.total + data.len() > self.limits.part_bytes {
                return Err(missed(member, "too-large", &"its answer exceeds the limit of a node"));
            }
            let patience = self.limits.list;
            if !pulse.held_up(async { lease.lock().await.grow(data.len(), patience).await }).await {
                return Err(missed(
                    member,
                    BUSY,
                    &"the merges that run hold all the memory there is for them",
                ));
            }
            gathered.add(data);
        }
        Ok(gathered.whole())
    }
}

/// One answer as it comes in.
#[derive(Default)]
struct Gathered {
    frames: Vec<Bytes>,
    small: BytesMut,
    total: usize,
}

impl Gathered {
    /// A small frame pins a whole read buffer; those are copied together, so that what is held is what was counted.
    fn add(&mut self, data: Bytes) {
        self.total += data.len();
        if data.len() < SMALL {
            self.small.extend_from_slice(&data);
        } else {
            self.flush();
            self.frames.push(data);
        }
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.frames.push(self.small.split().freeze());
        }
    }

    /// Joins the frames, and frees each as it is copied.
    fn whole(mut self) -> Bytes {
        self.flush();
        if self.frames.len() == 1 {
            return self.frames.pop().unwrap_or_default();
        }
        let mut whole = BytesMut::with_capacity(self.total);
        for frame in self.frames {
            whole.extend_from_slice(&frame);
        }
        whole.freeze()
    }
}

pub(super) fn missed(member: &Arc<Member>, reason: &'static str, detail: &dyn std::fmt::Display) -> Missed {
    Missed { member: Arc::clone(member), reason, detail: detail.to_string() }
}

/// What ends the whole request, because no node is to blame for it.
pub(super) fn nobodys_fault(missed: &[Missed]) -> Result<(), Fail> {
    for missed in missed {
        match missed.reason {
            BUSY => return Err(Fail::Busy),
            MOVED => {
                let (id, node) = (missed.member.id.clone(), missed.member.shown.to_string());
                return Err(Fail::Moved { id, node });
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn split(answers: Vec<Result<Part, Missed>>) -> (Vec<Part>, Vec<Missed>) {
    let (mut parts, mut missing) = (Vec::new(), Vec::new());
    for answer in answers {
        match answer {
            Ok(part) => parts.push(part),
            Err(missed) => missing.push(missed),
        }
    }
    (parts, missing)
}

fn newest_of_all(members: &[Arc<Member>]) -> Option<ApiVersion> {
    members.iter().filter_map(|member| member.api.map(|api| api.max)).min()
}

/// Where every engine refuses (a bad filter, say; older ones say 500 to that), it is the caller's error and not a
/// node's. The entry node's answer, if it is among them, says so for all.
fn refused_alike(parts: &[Part], missed: &[Missed]) -> Option<usize> {
    let alike = missed.is_empty() && parts.iter().all(|part| part.status.as_u16() >= 400);
    let own = parts.iter().position(|part| part.member.is_here()).unwrap_or(0);
    (alike && !parts.is_empty()).then_some(own)
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

/// Checks each part; the bad ones are named and left out. The head is the base node's, else the first good one's.
fn check(
    kind: &merge::Kind,
    parts: Vec<Part>,
    base: &Arc<Member>,
    missed_by: &mut Vec<Missed>,
) -> (HeaderMap, Vec<Parsed>) {
    let (mut parsed, mut head) = (Vec::new(), None);
    // One version has to be named: the oldest under which any engine was asked instead of the client's.
    let version = |part: &Part| ApiVersion::parse(part.headers.get(headers::API_VERSION)?.to_str().ok()?);
    let changed = parts.iter().filter_map(version).min();
    for part in parts {
        if part.status != StatusCode::OK {
            let said = String::from_utf8_lossy(part.body.get(..200.min(part.body.len())).unwrap_or_default());
            missed_by.push(missed(&part.member, "engine", &format!("{}: {said}", part.status)));
            continue;
        }
        match merge::parse(kind.clone(), &part.member, part.body) {
            Ok(good) => {
                if head.is_none() || part.member.id == base.id {
                    let mut kept = headers::of_merged(&part.headers);
                    if let Some(Ok(version)) = changed.map(|v| HeaderValue::from_str(&v.to_string())) {
                        kept.insert(headers::API_VERSION, version);
                    }
                    head = Some(kept);
                }
                parsed.push(good);
            }
            Err(malformed) => missed_by.push(missed(&part.member, "malformed", &malformed)),
        }
    }
    (head.unwrap_or_default(), parsed)
}

/// Whoever should have been heard and was not, each with its reason.
pub(super) fn unheard<'a>(
    missed: &[Missed],
    absent: impl IntoIterator<Item = &'a Absent>,
    cluster: &Cluster,
) -> Vec<(String, &'static str)> {
    let failed = missed.iter().map(|missed| (missed.member.shown.to_string(), missed.reason));
    let absent = absent.into_iter().map(|(member, absence)| (member.shown.to_string(), absence.as_str()));
    let mut missing: Vec<_> = failed.chain(absent).collect();
    missing.sort();
    if !cluster.complete {
        // There may be nodes that nobody has told us of yet; an answer without them must not look whole.
        missing.push(("swarm".to_owned(), Absence::Unreachable.as_str()));
    }
    missing
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
