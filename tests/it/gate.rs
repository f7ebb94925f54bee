//! The request gate as a client meets it: bytes in, a status out, and nothing behind it is read as a request.

use crate::support::cluster::Setup;

/// The head of a request, without its signature, and what it is answered.
const ROWS: &[(&str, &str)] = &[
    // G1
    ("GET /info HTTP/1.0\nHost: a", "505"),
    // G2
    ("GET /info HTTP/1.1", "400"),
    ("GET /info HTTP/1.1\nHost:", "400"),
    ("GET /info HTTP/1.1\nHost: a\nHost: a", "400"),
    // G3
    ("OPTIONS /info HTTP/1.1\nHost: a", "405"),
    ("OPTIONS * HTTP/1.1\nHost: a", "405"),
    ("TRACE /info HTTP/1.1\nHost: a", "405"),
    ("PATCH /info HTTP/1.1\nHost: a", "405"),
    ("get /info HTTP/1.1\nHost: a", "405"),
    ("CONNECT a:80 HTTP/1.1\nHost: a", "405"),
    // G4
    ("GET http://a/info HTTP/1.1\nHost: a", "400"),
    // G5
    ("GET //containers/json HTTP/1.1\nHost: a", "400"),
    ("GET /containers/../info HTTP/1.1\nHost: a", "400"),
    ("GET /containers/%2e%2e/info HTTP/1.1\nHost: a", "400"),
    ("GET /containers/%2E/json HTTP/1.1\nHost: a", "400"),
    ("GET /images/a%2F%2Fb/json HTTP/1.1\nHost: a", "400"),
    ("GET /images/a%00/json HTTP/1.1\nHost: a", "400"),
    ("GET /images/a%0a/json HTTP/1.1\nHost: a", "400"),
    ("GET /images/a%5cb/json HTTP/1.1\nHost: a", "400"),
    ("GET /images/a%zz/json HTTP/1.1\nHost: a", "400"),
    ("GET /images/a%ff/json HTTP/1.1\nHost: a", "400"),
    // G6
    ("POST /build HTTP/1.1\nHost: a\nTransfer-Encoding: gzip, chunked", "400"),
    ("POST /build HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked", "400"),
    // G7
    ("GET /info HTTP/1.1\nHost: a\nX-Node: node1\nX-Node: node2", "400"),
    ("GET /info HTTP/1.1\nHost: a\nX-Node-Strict: 1\nX-Node-Strict: 1", "400"),
    ("GET /info HTTP/1.1\nHost: a\nX-PortainerAgent-Target: a\nX-PortainerAgent-Target: b", "400"),
    ("GET /info HTTP/1.1\nHost: a\nContent-Type: a\nContent-Type: b", "400"),
    ("GET /info HTTP/1.1\nHost: a\nAuthorization: a\nAuthorization: b", "400"),
    ("GET /info HTTP/1.1\nHost: a\nX_Node: node2", "400"),
    ("GET /info HTTP/1.1\nHost: a\nX-PortainerAgent_Signature: x", "400"),
    // G8
    ("GET /info HTTP/1.1\nHost: a\nConnection: close, X-PortainerAgent-Signature", "400"),
    ("GET /info HTTP/1.1\nHost: a\nConnection: authorization", "400"),
    // G15
    ("GET /info HTTP/1.1\nHost: a\nX-Node:", "400"),
    ("GET /info HTTP/1.1\nHost: a\nX-Node: *", "400"),
    ("GET /info HTTP/1.1\nHost: a\nX-Node: http://10.0.0.1/", "400"),
    ("GET /info HTTP/1.1\nHost: a\nX-Node-Strict: yes", "400"),
    ("GET /info HTTP/1.1\nHost: a\nX-Node-Dialect: portainer", "400"),
];

