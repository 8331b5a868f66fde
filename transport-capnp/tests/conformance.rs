//! The suite's verdict: `cargo test -p chronik-transport-capnp --test conformance -- --help`.

#![allow(clippy::unwrap_used, reason = "a test fails by panics")]

#[path = "common/authority.rs"]
mod authority;

use authority::{Authority, Folder};
use chronik_conformance::transport::{self, Certificate, Sockets};
use chronik_core::Env;
use chronik_core::transport::TransportFactory;
use chronik_transport_capnp::{CapnpFactory, CapnpOptions, Tls};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock, Weak};

fn factory(env: Env) -> Arc<dyn TransportFactory> {
    Arc::new(CapnpFactory::new(CapnpOptions::default(), env.rng))
}

/// The authority of the cluster, and another.
fn authorities() -> &'static (Authority, Authority) {
    static BOTH: OnceLock<(Authority, Authority)> = OnceLock::new();
    BOTH.get_or_init(|| (Authority::new(), Authority::new()))
}

/// The folder of `main`: the files of a certificate are read when a transport is bound.
static FOLDER: OnceLock<Weak<Folder>> = OnceLock::new();

fn secured(env: Env, certificate: Certificate) -> Arc<dyn TransportFactory> {
    let (ours, theirs) = authorities();
    let name = format!("{certificate:?}-{}", env.rng.next_u64());
    let folder = FOLDER.get().and_then(Weak::upgrade).unwrap();
    let of = |authority: &Authority| authority.node(&folder, &name, "127.0.0.1");
    let tls = match certificate {
        Certificate::OfTheCluster => Tls::Mutual(of(ours)),
        Certificate::OfAnother => Tls::Mutual(of(theirs)),
        Certificate::OfAnotherTrustingTheCluster => {
            let trusted = ours.node(&folder, &format!("{name}-trusted"), "127.0.0.1").ca;
            let mut mixed = of(theirs);
            mixed.ca = trusted;
            Tls::Mutual(mixed)
        }
        Certificate::Missing => Tls::Plain,
    };
    Arc::new(CapnpFactory::new(CapnpOptions { tls }, env.rng))
}

fn main() -> ExitCode {
    // A static would stay when the process ends.
    let folder = Arc::new(Folder::new());
    FOLDER.get_or_init(|| Arc::downgrade(&folder));
    transport::main(Sockets::new("transport-capnp", factory).with_tls(secured))
}
