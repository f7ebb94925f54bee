//! One engine, no Swarm, no peers.

use swarmgate::model::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::Client;
use crate::support::cluster::Setup;
use crate::support::engine::samples;
use crate::support::soon;

#[tokio::test]
async fn everything_is_local_undecorated_and_needs_no_target() {
    let cluster = Setup::alone("solo").start().await;
    cluster.nodes[0]
        .snapshot("it stands alone", |c| c.kind == Kind::Standalone && c.members.len() == 1)
        .await;
    for headers in
        [&[][..], &[("X-PortainerAgent-Target", "nope")], &[("X-PortainerAgent-ManagerOperation", "1")]]
    {
        let list = cluster.client(0).get_with("/v1.41/containers/json", headers).await;
        assert_eq!((list.status, list.text()), (200, samples::containers(&samples::node_id("solo"), 3)));
        assert_eq!((list.header("x-node"), list.header("x-node-answered")), ("solo", ""));
        let id = samples::id(&samples::node_id("solo"), "container", 0);
        assert_eq!(cluster.client(0).get_with(&format!("/containers/{id}/json"), headers).await.status, 200);
        assert_eq!(cluster.client(0).get_with("/info", headers).await.json()["Name"], "solo");
        for path in ["/images/json", "/volumes", "/networks"] {
            let list = cluster.client(0).get_with(path, headers).await;
            assert!(list.status == 200 && !list.text().contains("Portainer"), "{path}");
        }
    }
    assert_eq!(cluster.client(0).get_with("/version", &[("X-Node", "solo")]).await.status, 200);
    let unknown = cluster.client(0).get_with("/version", &[("X-Node", "nope")]).await;
    assert_eq!((unknown.status, unknown.message()), (404, "no node \"nope\"; known nodes: solo".to_owned()));
    for path in ["/services", "/nodes", "/swarm"] {
        let refused = cluster.client(0).get(path).await;
        assert_eq!(refused.status, 503, "{path}");
        assert!(
            refused.message().contains("docker swarm init"),
            "in the engine's words: {}",
            refused.message()
        );
    }
    // There is nobody else whom it could mean.
    assert_eq!(cluster.client(0).call("POST", "/swarm/join", &[], "{}").await.header("x-node"), "solo");
    cluster.engine(0).saw("/swarm/join").await;
}

#[tokio::test]
async fn it_listens_on_both_families_and_speaks_tls_only() {
    let cluster = Setup::alone("solo").config(|_, config| config.listen.host = None).start().await;
    let client = cluster.client(0);
    for address in ["127.0.0.1", "::1"] {
        let at = (address.parse::<std::net::IpAddr>().unwrap(), client.at.port()).into();
        let client = Client { at, signer: client.signer.clone() };
        assert_eq!(client.get("/version").await.status, 200, "{address}");
        let mut plain = TcpStream::connect(at).await.unwrap();
        plain.write_all(b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut heard = Vec::new();
        let _ = soon("it closes", plain.read_to_end(&mut heard)).await;
        assert!(!String::from_utf8_lossy(&heard).contains("200"), "{address}");
    }
}

#[tokio::test]
async fn a_data_directory_has_one_agent() {
    let cluster = Setup::alone("solo").start().await;
    let config = cluster.nodes[0].config.clone();
    let second = swarmgate::app::start(config, &swarmgate::shutdown::Shutdown::new()).await;
    assert!(second.err().unwrap().to_string().starts_with("DATA_PATH: "));
    assert_eq!(cluster.client(0).get("/version").await.status, 200);
}

#[tokio::test]
async fn there_is_no_port_for_peers() {
    let cluster = Setup::alone("solo").start().await;
    assert!(TcpStream::connect(cluster.nodes[0].peer_at()).await.is_err());
}

#[tokio::test]
async fn one_node_of_a_swarm_is_a_cluster_all_the_same() {
    let cluster = Setup::swarm(&["node1"], 1).start().await;
    let list = cluster.client(0).get("/containers/json").await;
    assert_eq!(list.header("x-node-answered"), "1/1");
    assert_eq!(list.json()[0]["Portainer"]["Agent"]["NodeName"], "node1");
    assert_eq!(cluster.client(0).get("/services").await.status, 200);
}