#[tokio::test]
async fn what_two_parsers_could_read_in_two_ways_is_refused_and_the_connection_closed() {
    let cluster = Setup::alone("node1").start().await;
    let mut refused = 0;
    for (head, status) in ROWS {
        let mut wire = cluster.client(0).wire().await;
        wire.ask(head, "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = wire.head().await;
        assert!(answer.split(' ').nth(1) == Some(status), "{head}: {answer}");
        let lower = answer.to_ascii_lowercase();
        assert!(lower.contains("connection: close") || head.contains("HTTP/1.0"), "{head}: {answer}");
        assert!(lower.contains("\r\nportainer-agent: 2.23.0\r\n"), "{head}: {answer}");
        assert!(lower.contains("\r\ncontent-type: application/json\r\n"), "{head}: {answer}");
        let rest = wire.rest().await;
        assert!(rest.contains(r#"{"message":"#) && !rest.contains("\r\n"), "{head}: {rest}");
        refused += 1;
    }
    assert_eq!(refused, ROWS.len());
    let seen = cluster.engine(0).seen();
    assert!(
        !seen.iter().any(|seen| !["/info", "/version"].contains(&seen.target.as_str())),
        "only discovery asked"
    );
}

#[tokio::test]
async fn an_upgrade_is_stripped_where_no_route_allows_it() {
    let cluster = Setup::fixed(&["node1", "node2"]).start().await;
    for (path, token) in [
        ("/plugins", "tcp"),
        ("/containers/a/attach/ws", "tcp"),
        ("/plugins", "h2c"),
        ("/plugins", "websocket"),
    ] {
        for (at, host) in ["node1", "node2"].into_iter().enumerate() {
            cluster.engine(at).forget();
            let headers = [("X-Node", host), ("Connection", "Upgrade"), ("Upgrade", token)];
            let answer = cluster.client(0).get_with(path, &headers).await;
            assert_eq!(answer.status, 404, "{path} {token}");
            let seen = cluster.engine(at).saw(path).await;
            assert!(
                !seen.headers.contains_key("upgrade") && !seen.headers.contains_key("connection"),
                "{path} {token}"
            );
        }
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_ends_the_connection_and_nothing_else() {
    let cluster = Setup::alone("node1").start().await;
    let mut wire = cluster.client(0).wire().await;
    let head = format!("GET /info HTTP/1.1\r\nHost: a\r\nX-Large: {}", "x".repeat(70 << 10));
    let _ = tokio::io::AsyncWriteExt::write_all(&mut wire.stream, head.as_bytes()).await;
    let answer = wire.rest().await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(cluster.client(0).get("/version").await.status, 200);
    // 60 KiB pass: a registry config can be that large.
    let config = "x".repeat(60 << 10);
    let passed = cluster.client(0).call("POST", "/build", &[("X-Registry-Config", &config)], "").await;
    assert_eq!(passed.status, 200);
    assert_eq!(cluster.engine(0).saw("/build").await.headers["x-registry-config"], config);
}

#[tokio::test]
async fn a_length_beside_chunks_counts_for_nothing_and_is_the_last_of_its_connection() {
    let cluster = Setup::fixed(&["node1", "node2"]).start().await;
    // Read by that length, this would be another request.
    let body = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let sent = format!("{:x}\r\n{body}\r\n0\r\n\r\nGET /ping HTTP/1.1\r\nHost: a\r\n\r\n", body.len());
    for (at, host) in ["node1", "node2"].into_iter().enumerate() {
        for (framing, next) in [
            ("Content-Length: 4\nTransfer-Encoding: chunked", ""),
            ("Transfer-Encoding: chunked\nContent-Length: 4", ""),
            ("Transfer-Encoding: chunked", "HTTP/1.1 204 No Content\r\n"),
        ] {
            let what = format!("{framing} to {host}");
            cluster.engine(at).forget();
            let mut wire = cluster.client(0).wire().await;
            wire.ask(&format!("POST /images/load HTTP/1.1\nHost: a\nX-Node: {host}\n{framing}"), &sent).await;
            assert!(wire.head().await.starts_with("HTTP/1.1 200"), "{what}");
            wire.through("35 bytes\\n\"}\n").await;
            if next.is_empty() {
                let rest = wire.rest().await;
                assert!(!rest.contains("HTTP/1.1"), "{what}: {rest}");
            } else {
                wire.through(next).await;
            }
            let seen = cluster.engine(at).saw("/images/load").await;
            let framed = ["content-length", "transfer-encoding"].map(|name| seen.headers.get(name).cloned());
            assert_eq!(framed, [None, Some("chunked".parse().unwrap())], "{what}");
            assert_eq!(seen.body(), body.as_bytes(), "{what}");
            let all = cluster.engine(at).seen();
            assert!(!all.iter().any(|seen| seen.target.contains("smuggled")), "{what}");
        }
    }
}

#[tokio::test]
async fn two_lengths_that_differ_are_refused_and_of_two_that_agree_one_is_passed_on() {
    let cluster = Setup::alone("node1").start().await;
    let mut wire = cluster.client(0).wire().await;
    wire.ask("POST /images/load HTTP/1.1\nHost: a\nContent-Length: 3\nContent-Length: 4", "abcd").await;
    assert!(wire.rest().await.starts_with("HTTP/1.1 400"));
    assert!(!cluster.engine(0).seen().iter().any(|seen| seen.path() == "/images/load"));
    let mut wire = cluster.client(0).wire().await;
    let twice =
        "POST /images/load HTTP/1.1\nHost: a\nConnection: close\nContent-Length: 4\nContent-Length: 4";
    wire.ask(twice, "abcd").await;
    assert!(wire.rest().await.starts_with("HTTP/1.1 200"));
    let seen = cluster.engine(0).saw("/images/load").await;
    let lengths: Vec<_> = seen.headers.get_all("content-length").iter().collect();
    assert_eq!(lengths, ["4"]);
    assert_eq!(seen.body(), b"abcd");
}

#[tokio::test]
async fn a_fragment_ends_the_target_and_goes_no_further() {
    let cluster = Setup::fixed(&["node1", "node2"]).start().await;
    for (at, host) in ["node1", "node2"].into_iter().enumerate() {
        for (target, sent) in [
            ("/plugins#x", "/plugins"),
            ("/plugins?a=1#x", "/plugins?a=1"),
            ("/plugins#/../x?b=1", "/plugins"),
            ("/plugins?a=1#?b=1#c", "/plugins?a=1"),
        ] {
            cluster.engine(at).forget();
            let mut wire = cluster.client(0).wire().await;
            wire.ask(&format!("GET {target} HTTP/1.1\nHost: a\nX-Node: {host}\nConnection: close"), "").await;
            assert!(wire.head().await.starts_with("HTTP/1.1 404"), "{target} to {host}");
            assert_eq!(cluster.engine(at).saw("/plugins").await.target, sent, "{target} to {host}");
        }
    }
}
