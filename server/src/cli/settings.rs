//! The flags that say which configuration is meant.

use std::path::PathBuf;

use structopt::StructOpt;

use crate::config::{Effective, FlagValue, Preset, Problems, load};

/// A configuration file and the flags that override it.
#[derive(Debug, StructOpt)]
pub(super) struct Settings {
    /// The configuration file; without one, the defaults hold.
    #[structopt(long, value_name = "FILE", parse(from_os_str))]
    config: Option<PathBuf>,
    /// The broker id (node.id).
    #[structopt(long, value_name = "ID", allow_hyphen_values = true)]
    node_id: Option<String>,
    /// Where everything is kept (node.data_dir).
    #[structopt(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// The address to listen on (kafka.bind).
    #[structopt(long, value_name = "ADDRESS")]
    bind: Option<String>,
    /// The port to listen on (kafka.port).
    #[structopt(long, value_name = "PORT", allow_hyphen_values = true)]
    kafka_port: Option<String>,
    /// What clients are told to connect to (kafka.advertise).
    #[structopt(long, value_name = "HOST[:PORT]")]
    advertise: Option<String>,
    /// The port for operators (admin.port).
    #[structopt(long, value_name = "PORT", allow_hyphen_values = true)]
    admin_port: Option<String>,
    /// The address to listen on for other nodes (cluster.listen).
    #[structopt(long, value_name = "ADDRESS:PORT")]
    raft_addr: Option<String>,
    /// The nodes that the cluster starts with, separated by commas (cluster.peers).
    #[structopt(long, value_name = "ID@HOST:PORT,...")]
    peers: Option<String>,
    /// Where other nodes reach this one (cluster.advertise).
    #[structopt(long, value_name = "HOST:PORT")]
    raft_advertise: Option<String>,
    /// Where the node stands (cluster.rack).
    #[structopt(long, value_name = "NAME")]
    rack: Option<String>,
    /// Allows this node to found the cluster if there is none yet (cluster.bootstrap).
    #[structopt(long)]
    bootstrap: bool,
}

impl Settings {
    /// The configuration that the file and the flags give together.
    ///
    /// `presets` is what the command gives where neither says otherwise.
    pub(super) fn load(&self, presets: &[Preset]) -> Result<Effective, Problems> {
        load(self.config.as_deref(), presets, &self.flags())
    }

    fn flags(&self) -> Vec<FlagValue> {
        let given = [
            ("--node-id", &self.node_id),
            ("--data-dir", &self.data_dir),
            ("--bind", &self.bind),
            ("--kafka-port", &self.kafka_port),
            ("--advertise", &self.advertise),
            ("--admin-port", &self.admin_port),
            ("--raft-addr", &self.raft_addr),
            ("--peers", &self.peers),
            ("--raft-advertise", &self.raft_advertise),
            ("--rack", &self.rack),
        ];
        let bootstrap = self.bootstrap.then(|| ("--bootstrap", "true".to_owned()));
        given
            .into_iter()
            .filter_map(|(flag, value)| Some((flag, value.clone()?)))
            .chain(bootstrap)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FLAGS;

    #[test]
    fn every_flag_of_the_table_is_a_flag_of_the_command_line_and_reaches_its_key() {
        let values = [
            "7",
            "/tmp/elsewhere",
            "127.0.0.2",
            "19092",
            "broker:1",
            "9645",
            "0.0.0.0:5001",
            "2@localhost:5002,3@localhost:5003",
            "node-7:5001",
            "rack-1",
            "",
        ];
        let mut line = vec!["raft-cluster"];
        for ((flag, _), value) in FLAGS.iter().zip(values) {
            line.push(*flag);
            line.extend((!value.is_empty()).then_some(value));
        }
        let settings = Settings::from_iter_safe(line).expect("the flags are known");
        let named: Vec<_> = settings.flags().into_iter().map(|(flag, _)| flag).collect();
        assert_eq!(named, FLAGS.iter().map(|(flag, _)| *flag).collect::<Vec<_>>());
        let presets = super::super::start::CLUSTER;
        let config = settings.load(presets).expect("the values are accepted").config;
        assert_eq!((config.node.id, config.kafka.port), (7, 19092));
        assert_eq!(config.admin.port, Some(9645));
        assert_eq!(config.kafka.advertised(19092), ("broker".to_owned(), 1));
        assert_eq!(config.cluster.peers.len(), 2);
        assert_eq!(config.cluster.rack.as_deref(), Some("rack-1"));
        assert!(
            config.cluster.bootstrap && config.cluster.listen.is_some() && config.cluster.advertise.is_some()
        );
    }
}
