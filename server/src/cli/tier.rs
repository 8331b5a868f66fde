//! `tier`: reads the bucket of the object tier, without a cluster, or asks a node. Nothing here writes to the bucket.

use super::Exit;
use super::cluster::table::table;
use super::cluster::{Target, ask, finish};
use super::output::{complain, print};
use super::settings::Settings;
use crate::admin::report::{TierPartition, TierReport};
use crate::config::{Config, compose};
use chronik_core::{Env, Offset};
use chronik_storage_object::cold::{ColdOptions, DiskCache};
use chronik_storage_object::manifest::read_manifest;
use chronik_storage_object::offline::{Entries, partitions, scrub};
use chronik_storage_object::{Bucket, Claim, ColdReader, PartitionKey, TierError, TierMetrics};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use structopt::StructOpt;

#[derive(Debug, StructOpt)]
pub(super) enum Command {
    /// Lists the partitions that are in the bucket, with their offsets and sizes.
    Ls(Settings),
    /// Reads every object of every partition and compares every checksum; exits with 1 if anything is wrong.
    Verify(Settings),
    /// Holds the manifests against the objects that there are, and names orphans, gaps, overlaps and missing objects.
    /// Changes nothing; exits with 1 if anything cannot be read that should be.
    Scrub(Settings),
    /// What a running node says of its tier: each partition's tiered and local offsets, what waits, what failed, and the
    /// requests that were made. Exits with 1 if a round of work failed last.
    Status(Target),
    /// Lists the entries of one partition, or writes its record batches to a file.
    Cat(Cat),
}

#[derive(Debug, StructOpt)]
pub(super) struct Cat {
    /// The partition, as `tier ls` prints it: TOPIC-ID/NUMBER.
    partition: PartitionKey,
    /// The first offset.
    #[structopt(long, default_value = "0")]
    from: i64,
    /// Writes the record batches (Kafka's format v2, one after the other) to this file, which must not exist.
    #[structopt(long, parse(from_os_str))]
    out: Option<PathBuf>,
    #[structopt(flatten)]
    settings: Settings,
}

/// What the commands work with.
struct Tool {
    bucket: Arc<dyn Bucket>,
    env: Env,
    metrics: Arc<TierMetrics>,
}

pub(super) fn run(command: &Command) -> Exit {
    let settings = match command {
        Command::Ls(settings) | Command::Verify(settings) | Command::Scrub(settings) => settings,
        Command::Cat(cat) => &cat.settings,
        Command::Status(target) => return finish(ask(target, "/v1/tier", show, is_well)),
    };
    let effective = match settings.load(&[]) {
        Ok(effective) => effective,
        Err(problems) => {
            complain(&problems);
            return Exit::Failed;
        }
    };
    let answer = Tool::open(&effective.config).and_then(|tool| {
        crate::runtime::block_on(async {
            match command {
                Command::Ls(_) => tool.list().await.map_err(|error| error.to_string()),
                Command::Verify(_) => tool.scrub(true).await.map_err(|error| error.to_string()),
                Command::Scrub(_) => tool.scrub(false).await.map_err(|error| error.to_string()),
                Command::Cat(cat) => tool.cat(cat).await,
                // It asks a node, not the bucket.
                Command::Status(_) => Ok((String::new(), true)),
            }
        })
    });
    match answer {
        Ok((text, true)) => print(&text),
        Ok((text, false)) => {
            print(&text);
            Exit::Failed
        }
        Err(error) => {
            complain(&error);
            Exit::Failed
        }
    }
}

fn is_well(report: &TierReport) -> bool {
    let mut led = report.partitions.iter().filter(|partition| partition.leading);
    led.all(|partition| partition.failure.is_none())
}

