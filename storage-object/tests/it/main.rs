//! The tier as a whole, over the simulated world and over real directories and sockets.
#![allow(clippy::unwrap_used)]

mod buckets;
mod cluster;
mod faulty;
mod incidents;
mod leavings;
mod model;
mod real;
