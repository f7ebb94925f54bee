//! What the scripted engine says when nobody told it otherwise.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::answers::{Answer, JSON, Recorded, empty, error, json, value, whole};
use super::{Feed, Script, State, pages, samples, streams, swarm};

pub(super) type Filters = BTreeMap<String, Vec<String>>;

/// The version in front of a path, and the path behind it. As in the engine, digits and dots make a version.
pub(super) fn split_version(path: &str) -> (Option<&str>, &str) {
    let versioned = path.strip_prefix("/v").and_then(|rest| {
        let end = rest.find('/')?;
        let (version, rest) = rest.split_at(end);
        let is_version = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        is_version.then_some((Some(version), rest))
    });
    versioned.unwrap_or((None, path))
}

pub(super) fn query(query: Option<&str>) -> HashMap<String, String> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key), decode(value))
    };
    query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

/// Both spellings: `{"name":["a"]}` and `{"name":{"a":true}}`.
pub(super) fn filters(query: &HashMap<String, String>) -> Filters {
    let text = query.get("filters").map(String::as_str).unwrap_or_default();
    let Ok(Value::Object(filters)) = serde_json::from_str(text) else { return Filters::new() };
    let values = |value: Value| match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::Object(map) => map.into_iter().filter(|(_, on)| on == true).map(|(key, _)| key).collect(),
        _ => Vec::new(),
    };
    filters.into_iter().map(|(key, value)| (key, values(value))).collect()
}

pub(super) async fn usual(state: &Arc<State>, mut request: Request<Recorded>) -> Answer {
    let script = &state.script;
    let uri = request.uri().clone();
    let (version, path) = split_version(uri.path());
    if let Some(refused) = version.and_then(|version| refuse_version(script, version)) {
        return refused;
    }
    let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    if let Some(answer) = swarm::usual(script, &mut request, &path).await {
        return answer;
    }
    let query = query(uri.query());
    let segments: Vec<_> = path.trim_start_matches('/').split('/').collect();
    match (request.method().clone(), segments.as_slice()) {
        (Method::GET | Method::HEAD, ["_ping"]) => ping(),
        (Method::GET, ["version"]) => value(200, &samples::version(script)),
        (Method::GET, ["info"]) => value(200, &samples::info(script, &swarm::block(script))),
        (Method::GET, ["events"]) if query.contains_key("until") => json(200, pages::event(script)),
        (Method::GET, ["events"]) => streams::follow(state, Feed::Events, JSON, Vec::new()),
        (Method::GET, ["containers", "json"]) => containers(state, &query),
        (_, ["containers", name, rest @ ..]) => container(state, request, name, rest, &query).await,
        (_, ["exec", id, rest @ ..]) => exec(state, request, id, rest).await,
        (Method::POST, ["session" | "grpc"]) => streams::session(state, request),
        (Method::GET, ["images", "json"]) => json(200, samples::images(&script.node)),
        (Method::POST, ["images", "load"]) => load(state, request).await,
        (Method::GET, ["volumes"]) => json(200, samples::volumes(&script.host)),
        (Method::GET, ["networks"] | ["networks", ""]) => {
            json(200, samples::list(samples::networks(script).iter().map(Value::to_string)))
        }
        (Method::POST, ["networks", "create"]) => create_network(script, request).await,
        (Method::GET, ["networks", name]) => network(script, name, query.contains_key("verbose")),
        (Method::POST, ["volumes", "create"] | ["build"] | ["images", "create"]) => {
            let length = read(&mut request).await.len();
            value(200, &json!({ "stream": format!("read {length} bytes\n") }))
        }
        (method, segments) => {
            pages::usual(script, &method, segments).unwrap_or_else(|| error(404, "page not found"))
        }
    }
}

