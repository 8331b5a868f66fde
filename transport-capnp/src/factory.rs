//! Binding.

use chronik_core::BoxFuture;
use chronik_core::env::Rng;
use chronik_core::transport::{BindOptions, Bound, TransportFactory};
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::inbound::Stream;
use crate::limits::MAX_MESSAGE_BYTES;
use crate::node;
use crate::shared::Shared;
use crate::tls::{Secured, Tls};
use crate::transport::{CapnpTransport, Thread};

/// What the transports of a factory have in common.
#[derive(Clone, Debug, Default)]
pub struct CapnpOptions {
    /// How connections are protected.
    pub tls: Tls,
}

/// Makes transports that speak Cap'n Proto RPC over TCP.
///
/// Each runs on a thread of its own, which owns all its sessions. A node dials its peers for its own sending
/// direction; so two nodes that dial each other at once need no tie-break (TR-REC-05).
#[derive(Clone, Debug)]
pub struct CapnpFactory {
    options: CapnpOptions,
    rng: Arc<dyn Rng>,
}

impl CapnpFactory {
    /// A factory whose transports take their random numbers (back-off jitter, incarnations) from `rng`.
    #[must_use]
    pub fn new(options: CapnpOptions, rng: Arc<dyn Rng>) -> Self {
        Self { options, rng }
    }

    fn bind_now(&self, options: BindOptions) -> Result<Bound, String> {
        check(&options)?;
        let tls = match &self.options.tls {
            Tls::Plain => None,
            Tls::Mutual(files) => Some(Secured::load(files)?),
        };
        let listen = options.listen;
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!(
                    "listen = {listen}: {error}: choose another port, or stop the process that has this one"
                )
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("listen = {listen}: {error}: name an address of this machine")
            }
            _ => format!("listen = {listen}: {error}: choose an address that this process may listen on"),
        };
        // The standard library sets SO_REUSEADDR, so that a node can restart at once (TR-LIFE-02).
        let listener = TcpListener::bind(listen).map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let (commands, orders) = async_channel::unbounded();
        let (done, ended) = async_channel::bounded(1);
        let shared = Arc::new(Shared::new(options, commands));
        let (theirs, rng) = (Arc::clone(&shared), Arc::clone(&self.rng));
        let handle = thread::Builder::new()
            .name("transport".to_owned())
            .spawn(move || node::run(&theirs, listener, &orders, tls, rng, done))
            .map_err(|error| format!("listen = {listen}: no thread for the transport: {error}"))?;
        let inbound = Box::new(Stream::new(Arc::clone(&shared.inbound)));
        let thread = Arc::new(Thread {
            handle: Mutex::new(Some(handle)),
            done: ended,
        });
        Ok(Bound {
            transport: Arc::new(CapnpTransport { shared, thread }),
            inbound,
            local,
        })
    }
}

fn check(options: &BindOptions) -> Result<(), String> {
    if options.max_message_bytes == 0 || options.max_message_bytes > MAX_MESSAGE_BYTES {
        return Err(format!(
            "max_message_bytes = {}: choose 1 to {MAX_MESSAGE_BYTES}",
            options.max_message_bytes
        ));
    }
    if options.max_queued_bytes == 0 {
        return Err("max_queued_bytes = 0: choose at least 1".to_owned());
    }
    if options.keepalive < Duration::from_millis(20) {
        return Err(format!(
            "keepalive = {:?}: choose at least 20 ms",
            options.keepalive
        ));
    }
    Ok(())
}

impl TransportFactory for CapnpFactory {
    fn bind(&self, options: BindOptions) -> BoxFuture<'_, Result<Bound, String>> {
        Box::pin(async move { self.bind_now(options) })
    }
}
