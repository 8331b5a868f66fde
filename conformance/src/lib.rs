//! Checks that a backend keeps the contracts of `chronik-core`, and the simulated world they run in.
//!
//! - [`world`]: a disk that loses what was not synced, a clock, tasks and disk threads that move step by step.
//! - [`model`]: the sequential specification that answers are compared with.
//! - [`reference`](mod@reference): small, correct backends, and switches that break them.

pub mod model;
pub mod reference;
pub mod world;
