//! A bridge between in-memory pipes, under a clock that jumps.

use std::future::pending;

use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::*;

/// What a pipe of these tests holds.
const PIPE: usize = 4 << 10;

/// A running bridge and the far ends of it.
struct Console {
    client: DuplexStream,
    engine: DuplexStream,
    end: JoinHandle<End>,
    began: Instant,
}

impl Console {
    fn open(cut: impl Future<Output = End> + Send + 'static) -> Self {
        Self::before(cut, true)
    }

    /// `alive`: whether the engine answers once its stream has ended.
    fn before(cut: impl Future<Output = End> + Send + 'static, alive: bool) -> Self {
        let (client, near) = duplex(PIPE);
        let (engine, far) = duplex(PIPE);
        let alive = std::future::ready(alive);
        let bridged = async move { bridge(near, far, Output::plain(), cut, alive, &Limits::default()).await };
        let end = TaskTracker::new().spawn(bridged);
        Self { client, engine, end, began: Instant::now() }
    }

    /// How it ended, and after how many seconds.
    async fn ended(self) -> (End, u64) {
        let end = self.end.await.expect("it does not panic");
        (end, self.began.elapsed().as_secs())
    }
}

async fn socket(stream: DuplexStream) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_stays_and_is_pinged_every_30_s() {
    let Console { client, mut engine, end, began } = Console::open(pending());
    let mut client = socket(client).await;
    for number in 1..=1000 {
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Ping(Bytes::new()));
        assert_eq!(began.elapsed().as_secs(), 30 * number);
        // Its answer leaves with the next turn of the reader.
        client.flush().await.unwrap();
    }
    client.send(Message::text("ls\n")).await.unwrap();
    let mut heard = [0; 3];
    engine.read_exact(&mut heard).await.unwrap();
    assert_eq!((&heard, end.is_finished()), (b"ls\n", false));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_listens_is_given_up_after_three_pings() {
    let mut console = Console::open(pending());
    let mut heard = Vec::new();
    console.client.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"\x89\0".repeat(3));
    assert_eq!(console.engine.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(console.ended().await, (End::Silent, 120));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_cut_after_a_minute_and_one_that_takes_a_little_is_not() {
    let mut console = Console::open(pending());
    let (mut reader, mut writer) = tokio::io::split(console.engine);
    // Half an hour, in which it takes a little every 50 s.
    let mut flood = Box::pin(async move { while writer.write_all(&[b'y'; 1024]).await.is_ok() {} });
    for _ in 0..36 {
        let _ = timeout(Duration::from_secs(50), &mut flood).await;
        console.client.read_exact(&mut [0; PIPE]).await.unwrap();
    }
    assert!(!console.end.is_finished());
    let before = Instant::now();
    flood.await;
    assert_eq!(before.elapsed().as_secs(), 60);
    assert_eq!(reader.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(console.end.await.unwrap(), End::Vanished);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_not_held_for_silent_while_the_engine_takes_nothing() {
    let Console { client, mut engine, end, .. } = Console::open(pending());
    let mut client = socket(client).await;
    // More than both pipes and a message hold: after it nobody listens to the client.
    let pasted = vec![b'p'; 10 * PIPE];
    let pasting = async {
        for piece in pasted.chunks(PIPE / 2) {
            client.send(Message::binary(piece.to_vec())).await.unwrap();
        }
    };
    let mut pasting = Box::pin(pasting);
    assert!(timeout(Duration::from_secs(3600), &mut pasting).await.is_err());
    assert!(!end.is_finished());
    let mut taken = vec![0; pasted.len()];
    let (_, taking) = tokio::join!(pasting, engine.read_exact(&mut taken));
    assert!(taking.is_ok() && taken == pasted);
}

#[tokio::test(start_paused = true)]
async fn output_still_comes_from_an_engine_that_takes_no_input() {
    let (client, near) = duplex(PIPE);
    let (mut says, output) = duplex(PIPE);
    let (gone, input) = duplex(PIPE);
    drop(gone);
    let engine = tokio::io::join(output, input);
    let alive = std::future::ready(true);
    let bridged =
        async move { bridge(near, engine, Output::plain(), pending(), alive, &Limits::default()).await };
    let end = TaskTracker::new().spawn(bridged);
    let mut client = socket(client).await;
    for line in ["one\n", "two\n"] {
        client.send(Message::text("more")).await.unwrap();
        says.write_all(line.as_bytes()).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), Message::text(line));
    }
    assert!(!end.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_with_its_engine_is_no_normal_end() {
    for (alive, code) in [(true, CloseCode::Normal), (false, CloseCode::Error)] {
        let Console { client, engine, .. } = Console::before(pending(), alive);
        drop(engine);
        let closed = socket(client).await.next().await.unwrap().unwrap();
        assert!(matches!(&closed, Message::Close(Some(frame)) if frame.code == code), "{closed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_client_has_5_s_to_answer_our_close_and_the_engine_is_free_before() {
    let Console { mut client, mut engine, end, began } = Console::open(pending());
    engine.write_all(b"bye\xe2").await.unwrap();
    engine.shutdown().await.unwrap();
    assert_eq!(engine.read(&mut [0]).await.unwrap(), 0);
    assert_eq!((began.elapsed().as_secs(), end.is_finished()), (0, false));
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    let said = [&b"\x81\x03bye\x81\x03"[..], "\u{fffd}".as_bytes(), b"\x88\x02\x03\xe8"];
    assert_eq!(heard, said.concat());
    assert_eq!((end.await.unwrap(), began.elapsed().as_secs()), (End::Engine, 5));
}

#[tokio::test(start_paused = true)]
async fn whoever_is_cut_is_told_why_unless_nobody_may_be_told() {
    for (end, told) in [(End::Draining, Some(1001)), (End::Revoked, None)] {
        let console = Console::open(std::future::ready(end));
        let mut client = socket(console.client).await;
        let code = match client.next().await {
            Some(Ok(Message::Close(Some(frame)))) => Some(u16::from(frame.code)),
            _ => None,
        };
        assert_eq!(code, told, "{end:?}");
        drop(client);
        assert_eq!(console.end.await.unwrap(), end);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopping_agent_does_not_wait_for_a_client_that_takes_nothing() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let console = Console::open(async move {
        stopped.await.ok();
        End::Draining
    });
    let (_reader, mut writer) = tokio::io::split(console.engine);
    assert!(timeout(Duration::from_secs(1), writer.write_all(&[b'y'; 16 * PIPE])).await.is_err());
    stop.send(()).unwrap();
    assert_eq!(console.end.await.unwrap(), End::Draining);
    assert_eq!(console.began.elapsed().as_secs(), 1 + FAREWELL.as_secs());
}
