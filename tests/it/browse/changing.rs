//! Uploads, renames, deletes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

#[tokio::test]
async fn case_61_an_upload_makes_its_directory() {
    let volumes = Volumes::start().await;
    for (target, at) in Volumes::nodes() {
        let file = ("file", Some("a.txt"), "contents");
        let other = ("other", None, "ignored");
        let rows: [(&str, &[_]); 5] = [
            ("file-first/dir", &[file, ("Path", None, "/file-first/dir")]),
            ("path-first/dir", &[("Path", None, "path-first/dir"), other, file, other]),
            ("", &[file, ("Path", None, "/")]),
            ("query", &[file]),
            ("query/again", &[file, ("Path", None, "ignored")]),
        ];
        for (directory, parts) in rows {
            let query =
                if directory.starts_with("query") { format!("&Path={directory}") } else { String::new() };
            let answer = put(&volumes.client(), &format!("volumeID=v1{query}"), &target, parts).await;
            assert_eq!((answer.status, answer.body.len()), (204, 0), "{directory}: {}", answer.text());
            let at = volumes.path(at, directory);
            assert_eq!(fs::read_to_string(at.join("a.txt")).unwrap(), "contents", "{directory}");
            assert_eq!(fs::metadata(at.join("a.txt")).unwrap().mode() & 0o7777, 0o644, "{directory}");
            assert_eq!(
                fs::read_dir(&at).unwrap().filter(|e| e.as_ref().unwrap().path().is_file()).count(),
                1
            );
        }
        let made = fs::metadata(volumes.path(at, "path-first/dir")).unwrap().mode();
        assert_eq!(made & 0o7777, 0o755);
        assert_eq!(volumes.names(at), ["a.txt", "file-first", "path-first", "query"]);
        let (kind, body) = form(&[file, ("Path", None, "oldest")]);
        let headers = [target[0], ("Content-Type", kind.as_str())];
        let oldest = volumes.client().call("POST", "/v1/browse/v1/put", &headers, body).await;
        assert_eq!(oldest.status, 204, "{}", oldest.text());
        assert_eq!(fs::read_to_string(volumes.path(at, "oldest/a.txt")).unwrap(), "contents");
        assert_eq!(volumes.spooled(at), 0);
        assert_eq!(fs::read_dir(volumes.cluster.nodes[at].config.data.join("uploads")).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn case_62_a_shorter_file_replaces_a_longer_one_whole_and_keeps_its_owner_and_mode() {
    let volumes = Volumes::start().await;
    for (target, at) in Volumes::nodes() {
        let old = volumes.path(at, "a.txt");
        fs::write(&old, "long ".repeat(1000)).unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o4640)).unwrap();
        fs::create_dir(volumes.path(at, "dir")).unwrap();
        fs::create_dir(volumes.path(at, "taken")).unwrap();
        if is_root() {
            std::os::unix::fs::chown(&old, Some(OWNER), Some(OWNER)).unwrap();
            std::os::unix::fs::chown(volumes.path(at, "dir"), Some(OWNER), Some(OWNER)).unwrap();
        }
        let before = fs::metadata(&old).unwrap();
        let client = volumes.client();
        let answer =
            put(&client, "volumeID=v1", &target, &[("file", Some("a.txt"), "short"), ("Path", None, "/")])
                .await;
        assert_eq!(answer.status, 204, "{}", answer.text());
        let after = fs::metadata(&old).unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "short");
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
        assert_eq!(after.mode() & 0o7777, 0o640, "the mode, and no setuid for other contents");
        assert_ne!(after.ino(), before.ino(), "whoever had it open still reads the old one");

        let new =
            put(&client, "volumeID=v1", &target, &[("file", Some("b"), "new"), ("Path", None, "/dir/below")])
                .await;
        assert_eq!(new.status, 204, "{}", new.text());
        let owner = fs::metadata(volumes.path(at, "dir")).unwrap().uid();
        for path in ["dir/below", "dir/below/b"] {
            assert_eq!(
                fs::metadata(volumes.path(at, path)).unwrap().uid(),
                owner,
                "as the directory: {path}"
            );
        }

        let onto =
            put(&client, "volumeID=v1", &target, &[("file", Some("taken"), "x"), ("Path", None, "/")]).await;
        refused(&onto, 400, "is a directory", "onto a directory");
        let below =
            put(&client, "volumeID=v1", &target, &[("file", Some("x"), "x"), ("Path", None, "a.txt/x")])
                .await;
        refused(&below, 500, "Not a directory", "below a file");
        assert_eq!(volumes.names(at), ["a.txt", "dir", "taken"]);
    }
}

