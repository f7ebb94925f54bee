//! The Swarm that several scripted engines share: its nodes, tasks, services and configs, and the routes to them.

use std::sync::{Arc, Mutex};

use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::answers::{Answer, Recorded, empty, error, value, whole};
use super::{Script, routes, samples};

/// Shared by its engines. Every change is seen by all of them at once, as if Raft took no time.
pub(crate) struct Swarm(Mutex<Content>);

#[derive(Clone, Default)]
pub(crate) struct Content {
    pub(crate) nodes: Vec<Node>,
    /// As `GET /tasks` and `GET /services` give them.
    pub(crate) tasks: Vec<Value>,
    pub(crate) services: Vec<Value>,
    pub(crate) configs: Vec<Config>,
    /// `Services` of a network's verbose inspect, by network name: what even a worker's engine tells of tasks.
    pub(crate) directory: Value,
    /// Without a leader no manager answers.
    pub(crate) has_quorum: bool,
    made: usize,
}

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) host: String,
    pub(crate) address: String,
    /// `linux`, `windows`.
    pub(crate) os: &'static str,
    pub(crate) is_manager: bool,
    pub(crate) is_leader: bool,
    /// `ready`, `down`.
    pub(crate) state: &'static str,
    /// `active`, `drain`, `pause`.
    pub(crate) availability: &'static str,
}

#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) id: String,
    pub(crate) index: u64,
    pub(crate) spec: Value,
}

impl Swarm {
    /// Nodes with these host names, all managers up to `managers`; the first one leads.
    pub(crate) fn new(hosts: &[&str], managers: usize) -> Arc<Self> {
        let node = |(at, host): (usize, &&str)| Node {
            id: samples::node_id(host),
            host: (*host).to_owned(),
            address: format!("10.77.0.{}", at + 1),
            os: "linux",
            is_manager: at < managers,
            is_leader: at == 0,
            state: "ready",
            availability: "active",
        };
        let nodes = hosts.iter().enumerate().map(node).collect();
        let directory = json!({});
        Arc::new(Self(Mutex::new(Content { nodes, directory, has_quorum: true, ..Content::default() })))
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Content) -> T) -> T {
        change(&mut self.0.lock().expect("swarm"))
    }

    pub(crate) fn content(&self) -> Content {
        self.change(|content| content.clone())
    }

    /// Changes the node of this host name.
    pub(crate) fn change_node(&self, host: &str, change: impl FnOnce(&mut Node)) {
        self.change(|content| content.nodes.iter_mut().find(|node| node.host == host).map(change));
    }

    /// Adds a running task of a service, to the task list and to the network's directory.
    pub(crate) fn add_task(
        &self,
        (service_id, service): (&str, &str),
        network: &str,
        host: &str,
        address: &str,
    ) {
        self.change(|content| {
            let Some(node) = content.nodes.iter().find(|node| node.host == host).cloned() else { return };
            let number = content.tasks.len();
            let id = samples::id(service, "task", number)[..25].to_owned();
            content.tasks.push(samples::task(&id, (service_id, service), &node.id, network, address));
            let listed = json!({
                "Name": format!("{service}.{}.{id}", node.id),
                "EndpointID": samples::id(service, "endpoint", number),
                "EndpointIP": address,
                "Info": { "Host IP": node.address },
            });
            let entry = &mut content.directory[network][service];
            if entry.is_null() {
                *entry = json!({ "VIP": "10.0.9.2", "Ports": [], "LocalLBIndex": 256, "Tasks": [] });
            }
            entry["Tasks"].as_array_mut().expect("a list").push(listed);
            if !content.services.iter().any(|known| known["ID"] == service_id) {
                content.services.push(samples::service(service_id, service));
            }
        });
    }
}

impl Node {
    fn document(&self) -> Value {
        let mut document = json!({
            "ID": self.id,
            "Version": { "Index": 10 },
            "CreatedAt": "2023-11-14T22:13:20.123456789Z",
            "UpdatedAt": "2023-11-14T22:13:21.123456789Z",
            "Spec": {
                "Labels": {},
                "Role": if self.is_manager { "manager" } else { "worker" },
                "Availability": self.availability,
            },
            "Description": {
                "Hostname": self.host,
                "Platform": { "Architecture": "x86_64", "OS": self.os },
                "Resources": { "NanoCPUs": 2_000_000_000_u64, "MemoryBytes": 8_363_020_288_u64 },
                "Engine": { "EngineVersion": "20.10.24", "Plugins": [{ "Type": "Network", "Name": "overlay" }] },
            },
            "Status": { "State": self.state, "Addr": self.address },
        });
        if self.is_manager {
            document["ManagerStatus"] =
                json!({ "Reachability": "reachable", "Addr": format!("{}:2377", self.address) });
            if self.is_leader {
                document["ManagerStatus"]["Leader"] = true.into();
            }
        }
        document
    }
}

