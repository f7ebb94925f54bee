//! Answers that last: logs, events and waits are fed; attach, exec and sessions leave HTTP.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Request, header};
use http_body::Body;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::answers::{Answer, RAW, Recorded, empty, error, fed, whole};
use super::cork::Cork;
use super::{Feed, Open, State};

/// Marks an answer that has only its own headers, as an attach's has.
#[derive(Clone)]
pub(super) struct Bare;

/// Docker's framing of output: stream 1, length, text.
pub(super) fn frame(line: &str) -> Bytes {
    let mut frame = BytesMut::from(&[1, 0, 0, 0][..]);
    frame.put_u32(u32::try_from(line.len()).expect("a line"));
    frame.extend_from_slice(line.as_bytes());
    frame.freeze()
}

/// `first`, then all that is said, until the client has left.
pub(super) fn follow(state: &Arc<State>, feed: Feed, kind: &'static str, first: Vec<Bytes>) -> Answer {
    // 1: a client that does not read holds the pump.
    let (to, from) = mpsc::channel(1);
    let mut said = state.feed.subscribe();
    state.spawn(async move {
        for piece in first {
            if to.send(piece).await.is_err() {
                return;
            }
        }
        loop {
            let piece = tokio::select! {
                piece = said.recv() => piece,
                () = to.closed() => return,
            };
            match piece {
                Ok((of, piece)) if of == feed => {
                    if to.send(piece).await.is_err() || feed == Feed::Exits {
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    fed(200, kind, from, Some(Open::new(state)))
}

pub(super) fn logs(state: &Arc<State>, follows: bool) -> Answer {
    let lines: Vec<_> = ["one\n", "two\n", "three\n"].map(frame).into();
    if follows { follow(state, Feed::Logs, RAW, lines) } else { whole(200, RAW, lines.concat()) }
}

/// Attach: without an upgrade only its output, with one both ways.
pub(super) fn attach(state: &Arc<State>, request: Request<Recorded>) -> Answer {
    let greeting = format!("attached on {}\n", state.script.host);
    if request.headers().contains_key(header::UPGRADE) {
        let mut answer = upgraded(state, request, "tcp", greeting);
        answer.extensions_mut().insert(Bare);
        answer
    } else {
        follow(state, Feed::Logs, RAW, vec![frame(&greeting)])
    }
}

/// Exec start: the body says whether anybody wants the output.
pub(super) async fn exec(state: &Arc<State>, mut request: Request<Recorded>) -> Answer {
    let body =
        request.body_mut().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let Ok(wanted) = serde_json::from_slice::<serde_json::Value>(&body) else {
        return error(400, "EOF");
    };
    if wanted["Detach"] == true {
        return empty(200);
    }
    let greeting = format!("exec on {}\n", state.script.host);
    if request.headers().contains_key(header::UPGRADE) {
        upgraded(state, request, "tcp", greeting)
    } else {
        whole(200, RAW, frame(&greeting))
    }
}

/// A session takes nothing but HTTP/2 without TLS.
pub(super) fn session(state: &Arc<State>, request: Request<Recorded>) -> Answer {
    let is_h2c = request.headers().get(header::UPGRADE).is_some_and(|token| token == "h2c");
    if !is_h2c {
        return error(400, "no upgrade proto in request");
    }
    let mut answer = upgraded(state, request, "h2c", String::new());
    answer.headers_mut().remove(header::CONTENT_TYPE);
    answer
}

/// A WebSocket's handshake; behind it bytes are echoed as they come, frames or not.
pub(super) fn websocket(state: &Arc<State>, request: Request<Recorded>) -> Answer {
    use base64::Engine as _;
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned() else {
        return error(400, "not a websocket handshake");
    };
    let salted = [key.as_bytes(), b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &salted);
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    let mut answer = upgraded(state, request, "websocket", String::new());
    let accept = HeaderValue::from_str(&accept).expect("base64");
    answer.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    answer.headers_mut().remove(header::CONTENT_TYPE);
    answer.extensions_mut().insert(Bare);
    answer
}

/// `101`, and in the same segment the greeting; then everything is echoed. After the client's half-close a last
/// line, and the end.
fn upgraded(state: &Arc<State>, request: Request<Recorded>, token: &'static str, greeting: String) -> Answer {
    let cork = request.extensions().get::<Cork>().cloned().expect("every connection has one");
    let has_body = !request.body().is_end_stream();
    let open = Open::new(state);
    if !greeting.is_empty() {
        cork.put_in();
    }
    state.spawn(async move {
        let _open = open;
        // hyper hands the connection over once the body, if there is any, was read.
        let mut request = request;
        if has_body {
            let _ = request.body_mut().collect().await;
        }
        let Ok(stream) = hyper::upgrade::on(request).await else { return };
        let mut stream = TokioIo::new(stream);
        let greeted = stream.write_all(greeting.as_bytes()).await;
        cork.pull();
        if greeted.is_ok() && stream.flush().await.is_ok() {
            // The client may leave in the middle of anything.
            let _ = echo(&mut stream, token == "tcp").await;
        }
    });
    let mut answer = whole(101, RAW, "");
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(token));
    answer
}

async fn echo<S>(stream: &mut S, says_bye: bool) -> std::io::Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut piece = vec![0; 16 << 10];
    loop {
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            break;
        }
        stream.write_all(&piece[..read]).await?;
        stream.flush().await?;
    }
    if says_bye {
        stream.write_all(b"bye\n").await?;
    }
    stream.shutdown().await
}
