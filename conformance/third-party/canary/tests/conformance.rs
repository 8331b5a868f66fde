use chronik_conformance::log_store::{self, Backend, Scale};
use chronik_core::{Env, FileSystem, LogError, LogStore};
use std::{path::Path, process::ExitCode, sync::Arc};

struct Canary;

impl Backend for Canary {
    fn name(&self) -> &str { "example-canary" }
    fn open(&self, fs: Arc<dyn FileSystem>, dir: &Path, env: Env, _: Scale) -> Result<Arc<dyn LogStore>, LogError> {
        Ok(Arc::new(example_canary::open(&*fs, dir, env)?))
    }
    fn max_payload_bytes(&self, _: Scale) -> u64 { 1 << 20 }
}

fn main() -> ExitCode { log_store::main(Canary) }
