use std::fs;

use super::*;
use crate::cli::Origin;

const LONG: &str = "0123456789abcdef0123456789abcdef";

fn args(flags: &[&str]) -> Args {
    Args::from_flags(flags.iter().map(ToString::to_string)).expect("the flags exist")
}

fn built(flags: &[&str]) -> Config {
    build(&args(flags)).unwrap_or_else(|p| panic!("{flags:?}: {p:?}"))
}

/// Which options have a problem.
fn blamed(flags: &[&str]) -> Vec<String> {
    build(&args(flags)).err().into_iter().flatten().map(|p| p.option).collect()
}

#[test]
fn nothing_set_is_fine() {
    let config = built(&[]);
    assert_eq!((config.listen.host, config.listen.port, config.listen.peer_port), (None, 9001, 9002));
    assert_eq!(config.portainer.window, Duration::from_secs(259_200));
    assert_eq!(config.portainer.agent_version, "2.23.0");
    assert_eq!(config.data, PathBuf::from("/var/lib/swarmgate"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    #[cfg(unix)]
    assert_eq!(config.engine.at, EngineAt::Unix("/var/run/docker.sock".into()));
}

#[test]
fn what_contradicts_is_a_problem() {
    let short = &LONG[..31];
    let tls = ["--docker-tls-verify", "1", "--docker-cert-path"];
    let [verify, one, path] = tls;
    let rows: &[(&[&str], &[&str])] = &[
        (&["--port", "9002"], &["AGENT_PEER_PORT"]),
        (&["--metrics-addr", "127.0.0.1:9002"], &["AGENT_METRICS_ADDR"]),
        (&["--port", "0", "--peer-port", "0"], &[]),
        (&["--port", "", "--host", " "], &["AGENT_HOST", "AGENT_PORT"]),
        (&["--secret", ""], &["AGENT_SECRET"]),
        (&["--peers", "b"], &["AGENT_PEERS"]),
        (&["--peers", "b", "--cluster-secret", LONG], &[]),
        (&["--peers", "b", "--cluster-secret", ""], &["AGENT_CLUSTER_SECRET"]),
        (&["--cluster-secret", short], &["AGENT_CLUSTER_SECRET"]),
        (&["--cluster-secret-file", "/nowhere"], &["AGENT_CLUSTER_SECRET_FILE"]),
        (&["--secret", LONG, "--secret-file", "/nowhere"], &["AGENT_SECRET_FILE"]),
        (&["--tls-cert", "/dev/null"], &["AGENT_TLS_KEY"]),
        (&["--tls-key", "/dev/null"], &["AGENT_TLS_CERT"]),
        (&["--tls-key", "/dev/null", "--tls-cert", "/dev/null"], &[]),
        (&["--tls-key", "/nowhere", "--tls-cert", "/dev"], &["AGENT_TLS_CERT", "AGENT_TLS_KEY"]),
        (&[verify, one], &["DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"]),
        (&[verify, "0"], &["DOCKER_TLS_VERIFY"]),
        (&[path, "/"], &["DOCKER_TLS_VERIFY"]),
        (&["--docker-host", "tcp://a", verify, one], &["DOCKER_CERT_PATH"]),
        (&["--docker-host", "tcp://a", verify, one, path, "/nowhere"], &["DOCKER_CERT_PATH"]),
        (&["--docker-host", "ssh://a", verify, one, path, "/dev"], &["DOCKER_HOST", "DOCKER_CERT_PATH"]),
    ];
    for (flags, expected) in rows {
        assert_eq!(blamed(flags), *expected, "{flags:?}");
    }
}

/// The flags of a registration that is whole.
fn registering(token: &str) -> [&str; 6] {
    let url = "https://portainer:9443/";
    ["--portainer-url", url, "--portainer-token-file", token, "--portainer-ca", "/dev/null"]
}

#[test]
fn a_registration_is_whole_or_a_problem() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("it is written");
        path.to_str().expect("it is text").to_owned()
    };
    let (token, empty, odd) =
        (path("token", "ptr_abc=\n"), path("empty", "\n"), path("odd", "ptr abc\r\nx: y"));
    let pin = format!("sha256:{}", "0f".repeat(32));
    let [url, at, file, _, ca, authorities] = registering(&token);
    let (print, name, address) = ("--portainer-fingerprint", "--portainer-name", "--portainer-address");
    let rows: &[(&[&str], &[&str])] = &[
        (&registering(&token), &[]),
        (&[url, at, file, &token, print, &pin], &[]),
        (&[url, at], &["AGENT_PORTAINER_TOKEN_FILE", "AGENT_PORTAINER_CA"]),
        (&[url, at, file, &token], &["AGENT_PORTAINER_CA"]),
        (&[url, at, ca, authorities], &["AGENT_PORTAINER_TOKEN_FILE"]),
        (&[url, at, file, &token, ca, authorities, print, &pin], &["AGENT_PORTAINER_FINGERPRINT"]),
        (&[file, &token], &["AGENT_PORTAINER_URL"]),
        (&[ca, authorities], &["AGENT_PORTAINER_URL"]),
        (&[print, &pin], &["AGENT_PORTAINER_URL"]),
        (&[name, "a", address, "a:1"], &["AGENT_PORTAINER_URL"]),
        (&[url, "http://portainer", file, &token, print, &pin], &["AGENT_PORTAINER_URL"]),
        (&[url, "", file, &token, print, &pin], &["AGENT_PORTAINER_URL"]),
        (&[url, at, file, "/nowhere", print, &pin], &["AGENT_PORTAINER_TOKEN_FILE"]),
        (&[url, at, file, &empty, print, &pin], &["AGENT_PORTAINER_TOKEN_FILE"]),
        (&[url, at, file, &odd, print, &pin], &["AGENT_PORTAINER_TOKEN_FILE"]),
        (&[url, at, file, &token, ca, "/nowhere"], &["AGENT_PORTAINER_CA"]),
        (&[url, at, file, &token, ca, ""], &["AGENT_PORTAINER_CA"]),
        (&[url, at, file, &token, print, "0f"], &["AGENT_PORTAINER_FINGERPRINT"]),
        (&[url, at, file, &token, print, &pin, name, " "], &["AGENT_PORTAINER_NAME"]),
        (&[url, at, file, &token, print, &pin, address, "node1"], &["AGENT_PORTAINER_ADDRESS"]),
    ];
    for (flags, expected) in rows {
        assert_eq!(blamed(flags), *expected, "{flags:?}");
    }
    let registration = built(&registering(&token)).registration.expect("one");
    assert_eq!(
        (registration.server.as_str(), registration.token.reveal()),
        ("https://portainer:9443", "ptr_abc=")
    );
    assert!(built(&[]).registration.is_none());
}

