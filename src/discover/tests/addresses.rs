//! Names become addresses, whatever else DNS leaves out.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::names::{Answer, a, resolver, serve};
use crate::discover::dns;
use crate::shutdown::Shutdown;

#[tokio::test]
async fn a_server_that_is_silent_about_ipv6_takes_nothing_from_ipv4() {
    let shutdown = Shutdown::new();
    let server = serve(|_, record| (record == RecordType::A).then(|| Answer::Records(vec![a(2)])), &shutdown);
    let resolver = resolver(server.await);
    assert_eq!(dns::addresses(&resolver, "node2.test.").await, [IpAddr::from([10, 0, 1, 2])]);
    shutdown.finish(Duration::ZERO).await;
}

#[tokio::test]
async fn a_service_that_is_gone_takes_nothing_from_the_others() {
    let shutdown = Shutdown::new();
    let server = serve(
        |name, record| match (name, record) {
            (_, RecordType::SRV) => {
                let service = |target| RData::SRV(SRV::new(0, 0, 9102, Name::from_ascii(target).unwrap()));
                Some(Answer::Records(["gone.test.", "silent.test.", "there.test."].map(service).to_vec()))
            }
            ("gone.test.", _) => Some(Answer::Code(ResponseCode::NXDomain)),
            ("there.test.", RecordType::A) => Some(Answer::Records(vec![a(7)])),
            _ => None,
        },
        &shutdown,
    );
    let resolver = resolver(server.await);
    let found = dns::ask(&resolver, RecordType::SRV, "agents.test.", 9002).await.unwrap();
    assert_eq!(found, BTreeSet::from([SocketAddr::from(([10, 0, 1, 7], 9102))]));
    shutdown.finish(Duration::ZERO).await;
}
