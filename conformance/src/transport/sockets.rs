//! Transports over real sockets: real time, and proxies on loopback for wires.

use super::Backend;
use super::rig::{Certificate, Harm, Process, Rig, Wire};
use crate::check::{Failure, LocalFuture, Verdict};
use crate::world::net::Way;
use crate::world::real::{Proxy, RealEnv, block_on};
use crate::world::{Seed, locked};
use chronik_core::env::Env;
use chronik_core::transport::TransportFactory;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A transport over real sockets, made by a function from an environment.
#[derive(Clone, Debug)]
pub struct Sockets<F> {
    name: &'static str,
    make: F,
    secured: Option<Secured>,
    skips: Vec<(&'static str, &'static str)>,
}

/// Makes the factory of a process with a certificate.
type Secured = fn(Env, Certificate) -> Arc<dyn TransportFactory>;

impl<F: Fn(Env) -> Arc<dyn TransportFactory> + Clone + Send + Sync + 'static> Sockets<F> {
    /// A backend; `make` gives each process its factory.
    pub fn new(name: &'static str, make: F) -> Self {
        let skips = vec![("TR-REC-04", "names of loopback cannot be made to lead elsewhere")];
        Self {
            name,
            make,
            secured: None,
            skips,
        }
    }

    /// The transport has TLS; `secured` gives a process its factory with such a certificate.
    #[must_use]
    pub fn with_tls(mut self, secured: fn(Env, Certificate) -> Arc<dyn TransportFactory>) -> Self {
        self.secured = Some(secured);
        self
    }

    /// Does not run the checks of `clause`, with the reason.
    #[must_use]
    pub fn skipping(mut self, clause: &'static str, reason: &'static str) -> Self {
        self.skips.push((clause, reason));
        self
    }
}

impl<F: Fn(Env) -> Arc<dyn TransportFactory> + Clone + Send + Sync + 'static> Backend for Sockets<F> {
    fn name(&self) -> &str {
        self.name
    }

    fn rig(&self, seed: Seed) -> Box<dyn Rig> {
        Box::new(SocketRig {
            env: RealEnv::new(seed).env(),
            make: self.make.clone(),
            secured: self.secured,
            wires: Mutex::new(Vec::new()),
        })
    }

    fn skip(&self, clause: &str) -> Option<String> {
        let skip = self.skips.iter().find(|(skipped, _)| *skipped == clause);
        skip.map(|(_, reason)| (*reason).to_owned())
    }
}

/// A check that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(180);

struct SocketRig<F> {
    env: Env,
    make: F,
    secured: Option<Secured>,
    wires: Mutex<Vec<Arc<Proxy>>>,
}

impl<F: Fn(Env) -> Arc<dyn TransportFactory> + Send + Sync> Rig for SocketRig<F> {
    fn env(&self) -> Env {
        self.env.clone()
    }

    fn process(&self) -> Box<dyn Process> {
        Box::new(SocketProcess {
            factory: (self.make)(self.env.clone()),
        })
    }

    fn secured(&self, certificate: Certificate) -> Option<Box<dyn Process>> {
        let factory = self.secured?(self.env.clone(), certificate);
        Some(Box::new(SocketProcess { factory }))
    }

    fn run(&self, check: LocalFuture<'_, Verdict>) -> Verdict {
        block_on(check, Some(LIMIT))
            .unwrap_or_else(|| Err(Failure(format!("the check hangs: no end within {LIMIT:?}"))))
    }

    fn wire(&self, to: SocketAddr) -> Arc<dyn Wire> {
        let proxy = Arc::new(Proxy::start(to));
        locked(&self.wires).push(Arc::clone(&proxy));
        Arc::new(SocketWire { proxy })
    }

    fn send_garbage(&self, to: SocketAddr, bytes: &[u8]) {
        if let Ok(mut stream) = TcpStream::connect(to) {
            // The listener may hang up at any moment, which is its answer.
            let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
            let _ = stream.write_all(bytes);
            let _ = stream.read(&mut [0; 1024]);
        }
    }

    fn slack(&self) -> Duration {
        Duration::from_secs(3)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(3)
    }
}

struct SocketProcess {
    factory: Arc<dyn TransportFactory>,
}

impl Process for SocketProcess {
    fn factory(&self) -> &dyn TransportFactory {
        &*self.factory
    }

    fn tasks(&self) -> Option<Vec<&'static str>> {
        None
    }
}

struct SocketWire {
    proxy: Arc<Proxy>,
}

impl Wire for SocketWire {
    fn address(&self) -> String {
        self.proxy.local().to_string()
    }

    fn point_to(&self, to: SocketAddr) {
        self.proxy.point_to(to);
    }

    fn hold(&self, way: Way, on: bool) {
        self.proxy.hold(way, on);
    }

    fn refuse(&self, on: bool) {
        self.proxy.refuse(on);
    }

    fn reset(&self) {
        self.proxy.reset();
    }

    fn harm(&self, harm: Option<Harm>) {
        match harm {
            Some(Harm::Flip) => self.proxy.flip(),
            Some(Harm::Cut) => self.proxy.cut(),
            None => self.proxy.spare(),
        }
    }

    fn dribble(&self, on: bool) {
        self.proxy.dribble(on);
    }

    fn attempts(&self) -> u64 {
        self.proxy.attempts()
    }
}