#[test]
fn all_problems_come_at_once_and_no_secret_with_them() {
    let flags = ["--port=x", "--log-level=loud", "--cluster-secret=hunter2-hunter2", "--secret-file=hunter3"];
    let mut args = args(&flags);
    args.surroundings.variables = vec!["AGENT_PROT".into()];
    let problems = build(&args).expect_err("five problems");
    let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "AGENT_PORT: \"x\": expected a port from 1 to 65535",
            "AGENT_SECRET_FILE: cannot read the file that it names: No such file or directory (os error 2)",
            "AGENT_CLUSTER_SECRET: a cluster secret needs at least 32 characters",
            "LOG_LEVEL: \"loud\": expected ERROR, WARN, INFO, DEBUG or TRACE",
            "AGENT_PROT: there is no such option; AGENT_PORT is meant?",
        ]
    );
}

#[test]
fn what_is_no_path_may_be_a_secret_and_is_not_shown() {
    let flags = ["--tls-key=-----BEGIN PRIVATE KEY-----", "--tls-cert=/nowhere"];
    let problems = build(&args(&flags)).expect_err("two problems");
    let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    let absent = "No such file or directory (os error 2)";
    assert_eq!(
        texts,
        [
            format!("AGENT_TLS_CERT: cannot read \"/nowhere\": {absent}"),
            format!("AGENT_TLS_KEY: cannot read the file that it names: {absent}"),
        ]
    );
}

