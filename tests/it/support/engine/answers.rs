//! Answers of a scripted engine, in a real one's form, and rules that make it misbehave.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::cork::Cork;
use super::{Open, Taken};

pub(crate) type Answer = Response<Out>;
type Handler = Arc<dyn Fn(Request<Recorded>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// What happens on a path instead of the usual.
#[derive(Clone)]
pub(crate) enum Rule {
    Answer(Handler),
    /// Says that the request is inside, answers as usual once released. Only the first request is held.
    Hold(Arc<Mutex<Option<Held>>>),
    /// The connection is closed without an answer.
    HangUp,
}

/// Who is told that a request is inside, and who lets it go on.
pub(crate) type Held = (oneshot::Sender<()>, oneshot::Receiver<()>);

impl<H, F> From<H> for Rule
where
    H: Fn(Request<Recorded>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    fn from(handler: H) -> Self {
        Self::Answer(Arc::new(move |request| Box::pin(handler(request))))
    }
}

pub(crate) fn hold(started: oneshot::Sender<()>, release: oneshot::Receiver<()>) -> Rule {
    Rule::Hold(Arc::new(Mutex::new(Some((started, release)))))
}

/// Never answers.
pub(crate) fn silent() -> Rule {
    Rule::from(|_| std::future::pending())
}

/// This text and nothing of the usual.
pub(crate) fn respond(status: u16, kind: &'static str, text: impl Into<Bytes>) -> Rule {
    let text = text.into();
    Rule::from(move |_| std::future::ready(whole(status, kind, text.clone())))
}

/// Not JSON at all.
pub(crate) fn garbage() -> Rule {
    respond(200, "text/html", "<html><body>\0\u{fffd} it works</body></html>")
}

/// Promises more than it sends, then breaks off.
pub(crate) fn truncated(text: impl Into<Bytes>) -> Rule {
    truncated_as(200, text)
}

/// The same, with this status.
pub(crate) fn truncated_as(status: u16, text: impl Into<Bytes>) -> Rule {
    let text = text.into();
    Rule::from(move |_| {
        let promised = text.len() as u64 + 100;
        let source = Source::Pieces(VecDeque::from([text.clone()]), End::Flush);
        std::future::ready(build(status, JSON, Out { exact: Some(promised), source, open: None }))
    })
}

/// A JSON list that never ends, as fast as it is read.
pub(crate) fn endless() -> Rule {
    repeated(None)
}

/// A JSON list of at least `size` bytes.
pub(crate) fn giant(size: u64) -> Rule {
    repeated(Some(size))
}

fn repeated(size: Option<u64>) -> Rule {
    let piece = Bytes::from(r#"{"Id":"0000000000000000","Created":1700000000},"#.repeat(400));
    Rule::from(move |_| {
        let source = Source::Repeat { first: true, piece: piece.clone(), left: size };
        std::future::ready(build(200, JSON, Out { exact: None, source, open: None }))
    })
}

/// A connection that no longer speaks HTTP.
pub(crate) type Hijacked = TokioIo<Upgraded>;

pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";

/// `101`, in one piece with it `early`, and then whatever the test does with the connection.
pub(crate) fn hijacked<F>(
    kind: &'static str,
    early: impl Into<Bytes>,
    then: impl Fn(Hijacked) -> F + Clone + Send + Sync + 'static,
) -> Rule
where
    F: Future<Output = ()> + Send + 'static,
{
    let early = early.into();
    Rule::from(move |mut request: Request<Recorded>| {
        let (early, then) = (early.clone(), then.clone());
        let cork = request.extensions().get::<Cork>().cloned().expect("every connection has one");
        async move {
            use http_body_util::BodyExt;
            let _ = request.body_mut().collect().await;
            if !early.is_empty() {
                cork.put_in();
            }
            TaskTracker::new().spawn(async move {
                let Ok(stream) = hyper::upgrade::on(request).await else { return };
                let mut stream = TokioIo::new(stream);
                let greeted = stream.write_all(&early).await;
                cork.pull();
                if greeted.is_ok() && stream.flush().await.is_ok() {
                    then(stream).await;
                }
            });
            let mut answer = whole(101, kind, "");
            answer.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
            answer.headers_mut().insert(header::UPGRADE, header::HeaderValue::from_static("tcp"));
            answer
        }
    })
}

pub(crate) const JSON: &str = "application/json";

/// A JSON document: short ones with a length, long ones in one chunk, as Go's server does.
pub(crate) fn json(status: u16, text: impl Into<Bytes>) -> Answer {
    let text = text.into();
    if text.len() <= 2048 {
        return whole(status, JSON, text);
    }
    let source = Source::Pieces(VecDeque::from([text]), End::Clean);
    build(status, JSON, Out { exact: None, source, open: None })
}

/// Any JSON value, ended by a newline as an engine ends it.
pub(crate) fn value(status: u16, value: &serde_json::Value) -> Answer {
    json(status, format!("{value}\n"))
}

pub(crate) fn error(status: u16, message: &str) -> Answer {
    value(status, &serde_json::json!({ "message": message }))
}

pub(crate) fn whole(status: u16, kind: &'static str, text: impl Into<Bytes>) -> Answer {
    let text = text.into();
    let exact = Some(text.len() as u64);
    build(status, kind, Out { exact, source: Source::Pieces(VecDeque::from([text]), End::Clean), open: None })
}

pub(crate) fn empty(status: u16) -> Answer {
    let mut answer = whole(status, JSON, "");
    answer.headers_mut().remove(header::CONTENT_TYPE);
    answer
}

/// What comes through the channel, each piece at once, for as long as somebody sends.
pub(crate) fn fed(
    status: u16,
    kind: &'static str,
    from: mpsc::Receiver<Bytes>,
    open: Option<Open>,
) -> Answer {
    build(status, kind, Out { exact: None, source: Source::Fed(from), open })
}

fn build(status: u16, kind: &'static str, body: Out) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    answer
}

/// The body of an answer.
pub(crate) struct Out {
    exact: Option<u64>,
    source: Source,
    /// Counts as an open stream until it is dropped.
    open: Option<Open>,
}

enum Source {
    Pieces(VecDeque<Bytes>, End),
    Repeat { first: bool, piece: Bytes, left: Option<u64> },
    Fed(mpsc::Receiver<Bytes>),
}

enum End {
    Clean,
    /// Lets what was said so far out first: hyper drops what it has not written when a body fails.
    Flush,
    Broken,
}

impl Body for Out {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let next = match &mut self.source {
            Source::Pieces(pieces, end) => match (pieces.pop_front(), end) {
                (Some(piece), _) => Some(Ok(piece)),
                (None, End::Clean) => None,
                (None, end @ End::Flush) => {
                    *end = End::Broken;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                (None, End::Broken) => Some(Err(std::io::Error::other("broken off as scripted"))),
            },
            Source::Repeat { first: first @ true, .. } => {
                *first = false;
                Some(Ok(Bytes::from_static(b"[")))
            }
            Source::Repeat { left: Some(0), .. } => {
                self.source = Source::Pieces(VecDeque::new(), End::Clean);
                Some(Ok(Bytes::from_static(b"{}]\n")))
            }
            Source::Repeat { piece, left, .. } => {
                *left = left.map(|left| left.saturating_sub(piece.len() as u64));
                Some(Ok(piece.clone()))
            }
            Source::Fed(from) => std::task::ready!(from.poll_recv(cx)).map(Ok),
        };
        Poll::Ready(next.map(|piece| piece.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A request body that remembers what was read of it.
pub(crate) struct Recorded {
    pub(super) body: Incoming,
    pub(super) taken: Arc<Mutex<Taken>>,
}

impl Body for Recorded {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.taken.lock().expect("no panic while recording").add(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
