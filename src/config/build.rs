//! From text to [`Config`]: every option, then what they mean together.

mod foreign;
mod reader;

use std::path::PathBuf;
use std::time::Duration;

use reader::Reader;

use super::parse;
use super::{
    Browse, ClusterSettings, Config, Engine, EngineAt, Hub, Limits, Listen, Log, LogMode, Portainer, Problem,
    Registration, Tls, Trust,
};
use crate::cli::Args;
use crate::model::Secret;

/// 72 hours, as Portainer's own agent.
const WINDOW: Duration = Duration::from_secs(72 * 60 * 60);
/// The newest of Portainer's agents that was compared.
const AGENT_VERSION: &str = "2.23.0";
#[cfg(not(windows))]
const DOCKER_HOST: &str = "unix:///var/run/docker.sock";
#[cfg(windows)]
const DOCKER_HOST: &str = "npipe:////./pipe/docker_engine";
/// Where Portainer's own instructions mount the host's file system.
const HOST_ROOT: &str = "/host";
/// 1 GiB: what a browser uploads is rarely larger, and it needs that much room twice.
const UPLOAD_LIMIT: u64 = 1 << 30;
/// 32 characters: the CA that every peer trusts is derived from it, and a handshake lets anybody guess offline.
const CLUSTER_SECRET_LENGTH: usize = 32;
/// 16 characters: below, guessing the secret from one captured signature is cheap.
const SECRET_LENGTH: usize = 16;

pub(super) fn build(args: &Args) -> Result<Config, Vec<Problem>> {
    let mut reader = Reader::new(args);
    let listen = listen(&mut reader);
    let config = Config {
        tls: tls(&mut reader),
        engine: engine(&mut reader),
        portainer: portainer(&mut reader),
        registration: registration(&mut reader),
        cluster: cluster(&mut reader, listen.peer_port),
        listen,
        data: data(&mut reader),
        log: log(&mut reader),
        host_root: PathBuf::from(HOST_ROOT),
        browse: browse(&mut reader),
        hub: hub(),
        limits: Limits::default(),
        ignored: foreign::ignored(args),
        warnings: Vec::new(),
    };
    reader.problems.extend(foreign::unknown(&args.surroundings.variables));
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    Ok(Config { warnings: warnings(&config), ..config })
}

fn listen(reader: &mut Reader<'_>) -> Listen {
    let options = &reader.args.options;
    let host = reader.parse("AGENT_HOST", &options.host, parse::address);
    let port = reader.parse("AGENT_PORT", &options.port, parse::port).unwrap_or(9001);
    let peer_port = reader.parse("AGENT_PEER_PORT", &options.peer_port, parse::port).unwrap_or(9002);
    if port == peer_port && port != 0 {
        reader.problem("AGENT_PEER_PORT", format!("is {port}, the same as AGENT_PORT"));
    }
    let ranges = |t: &str| parse::list(t, parse::cidr);
    let allow_from = reader.parse("AGENT_ALLOW_FROM", &options.allow_from, ranges).unwrap_or_default();
    let metrics = reader.parse("AGENT_METRICS_ADDR", &options.metrics_addr, parse::socket);
    if let Some(taken) = metrics.filter(|at| at.port() == peer_port && peer_port != 0) {
        reader.problem("AGENT_METRICS_ADDR", format!("{taken} has the port of AGENT_PEER_PORT"));
    }
    Listen { host, port, peer_port, allow_from, metrics }
}

fn tls(reader: &mut Reader<'_>) -> Tls {
    let options = &reader.args.options;
    let cert = reader.file("AGENT_TLS_CERT", &options.tls_cert);
    let key = reader.file("AGENT_TLS_KEY", &options.tls_key);
    match (&options.tls_cert, &options.tls_key) {
        (Some(_), None) => reader.problem("AGENT_TLS_KEY", "is missing; AGENT_TLS_CERT needs it"),
        (None, Some(_)) => reader.problem("AGENT_TLS_CERT", "is missing; AGENT_TLS_KEY needs it"),
        _ => {}
    }
    let names = |t: &str| parse::list(t, parse::san);
    let sans = reader.parse("AGENT_TLS_SANS", &options.tls_sans, names).unwrap_or_default();
    Tls { own: cert.zip(key), sans }
}

