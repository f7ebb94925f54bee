//! Answers in the shape of a real engine (20.10, API 1.41), with the numbers and names that a test asks for.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Script;

/// When the first container of every scripted engine was made, in Unix seconds.
pub(crate) const EPOCH: i64 = 1_700_000_000;

/// 64 hex digits that differ for each node, sort of thing and number.
pub(crate) fn id(node: &str, sort: &str, number: usize) -> String {
    let seed = format!("{node}/{sort}/{number}");
    // FNV-1a, and a last stir so that prefixes differ too: it only has to be the same in every run.
    let hash = |salt: u64| {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325 ^ salt, mix);
        (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd)
    };
    (0..4u64).fold(String::new(), |mut id, salt| {
        let _ = write!(id, "{:016x}", hash(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        id
    })
}

/// One element of `GET /containers/json`, about 1.4 kB: a task of a Swarm service.
pub(crate) fn container(node: &str, number: usize) -> String {
    let id = id(node, "container", number);
    let image = self::id("", "image", number % 7);
    format!(
        concat!(
            r#"{{"Id":"{id}","Names":["/web-{number}.{node}.{task}"],"Image":"registry.example.com/team/web:1.{number}@sha256:{image}","#,
            r#""ImageID":"sha256:{image}","Command":"/docker-entrypoint.sh nginx -g 'daemon off;'","Created":{created},"#,
            r#""Ports":[{{"IP":"0.0.0.0","PrivatePort":8080,"PublicPort":3{number:04},"Type":"tcp"}},{{"PrivatePort":80,"Type":"tcp"}}],"#,
            r#""Labels":{{"com.docker.stack.namespace":"shop","com.docker.swarm.node.id":"{node}","com.docker.swarm.service.id":"{service}","#,
            r#""com.docker.swarm.service.name":"shop_web-{number}","com.docker.swarm.task":"","com.docker.swarm.task.id":"{task}","#,
            r#""com.docker.swarm.task.name":"shop_web-{number}.{node}.{task}"}},"#,
            r#""State":"running","Status":"Up 3 days","HostConfig":{{"NetworkMode":"default"}},"NetworkSettings":{{"Networks":{{"shop_default":"#,
            r#"{{"IPAMConfig":{{"IPv4Address":"10.0.1.{octet}"}},"Links":null,"Aliases":null,"NetworkID":"{network}","#,
            r#""EndpointID":"{endpoint}","Gateway":"","IPAddress":"10.0.1.{octet}","IPPrefixLen":24,"IPv6Gateway":"","#,
            r#""GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"MacAddress":"02:42:0a:00:01:{mac:02x}","DriverOpts":null}}}}}},"Mounts":[]}}"#,
        ),
        id = id,
        node = node,
        number = number,
        image = image,
        task = &id[..25],
        service = &id[25..50],
        network = self::id("", "network", 1),
        endpoint = self::id(node, "endpoint", number),
        created = EPOCH + number as i64 * 60,
        octet = number % 250 + 2,
        mac = number % 256,
    )
}

/// `GET /containers/json`: `count` containers, the newest first.
pub(crate) fn containers(node: &str, count: usize) -> String {
    list((0..count).rev().map(|number| container(node, number)))
}

/// A JSON array as an engine ends it.
pub(crate) fn list(elements: impl Iterator<Item = String>) -> String {
    format!("[{}]\n", elements.collect::<Vec<_>>().join(","))
}

/// A NodeID, always the same for one host name.
pub(crate) fn node_id(host: &str) -> String {
    id(host, "node", 0)[..25].to_owned()
}

pub(crate) const CONTAINER_FILTERS: [&str; 18] = [
    "ancestor",
    "before",
    "expose",
    "exited",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
    "annotation",
    "reference",
    "until",
];

/// The name of a container, without its slash.
pub(crate) fn name(node: &str, number: usize) -> String {
    format!("web-{number}.{node}.{}", &id(node, "container", number)[..25])
}

/// The same container after its end.
pub(crate) fn stopped(container: &str) -> String {
    container.replace(
        r#""State":"running","Status":"Up 3 days""#,
        r#""State":"exited","Status":"Exited (0) 2 days ago""#,
    )
}

/// `GET /containers/{id}/json`.
pub(crate) fn inspect(script: &Script, number: usize) -> Value {
    let is_running = number >= script.stopped;
    json!({
        "Id": id(&script.node, "container", number),
        "Created": rfc3339(EPOCH + number as i64 * 60),
        "Path": "/docker-entrypoint.sh",
        "Args": ["nginx", "-g", "daemon off;"],
        "State": {
            "Status": if is_running { "running" } else { "exited" }, "Running": is_running, "Paused": false,
            "ExitCode": 0, "Error": "", "StartedAt": rfc3339(EPOCH + number as i64 * 60 + 1),
            "FinishedAt": "0001-01-01T00:00:00Z",
        },
        "Image": format!("sha256:{}", id("", "image", number % 7)),
        "Name": format!("/{}", name(&script.node, number)),
        "RestartCount": 0,
        "Driver": "overlay2",
        "Platform": "linux",
        "HostConfig": { "NetworkMode": "default" },
        "Mounts": [],
        "Config": { "Hostname": &id(&script.node, "container", number)[..12], "Tty": false, "OpenStdin": true, "Labels": {} },
        "NetworkSettings": { "Networks": {} },
    })
}

/// `GET /images/json`: seven that every node has, under one id each, and one of its own.
pub(crate) fn images(node: &str) -> String {
    let image = |id: String, tag: String, number: i64| {
        json!({
            "Containers": -1, "Created": EPOCH - number * 86_400, "Id": format!("sha256:{id}"),
            "Labels": { "maintainer": "NGINX Docker Maintainers <docker-maint@nginx.com>" }, "ParentId": "",
            "RepoDigests": [format!("registry.example.com/team/web@sha256:{id}")], "RepoTags": [tag],
            "SharedSize": -1, "Size": 142_000_000 + number, "VirtualSize": 142_000_000 + number,
        })
        .to_string()
    };
    let shared =
        (0..7).map(|n| image(id("", "image", n), format!("registry.example.com/team/web:1.{n}"), n as i64));
    list(shared.chain([image(id(node, "image", 7), "own:latest".to_owned(), 7)]))
}

/// `GET /volumes`: one name that every node has, one of its own.
pub(crate) fn volumes(host: &str) -> String {
    let volume = |name: &str| {
        json!({
            "CreatedAt": "2023-11-14T22:13:20Z", "Driver": "local", "Labels": null,
            "Mountpoint": format!("/var/lib/docker/volumes/{name}/_data"), "Name": name, "Options": null, "Scope": "local",
        })
    };
    let own = format!("{host}_data");
    format!("{}\n", json!({ "Volumes": [volume("shop_data"), volume(&own)], "Warnings": null }))
}

/// `GET /networks`: each node's own, and those of the Swarm under one id each.
pub(crate) fn networks(script: &Script) -> Vec<Value> {
    let network = |name: &str, driver: &str, scope: &str| {
        let seed = if scope == "swarm" { "" } else { script.node.as_str() };
        json!({
            "Name": name, "Id": network_id(seed, name), "Created": "2023-11-14T22:13:20.123456789Z",
            "Scope": scope, "Driver": driver, "EnableIPv6": false,
            "IPAM": { "Driver": "default", "Options": null, "Config": [] },
            "Internal": false, "Attachable": false, "Ingress": name == "ingress",
            "ConfigFrom": { "Network": "" }, "ConfigOnly": false, "Containers": {}, "Options": {}, "Labels": {},
        })
    };
    let mut all = vec![
        network("bridge", "bridge", "local"),
        network("host", "host", "local"),
        network("none", "null", "local"),
    ];
    if let Some(swarm) = &script.swarm {
        all.push(network("docker_gwbridge", "bridge", "local"));
        all.push(network("ingress", "overlay", "swarm"));
        all.push(network("shop_default", "overlay", "swarm"));
        let directory = swarm.change(|content| content.directory.clone());
        let served = directory.as_object().into_iter().flat_map(serde_json::Map::keys);
        all.extend(
            served.filter(|name| *name != "shop_default").map(|name| network(name, "overlay", "swarm")),
        );
    }
    all
}

pub(crate) fn network_id(seed: &str, name: &str) -> String {
    if name == "shop_default" { id("", "network", 1) } else { id(seed, name, 0) }
}

/// `GET /version`.
pub(crate) fn version(script: &Script) -> Value {
    let (api, min) = (format!("1.{}", script.api.end()), format!("1.{}", script.api.start()));
    json!({
        "Platform": { "Name": "" },
        "Components": [{
            "Name": "Engine", "Version": script.version,
            "Details": { "ApiVersion": api, "Arch": "amd64", "MinAPIVersion": min, "Os": "linux" },
        }],
        "Version": script.version, "ApiVersion": api, "MinAPIVersion": min, "GitCommit": "5d6db84",
        "GoVersion": "go1.19.8", "Os": "linux", "Arch": "amd64", "KernelVersion": "6.1.0",
        "BuildTime": "2023-04-04T18:19:14.000000000+00:00",
    })
}

/// `GET /info`.
pub(crate) fn info(script: &Script, swarm: &Value) -> Value {
    json!({
        "ID": "LAB7:SAME:ONEA:CHNO:DEOF:THIS:TEST:CLUS:TERI:SCLO:NEDX:YZ23",
        "Containers": script.containers, "ContainersRunning": script.containers - script.stopped,
        "ContainersPaused": 0, "ContainersStopped": script.stopped, "Images": 8, "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", "extfs"]], "SystemStatus": null,
        "MemoryLimit": true, "SwapLimit": true, "Debug": false, "NFd": 40, "OomKillDisable": false, "NGoroutines": 60,
        "SystemTime": "2023-11-14T22:13:20.123456789Z", "LoggingDriver": "json-file", "CgroupDriver": "systemd",
        "CgroupVersion": "2", "NEventsListener": 1, "KernelVersion": "6.1.0", "OperatingSystem": "Debian GNU/Linux 12",
        "OSVersion": "12", "OSType": "linux", "Architecture": "x86_64", "NCPU": 2, "MemTotal": 8_363_020_288_u64,
        "GenericResources": null, "DockerRootDir": "/var/lib/docker", "Name": script.host, "Labels": [],
        "ExperimentalBuild": false, "ServerVersion": script.version, "Swarm": swarm, "LiveRestoreEnabled": false,
        "Isolation": "", "InitBinary": "docker-init", "SecurityOptions": ["name=seccomp,profile=default"],
        "Warnings": null,
    })
}

