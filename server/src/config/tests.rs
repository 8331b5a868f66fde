use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::value::Raw;
use super::*;

fn refused(text: &str) -> Vec<Problem> {
    parse("node.toml", text, &[])
        .expect_err(text)
        .iter()
        .cloned()
        .collect()
}

fn raw(rule: &Rule) -> Raw<'static> {
    match rule {
        Rule::Text { example, .. } | Rule::List { example, .. } => Raw::Argument(example),
        other => panic!("{other:?} has no example"),
    }
}

fn place(problem: &Problem) -> (usize, usize) {
    match &problem.source {
        Source::File(place) => (place.line, place.column),
        other => panic!("no place in the file: {other:?}"),
    }
}

#[test]
fn an_empty_file_gives_the_defaults() {
    assert_eq!(
        parse("node.toml", "", &[]).map(|effective| effective.config),
        Ok(Config::default())
    );
}

#[test]
fn every_default_is_a_value_that_its_key_accepts_and_reads_back() {
    for key in Config::SECTIONS.iter().flat_map(|section| section.keys) {
        let Some(value) = key.value(&Config::default()) else {
            continue;
        };
        let text = format!("[{}]\n{} = {value}\n", key.section, key.name);
        let effective =
            parse("default.toml", &text, &[]).unwrap_or_else(|problems| panic!("{text}{problems}"));
        assert_eq!(effective.config, Config::default(), "{text}");
    }
}

#[test]
fn the_reference_reads_back_as_the_defaults_and_sets_every_key_that_has_one() {
    let effective = parse("reference.toml", &reference(), &[]).expect("the reference is accepted");
    assert_eq!(effective.config, Config::default());
    for key in Config::SECTIONS.iter().flat_map(|section| section.keys) {
        let set = matches!(effective.origin(key), Origin::File(_));
        assert_eq!(set, key.value(&Config::default()).is_some(), "{}", key.path());
    }
}

#[test]
fn the_examples_of_unset_keys_are_accepted() {
    for key in Config::SECTIONS.iter().flat_map(|section| section.keys) {
        let value = match key.rule {
            Rule::Text { example, .. } => format!("\"{example}\""),
            Rule::List { example, .. } => format!("[\"{example}\"]"),
            _ => continue,
        };
        // What relates it to other keys is judged elsewhere.
        if key.section == "cluster" || key.section == "transport" {
            let mut config = Config::default();
            (key.set)(&mut config, &raw(&key.rule), &key.rule).expect("the example is accepted");
            assert_eq!(key.value(&config), Some(value));
            continue;
        }
        let text = format!("[{}]\n{} = {value}\n", key.section, key.name);
        let effective =
            parse("example.toml", &text, &[]).unwrap_or_else(|problems| panic!("{text}{problems}"));
        assert_eq!(key.value(&effective.config), Some(value));
    }
}

#[test]
fn the_reference_in_the_documents_is_the_one_that_the_binary_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ops/config.reference.toml");
    let committed = std::fs::read_to_string(&path).expect("docs/ops/config.reference.toml");
    assert!(
        committed == reference(),
        "docs/ops/config.reference.toml is stale: chronik-server config reference > docs/ops/config.reference.toml"
    );
}

#[test]
fn what_is_shown_reads_back_as_the_same_configuration() {
    let text = "[kafka]\nadvertise = \"b:1\"\n[topics]\nretention_bytes = \"3GiB\"\n";
    let flags = [("--node-id", "7".to_owned())];
    let effective = parse("node.toml", text, &flags).expect("accepted");
    let shown = show(&effective);
    assert_eq!(
        parse("shown.toml", &shown, &[]).map(|again| again.config),
        Ok(effective.config),
        "{shown}"
    );
    for origin in ["node.toml:2", "node.toml:4", "--node-id", "default"] {
        assert!(shown.contains(&format!("# {origin}\n")), "{origin} in {shown}");
    }
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let text =
        "[node]\nid = -5\ndata-dir = \"x\"\n\n[kafka]\nport = \"9092\"\n[sotrage]\nbackend = \"mmap\"\n";
    let problems = refused(text);
    let places: Vec<_> = problems.iter().map(place).collect();
    assert_eq!(places, [(2, 6), (3, 1), (6, 8), (7, 2)]);
    let helps: Vec<_> = problems
        .iter()
        .filter_map(|problem| problem.help.as_deref())
        .collect();
    assert_eq!(
        helps,
        [
            "did you mean `data_dir`?",
            "write 9092 without quotes",
            "did you mean [storage]?"
        ]
    );
}

