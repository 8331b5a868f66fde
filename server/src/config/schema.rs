//! Every key: its name, type, default, bounds and meaning, in one table. The structs, the parser, `config reference`,
//! `config show` and the defaults are made from it, so that they cannot disagree.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::address::Advertise;
use super::choice::{ConsensusBackend, LogLevel, StorageBackend, TimestampType, TransportBackend};
use super::key::{Key, Rule, Section, assign};
use super::peer::{Endpoint, PeerAddress};
use super::store_url::{HttpAddress, StoreUrl};
use super::value::Setting;

/// Declares one section: a struct with plain fields, its defaults, and the rows of the table.
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        $type:ident as $section:ident {
            $( $(#[doc = $key_doc:literal])* $key:ident: $value:ty = $default:expr, $rule:expr; )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $type { $( $(#[doc = $key_doc])* pub $key: $value, )* }

        impl Default for $type {
            fn default() -> Self {
                Self { $( $key: $default, )* }
            }
        }

        impl $type {
            pub(super) const SECTION: Section = Section {
                name: stringify!($section),
                doc: &[$($doc),*],
                keys: &[$( Key {
                    section: stringify!($section),
                    name: stringify!($key),
                    doc: &[$($key_doc),*],
                    rule: $rule,
                    set: |config, raw, rule| assign(&mut config.$section.$key, raw, rule),
                    show: |config, rule| Setting::show(&config.$section.$key, rule),
                } ),*],
            };
        }
    };
}

const KIB: i64 = 1 << 10;
const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;
const TIB: i64 = 1 << 40;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// The longest span that is measured from now, so that a deadline always fits.
const CENTURY: i64 = 36_525 * DAY;
const INT_MAX: i64 = i32::MAX as i64;

/// The whole configuration of one node. `Config::default()` is what an empty file gives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// `[node]`
    pub node: NodeConfig,
    /// `[kafka]`
    pub kafka: KafkaConfig,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[cluster]`
    pub cluster: ClusterConfig,
    /// `[transport]`
    pub transport: TransportConfig,
    /// `[consensus]`
    pub consensus: ConsensusConfig,
    /// `[storage]`
    pub storage: StorageConfig,
    /// `[tier]`
    pub tier: TierConfig,
    /// `[topics]`
    pub topics: TopicsConfig,
    /// `[groups]`
    pub groups: GroupsConfig,
    /// `[producers]`
    pub producers: ProducersConfig,
    /// `[log]`
    pub log: LogConfig,
}

impl Config {
    /// Every section with its keys, in the order of the reference.
    pub const SECTIONS: &'static [Section] = &[
        NodeConfig::SECTION,
        KafkaConfig::SECTION,
        AdminConfig::SECTION,
        ClusterConfig::SECTION,
        TransportConfig::SECTION,
        ConsensusConfig::SECTION,
        StorageConfig::SECTION,
        TierConfig::SECTION,
        TopicsConfig::SECTION,
        GroupsConfig::SECTION,
        ProducersConfig::SECTION,
        LogConfig::SECTION,
    ];
}

section! {
    /// Which node this is.
    NodeConfig as node {
        /// The broker id that clients see. It must not change while the data directory lives.
        id: i32 = 1, Rule::whole(0, INT_MAX);
        /// Where everything is kept. A relative path starts at the working directory of the process.
        /// The directory is made if it is missing; a second process that opens it is refused.
        data_dir: PathBuf = PathBuf::from("chronik-data"), Rule::Text {
            what: "a path", example: "/var/lib/chronik",
        };
        /// The cluster that the data directory belongs to. Unset, one is made at the first start and kept in the
        /// directory; set, a directory of another cluster is refused.
        cluster_id: Option<String> = None, Rule::Text {
            what: "up to 64 letters, digits, '.', '_' and '-'", example: "Nk018hRAQFytWskYqtQduw",
        };
        /// How long a stopping node waits for requests in flight before it closes their connections.
        shutdown_timeout_ms: u64 = 10_000, Rule::millis(0, HOUR);
    }
}

section! {
    /// The listener for Kafka clients.
    KafkaConfig as kafka {
        /// The address to listen on. The default admits clients of the same machine only; 0.0.0.0 admits everybody
        /// who can reach the port (there is no authentication and no encryption).
        bind: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST), Rule::Text { what: "an IP address", example: "0.0.0.0" };
        /// The port to listen on. 0 takes a free one, which the log then names.
        port: u16 = 9092, Rule::whole(0, u16::MAX as i64);
        /// What clients are told to connect to: a host, or host:port where the port differs (behind a proxy, say).
        /// Unset, it is the bind address, or the loopback address where that means "any".
        advertise: Option<Advertise> = None, Rule::Text {
            what: "a host or host:port", example: "broker-1.example.com",
        };
        /// The largest request. A longer one closes its connection before any of it is kept.
        max_request_bytes: usize = 100 << 20, Rule::bytes(64 * KIB, GIB);
        /// The memory that requests in flight may take together; a connection whose next request does not fit waits.
        max_inflight_bytes: usize = 256 << 20, Rule::bytes(MIB, TIB);
        /// The number of connections at a time; one more is closed at once.
        max_connections: usize = 4096, Rule::whole(1, 1_000_000);
        /// A connection without a request for this long is closed.
        max_connection_idle_ms: u64 = 600_000, Rule::millis(SECOND, CENTURY);
        /// The most that one fetch answers with, whatever the client asks for.
        fetch_max_bytes: usize = 55 << 20, Rule::bytes(KIB, GIB);
        /// The number of incremental fetch sessions at a time; without one, a consumer gets full answers.
        max_fetch_sessions: usize = 1000, Rule::whole(0, 1_000_000);
    }
}

section! {
    /// The listener for operators: health, metrics and what `chronik-server cluster` shows, over HTTP.
    AdminConfig as admin {
        /// Whether there is one.
        enabled: bool = true, Rule::Switch;
        /// The address to listen on. The default admits this machine only; another one needs a token_file.
        bind: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST), Rule::Text { what: "an IP address", example: "::1" };
        /// The port to listen on. 0 takes a free one, which the line that says ready names. Unset, it is 9644 where
        /// that is free; where it is not, the node runs without this listener and says so.
        port: Option<u16> = None, Rule::whole(0, u16::MAX as i64);
        /// The file that holds the token which requests must carry (`Authorization: Bearer ...`), except those for
        /// health and metrics. Unset, everybody who can reach the port is answered.
        token_file: Option<PathBuf> = None, Rule::Text {
            what: "a path", example: "/etc/chronik/admin.token",
        };
        /// The number of connections at a time; one more is closed at once.
        max_connections: usize = 64, Rule::whole(1, 10_000);
        /// How long a client may take to send its request, and again to take its answer.
        request_timeout_ms: u64 = 5_000, Rule::millis(10, HOUR);
        /// With more open partitions than this on a node, /metrics holds their sums only.
        max_partition_metrics: usize = 200, Rule::whole(0, 1_000_000);
    }
}

section! {
    /// The other nodes. `chronik-server raft-cluster` runs a node of a cluster, `start` one that is alone unless
    /// transport.backend and consensus.backend say otherwise.
    ClusterConfig as cluster {
        /// The address to listen on for other nodes.
        listen: Option<SocketAddr> = None, Rule::Text {
            what: "an IP address and a port", example: "0.0.0.0:5001",
        };
        /// The nodes that the cluster starts with, in the same words on each of them; this node may be among them.
        /// It serves first contact only: later, nodes know each other from the cluster's metadata.
        peers: Vec<PeerAddress> = Vec::new(), Rule::List {
            what: "id@host:port", example: "2@node-2.example.com:5001",
        };
        /// Where other nodes reach this one. Unset, it is this node's entry in peers, or else the address to listen
        /// on where that is one; a node that has none of these is reached by those that list it in peers.
        advertise: Option<Endpoint> = None, Rule::Text {
            what: "host:port", example: "node-1.example.com:5001",
        };
        /// Whether this node may found the cluster. It is a permission: a cluster is founded once, when a majority of
        /// the peers answer that they are empty. It has no effect on a directory that belongs to a cluster.
        bootstrap: bool = false, Rule::Switch;
        /// Where the node stands; the replicas of a partition are spread over the racks.
        rack: Option<String> = None, Rule::Text {
            what: "up to 64 letters, digits, '.', '_' and '-'", example: "rack-1",
        };
        /// How many nodes vote on the metadata; the others follow it.
        metadata_voters: usize = 3, Rule::whole(1, 7);
    }
}

section! {
    /// How nodes talk to each other.
    TransportConfig as transport {
        /// none: the node is alone. capnp: Cap'n Proto RPC over TCP, with TLS where a certificate is given.
        backend: TransportBackend = TransportBackend::None, Rule::Choice(TransportBackend::NAMES);
        /// The largest message between nodes.
        max_message_bytes: u64 = 64 << 20, Rule::bytes(4 * MIB, 256 * MIB);
        /// What may wait for one peer on one lane; beyond that, its senders wait.
        max_queued_bytes: u64 = 64 << 20, Rule::bytes(MIB, TIB);
        /// A peer that is silent for this long counts as gone.
        keepalive_ms: u64 = 2_000, Rule::millis(100, HOUR);
        /// The certificates of the cluster's authority, as PEM. Set together with tls_cert and tls_key; nodes then talk
        /// over TLS and admit only peers with a certificate of that authority.
        tls_ca: Option<PathBuf> = None, Rule::Text { what: "a path", example: "/etc/chronik/ca.crt" };
        /// The certificate of this node, with those between it and the authority, as PEM. It names the host or the
        /// address under which the peers reach this node.
        tls_cert: Option<PathBuf> = None, Rule::Text { what: "a path", example: "/etc/chronik/node.crt" };
        /// The private key of the certificate, as PEM.
        tls_key: Option<PathBuf> = None, Rule::Text { what: "a path", example: "/etc/chronik/node.key" };
    }
}

section! {
    /// Who decides that an entry of a log is committed.
    ConsensusConfig as consensus {
        /// standalone: one node; an entry is committed when it is durable. raft-rs: Raft; an entry is committed when a
        /// majority of its replicas has it on disk. async-raft: the same by the published crate async-raft 0.6.1 behind
        /// guards. It knows no groups of two, no growth from one, and no handover of leaders; a group that loses its
        /// leader is without one for some election timeouts. All nodes of a cluster have the same one, for ever.
        backend: ConsensusBackend = ConsensusBackend::Standalone, Rule::Choice(ConsensusBackend::NAMES);
        /// How often a leader speaks to its followers when there is nothing to replicate.
        heartbeat_interval_ms: u64 = 200, Rule::millis(10, MINUTE);
        /// A follower that heard nothing of its leader for this long, and up to twice as long by chance, asks for votes.
        /// A connection that is lost does not wait for it.
        election_timeout_ms: u64 = 1_000, Rule::millis(50, 10 * MINUTE);
        /// The unit in which raft-rs counts these times.
        tick_ms: u64 = 100, Rule::millis(5, MINUTE);
    }
}

section! {
    /// Where the logs are kept. What is acknowledged has always been synced to the disk.
    StorageConfig as storage {
        /// mmap: segment files, written through one journal a directory and read through memory maps.
        backend: StorageBackend = StorageBackend::Mmap, Rule::Choice(StorageBackend::NAMES);
        /// The size of one file of the journal that all partitions share. Files are written over and over. A quarter
        /// of it is the largest entry, and with that the largest record batch.
        journal_file_bytes: u64 = 64 << 20, Rule::bytes(MIB, 4 * GIB);
        /// The number of journal files. When all are full, writes wait until segments have been synced.
        max_journal_files: usize = 8, Rule::whole(2, 1_000);
        /// The memory that holds the newest entries of all partitions for consumers that keep up.
        tail_cache_bytes: u64 = 32 << 20, Rule::bytes(0, TIB);
        /// The disk space of retired segment files that are kept to be written again, which is faster than new ones.
        recycled_bytes: u64 = 256 << 20, Rule::bytes(0, TIB);
        /// The number of segment files that are open at a time.
        max_open_files: usize = 256, Rule::whole(16, 1_000_000);
        /// The number of sealed segments that are mapped at a time. The system allows a process about 65,000 maps.
        max_maps: usize = 4096, Rule::whole(16, 60_000);
        /// The disk space that is left alone: with less of it free, writes are refused and reads go on.
        min_free_bytes: u64 = 16 << 20, Rule::bytes(MIB, TIB);
    }
}

section! {
    /// The object tier: sealed segments of topics with remote_storage_enable are copied into a bucket, and read from there
    /// once they are not kept on the local disk any more.
    TierConfig as tier {
        /// The bucket. s3://BUCKET/FOLDER is one of S3 or what speaks its protocol; file:///PATH is a directory, which
        /// all nodes of a cluster must share. Unset, there is no tier. A folder belongs to one cluster.
        url: Option<StoreUrl> = None, Rule::Text {
            what: "s3://bucket/folder or file:///path", example: "s3://my-bucket/chronik",
        };
        /// The address of the S3 store, where it is not Amazon's.
        s3_endpoint: Option<HttpAddress> = None, Rule::Text {
            what: "http://host:port or https://host:port", example: "https://minio.example.com:9000",
        };
        /// The region of the bucket.
        s3_region: String = "us-east-1".to_owned(), Rule::Text { what: "the name of a region", example: "eu-west-1" };
        /// Whether the bucket's name goes into the path and not into the host's name, as stores of one's own often want.
        s3_path_style: bool = false, Rule::Switch;
        /// A file of profiles with aws_access_key_id and aws_secret_access_key, read again whenever it changes. Unset,
        /// the credentials come from the environment (AWS_ACCESS_KEY_ID and its like) or the machine's role.
        s3_credentials_file: Option<PathBuf> = None, Rule::Text {
            what: "a path", example: "/etc/chronik/s3.credentials",
        };
        /// The profile in that file.
        s3_profile: String = "default".to_owned(), Rule::Text { what: "the name of a profile", example: "chronik" };
        /// The authority that signs the store's certificate, in a PEM file. Unset, the system's authorities count.
        s3_ca_file: Option<PathBuf> = None, Rule::Text { what: "a path", example: "/etc/chronik/s3-ca.pem" };
        /// How often the leader of a partition looks for segments to upload.
        upload_interval_ms: u64 = 10_000, Rule::millis(10, DAY);
        /// Uploads at a time. One more goes on beside them that takes long, or that fails while others do not.
        max_uploads: usize = 2, Rule::whole(1, 64);
        /// The most bytes a second of all uploads.
        upload_bytes_per_second: i64 = -1, Rule::bytes_or_unlimited(MIB, TIB);
        /// Objects up to this size are written by one request, larger ones in parts of this size: a segment of
        /// topics.segment_bytes costs one. Each upload may take as much memory, where batches are small.
        upload_part_bytes: u64 = 160 << 20, Rule::bytes(5 * MIB, 4 * GIB);
        /// The directory of the disk cache, which is the cache's alone. Unset, it is tier-cache in node.data_dir.
        cache_dir: Option<PathBuf> = None, Rule::Text { what: "a path", example: "/var/cache/chronik" };
        /// The size of the disk cache. 0 is no disk cache.
        cache_bytes: u64 = 1 << 30, Rule::bytes(0, TIB);
        /// The memory for what was read from the tier last, and for what is fetched ahead of readers: seven eighths of it
        /// bound what all of them together may have ahead of them, on its way or in memory.
        memory_cache_bytes: u64 = 64 << 20, Rule::bytes(MIB, TIB);
        /// The number of read requests at a time; each may hold 16 MiB.
        max_reads: usize = 8, Rule::whole(1, 256);
        /// How often the offsets of consumer groups are copied into the bucket, where they changed. The metadata is copied
        /// at the first look (upload_interval_ms) after each change.
        backup_interval_ms: u64 = 30_000, Rule::millis(10, DAY);
        /// How long an object is kept after the last reference to it is gone from the bucket.
        delete_grace_ms: u64 = 1_800_000, Rule::millis(0, 365 * DAY);
        /// How often the leader of a partition compares its folder in the bucket with what it refers to. What is missing is
        /// named in the log; a segment that nothing refers to, twice in a row, is deleted. A page of the manifest that
        /// nothing refers to is named and stays.
        scrub_interval_ms: u64 = 86_400_000, Rule::millis(100, 365 * DAY);
    }
}

section! {
    /// What a topic gets that its creator did not set. The keys that Kafka has as topic configurations can be set
    /// for each topic.
    TopicsConfig as topics {
        /// Whether a topic that a client asks for is created (a client can decline).
        auto_create: bool = true, Rule::Switch;
        /// The number of partitions of a new topic.
        partitions: i32 = 1, Rule::whole(1, 10_000);
        /// The number of copies of each partition. Unset, it is the number of nodes in cluster.peers, this one
        /// included, and at most 3; a standalone node has one.
        replication_factor: Option<i16> = None, Rule::Whole { min: 1, max: 9 };
        /// How long a segment is kept after its newest record.
        retention_ms: i64 = 604_800_000, Rule::millis_or_unlimited(0, i64::MAX);
        /// How much of a partition is kept.
        retention_bytes: i64 = -1, Rule::bytes_or_unlimited(0, i64::MAX);
        /// Whether sealed segments go to the object tier (`[tier]`).
        remote_storage_enable: bool = false, Rule::Switch;
        /// How long a segment that is in the object tier is kept on the local disk as well; -2 is retention_ms, -1 for ever.
        local_retention_ms: i64 = -2, Rule::Whole { min: -2, max: i64::MAX };
        /// How much of a partition is kept on the local disk where the object tier has it; -2 is retention_bytes, -1 all.
        local_retention_bytes: i64 = -2, Rule::bytes(-2, i64::MAX);
        /// The size at which a segment is sealed and the next one begins. Retention removes whole segments.
        segment_bytes: u32 = 128 << 20, Rule::bytes(MIB, GIB);
        /// The age at which a segment is sealed even if it is not full.
        segment_ms: i64 = 604_800_000, Rule::millis(1, i64::MAX);
        /// The largest record batch, after compression.
        max_message_bytes: i32 = 1_048_588, Rule::bytes(KIB, GIB);
        /// The number of copies that must hold a record before acks=all is answered.
        min_insync_replicas: i16 = 1, Rule::whole(1, 9);
        /// Whose clock a record's timestamp comes from.
        message_timestamp_type: TimestampType = TimestampType::CreateTime, Rule::Choice(TimestampType::NAMES);
        /// How far a producer's timestamp may lie behind the broker's clock. The default is no limit.
        message_timestamp_before_max_ms: i64 = i64::MAX, Rule::millis(0, i64::MAX);
        /// How far a producer's timestamp may lie ahead of the broker's clock.
        message_timestamp_after_max_ms: i64 = 3_600_000, Rule::millis(0, i64::MAX);
        /// The number of partitions that the node holds at most; a topic that would exceed it is refused.
        max_partitions: usize = 20_000, Rule::whole(1, 1_000_000);
        /// How often retention looks for segments to remove.
        retention_check_interval_ms: u64 = 300_000, Rule::millis(10, DAY);
    }
}

section! {
    /// Consumer groups.
    GroupsConfig as groups {
        /// The shortest session timeout that a member may ask for.
        min_session_timeout_ms: i32 = 6_000, Rule::millis(1, INT_MAX);
        /// The longest session timeout that a member may ask for.
        max_session_timeout_ms: i32 = 1_800_000, Rule::millis(1, INT_MAX);
        /// How long the first rebalance of an empty group waits for more members.
        initial_rebalance_delay_ms: u64 = 3_000, Rule::millis(0, HOUR);
        /// The number of members of a group.
        max_group_size: usize = 5_000, Rule::whole(1, 1_000_000);
        /// The number of partitions of __consumer_offsets, fixed when the topic is created. It bounds over how many
        /// nodes the coordinators of all groups can spread; each costs a log of its own.
        offsets_partitions: i32 = 16, Rule::whole(1, 1_000);
        /// How long the offsets of an empty group are kept.
        offsets_retention_ms: i64 = 604_800_000, Rule::millis(1, i64::MAX);
        /// How often expired offsets are looked for.
        offsets_retention_check_interval_ms: u64 = 600_000, Rule::millis(10, DAY);
        /// The longest metadata string that may accompany a committed offset.
        max_offset_metadata_bytes: usize = 4096, Rule::bytes(0, MIB);
    }
}

section! {
    /// Idempotent producers.
    ProducersConfig as producers {
        /// How long a partition remembers a producer that sends nothing.
        id_expiration_ms: i64 = 86_400_000, Rule::millis(1, i64::MAX);
    }
}

section! {
    /// The log of the process, on standard error.
    LogConfig as log {
        /// The least severe events that are written.
        level: LogLevel = LogLevel::Info, Rule::Choice(LogLevel::NAMES);
    }
}
