//! The Kafka protocol: the wire format, the record format, and one file for each API key.

pub mod api;
pub mod budget;
pub mod connection;
mod deadline;
pub mod fetch;
pub mod frame_buffer;
pub mod handlers;
pub mod listener;
pub mod record;
pub mod wire;
