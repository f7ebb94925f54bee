//! Who may connect to the public listener, and who has to leave when places run out.

use http::Request;
use tokio_util::sync::CancellationToken;

use super::support::{Identity, Talk, hello, patient, public, run, until_closed};
use crate::body::Body;
use crate::config::{Cidr, Limits};
use crate::listen::Admit;

fn range(base: &str, bits: u8) -> Cidr {
    Cidr { base: base.parse().unwrap(), bits }
}

#[tokio::test]
async fn only_listed_ranges_get_a_handshake() {
    let shown = || Identity::shared().server;
    let elsewhere = Admit::Public { allow_from: vec![range("10.0.0.0", 8), range("::", 0)] };
    let closed = run(elsewhere, shown(), patient(), hello);
    assert_eq!(until_closed(&mut closed.tcp().await).await, b"");
    let here = Admit::Public { allow_from: vec![range("10.0.0.0", 8), range("127.0.0.0", 8)] };
    let open = run(here, shown(), patient(), hello);
    open.connect().await.get().await.unwrap();
}

#[tokio::test]
async fn the_oldest_silent_stranger_gives_way_and_who_is_known_stays() {
    let forever = CancellationToken::new();
    let listener = public(Limits { strangers: 2, ..patient() }, move |request: Request<Body>, client| {
        client.authenticated(&forever);
        hello(request, client)
    });
    let mut known = listener.connect().await;
    known.get().await.unwrap();
    let mut oldest = listener.tcp().await;
    let mut next = listener.connect().await;
    let mut newcomer = listener.connect().await;
    assert_eq!(until_closed(&mut oldest).await, b"");
    for client in [&mut known, &mut next, &mut newcomer] {
        client.get().await.unwrap();
    }
}

#[tokio::test]
async fn a_full_house_sends_off_the_silent_before_it_refuses() {
    let forever = CancellationToken::new();
    let listener = public(Limits { connections: 2, ..patient() }, move |request: Request<Body>, client| {
        client.authenticated(&forever);
        hello(request, client)
    });
    let mut first = listener.connect().await;
    first.get().await.unwrap();
    let mut second = listener.connect().await;
    second.get().await.unwrap();
    let mut third = listener.connect().await;
    first.closed().await;
    second.get().await.unwrap();
    third.get().await.unwrap();
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_the_next_and_disturbs_nobody() {
    let listener = public(patient(), hello);
    let mut before = listener.connect().await;
    before.get().await.unwrap();
    let other = Identity::new();
    listener.tls.send_replace(other.server.clone());
    let mut after = Talk::to(listener.at, other.client(), "localhost".try_into().unwrap()).await.unwrap();
    after.get().await.unwrap();
    before.get().await.unwrap();
    let old_roots = Identity::shared().client();
    assert!(Talk::to(listener.at, old_roots, "localhost".try_into().unwrap()).await.is_err());
}
