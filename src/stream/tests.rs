//! Every claim about a stream, on pipes in memory and on real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::*;

const LINGER: Duration = Duration::from_secs(5);

/// A megabyte that is not the same anywhere.
fn megabyte(seed: u32) -> Vec<u8> {
    (0..1_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 24) as u8).collect()
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dial = TcpStream::connect(listener.local_addr().unwrap());
    let (near, accepted) = tokio::join!(dial, listener.accept());
    (near.unwrap(), accepted.unwrap().0)
}

/// What a listener's TLS connection does: ends once, then pends until its other end is gone.
struct Wire {
    inner: DuplexStream,
    ended: bool,
    gone: tokio::sync::oneshot::Receiver<()>,
    buffered: Arc<AtomicUsize>,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended {
            ready!(Pin::new(&mut self.gone).poll(cx)).ok();
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.ended = buf.filled().len() == before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.buffered.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.buffered.store(0, Ordering::Relaxed);
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

fn wire(inner: DuplexStream) -> (Wire, tokio::sync::oneshot::Sender<()>, Arc<AtomicUsize>) {
    let (leave, gone) = tokio::sync::oneshot::channel();
    let buffered = Arc::new(AtomicUsize::new(0));
    (Wire { inner, ended: false, gone, buffered: Arc::clone(&buffered) }, leave, buffered)
}

/// An engine whose side for input is closed, as a socket answers EPIPE.
struct Deaf(DuplexStream);

impl AsyncRead for Deaf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Deaf {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
    }
}

#[tokio::test(start_paused = true)]
async fn output_still_arrives_after_the_client_has_ended_its_side() {
    let ((mut client, near), (far, mut engine)) = (duplex(64), duplex(64));
    let outside = async {
        client.write_all(b"hi").await.unwrap();
        client.shutdown().await.unwrap();
        let mut input = String::new();
        engine.read_to_string(&mut input).await.unwrap();
        engine.write_all(b"output that comes late").await.unwrap();
        drop(engine);
        let mut output = String::new();
        client.read_to_string(&mut output).await.unwrap();
        (input, output)
    };
    let (totals, (input, output)) = tokio::join!(tunnel(near, far, LINGER), outside);
    assert_eq!((input.as_str(), output.as_str()), ("hi", "output that comes late"));
    assert_eq!(totals, Totals { up: 2, down: 22 });
}

#[tokio::test(start_paused = true)]
async fn the_engines_end_is_the_end_though_the_client_keeps_its_input_open() {
    let ((mut client, near), (far, mut engine)) = (duplex(64), duplex(64));
    let start = tokio::time::Instant::now();
    let outside = async {
        engine.write_all(b"bye").await.unwrap();
        engine.shutdown().await.unwrap();
        let mut output = String::new();
        client.read_to_string(&mut output).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO, "the client hears of the end at once");
        output
    };
    let (totals, output) = tokio::join!(tunnel(near, far, LINGER), outside);
    assert_eq!(output, "bye");
    assert_eq!(totals.down, 3);
    assert_eq!(start.elapsed(), LINGER);
    assert!(client.write_all(b"x").await.is_err(), "dropped after the linger");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_ends_the_linger() {
    let ((client, near), (far, engine)) = (duplex(64), duplex(64));
    let start = tokio::time::Instant::now();
    drop(engine);
    let outside = async move {
        let mut client = client;
        client.read_to_end(&mut Vec::new()).await.unwrap();
    };
    tokio::join!(tunnel(near, far, LINGER), outside);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_refuses_input_may_go_on_printing() {
    let ((mut client, near), (far, mut engine)) = (duplex(64), duplex(64));
    let outside = async {
        client.write_all(&[7; 1000]).await.unwrap();
        engine.write_all(b"still here").await.unwrap();
        drop(engine);
        let mut output = String::new();
        client.read_to_string(&mut output).await.unwrap();
        drop(client);
        output
    };
    let (totals, output) = tokio::join!(tunnel(near, Deaf(far), LINGER), outside);
    assert_eq!(output, "still here");
    assert_eq!(totals, Totals { up: 0, down: 10 });
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_after_its_end_drops_both() {
    let ((mut client, near), (far, mut engine)) = (duplex(64), duplex(64));
    let (near, leave, _) = wire(near);
    let outside = async {
        client.shutdown().await.unwrap();
        let mut input = Vec::new();
        engine.read_to_end(&mut input).await.unwrap();
        engine.write_all(b"1").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'1');
        leave.send(()).unwrap();
        // Only the drop of the other end can wake this: nothing is written.
        while engine.write_all(&[0; 64]).await.is_ok() {}
    };
    let (totals, ()) = tokio::join!(tunnel(near, far, LINGER), outside);
    assert_eq!(totals.up, 0);
}

#[tokio::test]
async fn a_client_that_breaks_drops_the_engine() {
    let (client, near) = tcp_pair().await;
    let (far, mut engine) = UnixStream::pair().unwrap();
    let outside = async move {
        // Dropped with nothing lingering, it is reset: a read error.
        client.set_zero_linger().unwrap();
        drop(client);
        engine.read_to_end(&mut Vec::new()).await.ok();
    };
    let (totals, ()) = tokio::join!(tunnel(near, far, LINGER), outside);
    assert_eq!(totals, Totals::default());
}

#[tokio::test(start_paused = true)]
async fn what_is_written_is_flushed_before_it_waits() {
    let ((mut client, near), (far, mut engine)) = (duplex(64), duplex(64));
    let (near, _leave, buffered) = wire(near);
    let outside = async {
        engine.write_all(b"x").await.unwrap();
        client.read_u8().await.unwrap();
        tokio::task::yield_now().await;
        assert_eq!(buffered.load(Ordering::Relaxed), 0);
        drop((client, engine));
    };
    tokio::join!(tunnel(near, far, LINGER), outside);
}

#[tokio::test(start_paused = true)]
async fn a_side_that_does_not_read_holds_the_other_back() {
    let ((client, near), (far, mut engine)) = (duplex(64), duplex(64));
    let outside = async {
        let mut sent = 0;
        let endless = async {
            loop {
                sent += engine.write(&[1; 1024]).await.unwrap();
            }
        };
        // The clock moves only when nothing else can.
        tokio::time::timeout(Duration::from_secs(1), endless).await.unwrap_err();
        drop((client, engine));
        sent
    };
    let (_, sent) = tokio::join!(tunnel(near, far, LINGER), outside);
    assert!(sent <= CHUNK + 2 * 64, "{sent} bytes were taken");
}

#[tokio::test(start_paused = true)]
async fn input_that_never_pauses_does_not_hold_output_back() {
    let (far, mut engine) = duplex(64);
    let endless = tokio::io::join(tokio::io::repeat(1), duplex(1 << 20).0);
    let client = tokio::io::join(endless, tokio::io::sink());
    let sink = tokio::io::join(far, tokio::io::sink());
    let (mut client, mut sink) = (client, sink);
    let mut session = Session {
        client: &mut client,
        engine: &mut sink,
        input: Input::Flowing,
        up: Flow::default(),
        down: Flow::default(),
    };
    engine.write_all(b"output").await.unwrap();
    let once = poll_fn(|cx| Poll::Ready(session.poll(cx))).await;
    assert!(once.is_pending());
    assert_eq!(session.down.moved, 6);
}

#[tokio::test]
async fn a_megabyte_each_way_is_the_same_at_the_other_end() {
    let (client, near) = tcp_pair().await;
    let (far, engine) = UnixStream::pair().unwrap();
    let (input, output) = (megabyte(1), megabyte(2));
    let (mut client_read, mut client_write) = client.into_split();
    let (mut engine_read, mut engine_write) = engine.into_split();
    let (mut got_input, mut got_output) = (Vec::new(), Vec::new());
    let (totals, ..) = tokio::join!(
        tunnel(near, far, LINGER),
        async {
            client_write.write_all(&input).await.unwrap();
            client_write.shutdown().await.unwrap();
        },
        async {
            engine_read.read_to_end(&mut got_input).await.unwrap();
            engine_write.write_all(&output).await.unwrap();
            engine_write.shutdown().await.unwrap();
        },
        async { client_read.read_to_end(&mut got_output).await.unwrap() },
    );
    assert!(got_input == input && got_output == output);
    assert_eq!(totals, Totals { up: 1 << 20, down: 1 << 20 });
}

#[tokio::test]
async fn an_engine_that_ends_over_a_real_socket_ends_the_session() {
    let (mut client, near) = tcp_pair().await;
    let (far, mut engine) = UnixStream::pair().unwrap();
    let outside = async {
        engine.write_all(b"done").await.unwrap();
        engine.shutdown().await.unwrap();
        let mut output = String::new();
        client.read_to_string(&mut output).await.unwrap();
        drop(client);
        output
    };
    let (totals, output) = tokio::join!(tunnel(near, far, LINGER), outside);
    assert_eq!((totals.down, output.as_str()), (4, "done"));
}

#[test]
fn an_idle_tunnel_is_small() {
    let size = size_of_val(&tunnel(tokio::io::empty(), tokio::io::empty(), LINGER));
    assert!(size < 1024, "{size} bytes");
}
