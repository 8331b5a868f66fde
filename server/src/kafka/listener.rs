//! The Kafka listener: accepts clients, watches over idle ones, and drains them when the server stops.

use super::budget::Budget;
use super::connection::{Activity, Client, ConnectionOptions, MAX_PIPELINED_BYTES, Service, serve};
use crate::metrics::KafkaMetrics;
use async_std::net::{TcpListener, TcpStream};
use chronik_core::{Env, Watch};
use futures_lite::FutureExt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Limits of the listener.
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// The most clients at once; more are turned away when they connect.
    pub max_connections: usize,
    /// How long a client may be silent while it waits for nothing.
    pub max_idle: Duration,
    /// The largest request.
    pub max_request_bytes: usize,
    /// How many bytes of requests may be worked on at once.
    pub inflight_bytes: u64,
}

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    options: ListenerOptions,
    env: Env,
    metrics: Arc<KafkaMetrics>,
    open: Arc<Open>,
}

/// The connections that are open.
#[derive(Debug)]
pub struct Open {
    connections: AtomicUsize,
    changed: event_listener::Event,
    draining: Watch<bool>,
    budget: Budget,
}

impl Listener {
    /// Binds to `address`; what happens there is counted in `metrics`.
    ///
    /// # Errors
    /// What the system says: the address is in use, or not of this machine.
    pub async fn bind(
        address: SocketAddr,
        options: ListenerOptions,
        env: Env,
        metrics: Arc<KafkaMetrics>,
    ) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let open = Arc::new(Open {
            connections: AtomicUsize::new(0),
            changed: event_listener::Event::new(),
            draining: Watch::new(false),
            budget: Budget::new(options.inflight_bytes),
        });
        Ok(Self {
            socket,
            options,
            env,
            metrics,
            open,
        })
    }

    /// The address that the listener got.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The open connections, to drain them later.
    #[must_use]
    pub fn open(&self) -> Arc<Open> {
        Arc::clone(&self.open)
    }

    /// Accepts clients until the server drains.
    pub async fn run(self, service: Arc<dyn Service>) {
        let mut connection = 0;
        loop {
            let accept = async { Some(self.socket.accept().await) };
            let drained = async {
                self.open.draining.wait_for(|draining| *draining).await;
                None
            };
            match accept.or(drained).await {
                None => return,
                Some(Ok((stream, address))) => {
                    connection += 1;
                    let client = Arc::new(Client { address, connection });
                    self.admit(stream, client, &service);
                }
                Some(Err(error)) => {
                    // Out of descriptors, or a client that is gone already: the next attempt may work.
                    log::warn!("event=accept_failed error=\"{error}\"");
                    self.env.clock.sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, client: Arc<Client>, service: &Arc<dyn Service>) {
        let open = OpenGuard::new(&self.open);
        if self.open.connections.load(Ordering::SeqCst) > self.options.max_connections {
            self.metrics.connections_refused.one();
            log::warn!(
                "event=connection_refused client={} reason=\"kafka.max_connections reached\"",
                client.address
            );
            return;
        }
        self.metrics.connections_accepted.one();
        if let Err(error) = stream.set_nodelay(true) {
            log::debug!("event=nodelay_failed client={} error=\"{error}\"", client.address);
        }
        let options = ConnectionOptions {
            max_request_bytes: self.options.max_request_bytes,
            budget: self.open.budget.clone(),
            pipelined_bytes: MAX_PIPELINED_BYTES,
            draining: self.open.draining.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        let (service, env, max_idle) = (Arc::clone(service), self.env.clone(), self.options.max_idle);
        let task = async move {
            let activity = Arc::new(Activity::default());
            let halves = (stream.clone(), stream);
            let served = serve(
                halves,
                service,
                Arc::clone(&client),
                options,
                Arc::clone(&activity),
            );
            match served.or(idle(env, max_idle, activity)).await {
                Ok(()) => log::debug!("event=connection_closed client={}", client.address),
                Err(error) => {
                    log::info!(
                        "event=connection_closed client={} reason=\"{error}\"",
                        client.address
                    );
                }
            }
            drop(open);
        };
        self.env.spawn.spawn("kafka-connection", Box::pin(task));
    }
}

/// Ends once nothing moved for a whole period.
async fn idle(env: Env, max_idle: Duration, activity: Arc<Activity>) -> io::Result<()> {
    loop {
        env.clock.sleep(max_idle).await;
        if activity.was_idle() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "idle for kafka.max_connection_idle_ms",
            ));
        }
    }
}

impl Open {
    /// Connections that are open now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The memory that requests in flight take together.
    #[must_use]
    pub fn inflight_bytes(&self) -> u64 {
        self.budget.used_bytes()
    }

    /// Set when the server stops.
    #[must_use]
    pub fn draining(&self) -> Watch<bool> {
        self.draining.clone()
    }

    /// Stops accepting and reading; resolves when every answer in flight has left and all connections are closed.
    pub async fn drain(&self) {
        self.draining
            .update(|draining| !std::mem::replace(draining, true));
        while self.count() > 0 {
            let changed = self.changed.listen();
            if self.count() > 0 {
                changed.await;
            }
        }
    }
}

/// Counts a connection as open while it lives.
struct OpenGuard(Arc<Open>);

impl OpenGuard {
    fn new(open: &Arc<Open>) -> Self {
        open.connections.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(open))
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify(usize::MAX);
    }
}