#[tokio::test]
async fn case_63_an_upload_that_lacks_something_leaves_nothing() {
    let volumes = Volumes::start().await;
    for (target, at) in Volumes::nodes() {
        let client = volumes.client();
        let (file, path) = (("file", Some("a.txt"), "contents"), ("Path", None, "/"));
        let rows: [(&[_], &str); 9] = [
            (&[path], "'file'"),
            (&[("file", None, "no file"), path], "'file'"),
            (&[file, file, path], "'file'"),
            (&[file], "'Path'"),
            (&[file, ("Path", None, "")], "'Path'"),
            (&[file, ("Path", None, "/a/..")], "'..'"),
            (&[file, ("Path", None, "..\\a")], "'..'"),
            (&[("file", Some(""), "x"), path], "name"),
            (&[("file", Some("a/.."), "x"), path], "name"),
        ];
        for (parts, says) in rows {
            refused(&put(&client, "volumeID=v1", &target, parts).await, 400, says, &format!("{parts:?}"));
        }
        let (kind, body) = form(&[file, path]);
        let cut = &body[..body.len() - 10];
        for (kind, body) in [
            ("text/plain", body.as_str()),
            ("multipart/form-data", &body),
            ("multipart/form-data; boundary=other", &body),
            (&kind, cut),
            (&kind, ""),
        ] {
            let headers = [target[0], ("Content-Type", kind)];
            let answer = client.call("POST", "/v2/browse/put?volumeID=v1", &headers, body.to_owned()).await;
            refused(&answer, 400, "multipart/form-data", &format!("{kind} {}", body.len()));
        }
        assert_eq!(volumes.names(at), [""; 0]);
        for (sent, name) in [("../../x", "x"), ("..\\..\\y", "y"), ("C:\\fakepath\\ü z", "ü z")] {
            let answer = put(&client, "volumeID=v1", &target, &[("file", Some(sent), sent), path]).await;
            assert_eq!(answer.status, 204, "{sent}: {}", answer.text());
            assert_eq!(fs::read_to_string(volumes.path(at, name)).unwrap(), sent);
        }
        assert_eq!(volumes.names(at), ["x", "y", "ü z"]);
    }
}

#[tokio::test]
async fn case_64_a_file_is_renamed() {
    let volumes = Volumes::start().await;
    for (target, at) in Volumes::nodes() {
        let client = volumes.client();
        fs::create_dir(volumes.path(at, "sub")).unwrap();
        for name in ["a", "b"] {
            fs::write(volumes.path(at, name), name).unwrap();
        }
        let renamed = rename(&client, &target, "a", "/sub/c").await;
        assert_eq!((renamed.status, renamed.body.len()), (204, 0), "{}", renamed.text());
        assert_eq!(rename(&client, &target, "/sub/c", "b").await.status, 204);
        assert_eq!(fs::read_to_string(volumes.path(at, "b")).unwrap(), "a", "it replaces");
        let raw = async |body: &str| {
            client.call("PUT", "/v2/browse/rename?volumeID=v1", &target, body.to_owned()).await
        };
        let lower = raw(r#"{"currentfilepath":"b","NEWFILEPATH":"d","other":1}"#).await;
        assert_eq!((lower.status, volumes.names(at)), (204, vec!["d".to_owned(), "sub".into()]));
        let oldest = client.call(
            "PUT",
            "/v1/browse/v1/rename",
            &target,
            r#"{"CurrentFilePath":"d","NewFilePath":"e"}"#,
        );
        assert_eq!(oldest.await.status, 204);
        for (body, says) in [
            (r#"{"CurrentFilePath":"e"}"#, "NewFilePath"),
            (r#"{"CurrentFilePath":"","NewFilePath":"f"}"#, "CurrentFilePath"),
            (r#"{"CurrentFilePath":"e","NewFilePath":1}"#, "NewFilePath"),
            (r#"{"CurrentFilePath":"e","NewFilePath":"f","newfilepath":"g"}"#, "NewFilePath"),
            (r#"{"CurrentFilePath":"e","NewFilePath":"../f"}"#, "'..'"),
            (r#"{"CurrentFilePath":"a/../e","NewFilePath":"f"}"#, "'..'"),
            (r#"{"CurrentFilePath":"e","NewFilePath":"f\u0000"}"#, "'..'"),
            (r#"{"CurrentFilePath":"e","NewFilePath":"/"}"#, "root"),
            (r#"{"CurrentFilePath":"e","NewFilePath":"f""#, "JSON"),
            ("[]", "JSON"),
            ("", "JSON"),
        ] {
            refused(&raw(body).await, 400, says, body);
        }
        refused(&rename(&client, &target, "absent", "f").await, 500, "No such file or directory", "absent");
        refused(
            &rename(&client, &target, "e", "none/f").await,
            500,
            "No such file or directory",
            "no directory",
        );
        let large = raw(&format!("{{\"CurrentFilePath\":\"{}\"}}", "a".repeat(65 << 10))).await;
        refused(&large, 413, "65536", "large");
        assert_eq!(volumes.names(at), ["e", "sub"]);
    }
}

#[tokio::test]
async fn case_65_a_file_a_link_or_an_empty_directory_is_deleted() {
    let volumes = Volumes::start().await;
    for (target, at) in Volumes::nodes() {
        fs::create_dir_all(volumes.path(at, "full/empty")).unwrap();
        fs::write(volumes.path(at, "a.txt"), "").unwrap();
        fs::write(volumes.path(at, "full/b"), "").unwrap();
        symlink("full", volumes.path(at, "link")).unwrap();
        let delete = async |path: &str| {
            let route = format!("/v2/browse/delete?volumeID=v1{path}");
            volumes.client().call("DELETE", &route, &target, "").await
        };
        for path in ["a.txt", "/full/empty", "link"] {
            let deleted = delete(&format!("&path={path}")).await;
            assert_eq!((deleted.status, deleted.body.len()), (204, 0), "{path}: {}", deleted.text());
        }
        refused(&delete("&path=/full").await, 500, "not empty", "full");
        refused(&delete("&path=a.txt").await, 500, "No such file or directory", "missing");
        refused(&delete("").await, 400, "no path", "no path");
        refused(&delete("&path=/").await, 400, "root", "the root");
        refused(&delete("&path=full/../full").await, 400, "'..'", "dots");
        assert_eq!(volumes.names(at), ["full"]);
        assert!(volumes.path(at, "full/b").exists(), "what a link leads to stays");
    }
}
