//! HTTP/1.1 to one place: over kept connections, or over a fresh one that may become a stream.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{Extensions, HeaderValue, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::timeout;

use super::Fail;
use super::io::{Dialled, Distrust};
use crate::body::Body;
use crate::shutdown::Shutdown;

/// 16 KiB of an answer at a time: constant memory at full speed, and room for any head that an engine sends.
const READ_BUFFER: usize = 16 << 10;

/// Opens connections to one place.
pub(super) trait Dial: Send + Sync + 'static {
    /// The place, for error messages.
    fn at(&self) -> &Arc<str>;
    /// How long opening one may take, its TLS handshake included.
    fn deadline(&self) -> Duration;
    fn connect(&self) -> impl Future<Output = Result<Dialled, Fail>> + Send;
    /// What a certificate that is not accepted means there.
    fn distrusted(&self, source: std::io::Error) -> Fail;

    fn dial(&self) -> impl Future<Output = Result<Dialled, Fail>> + Send {
        async {
            let after = self.deadline();
            let late = |_| Fail::Late { at: Arc::clone(self.at()), after };
            timeout(after, self.connect()).await.map_err(late)?
        }
    }
}

/// How many idle connections are kept, and for how long.
#[derive(Clone, Copy)]
pub(super) struct Keep {
    pub(super) idle: usize,
    pub(super) idle_for: Duration,
}

/// The HTTP client of one place.
pub(super) struct Http<D: Dial> {
    dial: Arc<D>,
    host: HeaderValue,
    pool: Client<Connector<D>, Body>,
    shutdown: Shutdown,
}

impl<D: Dial> Http<D> {
    pub(super) fn new(dial: D, host: HeaderValue, keep: Keep, shutdown: Shutdown) -> Self {
        let dial = Arc::new(dial);
        // The pool's tasks are not tracked: an idle connection is nothing to wait for when the process ends, and
        // whoever uses one is tracked itself.
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(keep.idle_for)
            .pool_max_idle_per_host(keep.idle)
            .http1_read_buf_exact_size(READ_BUFFER)
            .build(Connector(Arc::clone(&dial)));
        Self { dial, host, pool, shutdown }
    }

    /// Sends a request over a kept connection. Ends with the answer's head.
    pub(super) async fn request(&self, request: Request<Body>) -> Result<Response<Incoming>, Fail> {
        let mut request = self.addressed(request);
        // The pool finds its connections by scheme and authority; it sends the origin form.
        let mut parts = Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(Authority::from_static("docker"));
        parts.path_and_query = Some(path_of(request.uri()));
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        self.pool.request(request).await.map_err(|error| {
            if was_distrusted(&error) {
                self.late_distrust()
            } else {
                Fail::exchanging(self.dial.at(), error)
            }
        })
    }

    /// Sends a request over a connection of its own, on which `hyper::upgrade::on` works. Ends with the answer's
    /// head; the connection ends with the answer, or with the stream that it became.
    pub(super) async fn fresh(&self, request: Request<Body>) -> Result<Response<Incoming>, Fail> {
        let connection = self.dial.dial().await?;
        self.exchange(connection, request).await
    }

    /// The same, over a connection that is already open.
    pub(super) async fn exchange(
        &self,
        connection: Dialled,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Fail> {
        let mut request = self.addressed(request);
        *request.uri_mut() = Uri::from(path_of(request.uri()));
        let distrust = connection.distrust.clone();
        let broke = |error: hyper::Error| {
            if distrust.was_shown() { self.late_distrust() } else { Fail::exchanging(self.dial.at(), error) }
        };
        let (mut sender, driver) = hyper::client::conn::http1::Builder::new()
            .read_buf_exact_size(Some(READ_BUFFER))
            .handshake(TokioIo::new(connection))
            .await
            .map_err(broke)?;
        self.shutdown.spawn(async move {
            // What ends the connection reaches whoever waits for the answer or reads its body.
            driver.with_upgrades().await.ok();
        });
        sender.send_request(request).await.map_err(broke)
    }

    pub(super) fn dial(&self) -> &D {
        &self.dial
    }

    /// Every hop has its own Host and version; the rest stays as the caller set it.
    fn addressed(&self, mut request: Request<Body>) -> Request<Body> {
        request.headers_mut().insert(HOST, self.host.clone());
        let announced = request.headers().get(CONTENT_LENGTH).is_some_and(|length| length != "0");
        if announced && http_body::Body::is_end_stream(request.body()) {
            // What is announced and never sent would be taken out of the next request on this connection.
            request.headers_mut().remove(CONTENT_LENGTH);
        }
        *request.version_mut() = Version::HTTP_11;
        request
    }

    fn late_distrust(&self) -> Fail {
        self.dial.distrusted(std::io::Error::other("it refused our certificate after the handshake"))
    }
}

fn path_of(uri: &Uri) -> PathAndQuery {
    uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}

fn was_distrusted(error: &legacy::Error) -> bool {
    let mut extras = Extensions::new();
    if let Some(connection) = error.connect_info() {
        connection.get_extras(&mut extras);
    }
    extras.get::<Distrust>().is_some_and(Distrust::was_shown)
}

/// The pool's way to open a connection.
struct Connector<D>(Arc<D>);

impl<D> Clone for Connector<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Dial> tower_service::Service<Uri> for Connector<D> {
    type Response = TokioIo<Dialled>;
    type Error = Fail;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Fail>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fail>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dial = Arc::clone(&self.0);
        Box::pin(async move { dial.dial().await.map(TokioIo::new) })
    }
}
