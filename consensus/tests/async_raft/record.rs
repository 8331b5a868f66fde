//! The track record: every known defect of async-raft 0.6.1, what it does without its guard, and what judges that.
//!
//! The page in `docs/conformance` is what this table gives; `CHRONIK_WRITE=1` writes it. Each row names tests that
//! exist; each of those fails where the defect does not show without the guard, or shows with it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

struct Row {
    defect: &'static str,
    what: &'static str,
    guard: &'static str,
    vanilla: &'static str,
    clause: &'static str,
    judges: &'static [&'static str],
}

/// Seen here, by the tests named.
const RED: &str = "red";
/// Not brought about by a test here; the sources say so.
const READ: &str = "by reading";
/// Brought about elsewhere, with the crate alone.
const ELSEWHERE: &str = "not run here";

const ROWS: &[Row] = &[
    Row {
        defect: "S1",
        what: "New voters never count: after growing, the leader commits alone.",
        guard: "`s1_s2_s3_own_commit`, `s8_l5_one_voter_at_a_time`",
        vanilla: RED,
        clause: "CS-LOG-05, CS-MEM-08",
        judges: &["s1_vanilla_commits_alone_after_growing_and_the_guards_do_not_grow_so"],
    },
    Row {
        defect: "S2",
        what: "A new leader takes every follower for up to date; the first answer commits what only it has.",
        guard: "`s1_s2_s3_own_commit`",
        vanilla: READ,
        clause: "CS-LOG-05, CS-LOG-06",
        judges: &["under_random_faults_nothing_is_lost_no_read_is_stale_and_all_agree"],
    },
    Row {
        defect: "S3",
        what: "A conflict is counted as a match: an acknowledged write is on the leader alone, and lost.",
        guard: "`s1_s2_s3_own_commit`, `s3_l3_l7_own_messages`",
        vanilla: RED,
        clause: "CS-LOG-03, CS-LOG-05",
        judges: &[
            "s3_vanilla_loses_an_acknowledged_write_and_the_guards_keep_it",
            "s3_a_longer_diverged_tail_is_never_confirmed",
        ],
    },
    Row {
        defect: "S4",
        what: "State machines skip committed entries at changes of leader.",
        guard: "`s4_s11_own_apply_signal`",
        vanilla: READ,
        clause: "CS-SM-02",
        judges: &["under_random_faults_nothing_is_lost_no_read_is_stale_and_all_agree"],
    },
    Row {
        defect: "S5",
        what: "A heartbeat commits entries that the leader does not have.",
        guard: "`s5_check_previous`",
        vanilla: RED,
        clause: "CS-LOG-04, CS-SM-01",
        judges: &["s5_a_heartbeat_commits_nothing_that_is_not_the_leaders"],
    },
    Row {
        defect: "S6",
        what: "A late duplicate truncates committed entries.",
        guard: "`s6_keep_held_entries`",
        vanilla: RED,
        clause: "CS-LOG-04, CS-LOG-07",
        judges: &[
            "s6_a_late_duplicate_removes_nothing_that_is_held",
            "s6_nothing_that_contradicts_a_committed_entry_is_taken",
        ],
    },
    Row {
        defect: "S7",
        what: "`client_read` asks nobody in a group of three: stale reads.",
        guard: "`s7_s12_own_reads`",
        vanilla: RED,
        clause: "CS-LIN-02",
        judges: &["s7_vanilla_answers_reads_of_a_deposed_leader_and_the_guard_does_not"],
    },
    Row {
        defect: "S8",
        what: "A candidate votes for itself in a voter set that it is not in.",
        guard: "`s8_l5_one_voter_at_a_time`",
        vanilla: READ,
        clause: "CS-MEM-01",
        judges: &["changes_that_are_not_safe_are_refused_by_name"],
    },
    Row {
        defect: "S9, S10",
        what: "Snapshots go back, and mix the streams of two leaders.",
        guard: "the crate's snapshots are not used",
        vanilla: ELSEWHERE,
        clause: "CS-SNP-02, CS-SNP-04",
        judges: &[
            "s9_s10_an_older_checkpoint_changes_nothing_and_a_newer_one_is_the_new_start",
            "a_replica_that_needs_purged_entries_starts_from_a_checkpoint",
        ],
    },
    Row {
        defect: "S11",
        what: "Entries are applied twice or out of order.",
        guard: "`s4_s11_own_apply_signal`",
        vanilla: READ,
        clause: "CS-SM-02",
        judges: &["under_random_faults_nothing_is_lost_no_read_is_stale_and_all_agree"],
    },
    Row {
        defect: "S12",
        what: "`client_read` raises the term without storing it.",
        guard: "`s7_s12_own_reads`",
        vanilla: READ,
        clause: "CS-ELE-02",
        judges: &["s7_vanilla_answers_reads_of_a_deposed_leader_and_the_guard_does_not"],
    },
    Row {
        defect: "S13",
        what: "Entries of earlier terms are committed by counting, because S2 and S3 name false terms.",
        guard: "`s1_s2_s3_own_commit`",
        vanilla: READ,
        clause: "CS-LOG-06",
        judges: &["s3_vanilla_loses_an_acknowledged_write_and_the_guards_keep_it"],
    },
    Row {
        defect: "L1",
        what: "A restarted replica waits 30 seconds before it campaigns.",
        guard: "`l1_restart`",
        vanilla: RED,
        clause: "CS-LIV-01, CS-LIV-06",
        judges: &[
            "l1_vanilla_waits_half_a_minute_after_a_restart_and_the_guard_does_not",
            "a_cluster_that_restarts_as_a_whole_elects_within_its_bound",
        ],
    },
    Row {
        defect: "L2",
        what: "A peer that cannot be reached spins a task that never yields; two freeze the runtime.",
        guard: "`l2_unreachable_peers`",
        vanilla: ELSEWHERE,
        clause: "CS-LIV-02, CS-LIV-08",
        judges: &["three_nodes_elect_replicate_commit_and_survive_the_loss_of_their_leader"],
    },
    Row {
        defect: "L3",
        what: "One diverged entry is never repaired.",
        guard: "`s3_l3_l7_own_messages`",
        vanilla: RED,
        clause: "CS-LIV-03, CS-LIV-05",
        judges: &["s3_l3_a_conflict_hint_is_below_what_was_sent_so_that_one_diverged_entry_is_repaired"],
    },
    Row {
        defect: "L4",
        what: "Votes want term and index both: two live nodes never elect.",
        guard: "`l4_vote_order`",
        vanilla: RED,
        clause: "CS-ELE-03",
        judges: &["l4_logs_are_compared_by_term_and_then_by_index"],
    },
    Row {
        defect: "L5",
        what: "Shrinking to the leader alone hangs for ever.",
        guard: "`s8_l5_one_voter_at_a_time`",
        vanilla: READ,
        clause: "CS-MEM-07, CS-MEM-09",
        judges: &["changes_that_are_not_safe_are_refused_by_name"],
    },
    Row {
        defect: "L6",
        what: "A new leader that knows the joint entry as committed never leaves the joint membership.",
        guard: "`l6_joint_clamp`",
        vanilla: RED,
        clause: "CS-MEM-07",
        judges: &["l6_the_crate_does_not_learn_that_a_joint_membership_is_committed"],
    },
    Row {
        defect: "L7",
        what: "Entries are dropped from a stream until the next write.",
        guard: "`s3_l3_l7_own_messages`",
        vanilla: READ,
        clause: "CS-LIV-03",
        judges: &["under_random_faults_nothing_is_lost_no_read_is_stale_and_all_agree"],
    },
    Row {
        defect: "L8",
        what: "Events are lost while a queue is drained, with small batches.",
        guard: "`l8_large_batches`",
        vanilla: ELSEWHERE,
        clause: "CS-LIV-02",
        judges: &["offsets_and_stamps_follow_the_order_of_the_calls"],
    },
    Row {
        defect: "L9",
        what: "A leader without a quorum leads for ever.",
        guard: "`l9_check_quorum`",
        vanilla: RED,
        clause: "CS-LIV-01, CS-LIN-02",
        judges: &[
            "l9_vanilla_leads_for_ever_without_a_quorum_and_the_guard_gives_way",
            "l9_a_fenced_leader_holds_no_election_back",
            "a_one_way_cut_of_a_leader_ends_in_a_leader_that_commits",
        ],
    },
    Row {
        defect: "L10",
        what: "No pre-vote: whoever returns raises the term. Only replicas that were removed are kept from it.",
        guard: "`l10_foreign_votes`",
        vanilla: RED,
        clause: "CS-MEM-05; CS-LIV-04 is kept in part",
        judges: &["l10_a_replica_that_was_removed_raises_no_term"],
    },
    Row {
        defect: "L11, L16",
        what: "The heartbeat interval limits data too, and nothing limits votes.",
        guard: "limits of our own on every call",
        vanilla: READ,
        clause: "CS-LIV-02",
        judges: &["three_nodes_elect_replicate_commit_and_survive_the_loss_of_their_leader"],
    },
    Row {
        defect: "L12, L13",
        what: "Learners count as caught up at once, and are forgotten at every election.",
        guard: "`l12_verified_lag`, `l13_learners_in_log`",
        vanilla: READ,
        clause: "CS-MEM-04",
        judges: &["a_learner_catches_up_stays_one_across_elections_and_becomes_a_voter"],
    },
    Row {
        defect: "L14",
        what: "Requests for a snapshot loop without one being made.",
        guard: "the crate's snapshots are not used",
        vanilla: READ,
        clause: "CS-SNP-05",
        judges: &["a_replica_that_needs_purged_entries_starts_from_a_checkpoint"],
    },
    Row {
        defect: "L15",
        what: "The crate panics when it is dropped without its shutdown.",
        guard: "every end of a group goes through its shutdown",
        vanilla: READ,
        clause: "CS-SHUT-01",
        judges: &["a_closed_group_takes_nothing"],
    },
];

