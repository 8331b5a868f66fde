//! A server process: from its configuration to its exit.

use crate::admin::{AdminError, AdminListener, AdminParts, Lifecycle};
use crate::broker::start::{Running, StartError, start as start_broker};
use crate::cluster::controller::ApplyStatus;
use crate::config::{Config, compose};
use crate::metrics::Metrics;
use async_signal::{Signal, Signals};
use chronik_core::log_store::StoreHealth;
use chronik_core::{Env, LogError};
use futures_lite::{FutureExt, StreamExt};
use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

/// Why a server process ended otherwise than by a signal.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// It did not start.
    Start(StartError),
    /// Operators cannot be answered where they were promised to be.
    Admin(AdminError),
    /// Signals cannot be received.
    Signals(std::io::Error),
    /// The store failed; nothing is acknowledged any more.
    Store(LogError),
    /// The metadata cannot be followed any more.
    Metadata(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => error.fmt(f),
            Self::Admin(error) => error.fmt(f),
            Self::Signals(error) => write!(f, "cannot receive signals: {error}"),
            Self::Store(error) => write!(f, "the store failed: {error}"),
            Self::Metadata(why) => write!(f, "the metadata cannot be followed: {why}"),
        }
    }
}

impl std::error::Error for RunError {}

/// Runs a broker until SIGTERM or SIGINT; the return is the process's end.
///
/// # Errors
/// [`RunError`].
pub fn run(config: Config) -> Result<(), RunError> {
    abort_on_panic();
    crate::runtime::block_on(serve(config))
}

/// A dead task behind a live listener is the worst state: whatever panics ends the process, and a restart recovers.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

async fn serve(config: Config) -> Result<(), RunError> {
    let misled = config.kafka.remote_clients_are_misled();
    let mut signals = Signals::new([Signal::Term, Signal::Int]).map_err(RunError::Signals)?;
    let env = compose::environment().map_err(|error| RunError::Start(StartError::Threads(error)))?;
    let config = Arc::new(config);
    crate::open_files::raise_limit(&config);
    let (metrics, lifecycle) = (Metrics::new(), Lifecycle::new());
    let admin = start_admin(&config, &env, &metrics, &lifecycle).await?;
    let starting = start_broker(config, env, &metrics, lifecycle);
    let told = async {
        let signal = signals.next().await;
        log::info!("event=start_given_up signal={signal:?}");
        Ok(None)
    };
    let starting = async { starting.await.map(Some).map_err(RunError::Start) };
    // What is open then ends with the process: nothing was served.
    let Some(running) = starting.or(told).await? else {
        return Ok(());
    };
    if misled {
        log::warn!(
            "event=advertise_unset bind={} advertised={} fix=\"set kafka.advertise (--advertise) for clients on other \
             machines\"",
            running.bound.ip(),
            running.advertised.0
        );
    }
    announce(&running, admin);
    let health = running.store().health();
    let metadata = running.metadata_status();
    let told = async {
        if let Some(Ok(signal)) = signals.next().await {
            log::info!("event=stopping signal={signal:?}");
        }
        Ok(())
    };
    let failed = async {
        match health
            .wait_for(|health| matches!(health, StoreHealth::Poisoned(_)))
            .await
        {
            StoreHealth::Poisoned(cause) => Err(LogError::Poisoned(cause)),
            StoreHealth::Working | StoreHealth::Full => Err(LogError::Closed),
        }
    };
    let unreadable = async {
        match metadata.wait_for(|status| *status != ApplyStatus::Running).await {
            ApplyStatus::Failed(why) => Err(RunError::Metadata(why.to_string())),
            _ => Err(RunError::Metadata("the metadata group was closed".to_owned())),
        }
    };
    // What a poisoned store held in flight has no outcome: the process ends without saying one.
    let failed = async { failed.await.map_err(RunError::Store) };
    told.or(failed).or(unreadable).await?;
    running.stop().await.map_err(RunError::Store)?;
    log::info!("event=stopped");
    Ok(())
}

/// Answers operators from now on; returns where.
async fn start_admin(
    config: &Arc<Config>,
    env: &Env,
    metrics: &Arc<Metrics>,
    lifecycle: &Lifecycle,
) -> Result<Option<SocketAddr>, RunError> {
    let parts = AdminParts {
        config: Arc::clone(config),
        env: env.clone(),
        metrics: Arc::clone(metrics),
        lifecycle: lifecycle.clone(),
    };
    let listener = AdminListener::bind(parts).await.map_err(RunError::Admin)?;
    Ok(listener.map(|listener| {
        let address = listener.address();
        env.spawn.spawn("admin-listener", Box::pin(listener.run()));
        address
    }))
}

/// One line on standard output once clients can connect.
fn announce(running: &Running, admin: Option<SocketAddr>) {
    let (host, port) = &running.advertised;
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.clone()
    };
    let admin = admin.map_or_else(String::new, |address| format!(", operators to {address}"));
    let line = format!(
        "chronik-server ready: clients connect to {host}:{port}{admin} (pid {})\n",
        std::process::id()
    );
    let mut out = std::io::stdout().lock();
    if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
        log::warn!("event=announce_failed");
    }
}