fn engine(reader: &mut Reader<'_>) -> Engine {
    let options = &reader.args.options;
    let verify = reader.parse("DOCKER_TLS_VERIFY", &options.docker_tls_verify, parse::yes).is_some();
    let folder = reader.text("DOCKER_CERT_PATH", &options.docker_cert_path).map(PathBuf::from);
    // Docker's registered ports: plain and TLS.
    let port = if verify { 2376 } else { 2375 };
    let host = |t: &str| parse::docker_host(t, port);
    let given = reader.parse("DOCKER_HOST", &options.docker_host, host);
    let is_tcp = matches!(given, Some(EngineAt::Tcp { .. }));
    // A DOCKER_HOST with a problem of its own is not blamed twice.
    if verify && !is_tcp && (given.is_some() || options.docker_host.is_none()) {
        reader.problem("DOCKER_TLS_VERIFY", "only makes sense with DOCKER_HOST=tcp://host:port");
    }
    match &folder {
        None if verify && options.docker_cert_path.is_none() => {
            reader.problem("DOCKER_CERT_PATH", "is missing; DOCKER_TLS_VERIFY needs it");
        }
        Some(_) if options.docker_tls_verify.is_none() => {
            reader.problem("DOCKER_TLS_VERIFY", "is missing; DOCKER_CERT_PATH alone would protect nothing");
        }
        Some(folder) if verify => reader.readable("DOCKER_CERT_PATH", &folder.join("ca.pem")),
        _ => {}
    }
    let default = || parse::docker_host(DOCKER_HOST, port).ok();
    let at = given.or_else(default).unwrap_or_else(|| EngineAt::Unix(PathBuf::new()));
    Engine { at, tls: folder.filter(|_| verify) }
}

fn portainer(reader: &mut Reader<'_>) -> Portainer {
    let options = &reader.args.options;
    let text = ("AGENT_SECRET", &options.secret);
    let secret = reader.secrets(text, ("AGENT_SECRET_FILE", &options.secret_file), |path| vec![path]).pop();
    let keys = |t: &str| parse::list(t, parse::fingerprint);
    let pins = reader.parse("AGENT_PORTAINER_KEYS", &options.portainer_keys, keys).unwrap_or_default();
    let window = reader.parse("AGENT_SECRET_TIMEOUT", &options.secret_timeout, parse::duration);
    let version = reader.parse("AGENT_PORTAINER_VERSION", &options.portainer_version, parse::version);
    Portainer {
        secret,
        pins,
        window: window.unwrap_or(WINDOW),
        agent_version: version.unwrap_or_else(|| AGENT_VERSION.into()),
    }
}

fn registration(reader: &mut Reader<'_>) -> Option<Registration> {
    let options = &reader.args.options;
    let server = reader.parse("AGENT_PORTAINER_URL", &options.portainer_url, parse::https);
    let token = token(reader);
    let authorities = reader.file("AGENT_PORTAINER_CA", &options.portainer_ca);
    let pin = reader.parse("AGENT_PORTAINER_FINGERPRINT", &options.portainer_fingerprint, parse::fingerprint);
    let name = reader.parse("AGENT_PORTAINER_NAME", &options.portainer_name, parse::label);
    let address = reader.parse("AGENT_PORTAINER_ADDRESS", &options.portainer_address, parse::host_and_port);
    let trust = match (&options.portainer_ca, &options.portainer_fingerprint) {
        (Some(_), Some(_)) => {
            reader.problem(
                "AGENT_PORTAINER_FINGERPRINT",
                "is set, and so is AGENT_PORTAINER_CA; one of them has to go",
            );
            None
        }
        _ => authorities.map(Trust::File).or(pin.map(Trust::Pinned)),
    };
    let written = [
        ("AGENT_PORTAINER_TOKEN_FILE", &options.portainer_token_file),
        ("AGENT_PORTAINER_CA", &options.portainer_ca),
        ("AGENT_PORTAINER_FINGERPRINT", &options.portainer_fingerprint),
        ("AGENT_PORTAINER_NAME", &options.portainer_name),
        ("AGENT_PORTAINER_ADDRESS", &options.portainer_address),
    ];
    if options.portainer_url.is_none() {
        if let Some((option, _)) = written.iter().find(|(_, written)| written.is_some()) {
            reader.problem("AGENT_PORTAINER_URL", format!("is missing; {option} means nothing without it"));
        }
        return None;
    }
    if options.portainer_token_file.is_none() {
        reader.problem("AGENT_PORTAINER_TOKEN_FILE", "is missing; AGENT_PORTAINER_URL needs it");
    }
    if options.portainer_ca.is_none() && options.portainer_fingerprint.is_none() {
        let why = "is missing, and so is AGENT_PORTAINER_FINGERPRINT; AGENT_PORTAINER_URL needs one of them";
        reader.problem("AGENT_PORTAINER_CA", why);
    }
    Some(Registration { server: server?, token: token?, trust: trust?, name, address })
}

fn token(reader: &mut Reader<'_>) -> Option<Secret> {
    let file = ("AGENT_PORTAINER_TOKEN_FILE", &reader.args.options.portainer_token_file);
    let token = reader.secrets(("AGENT_PORTAINER_TOKEN", &None), file, |path| vec![path]).pop()?;
    if token.reveal().bytes().all(|b| b.is_ascii_graphic()) {
        return Some(token);
    }
    reader.problem(file.0, "holds no access token: those are one word of plain letters");
    None
}

