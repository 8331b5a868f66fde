//! The control plane over the standalone engine, the reference store and a simulated disk and clock.

mod configs;
mod controller;
mod crashes;
mod describe;
mod metadata;
mod producer_ids;
mod topics;
mod world;
