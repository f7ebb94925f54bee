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
