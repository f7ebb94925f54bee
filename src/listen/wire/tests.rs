//! How a client's direction ends.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::listen::seats::Seats;
use crate::listen::tests::support::{Identity, LOCALHOST, Talk, patient};
use crate::listen::tls::{Plain, meet};
use crate::telemetry::metrics::DoorFigures;

/// Both ends of one connection.
async fn pair() -> (Talk, Wire) {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let at: SocketAddr = listener.local_addr().unwrap();
    let identity = Identity::shared();
    let taken = Seats::new(1, 1, DoorFigures::default()).take(LOCALHOST).unwrap();
    let limits = patient();
    let accepted = async {
        let (stream, _) = listener.accept().await.unwrap();
        meet(stream, identity.server.clone(), taken, &limits, Plain::Closed).await.unwrap()
    };
    let dialled = Talk::to(at, identity.client(), "localhost".try_into().unwrap());
    let (wire, talk) = tokio::join!(accepted, dialled);
    (talk.unwrap(), wire)
}

async fn end_of_input(wire: &mut Wire) {
    let mut input = Vec::new();
    wire.read_to_end(&mut input).await.unwrap();
    assert_eq!(input, b"stdin");
}

fn is_pending(wire: &mut Wire) -> bool {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut bytes = [0; 8];
    Pin::new(wire).poll_read(&mut cx, &mut ReadBuf::new(&mut bytes)).is_pending()
}

#[tokio::test]
async fn after_a_close_notify_answers_still_flow_and_the_client_counts_as_there() {
    let (mut talk, mut wire) = pair().await;
    talk.send("stdin").await;
    talk.notify_close().await;
    end_of_input(&mut wire).await;
    assert!(is_pending(&mut wire));
    wire.write_all(b"output").await.unwrap();
    wire.flush().await.unwrap();
    talk.head_and("output").await.unwrap();
    assert!(is_pending(&mut wire));
}

#[tokio::test]
async fn a_fin_right_after_the_close_notify_is_the_same_half_close() {
    let (mut talk, mut wire) = pair().await;
    talk.send("stdin").await;
    talk.tls.shutdown().await.unwrap();
    end_of_input(&mut wire).await;
    assert_eq!(wire.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(wire.read(&mut [0; 8]).await.unwrap(), 0);
    wire.write_all(b"output").await.unwrap();
    wire.flush().await.unwrap();
    talk.head_and("output").await.unwrap();
}

#[tokio::test]
async fn a_later_fin_says_that_the_client_is_gone() {
    let (mut talk, mut wire) = pair().await;
    talk.send("stdin").await;
    talk.notify_close().await;
    end_of_input(&mut wire).await;
    wire.together = Duration::ZERO;
    talk.tls.get_mut().0.shutdown().await.unwrap();
    let error = wire.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn a_reset_after_the_close_notify_says_so_at_any_time() {
    let (mut talk, mut wire) = pair().await;
    talk.send("stdin").await;
    talk.notify_close().await;
    end_of_input(&mut wire).await;
    let (tcp, _) = talk.tls.into_inner();
    socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
    drop(tcp);
    assert!(wire.read(&mut [0; 8]).await.is_err());
}

#[tokio::test]
async fn a_fin_without_a_close_notify_is_an_error_at_once() {
    let (mut talk, mut wire) = pair().await;
    talk.send("stdin").await;
    let (mut tcp, _) = talk.tls.into_inner();
    tcp.shutdown().await.unwrap();
    let mut input = Vec::new();
    let error = wire.read_to_end(&mut input).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}