#[test]
fn a_problem_names_file_line_column_key_value_and_what_is_allowed() {
    let text = "[consensus]\nbackend = \"standalon\"\n";
    let shown = parse("etc/node.toml", text, &[])
        .expect_err("a bad name")
        .to_string();
    assert_eq!(
        shown,
        "error: etc/node.toml:2:11: consensus.backend: \"standalon\" is not one of the allowed values\n\
         \u{20} 2 | backend = \"standalon\"\n\
         \u{20}   |           ^^^^^^^^^^^\n\
         \u{20} allowed: \"standalone\", \"raft-rs\", \"async-raft\"\n\
         \u{20} help: did you mean \"standalone\"?\n\n\
         the configuration has 1 error"
    );
}

#[test]
fn a_kafka_name_finds_the_key_that_it_means() {
    let problems = refused("[topics]\nretention.ms = 1\n\"segment.bytes\" = 2\n");
    let helps: Vec<_> = problems
        .iter()
        .filter_map(|problem| problem.help.as_deref())
        .collect();
    assert_eq!(
        helps,
        ["did you mean `retention_ms`?", "did you mean `segment_bytes`?"]
    );
}

#[test]
fn a_key_in_the_wrong_section_is_sent_home() {
    let helps = |text| {
        refused(text)
            .into_iter()
            .find_map(|problem| problem.help)
            .expect("a help")
    };
    assert_eq!(
        helps("fetch_max_bytes = 1\n"),
        "`fetch_max_bytes` is a key of [kafka]: move it below that line"
    );
    assert_eq!(
        helps("[node]\nretention_ms = 1\n"),
        "`retention_ms` is a key of [topics]"
    );
}

#[test]
fn what_is_not_toml_is_reported_together_with_bad_values_elsewhere() {
    let problems = refused("[node]\nid = = 3\n[kafka]\nport = 70000\nport = 1\n[log\nlevel = 1\n");
    let lines: Vec<_> = problems.iter().map(|problem| place(problem).0).collect();
    for line in [2, 4, 5, 6] {
        assert!(lines.contains(&line), "line {line} in {problems:#?}");
    }
    assert!(problems[0].message.starts_with("is not TOML: "), "{problems:#?}");
}

#[test]
fn values_that_contradict_each_other_are_refused_where_they_were_set() {
    for (text, line) in [
        ("[kafka]\nmax_request_bytes = \"512MiB\"\n", 2),
        (
            "[kafka]\nmax_request_bytes = \"1MiB\"\n[topics]\nmax_message_bytes = \"2MiB\"\n",
            4,
        ),
        (
            "[topics]\nsegment_bytes = \"1MiB\"\nmax_message_bytes = \"2MiB\"\n",
            3,
        ),
        ("[storage]\njournal_file_bytes = \"1MiB\"\n", 2),
        ("[topics]\nreplication_factor = 3\n", 2),
        ("[topics]\nmin_insync_replicas = 2\n", 2),
        ("[groups]\nmax_session_timeout_ms = 10\n", 2),
        ("[admin]\nbind = \"0.0.0.0\"\n", 2),
        ("[consensus]\nbackend = \"raft-rs\"\n", 2),
        ("[cluster]\npeers = [\"2@h:1\"]\n", 2),
        ("[transport]\ntls_key = \"k\"\n", 2),
    ] {
        let problems = refused(text);
        assert_eq!(problems.len(), 1, "{text}{problems:#?}");
        assert_eq!(place(&problems[0]).0, line, "{text}{problems:#?}");
        assert!(problems[0].help.is_some(), "{text}{problems:#?}");
    }
}

