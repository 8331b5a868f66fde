//! Checks that a backend keeps the contracts of `chronik-core`, and the simulated world they run in.
//!
//! - [`consensus`]: checks of the consensus contract, in simulated clusters under random faults.
//! - [`file_system`]: checks of what a store relies on below it: a file system whose power can be cut.
//! - [`log_store`]: checks of the log store contract, for any backend.
//! - [`transport`]: checks of the transport contract, for transports over sockets or a simulated network.
//! - [`world`]: a disk that loses what was not synced, a clock, tasks and disk threads that move step by step.
//! - [`model`]: the sequential specification that answers are compared with.
//! - [`reference`](mod@reference): small, correct backends, and switches that break them.
//! - [`survey`](mod@survey): many seeds of a simulation at once, and failing runs with fewer faults.
//! - [`check`] and [`runner`]: what a check is, and the command line that runs checks.

pub mod check;
pub mod consensus;
pub mod file_system;
pub mod log_store;
pub mod model;
pub mod reference;
pub mod runner;
pub mod survey;
pub mod transport;
pub mod world;
