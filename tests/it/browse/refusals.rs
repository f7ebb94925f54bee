//! What is refused, and what it says.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::json;

use super::*;

#[tokio::test]
async fn case_59_no_link_leads_out_of_a_volume() {
    let volumes = Volumes::start().await;
    for (target, at) in Volumes::nodes() {
        let outside = volumes.folders[at].path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        symlink("../outside", volumes.path(at, "out")).unwrap();
        symlink(&outside, volumes.path(at, "absolute")).unwrap();
        symlink("../outside/secret", volumes.path(at, "file")).unwrap();
        fs::write(volumes.path(at, "own"), "own").unwrap();
        let client = volumes.client();
        for (method, route) in [
            ("GET", "ls?volumeID=v1&path=out"),
            ("GET", "ls?volumeID=v1&path=absolute"),
            ("GET", "get?volumeID=v1&path=out/secret"),
            ("GET", "get?volumeID=v1&path=/absolute/secret"),
            ("GET", "get?volumeID=v1&path=file"),
            ("DELETE", "delete?volumeID=v1&path=out/secret"),
        ] {
            let answer = client.call(method, &format!("/v2/browse/{route}"), &target, "").await;
            refused(&answer, 403, "leads outside", route);
        }
        for paths in [("own", "out/own"), ("absolute/secret", "stolen"), ("out/secret", "stolen")] {
            let answer = rename(&client, &target, paths.0, paths.1).await;
            refused(&answer, 403, "leads outside", &format!("{paths:?}"));
        }
        for path in ["out", "/out/new/dir", "absolute"] {
            let file = [("file", Some("x"), "new"), ("Path", None, path)];
            refused(&put(&client, "volumeID=v1", &target, &file).await, 403, "leads outside", path);
        }
        let over = [("file", Some("file"), "new"), ("Path", None, "/")];
        refused(&put(&client, "volumeID=v1", &target, &over).await, 403, "is a link", "over a link");
        assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "secret");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(volumes.names(at), ["absolute", "file", "out", "own"]);
    }
}