/// An element of `GET /tasks`: running, on one network.
pub(crate) fn task(id: &str, service: (&str, &str), node: &str, network: &str, address: &str) -> Value {
    json!({
        "ID": id, "Version": { "Index": 20 }, "CreatedAt": "2023-11-14T22:13:20.123456789Z",
        "UpdatedAt": "2023-11-14T22:13:21.123456789Z", "Labels": {},
        "Spec": { "ContainerSpec": { "Image": "swarmgate:latest" }, "ForceUpdate": 0 },
        "ServiceID": service.0, "NodeID": node,
        "Status": {
            "Timestamp": "2023-11-14T22:13:21.123456789Z", "State": "running", "Message": "started",
            "ContainerStatus": { "ContainerID": self::id(id, "container", 0), "PID": 4242, "ExitCode": 0 },
            "PortStatus": {},
        },
        "DesiredState": "running",
        "NetworksAttachments": [{
            "Network": { "ID": network_id("", network), "Spec": { "Name": network, "DriverConfiguration": { "Name": "overlay" } } },
            "Addresses": [format!("{address}/24")],
        }],
    })
}

/// An element of `GET /services`: one task on every node.
pub(crate) fn service(id: &str, name: &str) -> Value {
    json!({
        "ID": id, "Version": { "Index": 19 }, "CreatedAt": "2023-11-14T22:13:20.123456789Z",
        "UpdatedAt": "2023-11-14T22:13:20.123456789Z",
        "Spec": { "Name": name, "Labels": {}, "TaskTemplate": { "ContainerSpec": { "Image": "swarmgate:latest" } }, "Mode": { "Global": {} } },
        "Endpoint": { "Spec": {} },
    })
}

/// Unix seconds in the form of an inspect, with a fraction that the list does not show.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a civil date, counted in eras of 400 years that begin in March.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * march + 2) / 5 + 1, if march < 10 { march + 3 } else { march - 9 });
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.123456789Z")
}
