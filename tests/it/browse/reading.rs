//! Lists and downloads.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::*;

#[tokio::test]
async fn case_56_a_directory_is_listed_by_name_with_four_fields() {
    let volumes = Volumes::start().await;
    for (target, at) in Volumes::nodes() {
        fs::create_dir_all(volumes.path(at, "sub/a..b")).unwrap();
        let file = volumes.path(at, "file \"1\".txt");
        fs::write(&file, "abc").unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_900);
        fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
        symlink("sub", volumes.path(at, "link")).unwrap();
        symlink("/nowhere", volumes.path(at, "dangling")).unwrap();
        for form in [
            "/browse/ls?volumeID=v1&path=/",
            "/v2/browse/ls?volumeID=v1&path=%2F",
            "/v1.41/v2/browse/ls?path=/&volumeID=v1",
            "/v1/browse/v1/ls?path=/",
            "/v1.41/v1/browse/v1/ls?path=.",
        ] {
            let list = volumes.client().get_with(form, &target).await;
            assert_eq!((list.status, list.header("content-type")), (200, "application/json"), "{form}");
            assert_eq!(
                (list.header("x-node"), list.header("portainer-agent-api-version")),
                (HOSTS[at], "2"),
                "{form}"
            );
            let list = list.json();
            let rows: Vec<_> = list.as_array().unwrap().iter().map(|e| (&e["Name"], &e["Dir"])).collect();
            let expected = [("dangling", false), ("file \"1\".txt", false), ("link", false), ("sub", true)];
            assert_eq!(rows.len(), expected.len(), "{form}: {list}");
            for (row, expected) in rows.iter().zip(expected) {
                assert_eq!((row.0.as_str(), row.1.as_bool()), (Some(expected.0), Some(expected.1)), "{form}");
            }
            let file = json!({ "Name": "file \"1\".txt", "Size": 3, "Dir": false, "ModTime": 1_700_000_000 });
            assert_eq!(list[1], file, "{form}");
        }
        for path in ["/sub", "sub", "/sub/", "link"] {
            let list =
                volumes.client().get_with(&format!("/browse/ls?volumeID=v1&path={path}"), &target).await;
            assert_eq!(list.json()[0]["Name"], "a..b", "{path}");
        }
    }
}

#[tokio::test]
async fn case_57_what_cannot_be_listed_says_why() {
    let volumes = Volumes::start().await;
    for (target, at) in Volumes::nodes() {
        fs::create_dir(volumes.path(at, "empty")).unwrap();
        fs::write(volumes.path(at, "file"), "").unwrap();
        let ls = async |path: &str| {
            volumes.client().get_with(&format!("/v2/browse/ls?volumeID=v1{path}"), &target).await
        };
        let empty = ls("&path=/empty").await;
        assert_eq!((empty.status, empty.text().as_str()), (200, "[]"));
        refused(&ls("&path=/none").await, 500, "No such file or directory", "missing");
        refused(&ls("&path=/file").await, 500, "Not a directory", "a file");
        for path in ["", "&path", "&path="] {
            refused(&ls(path).await, 400, "no path", path);
        }
        for path in ["..", "/empty/..", "/../x", "%2e%2e", "..%2Fx", "a\\..\\b", "..%5Cx", "%00", "a%00b"] {
            refused(&ls(&format!("&path={path}")).await, 400, "'..'", path);
        }
        for path in ["&path=%", "&path=%zz", "&path=a&path=b"] {
            refused(&ls(path).await, 400, "the query is malformed", path);
        }
    }
    let unknown = volumes.client().get("/v2/browse/ls?volumeID=v2&path=/").await;
    refused(&unknown, 404, "get x: no such volume", "the engine's own words");
    assert!(unknown.json()["details"].as_str().unwrap().starts_with("Get x"), "{}", unknown.text());
}

#[tokio::test]
async fn case_58_a_volume_is_one_plain_name() {
    let volumes = Volumes::start().await;
    volumes.cluster.forget();
    for name in ["", "..", ".", "../x", "%2e%2e", "v1/..", "v1%2F..", "..%5Cx", "v1%00", "%ff"] {
        let list = volumes.client().get(&format!("/v2/browse/ls?volumeID={name}&path=/")).await;
        refused(&list, 400, "the name of one volume", name);
    }
    let twice = volumes.client().get("/v2/browse/ls?volumeID=v1&volumeID=other&path=/").await;
    refused(&twice, 400, "at most once", "two names");
    assert_eq!(volumes.client().get("/v1/browse/%2e%2e/ls?path=/").await.status, 400);
    let asked = volumes.cluster.engine(0).seen();
    assert!(!asked.iter().any(|seen| seen.path().starts_with("/volumes/")), "no engine hears of it");
    // What is odd and one name is for the engine to know.
    volumes.client().get("/v2/browse/ls?volumeID=a%3Fb%20%25&path=/").await;
    volumes.cluster.engine(0).saw("/volumes/a%3Fb%20%25").await;
}

