use chronik_conformance::log_store::{self, Backend, Scale};
use chronik_core::{Env, FileSystem, LogError, LogStore};
use std::{path::Path, process::ExitCode, sync::Arc};

struct Mine;

impl Backend for Mine {
    fn name(&self) -> &str { "example-log-store" }
    fn open(&self, fs: Arc<dyn FileSystem>, dir: &Path, env: Env, _: Scale) -> Result<Arc<dyn LogStore>, LogError> {
        Ok(Arc::new(example_log_store::open(&*fs, dir, env)?))
    }
    fn max_payload_bytes(&self, _: Scale) -> u64 { example_log_store::MAX_PAYLOAD_BYTES }
    fn skip(&self, clause: &str) -> Option<String> {
        (clause == "LS-TRN-08").then(|| "the store never reclaims space".to_owned())
    }
}

fn main() -> ExitCode { log_store::main(Mine) }
