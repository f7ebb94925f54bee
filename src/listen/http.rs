//! HTTP/1.1 on one connection: requests to the handler, answers back, until one side has enough.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tracing::debug;

use super::lapse::Lapse;
use super::seats::{Seat, UnderWay};
use super::wire::Wire;
use crate::body::{Body, BoxError};
use crate::client::Client;
use crate::config::Limits;
use crate::model::chain;
use crate::shutdown::Shutdown;

/// How every connection of a listener speaks.
pub(super) fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Also how long a connection may idle between requests. A head that has begun is watched by the wire.
        .header_read_timeout(limits.idle)
        // Caps heads. The buffer begins with 8 KiB and grows only while it is filled.
        .max_buf_size(limits.head_bytes)
        // With it, a client that vanished would not end a quiet answer such as `GET /events`.
        .half_close(false);
    builder
}

/// Serves one connection until it ends, is revoked, loses its place, or has drained.
pub(super) async fn serve<H, F>(
    builder: &http1::Builder,
    wire: Wire,
    client: &Arc<Client>,
    handler: H,
    limits: &Limits,
    shutdown: &Shutdown,
) where
    H: Fn(Request<Body>, Arc<Client>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let seat = Arc::clone(wire.seat());
    let service = service_fn(|request: Request<Incoming>| {
        client.set_unhurried(false);
        let (seat, under_way) = (Arc::clone(&seat), seat.begin());
        let request = request.map(|body| paced(body, &seat, limits));
        let answer = handler(request, Arc::clone(client));
        async move {
            let response = answer.await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                seat.set_upgraded();
            }
            Ok::<_, Infallible>(response.map(|body| Answer { body, _under_way: under_way }))
        }
    });
    let connection = builder.serve_connection(TokioIo::new(wire), service).with_upgrades();
    tokio::pin!(connection);
    let (revoked, left, draining) = (client.revoked(), seat.left(), shutdown.draining());
    tokio::pin!(revoked, left, draining);
    let mut drains = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(remote = %client.remote, error = %chain(&error), "connection broke");
                }
                return;
            }
            // Dropped as they are: whoever was let in no longer may, or somebody else got the place.
            () = &mut revoked => return,
            () = &mut left => return,
            () = &mut draining, if !drains => {
                drains = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn paced(body: Incoming, seat: &Arc<Seat>, limits: &Limits) -> Body {
    if http_body::Body::is_end_stream(&body) {
        return Body::Empty;
    }
    seat.set_unread(true);
    Body::boxed(Paced { body, lapse: Lapse::new(limits.body_read), seat: Arc::clone(seat) })
}

/// A request body that fails when the client, having been asked for more, sends nothing for too long.
struct Paced {
    body: Incoming,
    lapse: Lapse,
    seat: Arc<Seat>,
}

impl Paced {
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<BoxError> {
        self.lapse.start();
        while self.lapse.poll(cx).is_ready() {
            if !self.seat.is_unhurried() {
                let text = format!("the client sent nothing of its body for {:?}", self.lapse.after());
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, text).into());
            }
            self.lapse.start();
        }
        Poll::Pending
    }
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => return self.poll_stalled(cx).map(|error| Some(Err(error))),
            Poll::Ready(frame) => frame,
        };
        self.lapse.stop();
        if frame.is_none() || self.body.is_end_stream() {
            self.seat.set_unread(false);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body; the request is under way until it is written or dropped.
struct Answer {
    body: Body,
    _under_way: UnderWay,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
