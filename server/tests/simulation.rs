//! The parts that a server is made of, together: raft-rs over the segment store under the checks of the consensus
//! contract, in clusters whose disks, network and clock are simulated.
//!
//! `CHRONIK_SWARM=N cargo test --release -p chronik-server --test simulation` runs N seeds of random faults instead, and
//! `CHRONIK_SEED=S` repeats one of them.

use chronik_conformance::consensus::{self, Backend, Seat};
use chronik_consensus::RaftRsEngine;
use chronik_consensus::raft_rs::RaftOptions;
use chronik_core::{Consensus, Env, FileSystem, LogError, LogStore};
use chronik_storage_mmap::{MmapStore, StoreOptions};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

struct Stack;

/// Limits so low that the few entries of a run cross most of them; the largest entry of the checks must fit.
fn store_options(dir: &Path) -> StoreOptions {
    const KIB: u64 = 1 << 10;
    let mut options = StoreOptions::new(dir);
    options.journal_file_bytes = 2048 * KIB;
    options.journal_files_max = 4;
    options.payload_bytes_max = 512 * KIB;
    options.flush_bytes_max = 24 * KIB;
    options.tail_bytes_max = 8 * KIB;
    options.copy_bytes = 12 * KIB;
    options.sync_bytes = 8 * KIB;
    options.open_files_max = 2;
    options.maps_max = 2;
    options.pool_bytes_max = 64 * KIB;
    options.shrink_step_bytes = 16 * KIB;
    options.free_bytes_min = 64 * KIB;
    options
}

impl Backend for Stack {
    fn name(&self) -> &str {
        "raft-rs over storage-mmap"
    }

    fn engine(&self, seat: Seat) -> Arc<dyn Consensus> {
        // So few entries are kept for those that lag that checkpoints are needed.
        let options = RaftOptions {
            keep_entries: 4,
            ..RaftOptions::new(seat.node)
        };
        let engine = RaftRsEngine::new(options, seat.env, seat.transport, seat.inbound);
        Arc::new(engine.expect("the default options make sense"))
    }

    fn store(&self, fs: Arc<dyn FileSystem>, dir: &Path, env: Env) -> Result<Arc<dyn LogStore>, LogError> {
        Ok(Arc::new(MmapStore::open(store_options(dir), fs, env)?))
    }
}

fn main() -> ExitCode {
    consensus::main(Stack)
}
