//! Plain HTTP at an address of the operator's choice, for whoever can connect: figures, and nothing that matters.
//!
//! One request a connection, few connections, and a short life for each.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::debug;

use super::accept::Accepting;
use crate::body::Body;
use crate::config::Limits;
use crate::shutdown::Shutdown;

/// 16 connections: a scraper has one, and whoever takes all of them only keeps scrapers out.
const PLACES: usize = 16;
/// 30 s from the first byte to the last: scrapers wait ten by default.
const LIFE: Duration = Duration::from_secs(30);

/// Accepts until draining starts.
pub async fn serve<H, F>(listener: TcpListener, limits: Arc<Limits>, shutdown: Shutdown, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(PLACES));
    let mut accepting = Accepting::new(listener);
    loop {
        let (stream, remote) = tokio::select! {
            accepted = accepting.next() => accepted,
            () = shutdown.draining() => return,
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            debug!(%remote, "connection for figures closed: every place is taken");
            continue;
        };
        let (limits, handler) = (Arc::clone(&limits), handler.clone());
        shutdown.until_draining(async move {
            let _place = place;
            // However it ends, there is nobody to tell.
            let _ = tokio::time::timeout(LIFE, converse(stream, &limits, handler)).await;
        });
    }
}

async fn converse<H, F>(stream: TcpStream, limits: &Limits, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(limits.head_bytes);
    let answering = service_fn(|request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let served = http.keep_alive(false).serve_connection(TokioIo::new(stream), answering).await;
    if let Err(error) = served {
        debug!(%error, "connection for figures broke");
    }
}
