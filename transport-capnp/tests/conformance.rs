//! The suite's verdict: `cargo test -p chronik-transport-capnp --test conformance -- --help`.

use chronik_conformance::transport::{self, Sockets};
use chronik_core::Env;
use chronik_core::transport::TransportFactory;
use chronik_transport_capnp::{CapnpFactory, CapnpOptions};
use std::process::ExitCode;
use std::sync::Arc;

fn factory(env: Env) -> Arc<dyn TransportFactory> {
    Arc::new(CapnpFactory::new(CapnpOptions::default(), env.rng))
}

fn main() -> ExitCode {
    transport::main(Sockets::new("transport-capnp", factory))
}