/// The `Swarm` block of `GET /info`.
pub(super) fn block(script: &Script) -> Value {
    let content = script.swarm.as_ref().map(|swarm| swarm.content());
    let me = content.as_ref().and_then(|content| content.nodes.iter().find(|node| node.id == script.node));
    let (Some(content), Some(me)) = (&content, me) else {
        return json!({
            "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "",
            "RemoteManagers": null,
        });
    };
    let managers: Vec<_> = content.nodes.iter().filter(|node| node.is_manager).collect();
    let remote = |node: &&Node| json!({ "NodeID": node.id, "Addr": format!("{}:2377", node.address) });
    let mut block = json!({
        "NodeID": me.id, "NodeAddr": me.address, "LocalNodeState": "active",
        "ControlAvailable": me.is_manager, "Error": "",
        "RemoteManagers": managers.iter().map(remote).collect::<Vec<_>>(),
    });
    if me.is_manager {
        block["Nodes"] = content.nodes.len().into();
        block["Managers"] = managers.len().into();
        block["Cluster"] = json!({
            "ID": samples::node_id("cluster"), "Version": { "Index": 9 },
            "CreatedAt": "2023-11-14T22:13:20.123456789Z", "UpdatedAt": "2023-11-14T22:13:21.123456789Z",
            "Spec": { "Name": "default", "Labels": {} },
            "DefaultAddrPool": ["10.0.0.0/8"], "SubnetSize": 24, "DataPathPort": 4789,
        });
    }
    block
}

pub(super) const WORKER: &str = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. \
Please run this command on a manager node or promote the current node to a manager.";
const NO_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect \
this node to swarm and try again.";
const NO_LEADER: &str = "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are online. \
Make sure more than half of the managers are online.";

/// Answers what only a manager can. `None`: not such a route.
pub(super) async fn usual(script: &Script, request: &mut Request<Recorded>, path: &str) -> Option<Answer> {
    let mut segments = path.trim_start_matches('/').splitn(2, '/');
    let (sort, rest) = (segments.next()?, segments.next());
    if !["swarm", "nodes", "services", "tasks", "configs", "secrets"].contains(&sort) {
        return None;
    }
    let Some(swarm) = &script.swarm else { return Some(error(503, NO_SWARM)) };
    let content = swarm.content();
    if !content.nodes.iter().any(|node| node.id == script.node && node.is_manager) {
        return Some(error(503, WORKER));
    }
    if !content.has_quorum {
        return Some(error(503, NO_LEADER));
    }
    let filters = routes::filters(&routes::query(request.uri().query()));
    let answer = match (request.method(), sort, rest) {
        (&Method::GET, "swarm", None) => value(200, &block(script)["Cluster"]),
        (&Method::GET, "nodes", None) => list(content.nodes.iter().map(Node::document)),
        (&Method::GET, "nodes", Some(id)) => one(
            content.nodes.iter().find(|node| node.id == id || node.host == id).map(Node::document),
            &format!("node {id} not found"),
        ),
        (&Method::GET, "tasks", Some(of)) if of.ends_with("/logs") => logs(),
        (&Method::GET, "tasks", None) => {
            list(content.tasks.iter().filter(|task| fits(task, &content, &filters)).cloned())
        }
        (&Method::GET, "tasks", Some(id)) => {
            one(content.tasks.iter().find(|task| task["ID"] == id).cloned(), &format!("task {id} not found"))
        }
        (&Method::POST, "services", Some("create")) => create_service(request).await,
        (method, "services", rest) => services(swarm, method, rest),
        (&Method::GET, "secrets", None) => list(std::iter::once(secret())),
        (&Method::GET, "secrets", Some(id)) => {
            one(Some(secret()).filter(|secret| secret["ID"] == id), &format!("secret {id} not found"))
        }
        (&Method::POST, "configs", Some("create")) => create_config(swarm, request).await,
        (&Method::GET, "configs", None) => {
            let starts = |config: &&Config| {
                let name = config.spec["Name"].as_str().unwrap_or_default();
                filters.get("name").is_none_or(|names| names.iter().any(|start| name.starts_with(start)))
            };
            list(content.configs.iter().filter(starts).map(Config::document))
        }
        (_, "configs", Some(rest)) => config(swarm, &content, request, rest).await?,
        _ => return None,
    };
    Some(answer)
}

impl Config {
    fn document(&self) -> Value {
        json!({
            "ID": self.id, "Version": { "Index": self.index },
            "CreatedAt": "2023-11-14T22:13:20.123456789Z", "UpdatedAt": "2023-11-14T22:13:20.123456789Z",
            "Spec": self.spec,
        })
    }
}

/// The one that every scripted Swarm has.
pub(crate) fn secret() -> Value {
    json!({
        "ID": samples::id("shop_key", "secret", 0)[..25], "Version": { "Index": 30 },
        "CreatedAt": "2023-11-14T22:13:20.123456789Z", "UpdatedAt": "2023-11-14T22:13:20.123456789Z",
        "Spec": { "Name": "shop_key", "Labels": {} },
    })
}

