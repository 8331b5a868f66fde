//! `bench`: writes at a fixed rate, and tells how long that takes.
//!
//! Exit codes: 0 every record was acknowledged; 1 one was not, or there is nothing to write to; 2 the command line is
//! wrong; 3 no broker answered.

use super::Exit;
use super::output::{complain, print};
use crate::bench::{Plan, Report, Stopped, produce};
use crate::runtime;
use std::time::Duration;
use structopt::StructOpt;

#[derive(Debug, StructOpt)]
pub(super) enum Command {
    /// Writes records of one size to one partition at a fixed rate, whatever the broker does (an open loop). Each record
    /// has a time at which it is due, and its latency counts from there: what waits because the broker stood still
    /// counts (coordinated omission is avoided). Records that are due together go into one batch, others into one each.
    /// Not idempotent: what is sent again after a change of the leader may be stored twice.
    Produce(Produce),
}

/// What to write, where, and how fast.
#[derive(Debug, StructOpt)]
pub(super) struct Produce {
    /// Brokers that tell who leads, separated by commas.
    #[structopt(
        long,
        value_name = "HOST:PORT",
        required = true,
        use_delimiter = true,
        number_of_values = 1
    )]
    bootstrap: Vec<String>,
    /// The topic, which must exist.
    #[structopt(long, value_name = "NAME")]
    topic: String,
    /// The partition.
    #[structopt(long, value_name = "INDEX", default_value = "0")]
    partition: i32,
    /// The rate, in millions of bytes of values a second.
    #[structopt(long, value_name = "RATE", default_value = "10")]
    mb_s: f64,
    /// The size of each value.
    #[structopt(long, value_name = "BYTES", default_value = "16384")]
    record_bytes: usize,
    /// How long records are due that are measured.
    #[structopt(long, value_name = "TIME", default_value = "30")]
    seconds: u32,
    /// How long records are due before them that are not: connections and files come to be.
    #[structopt(long, value_name = "TIME", default_value = "5")]
    warm_seconds: u32,
    /// When the broker acknowledges.
    #[structopt(long, possible_values = &["all", "1"], default_value = "all")]
    acks: String,
    /// The most requests under way at once; what is due while so many are waits, which counts.
    #[structopt(long, value_name = "COUNT", default_value = "5")]
    max_in_flight: usize,
    /// Prints the report as JSON.
    #[structopt(long)]
    json: bool,
}

impl Produce {
    fn plan(&self) -> Plan {
        Plan {
            bootstrap: self.bootstrap.clone(),
            topic: self.topic.clone(),
            partition: self.partition,
            mb_s: self.mb_s,
            record_bytes: self.record_bytes,
            measured: Duration::from_secs(self.seconds.into()),
            warm: Duration::from_secs(self.warm_seconds.into()),
            acks: if self.acks == "all" { -1 } else { 1 },
            in_flight_max: self.max_in_flight,
        }
    }
}

/// Runs the load and reports.
pub(super) fn run(command: &Command) -> Exit {
    let Command::Produce(asked) = command;
    match produce(&asked.plan(), runtime::clock(), &*runtime::rng()) {
        Ok(report) => finish(asked, &report),
        Err(stopped) => {
            complain(&stopped);
            match stopped {
                Stopped::Plan(_) => Exit::Usage,
                Stopped::Unreachable(_) => {
                    complain(&"is a broker listening there (--bootstrap)?");
                    Exit::Unreachable
                }
                Stopped::Refused(_) => Exit::Failed,
            }
        }
    }
}

fn finish(asked: &Produce, report: &Report) -> Exit {
    let text = if asked.json {
        match serde_json::to_string(report) {
            Ok(json) => format!("{json}\n"),
            Err(error) => {
                complain(&format_args!("cannot write the report: {error}"));
                return Exit::Failed;
            }
        }
    } else {
        report.text()
    };
    match print(&text) {
        Exit::Done if !report.is_clean() => Exit::Failed,
        exit => exit,
    }
}