#[test]
fn files_hold_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("it is written");
        path.to_str().expect("it is text").to_owned()
    };
    let first = write("first", format!("{LONG}1\r\n").as_bytes());
    let second = write("second", format!("{LONG}2").as_bytes());
    let both = format!("{first}, {second},{first}");
    let secrets = built(&["--cluster-secret-file", &both]).cluster.secrets;
    let texts: Vec<_> = secrets.iter().map(Secret::reveal).collect();
    assert_eq!(texts, [format!("{LONG}1"), format!("{LONG}2")]);

    let bad = [
        write("empty", b""),
        write("newline", b"\n"),
        write("binary", &[0xff; 40]),
        write("big", &[b'a'; 65537]),
        folder.path().to_str().expect("it is text").to_owned(),
        format!("{first},"),
        [first.as_str(); 9].join(","),
    ];
    for path in &bad {
        assert_eq!(blamed(&["--cluster-secret-file", path]), ["AGENT_CLUSTER_SECRET_FILE"], "{path}");
    }
    let comma = write("a,b", b"0123456789abcdef");
    let secret = built(&["--secret-file", &comma]).portainer.secret;
    assert_eq!(secret.map(|s| s.reveal().to_owned()).as_deref(), Some("0123456789abcdef"));
}

#[test]
fn a_flag_beats_the_environment() {
    let mut args = args(&["--secret", "from the flag, it is", "--secret-file", "/nowhere"]);
    args.origins.insert("AGENT_SECRET_FILE".into(), Origin::Environment);
    let config = build(&args).expect("the file is not read");
    assert!(config.portainer.secret.is_some_and(|s| s.reveal() == "from the flag, it is"));
}

#[test]
fn the_data_directory_follows_the_surroundings() {
    let rows = [
        (false, Some("/state"), Some("/home/a"), "/state/swarmgate"),
        (false, None, Some("/home/a"), "/home/a/.local/state/swarmgate"),
        (false, None, None, "/var/lib/swarmgate"),
        (true, Some("/state"), Some("/root"), "/data"),
    ];
    for (container_data, state, home, expected) in rows {
        let mut args = args(&[]);
        args.surroundings.container_data = container_data;
        args.surroundings.state_home = state.map(PathBuf::from);
        args.surroundings.home = home.map(PathBuf::from);
        assert_eq!(build(&args).expect("it is fine").data, PathBuf::from(expected));
    }
    assert_eq!(built(&["--data", "/x"]).data, PathBuf::from("/x"));
}

#[test]
fn what_is_allowed_but_unwise_warns() {
    let own = ["--tls-cert", "/dev/null", "--tls-key", "/dev/null", "--tls-sans", "a"];
    let rows: &[(&[&str], &str)] = &[
        (&["--secret", "fifteen letters"], "AGENT_SECRET has fewer"),
        (&["--secret", LONG, "--cluster-secret", LONG], "AGENT_SECRET is also"),
        (&["--secret-timeout", "0"], "AGENT_SECRET_TIMEOUT is 0"),
        (&["--docker-host", "tcp://node1"], "DOCKER_HOST is TCP"),
        (&own, "AGENT_TLS_SANS changes nothing"),
        (&["--assets", "/app", "--agent-cluster-timeout", "1s"], "set for Portainer's agent"),
    ];
    for (flags, expected) in rows {
        let warnings = built(flags).warnings;
        assert!(matches!(warnings.as_slice(), [one] if one.starts_with(expected)), "{flags:?}: {warnings:?}");
    }
    let fine = [
        ["--secret", "sixteen letters."],
        ["--docker-host", "tcp://[::1]"],
        ["--docker-host", "tcp://localhost"],
    ];
    for flags in fine {
        assert!(built(&flags).warnings.is_empty(), "{flags:?}");
    }
}

#[test]
fn variables_of_portainer_are_named_in_one_warning() {
    let mut args = args(&["--assets", "/app"]);
    let set = ["EDGE", "EDGE_KEY", "AWS_REGION", "PATH", "EDGEWISE", "KUBERNETES_POD_IP"];
    args.surroundings.variables = set.map(String::from).into();
    let config = build(&args).expect("they are accepted");
    assert_eq!(config.ignored, ["ASSETS_PATH", "AWS_REGION", "EDGE", "EDGE_KEY", "KUBERNETES_POD_IP"]);
    let names = "ASSETS_PATH, AWS_REGION, EDGE, EDGE_KEY, KUBERNETES_POD_IP";
    assert_eq!(config.warnings, [format!("set for Portainer's agent and without effect here: {names}")]);
}
