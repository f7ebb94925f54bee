//! DNS against a small scripted server.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use crate::discover::dns;
use crate::shutdown::Shutdown;

/// What the server says to a question; `None`: nothing at all.
type Script = fn(&str, RecordType) -> Option<Answer>;

pub(super) enum Answer {
    Records(Vec<RData>),
    Code(ResponseCode),
    /// Too long for a datagram.
    Long(Vec<RData>),
}

pub(super) fn a(last: u8) -> RData {
    RData::A(A::new(10, 0, 1, last))
}

/// A server on one port, UDP and TCP.
pub(super) async fn serve(
    script: impl Fn(&str, RecordType) -> Option<Answer> + Clone + Send + 'static,
    shutdown: &Shutdown,
) -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(at).await.unwrap();
    let by_datagram = script.clone();
    shutdown.spawn(async move {
        let mut datagram = [0; 4096];
        loop {
            let (n, from) = udp.recv_from(&mut datagram).await.unwrap();
            if let Some(answer) = reply(&datagram[..n], &by_datagram, true) {
                udp.send_to(&answer, from).await.unwrap();
            }
        }
    });
    shutdown.spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap_or(0);
            let mut question = vec![0; length.into()];
            stream.read_exact(&mut question).await.unwrap();
            if let Some(answer) = reply(&question, &script, false) {
                stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }
    });
    at
}

fn reply(
    question: &[u8],
    script: impl Fn(&str, RecordType) -> Option<Answer>,
    datagram: bool,
) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(question).unwrap();
    let query = message.queries[0].clone();
    let answer = script(&query.name().to_string(), query.query_type())?;
    message = message.into_response();
    let records = match answer {
        Answer::Records(records) => records,
        Answer::Code(code) => {
            message.metadata.response_code = code;
            Vec::new()
        }
        Answer::Long(_) if datagram => {
            message.metadata.truncation = true;
            Vec::new()
        }
        Answer::Long(records) => records,
    };
    for data in records {
        message.add_answer(Record::from_rdata(query.name().clone(), 600, data));
    }
    Some(message.to_vec().unwrap())
}

/// Asks that server alone.
pub(super) fn resolver(at: SocketAddr) -> TokioResolver {
    let mut server = NameServerConfig::udp_and_tcp(at.ip());
    for connection in &mut server.connections {
        connection.port = at.port();
    }
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    (options.cache_size, options.attempts, options.timeout) = (0, 0, Duration::from_millis(300));
    builder.build().unwrap()
}

async fn ask(script: Script, record: RecordType) -> Option<BTreeSet<SocketAddr>> {
    let shutdown = Shutdown::new();
    let resolver = resolver(serve(script, &shutdown).await);
    let answer = dns::ask(&resolver, record, "tasks.agent.", 9002).await.ok();
    shutdown.finish(Duration::ZERO).await;
    answer
}

fn at(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from([10, 0, 1, last]), port)
}

#[tokio::test]
async fn duplicates_and_addresses_that_nobody_has_fall_out() {
    let script: Script = |name, record| {
        assert_eq!(name, "tasks.agent.");
        let nobody = RData::A(A::new(0, 0, 0, 0));
        let own = RData::A(A::new(127, 0, 0, 1));
        (record == RecordType::A).then_some(Answer::Records(vec![a(2), a(3), a(2), a(2), nobody, own]))
    };
    assert_eq!(ask(script, RecordType::A).await, Some(BTreeSet::from([at(2, 9002), at(3, 9002)])));
}

#[tokio::test]
async fn a_long_answer_comes_whole() {
    let script: Script = |_, _| Some(Answer::Long((1..=200).map(a).collect()));
    assert_eq!(ask(script, RecordType::A).await.map(|found| found.len()), Some(200));
}

#[tokio::test]
async fn ipv6_is_asked_too() {
    let script: Script = |_, record| {
        let data = RData::AAAA(AAAA::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
        (record == RecordType::AAAA).then_some(Answer::Records(vec![data]))
    };
    let expected = "[fd00::2]:9002".parse().unwrap();
    assert_eq!(ask(script, RecordType::AAAA).await, Some(BTreeSet::from([expected])));
}

#[tokio::test]
async fn what_fails_is_a_failure_and_never_an_empty_set_to_believe() {
    let scripts: [(&str, Script); 4] = [
        ("NXDOMAIN", |_, _| Some(Answer::Code(ResponseCode::NXDomain))),
        ("SERVFAIL", |_, _| Some(Answer::Code(ResponseCode::ServFail))),
        ("silence", |_, _| None),
        ("no records", |_, _| Some(Answer::Records(Vec::new()))),
    ];
    for (name, script) in scripts {
        for record in dns::RECORDS {
            assert_eq!(ask(script, record).await, None, "{name} {record}");
        }
    }
}

#[tokio::test]
async fn srv_tells_port_and_target() {
    let script: Script = |name, record| match (name, record) {
        ("_swarmgate-peer._tcp.tasks.agent.", RecordType::SRV) => {
            let target = Name::from_ascii("n7.example.").unwrap();
            Some(Answer::Records(vec![RData::SRV(SRV::new(0, 0, 9102, target))]))
        }
        ("n7.example.", RecordType::A) => Some(Answer::Records(vec![a(7)])),
        _ => Some(Answer::Records(Vec::new())),
    };
    assert_eq!(ask(script, RecordType::SRV).await, Some(BTreeSet::from([at(7, 9102)])));
}