#[test]
fn what_async_raft_cannot_do_is_refused_with_the_other_backend_named() {
    let three = "\"2@h:1\", \"3@h:2\"";
    for (peers, more) in [
        ("\"2@h:1\"", ""),
        (three, "[topics]\nreplication_factor = 2\n"),
        (three, "metadata_voters = 2\n"),
    ] {
        let (cluster, topics) = if more.starts_with('[') {
            ("", more)
        } else {
            (more, "")
        };
        let text = format!(
            "[consensus]\nbackend = \"async-raft\"\n[transport]\nbackend = \"capnp\"\n[cluster]\nlisten = \
             \"0.0.0.0:5001\"\npeers = [{peers}]\n{cluster}{topics}"
        );
        let problems = refused(&text);
        assert_eq!(problems.len(), 1, "{text}{problems:#?}");
        let help = problems[0].help.as_deref().unwrap_or_default();
        assert!(help.contains("raft-rs"), "{text}{problems:#?}");
        let other = text.replace("async-raft", "raft-rs");
        assert!(parse("node.toml", &other, &[]).is_ok(), "{other}");
    }
    assert!(
        ConsensusBackend::AsyncRaft
            .refuses(2)
            .is_some_and(|why| why.contains("raft-rs"))
    );
    assert!(
        ConsensusBackend::AsyncRaft.refuses(3).is_none() && ConsensusBackend::RaftRs.refuses(2).is_none()
    );
}

/// A node of a cluster with these lines in `[cluster]`.
fn clustered(lines: &str) -> String {
    format!("[cluster]\n{lines}\n[transport]\nbackend = \"capnp\"\n[consensus]\nbackend = \"raft-rs\"\n")
}

#[test]
fn a_list_of_peers_that_cannot_be_right_is_refused_where_it_stands() {
    let listen = "listen = \"0.0.0.0:5001\"\n";
    for peers in [
        "\"2@h:1\", \"2@h:2\"",
        "\"2@h:1\", \"3@h:1\"",
        "\"1@h:5002\"",
        "\"2@h\"",
        "\"h:1\"",
        "\"2@0.0.0.0:5001\"",
    ] {
        let problems = refused(&clustered(&format!("{listen}peers = [{peers}]")));
        assert_eq!(problems.len(), 1, "{peers}: {problems:#?}");
        assert_eq!(place(&problems[0]).0, 3, "{peers}: {problems:#?}");
        assert!(
            problems[0].help.is_some() || problems[0].allowed.is_some(),
            "{peers}: {problems:#?}"
        );
    }
    let problems = refused(&clustered("peers = [\"2@h:1\"]"));
    assert_eq!(problems[0].key, "transport.backend");
    assert!(
        problems[0]
            .help
            .as_deref()
            .is_some_and(|help| help.contains("--raft-addr"))
    );
}

#[test]
fn a_node_of_a_cluster_knows_its_peers_its_address_and_how_many_copies_are_usual() {
    let config = |peers: &str| {
        let lines = format!("listen = \"0.0.0.0:5001\"\npeers = [{peers}]");
        parse("node.toml", &clustered(&lines), &[])
            .expect("accepted")
            .config
    };
    let bound = |text: &str| text.parse().expect("an address");
    let two = config("\"2@h:1\"");
    assert_eq!((two.replication_factor(), two.other_peers().count()), (2, 1));
    assert_eq!(two.peer_endpoint(bound("0.0.0.0:5001")), None);
    let shown = |config: &Config, at| {
        config
            .peer_endpoint(bound(at))
            .map(|endpoint| endpoint.to_string())
    };
    assert_eq!(shown(&two, "10.0.0.1:5001").as_deref(), Some("10.0.0.1:5001"));
    let five = config("\"1@me:5001\", \"2@h:1\", \"3@h:2\", \"4@h:3\", \"5@h:4\"");
    assert_eq!((five.replication_factor(), five.other_peers().count()), (3, 4));
    assert_eq!(shown(&five, "0.0.0.0:5001").as_deref(), Some("me:5001"));
    assert_eq!(Config::default().replication_factor(), 1);
}