fn services(swarm: &Swarm, method: &Method, rest: Option<&str>) -> Answer {
    let is_it = |service: &Value, id: &str| service["ID"] == id || service["Spec"]["Name"] == id;
    let missing = |id: &str| format!("service {id} not found");
    swarm.change(|content| match (method, rest) {
        (&Method::GET, None) => list(content.services.iter().cloned()),
        (&Method::GET, Some(id)) if id.ends_with("/logs") => logs(),
        (&Method::GET, Some(id)) => {
            one(content.services.iter().find(|service| is_it(service, id)).cloned(), &missing(id))
        }
        (&Method::DELETE, Some(id)) => {
            let before = content.services.len();
            content.services.retain(|service| !is_it(service, id));
            if content.services.len() < before { empty(200) } else { error(404, &missing(id)) }
        }
        _ => error(404, "page not found"),
    })
}

/// Read as an engine reads it; a test may look at it.
async fn create_service(request: &mut Request<Recorded>) -> Answer {
    let _ = request.body_mut().collect().await;
    value(201, &json!({ "ID": samples::id("made", "service", 0)[..25] }))
}

fn logs() -> Answer {
    whole(200, "application/octet-stream", "a line of a service\n")
}

/// What is below `/configs/`, but for the creation.
async fn config(
    swarm: &Swarm,
    content: &Content,
    request: &mut Request<Recorded>,
    rest: &str,
) -> Option<Answer> {
    let (id, is_update) = rest.strip_suffix("/update").map_or((rest, false), |id| (id, true));
    let known = content.configs.iter().find(|config| config.id == id || config.spec["Name"] == id);
    Some(match (request.method(), is_update, known) {
        (&Method::POST, true, _) => update_config(swarm, id, request).await,
        (&Method::GET, false, Some(config)) => value(200, &config.document()),
        (&Method::DELETE, false, Some(config)) => {
            swarm.change(|content| content.configs.retain(|other| other.id != config.id));
            empty(204)
        }
        (&Method::GET | &Method::DELETE, false, None) => error(404, &format!("config {id} not found")),
        _ => return None,
    })
}

/// Two configs with one name cannot be: who comes second is refused.
async fn create_config(swarm: &Swarm, request: &mut Request<Recorded>) -> Answer {
    let body =
        request.body_mut().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let Ok(spec) = serde_json::from_slice::<Value>(&body) else { return error(400, "invalid JSON") };
    let name = spec["Name"].as_str().unwrap_or_default().to_owned();
    swarm.change(|content| {
        if content.configs.iter().any(|config| config.spec["Name"] == name) {
            let message = format!("rpc error: code = AlreadyExists desc = config {name} already exists");
            return error(409, &message);
        }
        content.made += 1;
        let id = samples::id(&name, "config", content.made)[..25].to_owned();
        content.configs.push(Config { id: id.clone(), index: 100 + content.made as u64, spec });
        value(201, &json!({ "ID": id }))
    })
}

/// Only labels can change, and only of the version that is the last one.
async fn update_config(swarm: &Swarm, id: &str, request: &mut Request<Recorded>) -> Answer {
    let body =
        request.body_mut().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let Ok(spec) = serde_json::from_slice::<Value>(&body) else { return error(400, "invalid JSON") };
    let version = routes::query(request.uri().query()).get("version").and_then(|text| text.parse().ok());
    swarm.change(|content| {
        content.made += 1;
        let made = content.made as u64;
        let Some(config) = content.configs.iter_mut().find(|c| c.id == id || c.spec["Name"] == id) else {
            return error(404, &format!("config {id} not found"));
        };
        if version != Some(config.index) {
            return error(500, "rpc error: code = Unknown desc = update out of sequence");
        }
        if config.spec["Name"] != spec["Name"] || config.spec["Data"] != spec["Data"] {
            return error(400, "rpc error: code = InvalidArgument desc = only updates to Labels are allowed");
        }
        config.spec["Labels"] = spec["Labels"].clone();
        config.index = 100 + made;
        empty(200)
    })
}

fn fits(task: &Value, content: &Content, filters: &routes::Filters) -> bool {
    let is_of = |service: &String| {
        let named = content.services.iter().find(|known| known["Spec"]["Name"] == *service);
        task["ServiceID"] == *service || named.is_some_and(|named| named["ID"] == task["ServiceID"])
    };
    let any = |key: &str, fits: &dyn Fn(&String) -> bool| {
        filters.get(key).is_none_or(|values| values.is_empty() || values.iter().any(fits))
    };
    any("service", &is_of)
        && any("node", &|node| task["NodeID"] == *node)
        && any("desired-state", &|state| task["DesiredState"] == *state)
}

fn list(documents: impl Iterator<Item = Value>) -> Answer {
    value(200, &Value::Array(documents.collect()))
}

fn one(document: Option<Value>, missing: &str) -> Answer {
    document.map_or_else(|| error(404, missing), |document| value(200, &document))
}
