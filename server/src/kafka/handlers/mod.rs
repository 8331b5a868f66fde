//! One file for each API: turns a decoded request into a response.

pub mod alter_configs;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_topic_partitions;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod metadata;
