//! Tests of the group coordinator. The machine is driven with a virtual clock and a log in memory.

mod coordinator;
mod harness;
mod join;
mod leave;
mod offsets;
mod replay;
mod retention;
mod shell;
mod simulation;
mod snapshot;
mod static_members;
mod sync;
mod world;
