//! One engine, no Swarm, no peers.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use swarmgate::identify::Association;
use swarmgate::model::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{Client, reply, whole};
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
async fn without_a_place_for_files_it_serves_and_says_what_keeps_it_from_being_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    fs::write(&file, "").unwrap();
    let data = file.join("data");
    let setup = Setup::alone("solo").associating().config({
        let data = data.clone();
        move |_, config| config.data = data.clone()
    });
    let cluster = setup.start_only().await;
    cluster.nodes[0].snapshot("it stands alone", |c| c.kind == Kind::Standalone).await;
    let client = cluster.client(0);
    assert_eq!(client.get("/ping").await.status, 204);
    let mut window = cluster.nodes[0].association();
    soon("a window", window.wait_for(|a| matches!(**a, Association::Open))).await.unwrap();
    for _ in 0..2 {
        let refused = client.get("/containers/json").await;
        refused.is_json_of_an_agent(503, "nothing can be recorded");
        let message = refused.message();
        let named = data.join("association.json").display().to_string();
        assert!(message.contains(&named) && message.contains("DATA_PATH"), "{message}");
    }
    assert_eq!(client.stranger().get("/containers/json").await.status, 403);
    assert_eq!(client.get("/ping").await.status, 204);

    // A secret needs no record.
    let setup = Setup::alone("solo").config(move |_, config| config.data = data.clone());
    let cluster = setup.start().await;
    assert_eq!(cluster.client(0).get("/containers/json").await.status, 200);
}

/// The certificate that an agent shows to who connects now, as DER.
async fn shown(client: &Client) -> Vec<u8> {
    let stream = soon("a handshake", client.shake_hands()).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Host names and addresses in a certificate.
fn names(der: &[u8]) -> (BTreeSet<String>, BTreeSet<IpAddr>) {
    use x509_parser::extensions::GeneralName;
    let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
    let (mut hosts, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for name in &certificate.subject_alternative_name().unwrap().unwrap().value.general_names {
        match name {
            GeneralName::DNSName(host) => assert!(hosts.insert((*host).to_owned()), "{host} twice"),
            GeneralName::IPAddress(bytes) => {
                let address = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let address = address.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                assert!(addresses.insert(address.unwrap()));
            }
            other => panic!("{other:?}"),
        }
    }
    (hosts, addresses)
}

#[tokio::test]
async fn the_certificate_that_it_makes_names_its_host_all_its_addresses_and_what_was_asked_for() {
    let own = || -> BTreeSet<IpAddr> {
        if_addrs::get_if_addrs().unwrap().iter().map(if_addrs::Interface::ip).collect()
    };
    let before = own();
    let setup = Setup::alone("solo").config(|_, config| {
        config.tls.sans = vec!["docker.example.org".to_owned(), "192.0.2.7".to_owned()];
    });
    let cluster = setup.start().await;
    let (hosts, addresses) = names(&shown(&cluster.client(0)).await);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
    assert_eq!(hosts, BTreeSet::from(["localhost".to_owned(), "docker.example.org".to_owned(), host]));
    let always: [IpAddr; 3] = ["127.0.0.1", "::1", "192.0.2.7"].map(|text| text.parse().unwrap());
    assert!(always.iter().all(|at| addresses.contains(at)), "{addresses:?}");
    // Interfaces come and go while other things run on this machine.
    let (lasting, any) = (&before & &own(), &(&before | &own()) | &always.into());
    assert!(lasting.is_subset(&addresses) && addresses.is_subset(&any), "{addresses:?}, not {any:?}");
}

/// A certificate for this name, and its key, in these files. What it is comes out, as DER.
fn put_pair(certificate: &Path, key: &Path, name: &str) -> Vec<u8> {
    let pair = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&pair).unwrap();
    fs::write(key, pair.serialize_pem()).unwrap();
    fs::write(certificate, made.pem()).unwrap();
    made.der().to_vec()
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_to_the_next_client_and_one_that_is_none_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    let first = put_pair(&certificate, &key, "one.example.org");
    let setup = Setup::alone("solo").config({
        let own = (certificate.clone(), key.clone());
        move |_, config| {
            config.tls.own = Some(own.clone());
            config.limits.certificate_look = Duration::from_millis(20);
        }
    });
    let cluster = setup.start().await;
    let client = cluster.client(0);
    let mut before = client.connect().await;
    assert_eq!(shown(&client).await, first);
    fs::write(&key, "no key at all").unwrap();
    for _ in 0..20 {
        assert_eq!(shown(&client).await, first, "a bad file keeps the old certificate");
    }
    let second = put_pair(&certificate, &key, "two.example.org");
    soon("the new certificate", async { while shown(&client).await != second {} }).await;
    assert_eq!(client.get("/version").await.status, 200);
    // Who was connected stays.
    let version = before.send("GET", "/version", &[], whole("")).await.unwrap();
    assert_eq!(reply(version).await.status, 200);
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
