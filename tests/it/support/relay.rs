//! A wire between two agents that can be made to hang: connections stand, new ones are accepted, no byte moves.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// A TCP relay to one address. Dropped, it and its connections are gone.
pub(crate) struct Relay {
    hangs: Arc<watch::Sender<bool>>,
    accepted: watch::Receiver<usize>,
    _over: DropGuard,
}

impl Relay {
    pub(crate) async fn start(at: SocketAddr, to: SocketAddr) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let (hangs, over, tasks) =
            (Arc::new(watch::Sender::new(false)), CancellationToken::new(), TaskTracker::new());
        let (count, accepted) = watch::channel(0);
        let (until, hanging, pairs) = (over.clone(), Arc::clone(&hangs), tasks.clone());
        tasks.spawn(over.clone().run_until_cancelled_owned(async move {
            while let Ok((near, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                pairs.spawn(until.clone().run_until_cancelled_owned(join(near, to, hanging.subscribe())));
            }
        }));
        Self { hangs, accepted, _over: over.drop_guard() }
    }

    pub(crate) fn hang(&self) {
        self.hangs.send_replace(true);
    }

    pub(crate) fn go_on(&self) {
        self.hangs.send_replace(false);
    }

    /// How many connections were accepted.
    pub(crate) fn accepted(&self) -> usize {
        *self.accepted.borrow()
    }
}

async fn join(near: TcpStream, to: SocketAddr, mut hangs: watch::Receiver<bool>) {
    // Whoever connects to something that hangs is accepted by the kernel, and that is all.
    if hangs.wait_for(|hangs| !hangs).await.is_err() {
        return;
    }
    let Ok(far) = TcpStream::connect(to).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::join!(copy(near_in, far_out, hangs.clone()), copy(far_in, near_out, hangs));
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut hangs: watch::Receiver<bool>) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        if hangs.wait_for(|hangs| !hangs).await.is_err() || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
