//! A wire between two agents that can be long, made to hang (connections stand, new ones are accepted, no byte moves),
//! cut (what is sent then never arrives, and its connection is of no more use), or narrow: only small pieces arrive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::soon;

/// 1 s: when the kernel sends a first packet again.
const SENT_AGAIN: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    Whole,
    Hangs,
    Cut,
    Narrow,
}

/// What passes a narrow wire.
const SMALL: usize = 1400;

/// A TCP relay to one address. Dropped, it and its connections are gone.
pub(crate) struct Relay {
    wire: Arc<watch::Sender<Wire>>,
    breaks: Arc<watch::Sender<()>>,
    accepted: watch::Receiver<usize>,
    _over: DropGuard,
}

impl Relay {
    /// `delay`: how long each byte takes, each way.
    pub(crate) async fn start(at: SocketAddr, to: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let (wire, over, tasks) =
            (Arc::new(watch::Sender::new(Wire::Whole)), CancellationToken::new(), TaskTracker::new());
        let (count, accepted) = watch::channel(0);
        let breaks: Arc<watch::Sender<()>> = Arc::default();
        let (until, between, breaking, pairs) =
            (over.clone(), Arc::clone(&wire), Arc::clone(&breaks), tasks.clone());
        tasks.spawn(over.clone().run_until_cancelled_owned(async move {
            while let Ok((near, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let (pair, mut broken) = (join(near, to, delay, between.subscribe()), breaking.subscribe());
                let pair = async move {
                    tokio::select! {
                        () = pair => {}
                        _ = broken.changed() => {}
                    }
                };
                pairs.spawn(until.clone().run_until_cancelled_owned(pair));
            }
        }));
        Self { wire, breaks, accepted, _over: over.drop_guard() }
    }

    /// Ends the connections that there are; new ones are as ever.
    pub(crate) fn break_off(&self) {
        self.breaks.send_replace(());
    }

    pub(crate) fn hang(&self) {
        self.wire.send_replace(Wire::Hangs);
    }

    pub(crate) fn cut(&self) {
        self.wire.send_replace(Wire::Cut);
    }

    pub(crate) fn narrow(&self) {
        self.wire.send_replace(Wire::Narrow);
    }

    pub(crate) fn go_on(&self) {
        self.wire.send_replace(Wire::Whole);
    }

    /// Waits for so many more connections.
    pub(crate) async fn accepts(&self, more: usize) {
        let (mut accepted, known) = (self.accepted.clone(), self.accepted());
        soon("more connections", accepted.wait_for(|count| *count >= known + more)).await.unwrap();
    }

    /// How many connections were accepted.
    pub(crate) fn accepted(&self) -> usize {
        *self.accepted.borrow()
    }
}

async fn join(near: TcpStream, to: SocketAddr, delay: Duration, mut wire: watch::Receiver<Wire>) {
    // Whoever connects to something that hangs is accepted by the kernel, and that is all.
    if !passes(0, &mut wire).await {
        return;
    }
    // The kernel accepted at once; over a long wire that takes a round trip.
    sleep_until(Instant::now() + delay + transit(delay)).await;
    let Ok(far) = TcpStream::connect(to).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::join!(copy(near_in, far_out, delay, wire.clone()), copy(far_in, near_out, delay, wire));
}

/// Carries what `from` sends. Over a long wire every 20th piece is lost once.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    mut wire: watch::Receiver<Wire>,
) {
    let (under_way, mut arriving) = mpsc::channel(64);
    let sent = async move {
        let mut bytes = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut bytes).await {
            if under_way.send((Instant::now() + transit(delay), bytes[..read].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let received = async move {
        while let Some((at, bytes)) = arriving.recv().await {
            sleep_until(at).await;
            if !passes(bytes.len(), &mut wire).await || to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(sent, received);
}

/// Waits until the wire carries so many bytes. False: the relay is gone. Never ends for what is lost.
async fn passes(bytes: usize, wire: &mut watch::Receiver<Wire>) -> bool {
    let state = wire.wait_for(|wire| *wire != Wire::Hangs).await.map(|wire| *wire);
    match state {
        Ok(Wire::Cut) => std::future::pending().await,
        Ok(Wire::Narrow) if bytes > SMALL => std::future::pending().await,
        Ok(_) => true,
        Err(_) => false,
    }
}

fn transit(delay: Duration) -> Duration {
    static PIECES: AtomicUsize = AtomicUsize::new(0);
    let lost = !delay.is_zero() && PIECES.fetch_add(1, Ordering::Relaxed) % 20 == 19;
    if lost { delay + SENT_AGAIN } else { delay }
}
