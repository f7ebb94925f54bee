//! Large bodies, endless ones, and those that break off.

use std::fs;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::*;
use crate::support::client::{piece, reply, whole};
use crate::support::soon;

#[tokio::test]
async fn an_upload_over_the_limit_is_refused_and_its_room_is_free_again() {
    let setup = Setup::fixed(&HOSTS).config(|_, config| config.browse.upload_limit = 1 << 20);
    let volumes = Volumes::of(setup).await;
    for (target, at) in Volumes::nodes() {
        let client = volumes.client();
        let most = "x".repeat(1 << 20);
        let fits = [("file", Some("most"), most.as_str()), ("Path", None, "/")];
        assert_eq!(put(&client, "volumeID=v1", &target, &fits).await.status, 204);
        let more = most.clone() + "x";
        let over = [("file", Some("more"), more.as_str()), ("Path", None, "/")];
        refused(
            &put(&client, "volumeID=v1", &target, &over).await,
            413,
            "AGENT_UPLOAD_LIMIT",
            "one byte more",
        );
        // Without end, and without a length that would say so; then in fields that nobody asked for.
        for part in ["file\"; filename=\"more", "other"] {
            let head = format!("--b0undary\r\nContent-Disposition: form-data; name=\"{part}\"\r\n\r\n");
            let endless = (0..400).map(|_| Bytes::from(vec![7; 16 << 10]));
            let pieces = std::iter::once(Bytes::from(head)).chain(endless).map(|p| Ok(Frame::data(p)));
            let body = BodyExt::boxed(StreamBody::new(stream::iter(pieces.collect::<Vec<_>>())));
            let headers = [target[0], ("Content-Type", "multipart/form-data; boundary=b0undary")];
            let answer = client.open("POST", "/v2/browse/put?volumeID=v1", &headers, body).await;
            refused(&soon("the refusal", reply(answer)).await, 413, "AGENT_UPLOAD_LIMIT", part);
        }
        soon("the room is free", async {
            while volumes.spooled(at) > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(volumes.names(at), ["most"]);
    }
}

#[tokio::test]
async fn the_head_of_a_part_has_a_bound_too() {
    let volumes = Volumes::start().await;
    for (target, at) in Volumes::nodes() {
        for begin in ["--b0undary\r\nContent-Disposition: form-data; name=\"", "no boundary yet"] {
            let endless = (0..64).map(|_| Bytes::from(vec![b'x'; 64 << 10]));
            let pieces = std::iter::once(Bytes::from(begin)).chain(endless).map(|p| Ok(Frame::data(p)));
            let body = BodyExt::boxed(StreamBody::new(stream::iter(pieces.collect::<Vec<_>>())));
            let headers = [target[0], ("Content-Type", "multipart/form-data; boundary=b0undary")];
            let answer = volumes.client().open("POST", "/v2/browse/put?volumeID=v1", &headers, body).await;
            refused(&soon("the refusal", reply(answer)).await, 400, "could not be read", begin);
        }
        assert_eq!(volumes.names(at), [""; 0]);
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_an_upload_leaves_nothing() {
    let volumes = Volumes::start().await;
    for (target, at) in Volumes::nodes() {
        fs::write(volumes.path(at, "a.txt"), "old").unwrap();
        let (name, value) = target[0];
        let head = format!(
            "POST /v2/browse/put?volumeID=v1&Path=/new HTTP/1.1\nHost: x\n{name}: {value}\nContent-Length: 900000\n\
             Content-Type: multipart/form-data; boundary=b0undary\n"
        );
        let part = "--b0undary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n";
        let mut wire = volumes.client().wire().await;
        wire.ask(&head, &format!("{part}{}", "x".repeat(600_000))).await;
        let becomes = async |count: usize| {
            while volumes.spooled(at) != count {
                tokio::task::yield_now().await;
            }
        };
        soon("the upload is under way", becomes(1)).await;
        drop(wire);
        soon("its room is free again", becomes(0)).await;
        assert_eq!(volumes.names(at), ["a.txt"]);
        assert_eq!(fs::read_to_string(volumes.path(at, "a.txt")).unwrap(), "old");
    }
}

/// Reads a body to its end.
async fn rest(mut body: hyper::body::Incoming) -> (u64, bool) {
    let mut length = 0;
    while let Some(frame) = soon("a piece or the end", body.frame()).await {
        match frame {
            Ok(frame) => length += frame.data_ref().map_or(0, |data| data.len() as u64),
            Err(_) => return (length, false),
        }
    }
    (length, true)
}

#[tokio::test]
async fn a_download_that_breaks_off_looks_broken() {
    const LENGTH: u64 = 1 << 30;
    let mut volumes = Volumes::start().await;
    let large = |at: usize| {
        let file = fs::File::create(volumes.path(at, "large.bin")).unwrap();
        file.set_len(LENGTH).unwrap();
        file
    };
    let files = [large(0), large(1)];
    let route = "/v2/browse/get?volumeID=v1&path=large.bin";
    for (target, at) in Volumes::nodes() {
        let answer = volumes.client().open("GET", route, &target, whole("")).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-length"], "1073741824");
        let mut body = answer.into_body();
        piece(&mut body).await;
        files[at].set_len(1 << 20).unwrap();
        let (length, clean) = rest(body).await;
        assert!(!clean && length < LENGTH, "a file that shrinks: {length} bytes of {}", HOSTS[at]);
        files[at].set_len(LENGTH).unwrap();
    }
    let answer = volumes.client().open("GET", route, &[("X-Node", "node2")], whole("")).await;
    let mut body = answer.into_body();
    piece(&mut body).await;
    volumes.cluster.nodes[1].kill().await;
    let (length, clean) = rest(body).await;
    assert!(!clean && length < LENGTH, "a peer that dies: {length} bytes");
}

#[tokio::test]
async fn a_large_file_goes_up_and_comes_down_as_it_is() {
    let volumes = Volumes::start().await;
    let contents: String = (0..400_000).map(|number| format!("{number:07}\n")).collect();
    for (target, at) in Volumes::nodes() {
        let file = [("file", Some("large.log"), contents.as_str()), ("Path", None, "/")];
        assert_eq!(put(&volumes.client(), "volumeID=v1", &target, &file).await.status, 204);
        assert!(fs::read_to_string(volumes.path(at, "large.log")).unwrap() == contents);
        let got = volumes.client().get_with("/v2/browse/get?volumeID=v1&path=large.log", &target).await;
        assert!(got.text() == contents, "{} bytes", got.body.len());
        let range = [target[0], ("Range", "bytes=1600000-3199999")];
        let part = volumes.client().get_with("/v2/browse/get?volumeID=v1&path=large.log", &range).await;
        assert!(part.text() == contents[1_600_000..], "{} bytes", part.body.len());
    }
}
