//! Stands for a transport of somebody else's: here, the simulated one, judged in its own world.

/// The transport as the suite takes it.
pub type MyTransport = chronik_conformance::transport::Simulated;
