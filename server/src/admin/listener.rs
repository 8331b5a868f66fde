//! The sockets of operators: bounded in number, in size and in time.

use super::http::{Response, linger, read_request, write_response};
use super::routes::answer;
use super::token::Token;
use super::{AdminParts, OwnMetrics};
use crate::config::DEFAULT_ADMIN_PORT;
use async_std::net::{TcpListener, TcpStream};
use futures_lite::FutureExt;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Why there is no listener where one was asked for.
#[derive(Debug)]
#[non_exhaustive]
pub enum AdminError {
    /// The address cannot be had.
    Listen(SocketAddr, io::Error),
    /// The token cannot be used.
    Token(String),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => write!(
                f,
                "cannot listen on {address} for operators: {error}; choose another admin.bind or admin.port \
                 (--admin-port), or set admin.enabled = false"
            ),
            Self::Token(what) => write!(f, "admin.token_file: {what}"),
        }
    }
}

impl std::error::Error for AdminError {}

/// The bound listener.
#[derive(Debug)]
pub struct AdminListener {
    socket: TcpListener,
    address: SocketAddr,
    token: Option<Token>,
    parts: AdminParts,
    own: Arc<OwnMetrics>,
}

impl AdminListener {
    /// Binds as the configuration says. `None` where it says that there is no listener, and where the port that
    /// nobody chose is taken.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn bind(parts: AdminParts) -> Result<Option<Self>, AdminError> {
        let admin = &parts.config.admin;
        if !admin.enabled {
            return Ok(None);
        }
        let token = admin.token_file.as_deref().map(Token::read).transpose();
        let token = token.map_err(AdminError::Token)?;
        let wanted = SocketAddr::new(admin.bind, admin.port.unwrap_or(DEFAULT_ADMIN_PORT));
        let socket = match TcpListener::bind(wanted).await {
            Ok(socket) => socket,
            Err(error) if admin.port.is_none() && error.kind() == io::ErrorKind::AddrInUse => {
                log::warn!(
                    "event=admin_port_taken address={wanted} effect=\"no health, metrics or cluster commands\" \
                     fix=\"set admin.port (--admin-port); 0 takes a free one\""
                );
                return Ok(None);
            }
            Err(error) => return Err(AdminError::Listen(wanted, error)),
        };
        let address = socket
            .local_addr()
            .map_err(|error| AdminError::Listen(wanted, error))?;
        Ok(Some(Self {
            socket,
            address,
            token,
            parts,
            own: Arc::default(),
        }))
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers operators until the process ends.
    pub async fn run(self) {
        let shared = Arc::new(self);
        loop {
            match shared.socket.accept().await {
                Ok((stream, client)) => shared.admit(stream, client),
                Err(error) => {
                    // Out of descriptors, or a client that is gone already: the next attempt may work.
                    log::warn!("event=admin_accept_failed error=\"{error}\"");
                    shared.parts.env.clock.sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, client: SocketAddr) {
        let guard = Guard::new(&self.own);
        if self.own.connections.load(Ordering::SeqCst) > self.parts.config.admin.max_connections {
            self.own.refused.one();
            log::debug!(
                "event=admin_connection_refused client={client} reason=\"admin.max_connections reached\""
            );
            return;
        }
        let shared = Arc::clone(self);
        let task = async move {
            if let Err(error) = shared.serve(stream).await {
                log::debug!("event=admin_connection_failed client={client} error=\"{error}\"");
            }
            drop(guard);
        };
        self.parts.env.spawn.spawn("admin-connection", Box::pin(task));
    }

    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let request = self.in_time(read_request(&mut stream)).await;
        let response = match request {
            Ok(Ok(request)) => answer(&self.parts, &self.own, self.token.as_ref(), &request).await,
            Ok(Err(refused)) => refused,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Response::error(408, "the request did not arrive within admin.request_timeout_ms")
            }
            Err(error) => return Err(error),
        };
        self.own.answered(response.status);
        self.in_time(write_response(&mut stream, &response)).await?;
        stream.shutdown(Shutdown::Write)?;
        self.in_time(linger(&mut stream)).await
    }

    async fn in_time<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let limit = Duration::from_millis(self.parts.config.admin.request_timeout_ms);
        let late = async {
            self.parts.env.clock.sleep(limit).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        work.or(late).await
    }
}

/// Counts a connection while it lives.
struct Guard(Arc<OwnMetrics>);

impl Guard {
    fn new(own: &Arc<OwnMetrics>) -> Self {
        own.connections.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(own))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}