const HEAD: &str = "\
# Track record: async-raft 0.6.1

Every known defect of the published crate, and what the guards of `consensus/src/async_raft` make of it. Written by
`CHRONIK_WRITE=1 cargo test -p chronik-consensus --test async_raft record`; a test compares this page with its source.

*Without the guard*: **red** means that a test here switches the guard off and sees the defect; **by reading**, that the
sources of the crate show it and no test here brings it about; **not run here**, that it was brought about with the crate
alone, in ways that would harm the test itself or need what is switched off here for good. *With the guard* every test named is green.

| defect | what happens | guard | without the guard | clause | judged by |
|---|---|---|---|---|---|
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for row in ROWS {
        let judges: Vec<String> = row.judges.iter().map(|test| format!("`{test}`")).collect();
        writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} |",
            row.defect,
            row.what,
            row.guard,
            row.vanilla,
            row.clause,
            judges.join(", ")
        )
        .unwrap();
    }
    let red = ROWS.iter().filter(|row| row.vanilla == RED).count();
    writeln!(
        page,
        "\n{red} of {} rows are seen red without their guard here.",
        ROWS.len()
    )
    .unwrap();
    page
}

fn sources(dir: &Path, found: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn the_track_record_is_what_its_table_says_and_every_judge_exists() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut found = String::new();
    sources(&root.join("tests/async_raft"), &mut found);
    sources(&root.join("src/async_raft/tests"), &mut found);
    for test in ROWS.iter().flat_map(|row| row.judges) {
        assert!(
            found.contains(&format!("#[test]\nfn {test}()")),
            "no test is called {test}"
        );
    }
    let path = root.join("../docs/conformance/track-record.md");
    if std::env::var_os("CHRONIK_WRITE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == page(),
        "docs/conformance/track-record.md is stale: run this test with CHRONIK_WRITE=1"
    );
}