fn refuse_version(script: &Script, version: &str) -> Option<Answer> {
    let number = |part: Option<&str>| part.and_then(|part| part.parse::<u32>().ok()).unwrap_or_default();
    let mut parts = version.split('.');
    let wanted = (number(parts.next()), number(parts.next()));
    let (min, max) = (*script.api.start(), *script.api.end());
    if wanted > (1, max.into()) {
        let message =
            format!("client version {version} is too new. Maximum supported API version is 1.{max}");
        return Some(error(400, &message));
    }
    (wanted < (1, min.into())).then(|| {
        error(
            400,
            &format!(
                "client version {version} is too old. Minimum supported API version is 1.{min}, \
please upgrade your client to a newer version"
            ),
        )
    })
}

fn ping() -> Answer {
    let mut answer = whole(200, "text/plain; charset=utf-8", "OK");
    let headers = answer.headers_mut();
    headers.insert("Builder-Version", HeaderValue::from_static("1"));
    headers.insert("Cache-Control", HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert("Pragma", HeaderValue::from_static("no-cache"));
    answer
}

/// Newest first. `limit` counts after the filters and takes stopped ones in; a pivot must exist here.
fn containers(state: &State, query: &HashMap<String, String>) -> Answer {
    let script = &state.script;
    if query.is_empty() && script.stopped == 0 {
        return json(200, state.list.get_or_init(|| Bytes::from(list(script, 0..script.containers))).clone());
    }
    let filters = filters(query);
    if let Some(unknown) = filters.keys().find(|key| !samples::CONTAINER_FILTERS.contains(&key.as_str())) {
        return error(400, &format!("Invalid filter '{unknown}'"));
    }
    let limit = query.get("limit").and_then(|limit| limit.parse::<usize>().ok()).filter(|limit| *limit > 0);
    let is_true = |key: &str| query.get(key).is_some_and(|value| value == "1" || value == "true");
    let oldest = if is_true("all") || limit.is_some() { 0 } else { script.stopped };
    let mut range = oldest..script.containers;
    for (key, pivots) in &filters {
        for pivot in pivots {
            let found = find(script, pivot, Prefix::IsNothing);
            match (key.as_str(), found) {
                ("before", Some(number)) => range.end = range.end.min(number),
                ("since", Some(number)) => range.start = range.start.max(number + 1),
                ("before" | "since", None) => {
                    let status = if *script.api.end() > 41 { 404 } else { 500 };
                    return error(status, &format!("No such container: {pivot}"));
                }
                _ => {}
            }
        }
    }
    if let Some(limit) = limit {
        range.start = range.start.max(range.end.saturating_sub(limit));
    }
    json(200, list(script, range))
}

fn list(script: &Script, numbers: std::ops::Range<usize>) -> String {
    let one = |number| {
        let container = samples::container(&script.node, number);
        if number < script.stopped { samples::stopped(&container) } else { container }
    };
    samples::list(numbers.rev().map(one))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Counts,
    IsNothing,
}

/// The number of the container with this id, name or prefix of an id.
fn find(script: &Script, name: &str, prefix: Prefix) -> Option<usize> {
    let id = |number: &usize| samples::id(&script.node, "container", *number);
    let name = name.trim_start_matches('/');
    let exact = |number: &usize| id(number) == name || samples::name(&script.node, *number) == name;
    let starts = |number: &usize| !name.is_empty() && id(number).starts_with(name);
    let all = 0..script.containers;
    all.clone().find(exact).or_else(|| if prefix == Prefix::Counts { all.clone().find(starts) } else { None })
}

async fn container(
    state: &Arc<State>,
    mut request: Request<Recorded>,
    name: &str,
    rest: &[&str],
    query: &HashMap<String, String>,
) -> Answer {
    let script = &state.script;
    let method = request.method().clone();
    if (&method, name, rest) == (&Method::POST, "create", &[]) {
        read(&mut request).await;
        return value(201, &json!({ "Id": samples::id(&script.node, "made", 0), "Warnings": [] }));
    }
    let Some(number) = find(script, name, Prefix::Counts) else {
        return error(404, &format!("No such container: {name}"));
    };
    match (method, rest) {
        (Method::GET, ["json"]) => value(200, &samples::inspect(script, number)),
        (Method::GET, ["logs"]) => streams::logs(state, query.get("follow").is_some_and(|on| on != "0")),
        (Method::GET, ["attach", "ws"]) => streams::websocket(state, request),
        (Method::POST, ["attach"]) => streams::attach(state, request),
        (Method::POST, ["wait"]) => streams::follow(state, Feed::Exits, JSON, Vec::new()),
        (Method::POST, ["exec"]) => {
            read(&mut request).await;
            let mut execs = state.execs.lock().expect("execs");
            let id = samples::id(&script.node, "exec", execs.len());
            execs.push(id.clone());
            value(201, &json!({ "Id": id }))
        }
        (Method::GET, ["top"]) => value(200, &pages::top()),
        (Method::GET, ["stats"]) => value(200, &pages::stats(script, number)),
        (Method::POST, ["resize"]) => empty(200),
        (Method::POST, ["start" | "stop" | "restart" | "kill" | "rename"]) | (Method::DELETE, []) => {
            empty(204)
        }
        (Method::PUT, ["archive"]) => {
            read(&mut request).await;
            empty(200)
        }
        _ => error(404, "page not found"),
    }
}

async fn exec(state: &Arc<State>, request: Request<Recorded>, id: &str, rest: &[&str]) -> Answer {
    if !state.execs.lock().expect("execs").iter().any(|known| known == id) {
        return error(404, &format!("No such exec instance: {id}"));
    }
    match (request.method(), rest) {
        (&Method::POST, ["start"]) => streams::exec(state, request).await,
        (&Method::POST, ["resize"]) => empty(200),
        (&Method::GET, ["json"]) => value(
            200,
            &json!({
                "ID": id, "Running": false, "ExitCode": 0, "OpenStdin": true, "OpenStdout": true, "OpenStderr": true,
                "ContainerID": samples::id(&state.script.node, "container", 0), "Pid": 4242,
                "ProcessConfig": { "tty": false, "entrypoint": "sh", "arguments": [], "privileged": false },
            }),
        ),
        _ => error(404, "page not found"),
    }
}

/// Counts as it reads, and keeps nothing.
async fn load(state: &State, mut request: Request<Recorded>) -> Answer {
    let mut length = 0;
    while let Some(Ok(frame)) = request.body_mut().frame().await {
        let read = frame.data_ref().map_or(0, Bytes::len) as u64;
        length += read;
        state.loaded.fetch_add(read, Ordering::Relaxed);
    }
    value(200, &json!({ "stream": format!("Loaded image: {length} bytes\n") }))
}

/// A worker's engine cannot make a network for all nodes.
async fn create_network(script: &Script, mut request: Request<Recorded>) -> Answer {
    let body: Value = serde_json::from_slice(&read(&mut request).await).unwrap_or_default();
    let is_wide = body["Driver"] == "overlay" || body["Scope"] == "swarm" || body["Ingress"] == true;
    if is_wide && swarm::block(script)["ControlAvailable"] != true {
        return error(
            403,
            "Cannot create a multi-host network from a worker node. Please create the network from a manager node.",
        );
    }
    value(201, &json!({ "Id": samples::id(&script.node, "network", 99), "Warning": "" }))
}

/// Verbose, a network of the Swarm tells the tasks on it, whichever node is asked.
fn network(script: &Script, name: &str, is_verbose: bool) -> Answer {
    let networks = samples::networks(script);
    let is_it = |network: &&Value| network["Id"] == name || network["Name"] == name;
    let Some(mut network) = networks.iter().find(is_it).cloned() else {
        return error(404, &format!("network {name} not found"));
    };
    if let Some(swarm) = script.swarm.as_ref().filter(|_| is_verbose && network["Scope"] == "swarm") {
        let directory = swarm.change(|content| content.directory.clone());
        let by_name = network["Name"].as_str().and_then(|name| directory.get(name));
        network["Services"] = by_name.cloned().unwrap_or_else(|| json!({}));
    }
    value(200, &network)
}

async fn read(request: &mut Request<Recorded>) -> Bytes {
    request.body_mut().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default()
}