#[tokio::test]
async fn a_volume_that_cannot_be_seen_is_refused_with_the_reason() {
    let host = tempfile::tempdir().unwrap();
    fs::create_dir_all(host.path().join("only/on/the/host")).unwrap();
    fs::write(host.path().join("only/on/the/host/file"), "").unwrap();
    let root = host.path().to_owned();
    let volumes =
        Volumes::of(Setup::fixed(&HOSTS).config(move |_, config| config.host_root = root.clone())).await;
    let empty = volumes.folders[0].path();
    let rows = [
        (json!({ "Driver": "local", "Mountpoint": "/nowhere/at/all" }), "/nowhere/at/all"),
        (json!({ "Driver": "rclone", "Mountpoint": "" }), "rclone"),
        (
            json!({ "Driver": "local", "Mountpoint": empty, "Options": { "type": "nfs", "device": ":/x" } }),
            "type nfs",
        ),
    ];
    for (document, says) in rows {
        volumes.volume(0, "v2", &document);
        let list = volumes.client().get("/v2/browse/ls?volumeID=v2&path=/").await;
        refused(&list, 501, says, &document.to_string());
    }
    volumes.volume(
        0,
        "v2",
        &json!({ "Driver": "local", "Mountpoint": "/only/on/the/host", "Options": null }),
    );
    let list = volumes.client().get("/v2/browse/ls?volumeID=v2&path=/").await;
    assert_eq!(list.json()[0]["Name"], "file", "found below the host's mount: {}", list.text());
    for (rule, status) in [
        (answers::respond(500, answers::JSON, r#"{"message":"driver failed"}"#), 500),
        (answers::garbage(), 502),
        (answers::truncated(r#"{"Name":"#), 502),
    ] {
        volumes.cluster.engine(0).on("/volumes/v3", rule);
        assert_eq!(volumes.client().get("/v2/browse/ls?volumeID=v3&path=/").await.status, status);
    }
}

#[tokio::test]
async fn an_engine_that_is_gone_or_silent_is_named() {
    let setup = Setup::fixed(&HOSTS).config(|_, config| config.limits.plain_get = Duration::from_millis(500));
    let mut volumes = Volumes::of(setup).await;
    volumes.cluster.engine(0).on("/volumes/v1", answers::silent());
    let silent = volumes.client().get("/v2/browse/get?volumeID=v1&path=/a").await;
    refused(&silent, 504, "the engine", "silent");
    volumes.cluster.nodes[0].stop_engine().await;
    refused(
        &volumes.client().get("/v2/browse/get?volumeID=v1&path=/a").await,
        503,
        "engine unavailable",
        "gone",
    );
}

#[tokio::test]
async fn the_agents_own_data_is_refused_on_every_node() {
    let volumes = Volumes::of(Setup::fixed(&HOSTS).config(|_, config| {
        (config.browse.host, config.host_root) = (true, config.data.parent().unwrap().to_owned());
    }))
    .await;
    for (target, at) in Volumes::nodes() {
        let data = volumes.cluster.nodes[at].config.data.clone();
        volumes.volume(at, "own", &json!({ "Driver": "local", "Mountpoint": data }));
        volumes.volume(at, "above", &json!({ "Driver": "local", "Mountpoint": data.parent() }));
        let client = volumes.client();
        let secrets: Vec<_> = fs::read_dir(&data).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(secrets.len() > 1, "{secrets:?}");
        for (method, route) in [
            ("GET", "ls?volumeID=own&path=/"),
            ("GET", "get?volumeID=own&path=lock"),
            ("DELETE", "delete?volumeID=own&path=lock"),
            ("GET", "ls?volumeID=above&path=data"),
            ("GET", "get?volumeID=above&path=/data/lock"),
            ("DELETE", "delete?volumeID=above&path=data/lock"),
            ("GET", "ls?path=/host/data"),
            ("GET", "get?path=/host/data/lock"),
            ("DELETE", "delete?path=/host/data/lock"),
        ] {
            let answer = client.call(method, &format!("/v2/browse/{route}"), &target, "").await;
            refused(&answer, 403, "the agent's own data", route);
        }
        for (query, path) in [("volumeID=own", "/"), ("volumeID=above", "data"), ("", "/host/data/new")] {
            let file = [("file", Some("lock"), "x"), ("Path", None, path)];
            refused(&put(&client, query, &target, &file).await, 403, "the agent's own data", path);
        }
        let body = r#"{"CurrentFilePath":"data/lock","NewFilePath":"lock"}"#;
        let renamed = client.call("PUT", "/v2/browse/rename?volumeID=above", &target, body).await;
        refused(&renamed, 403, "the agent's own data", "rename");
        assert!(data.join("lock").exists());
    }
}

#[tokio::test]
async fn each_path_has_its_method_and_needs_a_signature() {
    let volumes = Volumes::start().await;
    fs::write(volumes.path(0, "a"), "").unwrap();
    let rows = [("ls", "GET"), ("get", "GET"), ("delete", "DELETE"), ("rename", "PUT"), ("put", "POST")];
    for (op, own) in rows {
        for form in [format!("/browse/{op}"), format!("/v1.41/v2/browse/{op}"), format!("/v1/browse/v1/{op}")]
        {
            let route = format!("{form}?volumeID=v1&path=a");
            let stranger = volumes.client().stranger().call(own, &route, &[], "").await;
            assert_eq!(stranger.status, 403, "{route}");
            for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
                if method != own {
                    let wrong = volumes.client().call(method, &route, &[("X-Node", "node2")], "").await;
                    assert_eq!((wrong.status, wrong.header("allow")), (405, own), "{method} {route}");
                }
            }
        }
    }
    assert_eq!(volumes.names(0), ["a"]);
    for path in ["/browse/v1/ls", "/browse/lsx", "/browse", "/v1.41/browse/"] {
        assert_eq!(volumes.client().get(path).await.message(), "page not found", "the engine's: {path}");
    }
}

#[tokio::test]
async fn work_on_files_that_hangs_is_said_after_a_while() {
    let setup = Setup::fixed(&HOSTS).config(|_, config| {
        (config.limits.file_jobs, config.limits.file_queue) = (0, Duration::from_millis(50));
    });
    let volumes = Volumes::of(setup).await;
    for (target, _) in Volumes::nodes() {
        let busy = volumes.client().get_with("/v2/browse/ls?volumeID=v1&path=/", &target).await;
        refused(&busy, 503, "try again", "no place");
    }
}