fn show(report: &TierReport) -> String {
    let requests = &report.requests;
    let claim = report
        .claim
        .map_or_else(|| "not used yet".to_owned(), |claim| format!("claim {claim}"));
    let mut text = format!(
        "node {}: {} ({claim})\nrequests: {} PUT, {} GET, {} LIST, {} DELETE; {} repeated, {} failed, {} rounds not \
         finished\nbytes: {} written, {} read\n",
        report.node,
        report.bucket,
        requests.puts,
        requests.gets,
        requests.lists,
        requests.deletes,
        requests.retries,
        requests.failures,
        report.failed_rounds,
        requests.bytes_up,
        requests.bytes_down
    );
    let row = |partition: &TierPartition| {
        let state = match (&partition.failure, partition.leading) {
            (Some(why), true) => format!("failed: {why}"),
            (_, true) => "leads".to_owned(),
            (_, false) => "follows".to_owned(),
        };
        vec![
            format!("{}-{}", partition.topic, partition.partition),
            format!(
                "{}..{}",
                partition.tiered_start_offset, partition.tiered_end_offset
            ),
            format!("{}..{}", partition.local_start_offset, partition.high_watermark),
            partition.tiered_bytes.to_string(),
            partition.local_bytes.to_string(),
            partition.lag_bytes.to_string(),
            partition.garbage_objects.to_string(),
            state,
        ]
    };
    let rows: Vec<_> = report.partitions.iter().map(row).collect();
    let headings = [
        "PARTITION",
        "TIERED",
        "LOCAL",
        "TIERED BYTES",
        "LOCAL BYTES",
        "WAITING BYTES",
        "GARBAGE",
        "STATE",
    ];
    text.push_str(&table(&headings, &rows));
    text
}

impl Tool {
    fn open(config: &Config) -> Result<Self, String> {
        let env = compose::environment().map_err(|error| format!("cannot start threads: {error}"))?;
        let metrics = Arc::new(TierMetrics::default());
        let bucket = compose::bucket(config, &env, &metrics).map_err(|error| error.to_string())?;
        let bucket = bucket.ok_or("there is no object tier: tier.url is not set")?;
        Ok(Self { bucket, env, metrics })
    }

    async fn list(&self) -> Result<(String, bool), TierError> {
        let mut text = String::new();
        if let Some((claim, _)) = Claim::read(&*self.bucket).await? {
            let _ = writeln!(text, "cluster {} (claim {})", claim.cluster_id, claim.generation);
        }
        for partition in partitions(&*self.bucket).await? {
            let Some(manifest) = read_manifest(&*self.bucket, partition).await? else {
                let _ = writeln!(text, "{partition}: no manifest");
                continue;
            };
            let state = &manifest.state;
            let offsets = state.offsets();
            let _ = writeln!(
                text,
                "{partition}: offsets {}..{}, {} segments, {} bytes",
                offsets.start,
                offsets.end,
                state.segments().len(),
                state.size_bytes()
            );
        }
        Ok((text, true))
    }

    async fn scrub(&self, deep: bool) -> Result<(String, bool), TierError> {
        let (mut text, mut is_whole, mut orphans) = (String::new(), true, 0);
        let found = partitions(&*self.bucket).await?;
        for partition in &found {
            let report = scrub(&*self.bucket, *partition, deep).await?;
            is_whole &= report.is_whole();
            for finding in &report.findings {
                let _ = writeln!(text, "{finding}");
            }
            orphans += report.findings.len();
        }
        let verdict = if is_whole {
            "everything can be read"
        } else {
            "NOT everything can be read"
        };
        let _ = writeln!(text, "{} partitions, {orphans} findings: {verdict}", found.len());
        Ok((text, is_whole))
    }

    async fn cat(&self, cat: &Cat) -> Result<(String, bool), String> {
        let said = |error: TierError| error.to_string();
        let manifest = read_manifest(&*self.bucket, cat.partition).await.map_err(said)?;
        let manifest = manifest.ok_or_else(|| format!("partition {} is not in the bucket", cat.partition))?;
        let cold = ColdReader::new(
            Arc::clone(&self.bucket),
            self.env.clone(),
            ColdOptions::default(),
            Arc::new(DiskCache::none()),
            Arc::clone(&self.metrics),
        );
        let offsets = Offset(cat.from)..Offset(i64::MAX);
        let mut entries = Entries::new(cold, cat.partition, manifest.state, offsets);
        let mut out = match &cat.out {
            Some(path) => {
                let file = File::create_new(path).map_err(|error| format!("{}: {error}", path.display()))?;
                Some(file)
            }
            None => None,
        };
        let mut text = String::new();
        loop {
            let read = entries.next().await.map_err(said)?;
            if read.is_empty() {
                return Ok((text, true));
            }
            for entry in read {
                match &mut out {
                    Some(file) => file
                        .write_all(&entry.payload)
                        .map_err(|error| format!("cannot write: {error}"))?,
                    None => {
                        let _ = writeln!(
                            text,
                            "offsets {}..{} epoch {} timestamp {} bytes {}",
                            entry.base_offset,
                            entry.end_offset(),
                            entry.id.term,
                            entry.max_timestamp_ms,
                            entry.payload.len()
                        );
                    }
                }
            }
        }
    }
}
