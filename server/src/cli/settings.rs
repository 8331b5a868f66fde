//! The flags that say which configuration is meant.

use std::path::PathBuf;

use structopt::StructOpt;

use crate::config::{Effective, FlagValue, Problems, load};

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
}

impl Settings {
    /// The configuration that the file and the flags give together.
    pub(super) fn load(&self) -> Result<Effective, Problems> {
        load(self.config.as_deref(), &self.flags())
    }

    fn flags(&self) -> Vec<FlagValue> {
        let given = [
            ("--node-id", &self.node_id),
            ("--data-dir", &self.data_dir),
            ("--bind", &self.bind),
            ("--kafka-port", &self.kafka_port),
            ("--advertise", &self.advertise),
            ("--admin-port", &self.admin_port),
        ];
        given
            .into_iter()
            .filter_map(|(flag, value)| Some((flag, value.clone()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FLAGS;

    #[test]
    fn every_flag_of_the_table_is_a_flag_of_the_command_line_and_reaches_its_key() {
        let values = ["7", "/tmp/elsewhere", "127.0.0.2", "19092", "broker:1", "9645"];
        let mut line = vec!["start"];
        for ((flag, _), value) in FLAGS.iter().zip(values) {
            line.extend([*flag, value]);
        }
        let settings = Settings::from_iter_safe(line).expect("the flags are known");
        let named: Vec<_> = settings.flags().into_iter().map(|(flag, _)| flag).collect();
        assert_eq!(named, FLAGS.iter().map(|(flag, _)| *flag).collect::<Vec<_>>());
        let config = settings.load().expect("the values are accepted").config;
        assert_eq!((config.node.id, config.kafka.port), (7, 19092));
        assert_eq!(config.admin.port, Some(9645));
        assert_eq!(config.kafka.advertised(19092), ("broker".to_owned(), 1));
    }
}
