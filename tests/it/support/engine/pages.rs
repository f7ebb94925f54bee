//! What a Portainer server's pages ask of an engine beside the rest: one object of each sort, as 20.10 answers.

use http::Method;
use serde_json::{Value, json};

use super::answers::{Answer, empty, error, value};
use super::{Script, samples, swarm};

/// `None`: an engine does not know this path.
pub(super) fn usual(script: &Script, method: &Method, segments: &[&str]) -> Option<Answer> {
    let answer = match (method, segments) {
        (&Method::GET, ["volumes", name]) => volume(script, name),
        (&Method::DELETE, ["networks", name]) => remove_network(script, name),
        (&Method::GET, ["images", name @ .., last @ ("json" | "history")]) => {
            image(script, &name.join("/"), last)
        }
        (&Method::GET, ["distribution", .., "json"]) => error(
            500,
            "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host",
        ),
        _ => return None,
    };
    Some(answer)
}

/// `GET /events` between two times that are over.
pub(super) fn event(script: &Script) -> String {
    let id = samples::id(&script.node, "container", 0);
    let event = json!({
        "status": "start", "id": id, "from": "busybox:latest", "Type": "container", "Action": "start",
        "Actor": { "ID": id, "Attributes": { "image": "busybox:latest", "name": samples::name(&script.node, 0) } },
        "scope": "local", "time": samples::EPOCH, "timeNano": samples::EPOCH * 1_000_000_000,
    });
    format!("{event}\n")
}

/// `GET /containers/{id}/top`.
pub(super) fn top() -> Value {
    json!({
        "Titles": ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"],
        "Processes": [["root", "4242", "4200", "0", "22:13", "?", "00:00:00", "nginx: master process"]],
    })
}

/// `GET /containers/{id}/stats?stream=false`.
pub(super) fn stats(script: &Script, number: usize) -> Value {
    json!({
        "read": samples::rfc3339(samples::EPOCH), "preread": samples::rfc3339(samples::EPOCH - 1),
        "pids_stats": { "current": 3 }, "num_procs": 0, "storage_stats": {},
        "blkio_stats": { "io_service_bytes_recursive": null },
        "cpu_stats": { "cpu_usage": { "total_usage": 50_000_000 }, "online_cpus": 2 },
        "precpu_stats": { "cpu_usage": { "total_usage": 49_000_000 }, "online_cpus": 2 },
        "memory_stats": { "usage": 6_000_000, "limit": 8_363_020_288_u64 },
        "name": format!("/{}", samples::name(&script.node, number)),
        "id": samples::id(&script.node, "container", number),
        "networks": { "eth0": { "rx_bytes": 1000, "tx_bytes": 1000 } },
    })
}

fn volume(script: &Script, name: &str) -> Answer {
    let all: Value = serde_json::from_str(&samples::volumes(&script.host)).expect("a sample");
    let found = all["Volumes"].as_array().and_then(|all| all.iter().find(|volume| volume["Name"] == name));
    found.map_or_else(|| error(404, &format!("get {name}: no such volume")), |volume| value(200, volume))
}

/// By id or by tag.
fn image(script: &Script, name: &str, what: &str) -> Answer {
    let all: Value = serde_json::from_str(&samples::images(&script.node)).expect("a sample");
    let is_it = |image: &&Value| image["Id"] == name || image["RepoTags"][0] == name;
    let Some(image) = all.as_array().and_then(|all| all.iter().find(is_it)) else {
        return error(404, &format!("No such image: {name}"));
    };
    let created = image["Created"].as_i64().unwrap_or_default();
    match what {
        "json" => value(
            200,
            &json!({
                "Id": image["Id"], "RepoTags": image["RepoTags"], "RepoDigests": image["RepoDigests"], "Parent": "",
                "Created": samples::rfc3339(created), "DockerVersion": script.version, "Architecture": "amd64",
                "Os": "linux", "Size": image["Size"], "VirtualSize": image["Size"], "Config": { "Env": [] },
                "RootFS": { "Type": "layers", "Layers": [image["Id"]] },
            }),
        ),
        _ => value(
            200,
            &json!([{
                "Comment": "", "Created": created, "CreatedBy": "/bin/sh -c #(nop)  CMD [\"nginx\"]",
                "Id": image["Id"], "Size": 0, "Tags": image["RepoTags"],
            }]),
        ),
    }
}

/// Only a manager removes what is the whole Swarm's, and nobody what every engine has.
fn remove_network(script: &Script, name: &str) -> Answer {
    let networks = samples::networks(script);
    let Some(network) = networks.iter().find(|network| network["Id"] == name || network["Name"] == name)
    else {
        return error(404, &format!("network {name} not found"));
    };
    if ["bridge", "host", "none"].iter().any(|own| network["Name"] == *own) {
        return error(403, &format!("{name} is a pre-defined network and cannot be removed"));
    }
    if network["Scope"] == "swarm" && swarm::block(script)["ControlAvailable"] != true {
        return error(503, swarm::WORKER);
    }
    empty(204)
}