#[test]
fn what_a_command_gives_is_overridden_by_the_file_and_says_where_it_comes_from() {
    let presets = [("raft-cluster", "log.level", "debug")];
    let effective = load(None, &presets, &[]).expect("accepted");
    assert_eq!(effective.config.log.level, LogLevel::Debug);
    assert!(show(&effective).contains("# raft-cluster\n"));
    let flags = [("--node-id", "x".to_owned())];
    assert!(load(None, &presets, &flags).is_err());
}

#[test]
fn a_value_that_was_refused_is_not_also_called_a_contradiction() {
    assert_eq!(
        refused("[kafka]\nmax_request_bytes = \"512MiB\"\nmax_inflight_bytes = -1\n").len(),
        1
    );
}

#[test]
fn flags_win_over_the_file_and_their_errors_name_the_flag() {
    let flags = |port: &str| {
        [
            ("--kafka-port", port.to_owned()),
            ("--bind", "0.0.0.0".to_owned()),
        ]
    };
    let effective = parse("node.toml", "[kafka]\nport = 1\n", &flags("2")).expect("accepted");
    assert_eq!(effective.config.kafka.port, 2);
    assert_eq!(effective.config.kafka.bind, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let shown = parse("node.toml", "[kafka]\nport = -1\n", &flags("2x"))
        .expect_err("two errors")
        .to_string();
    assert!(
        shown.contains("node.toml:2:8: kafka.port: -1 is out of bounds"),
        "{shown}"
    );
    assert!(
        shown.contains("--kafka-port: kafka.port: `2x` is not a whole number"),
        "{shown}"
    );
}

#[test]
fn every_flag_overrides_a_key() {
    for (flag, path) in FLAGS {
        assert!(
            Config::SECTIONS
                .iter()
                .flat_map(|section| section.keys)
                .any(|key| key.path() == *path),
            "{flag}"
        );
    }
}

#[test]
fn the_advertised_address_works_on_the_same_machine_unless_it_is_set() {
    let advertised = |text: &str| {
        parse("node.toml", text, &[])
            .expect(text)
            .config
            .kafka
            .advertised(9)
    };
    for (text, host, port) in [
        ("", "127.0.0.1", 9),
        ("[kafka]\nbind = \"0.0.0.0\"\n", "127.0.0.1", 9),
        ("[kafka]\nbind = \"::\"\n", "::1", 9),
        ("[kafka]\nbind = \"192.168.7.7\"\n", "192.168.7.7", 9),
        ("[kafka]\nadvertise = \"broker\"\n", "broker", 9),
        ("[kafka]\nadvertise = \"broker:19092\"\n", "broker", 19092),
    ] {
        assert_eq!(advertised(text), (host.to_owned(), port), "{text}");
    }
}

#[test]
fn a_file_that_cannot_be_read_or_is_not_text_is_one_clear_error() {
    let missing = load(Some(Path::new("/nonexistent/node.toml")), &[], &[])
        .expect_err("no such file")
        .to_string();
    assert!(
        missing.starts_with("error: /nonexistent/node.toml: cannot be read: "),
        "{missing}"
    );
    let endless = load(Some(Path::new("/dev/zero")), &[], &[])
        .expect_err("an endless file")
        .to_string();
    assert!(endless.contains("larger than"), "{endless}");
}

/// Damages the reference in every single place: whatever comes of it, the answer is a value or a report.
#[test]
fn no_text_makes_the_parser_panic() {
    let good = reference();
    for position in (0..good.len()).step_by(7) {
        for junk in ["\"", "=", "[", "]", "\n", "\u{e4}", "99999999999999999999"] {
            let mut text = good.clone();
            text.replace_range(position..position + 1, junk);
            if let Err(problems) = parse("junk.toml", &text, &[]) {
                assert!(!problems.to_string().is_empty());
            }
        }
    }
}