#[tokio::test]
async fn case_60_a_file_is_sent_whole_in_part_or_not_again() {
    let volumes = Volumes::start().await;
    for (target, at) in Volumes::nodes() {
        fs::write(volumes.path(at, "a.txt"), "0123456789").unwrap();
        fs::write(volumes.path(at, "none"), "").unwrap();
        fs::create_dir(volumes.path(at, "dir")).unwrap();
        let get = async |path: &str, header: Option<(&'static str, &str)>| {
            let headers: Vec<_> = target.into_iter().chain(header).collect();
            volumes.client().get_with(&format!("/v2/browse/get?volumeID=v1&path={path}"), &headers).await
        };
        let whole = get("a.txt", None).await;
        assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
        for (name, value) in [
            ("content-type", "text/plain; charset=utf-8"),
            ("content-length", "10"),
            ("accept-ranges", "bytes"),
            ("content-disposition", "attachment"),
            ("x-content-type-options", "nosniff"),
            ("x-node", HOSTS[at]),
        ] {
            assert_eq!(whole.header(name), value);
        }
        assert_eq!(get("/none", None).await.header("content-type"), "application/octet-stream");
        assert_eq!(get("/none", None).await.text(), "");
        for (range, status, of, text) in [
            ("bytes=0-3", 206, "bytes 0-3/10", "0123"),
            ("bytes=8-", 206, "bytes 8-9/10", "89"),
            ("bytes=-1", 206, "bytes 9-9/10", "9"),
            ("bytes=0-1,4-5", 200, "", "0123456789"),
            ("bytes=10-", 416, "bytes */10", ""),
        ] {
            let part = get("a.txt", Some(("Range", range))).await;
            let said = (part.status, part.header("content-range"), part.text());
            assert_eq!(said, (status, of, text.to_owned()), "{range}");
        }
        let (date, tag) = (whole.header("last-modified"), whole.header("etag"));
        for (condition, status) in [
            (("If-Modified-Since", date), 304),
            (("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"), 200),
            (("If-Unmodified-Since", date), 200),
            (("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"), 412),
            (("If-None-Match", tag), 304),
            (("If-Match", "\"another\""), 412),
        ] {
            let answer = get("a.txt", Some(condition)).await;
            assert_eq!((answer.status, answer.body.is_empty()), (status, status != 200), "{condition:?}");
        }
        refused(&get("missing", None).await, 500, "No such file or directory", "missing");
        for path in ["dir", "/"] {
            refused(&get(path, None).await, 400, "is a directory", path);
        }
        let fifo = volumes.path(at, "fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_bits_truncate(0o666)).unwrap();
        refused(&get("fifo", None).await, 403, "neither a file nor a directory", "a FIFO");
    }
}

#[tokio::test]
async fn case_66_any_agent_reaches_the_files_of_any_node() {
    let volumes = Volumes::start().await;
    for (at, host) in HOSTS.iter().enumerate() {
        fs::write(volumes.path(at, host), "").unwrap();
    }
    for at in 0..2 {
        for (node, host) in HOSTS.iter().enumerate() {
            for header in ["X-PortainerAgent-Target", "X-Node"] {
                let list = volumes
                    .cluster
                    .client(at)
                    .get_with("/browse/ls?volumeID=v1&path=/", &[(header, host)])
                    .await;
                assert_eq!(list.json()[0]["Name"], HOSTS[node], "{header}: {host} through {at}");
                assert_eq!((list.header("x-node"), list.header("portainer-agent-platform")), (*host, "1"));
            }
        }
        for op in ["ls", "get"] {
            let route = format!("/v2/browse/{op}?volumeID=v1&path=/");
            let nope =
                volumes.cluster.client(at).get_with(&route, &[("X-PortainerAgent-Target", "nope")]).await;
            refused(&nope, 404, "known nodes: node1, node2", op);
        }
    }
}

#[tokio::test]
async fn case_67_the_host_is_browsed_where_it_is_mounted_and_allowed() {
    let host = tempfile::tempdir().unwrap();
    fs::create_dir_all(host.path().join("etc/real")).unwrap();
    fs::write(host.path().join("etc/name"), "the host").unwrap();
    symlink("/etc/real", host.path().join("etc/absolute")).unwrap();
    symlink("/etc/name", host.path().join("link")).unwrap();
    symlink("../../../../../../etc/passwd", host.path().join("out")).unwrap();
    let root = host.path().to_owned();
    let volumes = Volumes::of(Setup::fixed(&HOSTS).config(move |at, config| {
        (config.host_root, config.browse.host) = (root.clone(), at == 1);
    }))
    .await;
    let client = volumes.client();
    let there = [("X-PortainerAgent-Target", "node2")];
    let list = client.get_with("/v2/browse/ls?path=/host", &there).await;
    let names: Vec<_> = list.json().as_array().unwrap().iter().map(|e| e["Name"].clone()).collect();
    assert_eq!(names, ["etc", "link", "out"]);
    assert_eq!(client.get_with("/v2/browse/get?path=/host/etc/name", &there).await.text(), "the host");
    assert_eq!(client.get_with("/v2/browse/get?path=/host/link", &there).await.text(), "the host");
    assert_eq!(client.get_with("/v2/browse/ls?path=/host/etc/absolute", &there).await.text(), "[]");
    let out = client.get_with("/v2/browse/get?path=/host/out", &there).await;
    refused(&out, 500, "No such file", "the root has nothing above it");
    for path in ["/", "/etc", "/hostile", "/hostile/../host", "/host/../etc", "/host/%2e%2e"] {
        assert_eq!(
            client.get_with(&format!("/v2/browse/ls?path={path}"), &there).await.status,
            400,
            "{path}"
        );
    }
    let file = [("file", Some("new"), "contents"), ("Path", None, "/host/etc/absolute/sub")];
    assert_eq!(put(&client, "", &there, &file).await.status, 204);
    assert_eq!(fs::read_to_string(host.path().join("etc/real/sub/new")).unwrap(), "contents");
    let body = r#"{"CurrentFilePath":"/host/etc/absolute/sub/new","NewFilePath":"/host/moved"}"#;
    assert_eq!(client.call("PUT", "/v2/browse/rename", &there, body).await.status, 204);
    assert_eq!(client.call("DELETE", "/v2/browse/delete?path=/host/moved", &there, "").await.status, 204);
    let root = client.call("DELETE", "/v2/browse/delete?path=/host", &there, "").await;
    refused(&root, 400, "root", "the root");

    for (method, route) in [
        ("GET", "ls?path=/host"),
        ("GET", "get?path=/host/etc/name"),
        ("DELETE", "delete?path=/host/etc/name"),
    ] {
        let closed = client.call(method, &format!("/v2/browse/{route}"), &[], "").await;
        refused(&closed, 403, "CAP_HOST_MANAGEMENT=1", route);
    }
    refused(
        &client.call("PUT", "/v2/browse/rename", &[], body).await,
        403,
        "CAP_HOST_MANAGEMENT=1",
        "rename",
    );
    refused(&put(&client, "", &[], &file).await, 403, "CAP_HOST_MANAGEMENT=1", "put");
    drop(host);
    let gone = client.get_with("/v2/browse/ls?path=/host", &there).await;
    refused(&gone, 403, "mount", "nothing is mounted there");
}

#[tokio::test]
async fn a_directory_of_ten_thousand_files_is_listed_whole() {
    let volumes = Volumes::of(Setup::fixed(&HOSTS).config(|_, config| config.limits.listing = 10_000)).await;
    for (target, at) in Volumes::nodes() {
        for number in 0..10_000 {
            fs::write(volumes.path(at, &format!("file-{number:05}")), "").unwrap();
        }
        let ls = async || volumes.client().get_with("/v2/browse/ls?volumeID=v1&path=/", &target).await;
        let list = ls().await.json();
        let list = list.as_array().unwrap();
        assert_eq!(list.len(), 10_000);
        assert!(list.iter().enumerate().all(|(number, entry)| entry["Name"] == format!("file-{number:05}")));
        fs::write(volumes.path(at, "one more"), "").unwrap();
        refused(&ls().await, 500, "more entries than can be listed", "one more");
    }
}

#[tokio::test]
async fn few_listings_are_large_at_once_and_the_others_go_on() {
    let volumes = Volumes::of(Setup::fixed(&HOSTS).config(|_, config| config.limits.listings = 1)).await;
    fs::create_dir(volumes.path(0, "small")).unwrap();
    fs::write(volumes.path(0, "small/file"), "").unwrap();
    for number in 0..40_000 {
        fs::write(volumes.path(0, &format!("{number:0200}")), "").unwrap();
    }
    // A client that has not read its listing holds it: it is far more than what waits in sockets.
    let target = "/v2/browse/ls?volumeID=v1&path=/";
    let mut held = volumes.client().wire().await;
    held.ask(&format!("GET {target} HTTP/1.1\nHost: a"), "").await;
    let head = held.head().await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    refused(&volumes.client().get(target).await, 503, "try again", "another one");
    assert_eq!(volumes.client().get("/v2/browse/ls?volumeID=v1&path=/small").await.status, 200);
    drop(held);
    let again = async { while volumes.client().get(target).await.status != 200 {} };
    crate::support::soon("its place is free again", again).await;
}
