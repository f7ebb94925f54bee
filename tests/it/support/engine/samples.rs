//! Answers in the shape of a real engine (20.10, API 1.41), with the numbers and names that a test asks for.

use std::fmt::Write;

/// When the first container of every scripted engine was made, in Unix seconds.
pub(crate) const EPOCH: i64 = 1_700_000_000;

/// 64 hex digits that differ for each node, sort of thing and number.
pub(crate) fn id(node: &str, sort: &str, number: usize) -> String {
    // FNV-1a: any spread will do, it only has to be the same in every run.
    let seed = format!("{node}/{sort}/{number}");
    let hash = |salt: u64| {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        seed.bytes().fold(0xcbf2_9ce4_8422_2325 ^ salt, mix)
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
            r#""com.docker.swarm.task.name":"shop_web-{number}.{node}.{task}","maintainer":"NGINX Docker Maintainers <docker-maint@nginx.com>"}},"#,
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
