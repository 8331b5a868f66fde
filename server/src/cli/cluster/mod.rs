//! `cluster`: what a running cluster says of itself, through any of its nodes.
//!
//! Exit codes: 0 well; 1 not well; 2 the question is wrong (no such partition, no valid token); 3 no node answered.

mod client;
mod show;
pub(super) mod table;

use super::Exit;
use super::output::{complain, print};
use crate::admin::report::{ClusterReport, HealthReport, IsrReport, NodeEntry, PartitionReport};
use client::Client;
pub(super) use client::Failure;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use structopt::StructOpt;

/// Where to ask, and how to show the answer.
#[derive(Debug, StructOpt)]
pub(super) struct Target {
    /// The nodes to ask: the first one that answers is believed. Repeated, or separated by commas.
    #[structopt(
        long,
        value_name = "HOST[:PORT]",
        env = "CHRONIK_ADMIN",
        use_delimiter = true,
        number_of_values = 1
    )]
    admin: Vec<String>,
    /// The configuration of the node to ask, for its address and token.
    #[structopt(long, value_name = "FILE", parse(from_os_str))]
    config: Option<PathBuf>,
    /// The file that holds the token.
    #[structopt(
        long,
        value_name = "FILE",
        env = "CHRONIK_ADMIN_TOKEN_FILE",
        parse(from_os_str)
    )]
    token_file: Option<PathBuf>,
    /// Print the answer as JSON, as it came.
    #[structopt(long)]
    json: bool,
}

#[derive(Debug, StructOpt)]
pub(super) enum Command {
    /// The cluster at a glance: its nodes, its partitions, what is wrong.
    Status(Target),
    /// The nodes, and what each says of itself.
    ListNodes(Target),
    /// The partitions with their leaders and replicas.
    ListPartitions {
        /// Only those of this topic.
        #[structopt(long)]
        topic: Option<String>,
        #[structopt(flatten)]
        target: Target,
    },
    /// One partition with all its replicas.
    PartitionInfo {
        /// The topic.
        topic: String,
        /// The index of the partition.
        index: u32,
        #[structopt(flatten)]
        target: Target,
    },
    /// Which partitions are not in sync.
    IsrStatus(Target),
    /// Whether the node that is asked is well, check by check.
    Health(Target),
}

/// Asks and shows.
pub(super) fn run(command: &Command) -> Exit {
    finish(asked(command))
}

/// Prints an answer, or complains.
pub(super) fn finish(asked: Result<(String, bool), Failure>) -> Exit {
    match asked {
        Ok((text, well)) => match print(&text) {
            Exit::Done if !well => Exit::Failed,
            exit => exit,
        },
        Err(failure) => {
            complain(&failure);
            match failure {
                Failure::Question(_) => Exit::Usage,
                Failure::Unreachable(_) => Exit::Unreachable,
            }
        }
    }
}

/// The text, and whether it says that all is well.
fn asked(command: &Command) -> Result<(String, bool), Failure> {
    match command {
        Command::Status(target) => ask(target, "/v1/cluster", show::cluster, |report: &ClusterReport| {
            report.health.ok
        }),
        Command::ListNodes(target) => ask(
            target,
            "/v1/nodes",
            |nodes: &Vec<NodeEntry>| show::nodes(nodes),
            |nodes| {
                nodes
                    .iter()
                    .all(|node| node.report.as_ref().is_some_and(|report| report.health.ok))
            },
        ),
        Command::ListPartitions { topic, target } => {
            let (body, all): (String, Vec<PartitionReport>) = Client::new(target)?.get("/v1/partitions")?;
            let wanted = |one: &PartitionReport| topic.as_ref().is_none_or(|topic| *topic == one.topic);
            let chosen: Vec<PartitionReport> = all.into_iter().filter(wanted).collect();
            if let (Some(topic), true) = (topic, chosen.is_empty()) {
                return Err(Failure::Question(format!("there is no topic '{topic}'")));
            }
            let well = chosen.iter().all(show::is_well);
            let text = match (target.json, topic) {
                (false, _) => show::partitions(&chosen),
                (true, None) => body,
                (true, Some(_)) => json(&chosen)?,
            };
            Ok((text, well))
        }
        Command::PartitionInfo { topic, index, target } => {
            let path = format!("/v1/partitions/{}/{index}", checked(topic)?);
            ask(target, &path, show::partition, show::is_well)
        }
        Command::IsrStatus(target) => ask(target, "/v1/isr", show::isr, |report: &IsrReport| {
            report.partitions.is_empty()
        }),
        Command::Health(target) => ask(
            target,
            "/healthz?verbose",
            show::health,
            |report: &HealthReport| report.ok,
        ),
    }
}

pub(super) fn ask<T: DeserializeOwned>(
    target: &Target,
    path: &str,
    show: fn(&T) -> String,
    well: fn(&T) -> bool,
) -> Result<(String, bool), Failure> {
    let (body, report) = Client::new(target)?.get::<T>(path)?;
    let text = if target.json { body } else { show(&report) };
    Ok((text, well(&report)))
}

fn json(partitions: &[PartitionReport]) -> Result<String, Failure> {
    let text = serde_json::to_string(partitions);
    text.map(|text| text + "\n")
        .map_err(|error| Failure::Question(error.to_string()))
}

/// A topic that can stand in a path: what Kafka accepts as a name can.
fn checked(topic: &str) -> Result<&str, Failure> {
    crate::cluster::names::check_topic_name(topic).map_err(Failure::Question)?;
    Ok(topic)
}
