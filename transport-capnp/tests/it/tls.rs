//! TR-TLS-01: mutual TLS.

use chronik_core::env::Rng;
use chronik_core::transport::{CallOutcome, Lane};
use chronik_transport_capnp::{CapnpFactory, CapnpOptions, Tls, TlsOptions};
use futures_lite::future::block_on;
use std::path::Path;
use std::sync::Arc;

use crate::authority::{Authority, Folder};
use crate::fixture::{Fixture, Node, any_port, eventually, peer};
use crate::proxy::Proxy;

fn fixture(tls: Tls) -> Fixture {
    let plain = Fixture::new();
    let rng = Arc::clone(&plain.rng) as Arc<dyn Rng>;
    Fixture {
        factory: Box::new(CapnpFactory::new(CapnpOptions { tls }, rng)),
        ..plain
    }
}

fn node(tls: TlsOptions, id: u64) -> Node {
    fixture(Tls::Mutual(tls)).node(id)
}

#[test]
fn nodes_with_certificates_of_one_authority_talk() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let one = node(authority.node(&folder, "one", "127.0.0.1"), 1);
    let mut two = node(authority.node(&folder, "two", "127.0.0.1"), 2);
    two.echo();
    one.meet(&[&two]);
    one.wait_connected(2);
    for size in [0, 1, 70_000, 4 * 1024 * 1024] {
        let message = bytes::Bytes::from(vec![5; size]);
        assert_eq!(
            one.call(2, Lane::Bulk, message.clone()),
            CallOutcome::Answered(message)
        );
    }
    one.close();
    two.close();
}

/// The first node dials the second and is refused, time and again.
fn is_refused(dialler: &Node, acceptor: &Node) {
    let proxy = Proxy::to(acceptor.local);
    dialler
        .transport
        .set_peers(vec![peer(acceptor.id.0, proxy.local)]);
    eventually("it was refused a few times", || proxy.accepted() >= 4);
    assert!(!dialler.state(acceptor.id.0).connected);
}

#[test]
fn a_peer_without_a_certificate_of_the_authority_is_refused() {
    let (folder, ours, theirs) = (Folder::new(), Authority::new(), Authority::new());
    let member = node(ours.node(&folder, "member", "127.0.0.1"), 1);
    let foreign = node(theirs.node(&folder, "foreign", "127.0.0.1"), 2);
    is_refused(&foreign, &member);
    is_refused(&member, &foreign);
    // It trusts our authority, and shows a certificate of another.
    let mut mixed = theirs.node(&folder, "mixed", "127.0.0.1");
    mixed.ca = ours.node(&folder, "trust", "127.0.0.1").ca;
    let mixed = node(mixed, 3);
    is_refused(&mixed, &member);
    let plain = fixture(Tls::Plain).node(4);
    is_refused(&plain, &member);
    is_refused(&member, &plain);
    // A certificate of the authority, but not for the address at which the peer is.
    let elsewhere = node(ours.node(&folder, "elsewhere", "elsewhere.example"), 5);
    is_refused(&member, &elsewhere);
}

#[test]
fn unusable_files_are_named_with_the_setting_and_the_reason() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let good = authority.node(&folder, "good", "127.0.0.1");
    let other = authority.node(&folder, "other", "127.0.0.1");
    let missing = Path::new("/nowhere/file.pem").to_owned();
    let empty = folder.file("empty.pem", "");
    let noise = folder.file(
        "noise.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let with = |setting: &'static str, file: &Path| {
        let mut files = good.clone();
        match setting {
            "tls.ca" => files.ca = file.to_owned(),
            "tls.cert" => files.cert = file.to_owned(),
            _ => files.key = file.to_owned(),
        }
        (setting, files)
    };
    for (setting, files) in [
        with("tls.ca", &missing),
        with("tls.ca", &empty),
        with("tls.ca", &noise),
        with("tls.cert", &missing),
        with("tls.cert", &empty),
        with("tls.key", &missing),
        with("tls.key", &empty),
        with("tls.key", &other.key),
    ] {
        let factory = fixture(Tls::Mutual(files.clone()));
        let error = block_on(factory.factory.bind(factory.options(1, any_port()))).unwrap_err();
        let named = [&files.ca, &files.cert, &files.key]
            .iter()
            .any(|file| error.contains(&*file.to_string_lossy()));
        assert!(error.contains(setting) && named, "{setting}: {error}");
    }
}
