//! `tier`: reads the bucket of the object tier, without a cluster, or asks a node. Nothing here writes to the bucket.

use super::cluster::table::table;
use super::cluster::{Target, ask, finish};
use super::output::{complain, print};
use super::settings::Settings;
use super::{Exit, logging};
use crate::admin::report::{TierPartition, TierReport};
use crate::config::{Config, compose};
use chronik_core::{Env, Offset};
use chronik_storage_object::cold::{ColdOptions, DiskCache};
use chronik_storage_object::manifest::read_manifest;
use chronik_storage_object::offline::{Entries, Finding, partitions, scrub};
use chronik_storage_object::{
    Bucket, Claim, ColdReader, PartitionKey, TierError, TierMetrics, list_backups, read_backup,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use structopt::StructOpt;

#[derive(Debug, StructOpt)]
pub(super) enum Command {
    /// Lists the partitions that are in the bucket, with their offsets and sizes; exits with 1 if the manifest of one cannot
    /// be read.
    Ls(Settings),
    /// Reads every object of every partition, and every copy for a rebuild, and compares every checksum; exits with 1 if
    /// anything is wrong.
    Verify(Settings),
    /// Holds the manifests against the objects that there are, and names orphans, gaps, overlaps, missing and damaged
    /// objects. Changes nothing; exits with 1 if anything cannot be read that should be.
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
    logging::start(effective.config.log.level);
    let answer = Tool::open(&effective.config).and_then(|tool| {
        crate::runtime::block_on(async {
            match command {
                Command::Ls(_) => tool.list().await,
                Command::Verify(_) => tool.scrub(true).await,
                Command::Scrub(_) => tool.scrub(false).await,
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
        Err(Trouble::Other(what)) => {
            complain(&what);
            Exit::Failed
        }
        Err(Trouble::Tier(error)) => {
            complain(&error);
            match error {
                TierError::Store(_) => Exit::Unreachable,
                _ => Exit::Failed,
            }
        }
    }
}

/// Why there is no answer.
enum Trouble {
    Tier(TierError),
    Other(String),
}

impl From<TierError> for Trouble {
    fn from(error: TierError) -> Self {
        Self::Tier(error)
    }
}

const fn kind(finding: &Finding) -> &'static str {
    match finding {
        Finding::Orphan { .. } => "orphans",
        Finding::Missing { .. } => "missing",
        Finding::Damaged { .. } => "damaged",
        Finding::Gap(_) => "gaps",
        Finding::Overlap(_) => "overlaps",
        _ => "other findings",
    }
}

fn is_well(report: &TierReport) -> bool {
    if !report.failures.is_empty() {
        return false;
    }
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
    for failure in &report.failures {
        let _ = writeln!(text, "failed: {failure}");
    }
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
    fn open(config: &Config) -> Result<Self, Trouble> {
        let env = compose::environment()
            .map_err(|error| Trouble::Other(format!("cannot start threads: {error}")))?;
        let metrics = Arc::new(TierMetrics::default());
        let bucket = compose::bucket(config, &env, &metrics).map_err(TierError::from)?;
        let none = || Trouble::Other("there is no object tier: tier.url is not set".to_owned());
        let bucket = bucket.ok_or_else(none)?;
        Ok(Self { bucket, env, metrics })
    }

    /// The claim on the bucket. A place that was never used is most often a name that was mistyped.
    async fn claim(&self) -> Result<Claim, Trouble> {
        let none = || {
            let bucket = self.bucket.describe();
            Trouble::Other(format!(
                "{bucket} belongs to no cluster, nothing is there: check tier.url"
            ))
        };
        let claim = Claim::read(&*self.bucket).await?;
        claim.map(|(claim, _)| claim).ok_or_else(none)
    }

    async fn list(&self) -> Result<(String, bool), Trouble> {
        let (mut text, mut is_whole) = (String::new(), true);
        let _ = match self.claim().await {
            Ok(claim) => writeln!(text, "cluster {} (claim {})", claim.cluster_id, claim.generation),
            Err(Trouble::Tier(error @ TierError::Damaged { .. })) => {
                is_whole = false;
                writeln!(text, "damaged: {error}")
            }
            Err(trouble) => return Err(trouble),
        };
        for partition in partitions(&*self.bucket).await? {
            let manifest = match read_manifest(&*self.bucket, partition).await {
                Err(error @ (TierError::Damaged { .. } | TierError::Missing { .. })) => {
                    is_whole = false;
                    let _ = writeln!(text, "{partition}: damaged: {error}");
                    continue;
                }
                manifest => manifest?,
            };
            let Some(manifest) = manifest else {
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
        Ok((text, is_whole))
    }

    async fn scrub(&self, deep: bool) -> Result<(String, bool), Trouble> {
        let (mut text, mut is_whole, mut kinds) = (String::new(), true, BTreeMap::new());
        let (mut segments, mut bytes) = (0, 0);
        match self.claim().await {
            Err(Trouble::Tier(error @ TierError::Damaged { .. })) => {
                is_whole = false;
                kinds.insert("damaged", 1);
                let _ = writeln!(text, "{error}");
            }
            claim => drop(claim?),
        }
        let found = partitions(&*self.bucket).await?;
        for (number, partition) in (1..).zip(&found) {
            let report = scrub(&*self.bucket, *partition, deep).await?;
            is_whole &= report.is_whole();
            (segments, bytes) = (segments + report.segments, bytes + report.bytes);
            for finding in &report.findings {
                *kinds.entry(kind(finding)).or_insert(0) += 1;
                let _ = writeln!(text, "{partition}: {finding}");
            }
            log::info!(
                "event=tier_scrub partitions={number} of={} segments={segments}",
                found.len()
            );
        }
        if deep {
            for bad in self.bad_copies().await? {
                is_whole = false;
                *kinds.entry("damaged").or_insert(0) += 1;
                let _ = writeln!(text, "{bad}");
            }
        }
        let counts: Vec<String> = kinds
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        let counts = if counts.is_empty() {
            "nothing wrong".to_owned()
        } else {
            counts.join(", ")
        };
        let verdict = if is_whole {
            "everything can be read"
        } else {
            "NOT everything can be read"
        };
        let partitions = found.len();
        let _ = writeln!(
            text,
            "{partitions} partitions, {segments} segments, {bytes} bytes: {counts}: {verdict}"
        );
        Ok((text, is_whole))
    }

    /// The copies for a rebuild that cannot be read.
    async fn bad_copies(&self) -> Result<Vec<TierError>, TierError> {
        let mut bad = Vec::new();
        for name in list_backups(&*self.bucket).await? {
            match read_backup(&*self.bucket, &name).await {
                Ok(_) => {}
                Err(error @ TierError::Damaged { .. }) => bad.push(error),
                Err(error) => return Err(error),
            }
        }
        Ok(bad)
    }

    async fn cat(&self, cat: &Cat) -> Result<(String, bool), Trouble> {
        let manifest = read_manifest(&*self.bucket, cat.partition).await?;
        let none = || Trouble::Other(format!("partition {} is not in the bucket", cat.partition));
        let manifest = manifest.ok_or_else(none)?;
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
                let file = File::create_new(path);
                Some(file.map_err(|error| Trouble::Other(format!("{}: {error}", path.display())))?)
            }
            None => None,
        };
        let mut text = String::new();
        loop {
            let read = entries.next().await?;
            if read.is_empty() {
                return Ok((text, true));
            }
            for entry in read {
                match &mut out {
                    Some(file) => file
                        .write_all(&entry.payload)
                        .map_err(|error| Trouble::Other(format!("cannot write: {error}")))?,
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