fn cluster(reader: &mut Reader<'_>, peer_port: u16) -> ClusterSettings {
    let options = &reader.args.options;
    let text = ("AGENT_CLUSTER_SECRET", &options.cluster_secret);
    let file = ("AGENT_CLUSTER_SECRET_FILE", &options.cluster_secret_file);
    let secrets = reader.secrets(text, file, |paths| paths.split(',').map(str::trim).collect());
    if secrets.iter().any(|s| s.reveal().chars().count() < CLUSTER_SECRET_LENGTH) {
        let option = if options.cluster_secret.is_some() { text.0 } else { file.0 };
        reader.problem(option, format!("a cluster secret needs at least {CLUSTER_SECRET_LENGTH} characters"));
    }
    let name = reader.parse("AGENT_CLUSTER_ADDR", &options.cluster_addr, parse::dns_name);
    let peer = |t: &str| parse::peer(t, if peer_port == 0 { 9002 } else { peer_port });
    let peers = reader.parse("AGENT_PEERS", &options.peers, |t| parse::list(t, peer)).unwrap_or_default();
    if options.peers.is_some() && options.cluster_secret.is_none() && options.cluster_secret_file.is_none() {
        let why = "needs AGENT_CLUSTER_SECRET or AGENT_CLUSTER_SECRET_FILE: without Swarm nothing else proves who a peer is";
        reader.problem("AGENT_PEERS", why);
    }
    ClusterSettings { secrets: distinct(secrets), name, peers: distinct(peers) }
}

/// As Docker documents how to ask for the limits.
fn hub() -> Hub {
    let (auth, registry) = ("https://auth.docker.io".to_owned(), "https://registry-1.docker.io".to_owned());
    Hub { auth, registry, trust: Trust::Public }
}

fn data(reader: &mut Reader<'_>) -> PathBuf {
    let options = &reader.args.options;
    reader.text("DATA_PATH", &options.data).map_or_else(|| data_default(reader.args), PathBuf::from)
}

fn data_default(args: &Args) -> PathBuf {
    let around = &args.surroundings;
    match (&around.state_home, &around.home) {
        _ if around.container_data => PathBuf::from("/data"),
        (Some(state), _) => state.join("swarmgate"),
        (None, Some(home)) => home.join(".local/state/swarmgate"),
        (None, None) => PathBuf::from("/var/lib/swarmgate"),
    }
}

fn browse(reader: &mut Reader<'_>) -> Browse {
    let options = &reader.args.options;
    let host = reader.parse("CAP_HOST_MANAGEMENT", &options.host_management, parse::yes).is_some();
    let limit = reader.parse("AGENT_UPLOAD_LIMIT", &options.upload_limit, parse::size);
    Browse { host, upload_limit: limit.unwrap_or(UPLOAD_LIMIT) }
}

fn log(reader: &mut Reader<'_>) -> Log {
    let options = &reader.args.options;
    let level = reader.parse("LOG_LEVEL", &options.log_level, parse::log_level);
    let mode = reader.parse("LOG_MODE", &options.log_mode, parse::log_mode);
    Log { level: level.unwrap_or(tracing::Level::INFO), mode: mode.unwrap_or(LogMode::Pretty) }
}

fn warnings(config: &Config) -> Vec<String> {
    let Portainer { secret, pins, window, .. } = &config.portainer;
    let is_short = |s: &Secret| s.reveal().chars().count() < SECRET_LENGTH;
    let is_shared = |s: &Secret| config.cluster.secrets.contains(s);
    let checks = [
        (
            secret.as_ref().is_some_and(is_short),
            "AGENT_SECRET has fewer than 16 characters: one captured signature is enough to guess it",
        ),
        (
            secret.as_ref().is_some_and(is_shared),
            "AGENT_SECRET is also a cluster secret: who has it from Portainer can pose as an agent",
        ),
        (
            secret.is_none() && pins.is_empty() && window.is_zero(),
            "AGENT_SECRET_TIMEOUT is 0: no Portainer can claim this agent",
        ),
        (
            config.tls.own.is_some() && !config.tls.sans.is_empty(),
            "AGENT_TLS_SANS changes nothing: AGENT_TLS_CERT is used as it is",
        ),
        (
            config.engine.tls.is_none() && is_far(&config.engine.at),
            "DOCKER_HOST is TCP without TLS: whoever is on the way controls the engine",
        ),
    ];
    let told = checks.into_iter().filter(|(applies, _)| *applies).map(|(_, text)| text.to_owned());
    told.chain(foreign::warning(&config.ignored)).collect()
}

fn is_far(at: &EngineAt) -> bool {
    let EngineAt::Tcp { host, .. } = at else { return false };
    host != "localhost" && !host.parse().is_ok_and(|a: std::net::IpAddr| a.is_loopback())
}

fn distinct<T: PartialEq>(all: Vec<T>) -> Vec<T> {
    let mut kept = Vec::with_capacity(all.len());
    for one in all {
        if !kept.contains(&one) {
            kept.push(one);
        }
    }
    kept
}

#[cfg(test)]
mod tests;
