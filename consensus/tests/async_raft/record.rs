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

/// A test switches the guard off, and sees the defect.
const OFF: &str = "red, guard off";
/// A test runs the crate with none of our code around it, and sees the defect.
const ALONE: &str = "red, alone";

const ROWS: &[Row] = &[
    Row {
        defect: "S1",
        what: "New voters never count: after growing, the leader commits alone.",
        guard: "`s1_s2_s3_own_commit`, `s8_l5_one_voter_at_a_time`",
        vanilla: OFF,
        clause: "CS-LOG-05, CS-MEM-08",
        judges: &["s1_vanilla_commits_alone_after_growing_and_the_guards_do_not_grow_so"],
    },
    Row {
        defect: "S2",
        what: "A new leader takes every follower for up to date; the first answer commits what only it has.",
        guard: "`s1_s2_s3_own_commit`",
        vanilla: OFF,
        clause: "CS-LOG-05, CS-LOG-06",
        judges: &[
            "s2_s13_what_only_a_new_leader_has_is_not_committed_by_the_answer_of_another",
            "s2_s13_alone_a_new_leader_commits_entries_of_earlier_terms_that_only_it_has",
            "under_random_faults_nothing_is_lost_no_read_is_stale_and_all_agree",
        ],
    },
    Row {
        defect: "S3",
        what: "A conflict is counted as a match: an acknowledged write is on the leader alone, and lost.",
        guard: "`s1_s2_s3_own_commit`, `s3_l3_l7_own_messages`",
        vanilla: OFF,
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
        vanilla: ALONE,
        clause: "CS-SM-02",
        judges: &[
            "s4_alone_a_follower_skips_committed_entries_when_its_leader_changes",
            "under_random_faults_nothing_is_lost_no_read_is_stale_and_all_agree",
        ],
    },
    Row {
        defect: "S5",
        what: "A heartbeat commits entries that the leader does not have.",
        guard: "`s5_check_previous`",
        vanilla: OFF,
        clause: "CS-LOG-04, CS-SM-01",
        judges: &["s5_a_heartbeat_commits_nothing_that_is_not_the_leaders"],
    },
    Row {
        defect: "S6",
        what: "A late duplicate truncates committed entries.",
        guard: "`s6_keep_held_entries`",
        vanilla: OFF,
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
        vanilla: OFF,
        clause: "CS-LIN-02",
        judges: &["s7_vanilla_answers_reads_of_a_deposed_leader_and_the_guard_does_not"],
    },
    Row {
        defect: "S8",
        what: "A candidate votes for itself in a voter set that it is not in.",
        guard: "`s8_l5_one_voter_at_a_time`",
        vanilla: ALONE,
        clause: "CS-MEM-01",
        judges: &[
            "s8_alone_a_candidate_counts_itself_in_a_voter_set_that_it_is_not_in",
            "s8_alone_a_restarted_replica_leads_a_term_in_which_it_voted_for_another",
            "changes_that_are_not_safe_are_refused_by_name",
        ],
    },
    Row {
        defect: "S9, S10",
        what: "Snapshots go back, and mix the streams of two leaders.",
        guard: "the crate's snapshots are not used",
        vanilla: ALONE,
        clause: "CS-SNP-02, CS-SNP-04",
        judges: &[
            "s9_alone_an_older_snapshot_takes_the_log_back",
            "s10_alone_the_snapshots_of_two_leaders_are_mixed",
            "s9_s10_an_older_checkpoint_changes_nothing_and_a_newer_one_is_the_new_start",
            "a_replica_that_needs_purged_entries_starts_from_a_checkpoint",
        ],
    },
    Row {
        defect: "S11",
        what: "Entries are applied twice or out of order.",
        guard: "`s4_s11_own_apply_signal`",
        vanilla: ALONE,
        clause: "CS-SM-02",
        judges: &[
            "s11_alone_what_arrives_first_after_a_start_is_applied_twice",
            "under_random_faults_nothing_is_lost_no_read_is_stale_and_all_agree",
        ],
    },
    Row {
        defect: "S12",
        what: "`client_read` raises the term without storing it.",
        guard: "`s7_s12_own_reads`",
        vanilla: ALONE,
        clause: "CS-ELE-02",
        judges: &[
            "s12_alone_a_read_raises_the_term_without_storing_it",
            "s7_vanilla_answers_reads_of_a_deposed_leader_and_the_guard_does_not",
        ],
    },
    Row {
        defect: "S13",
        what: "Entries of earlier terms are committed by counting, because S2 and S3 name false terms.",
        guard: "`s1_s2_s3_own_commit`",
        vanilla: OFF,
        clause: "CS-LOG-06",
        judges: &[
            "s2_s13_what_only_a_new_leader_has_is_not_committed_by_the_answer_of_another",
            "s2_s13_alone_a_new_leader_commits_entries_of_earlier_terms_that_only_it_has",
            "s3_vanilla_loses_an_acknowledged_write_and_the_guards_keep_it",
        ],
    },
    Row {
        defect: "L1",
        what: "A restarted replica waits 30 seconds before it campaigns.",
        guard: "`l1_restart`",
        vanilla: OFF,
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
        vanilla: ALONE,
        clause: "CS-LIV-02, CS-LIV-08",
        judges: &[
            "l2_alone_a_peer_that_cannot_be_reached_lets_no_other_task_run",
            "three_nodes_elect_replicate_commit_and_survive_the_loss_of_their_leader",
        ],
    },
    Row {
        defect: "L3",
        what: "One diverged entry is never repaired.",
        guard: "`s3_l3_l7_own_messages`",
        vanilla: OFF,
        clause: "CS-LIV-03, CS-LIV-05",
        judges: &["s3_l3_a_conflict_hint_is_below_what_was_sent_so_that_one_diverged_entry_is_repaired"],
    },
    Row {
        defect: "L4",
        what: "Votes want term and index both: two live nodes never elect.",
        guard: "`l4_vote_order`",
        vanilla: OFF,
        clause: "CS-ELE-03",
        judges: &["l4_logs_are_compared_by_term_and_then_by_index"],
    },
    Row {
        defect: "L5",
        what: "Shrinking to the leader alone hangs for ever.",
        guard: "`s8_l5_one_voter_at_a_time`",
        vanilla: ALONE,
        clause: "CS-MEM-07, CS-MEM-09",
        judges: &[
            "l5_alone_a_leader_never_becomes_the_only_voter",
            "changes_that_are_not_safe_are_refused_by_name",
        ],
    },
    Row {
        defect: "L6",
        what: "A new leader that knows the joint entry as committed never leaves the joint membership.",
        guard: "`l6_joint_clamp`",
        vanilla: OFF,
        clause: "CS-MEM-07",
        judges: &["l6_the_crate_does_not_learn_that_a_joint_membership_is_committed"],
    },
    Row {
        defect: "L7",
        what: "Entries are dropped from a stream until the next write.",
        guard: "`s3_l3_l7_own_messages`",
        vanilla: ALONE,
        clause: "CS-LIV-03",
        judges: &[
            "l7_alone_an_entry_is_dropped_from_a_stream_until_the_next_write",
            "under_random_faults_nothing_is_lost_no_read_is_stale_and_all_agree",
        ],
    },
    Row {
        defect: "L8",
        what: "Events are lost while a queue is drained, with small batches.",
        guard: "`l8_large_batches`",
        vanilla: ALONE,
        clause: "CS-LIV-02",
        judges: &[
            "l8_alone_a_small_batch_loses_the_event_behind_it",
            "offsets_and_stamps_follow_the_order_of_the_calls",
        ],
    },
    Row {
        defect: "L9",
        what: "A leader without a quorum leads for ever.",
        guard: "`l9_check_quorum`",
        vanilla: OFF,
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
        vanilla: OFF,
        clause: "CS-MEM-05; CS-LIV-04 is kept in part",
        judges: &["l10_a_replica_that_was_removed_raises_no_term"],
    },
    Row {
        defect: "L11, L16",
        what: "The heartbeat interval limits data too, and nothing limits votes.",
        guard: "limits of our own on every call",
        vanilla: ALONE,
        clause: "CS-LIV-02",
        judges: &[
            "l11_alone_a_batch_that_takes_longer_than_a_heartbeat_is_sent_again_for_ever",
            "l16_alone_nothing_limits_votes",
            "three_nodes_elect_replicate_commit_and_survive_the_loss_of_their_leader",
        ],
    },
    Row {
        defect: "L12, L13",
        what: "Learners count as caught up at once, and are forgotten at every election.",
        guard: "`l12_verified_lag`, `l13_learners_in_log`",
        vanilla: ALONE,
        clause: "CS-MEM-04",
        judges: &[
            "l12_alone_a_learner_that_never_answered_counts_as_caught_up",
            "l13_alone_a_new_leader_knows_no_learner",
            "a_learner_catches_up_stays_one_across_elections_and_becomes_a_voter",
        ],
    },
    Row {
        defect: "L14",
        what: "Requests for a snapshot loop without one being made.",
        guard: "the crate's snapshots are not used",
        vanilla: ALONE,
        clause: "CS-SNP-05",
        judges: &[
            "l14_alone_requests_for_a_snapshot_loop_without_one_being_made",
            "a_replica_that_needs_purged_entries_starts_from_a_checkpoint",
        ],
    },
    Row {
        defect: "L15",
        what: "The crate panics when it is dropped without its shutdown.",
        guard: "every end of a group goes through its shutdown",
        vanilla: ALONE,
        clause: "CS-SHUT-01",
        judges: &[
            "l15_alone_dropping_the_last_handle_panics",
            "a_closed_group_takes_nothing",
        ],
    },
];

const HEAD: &str = "\
# Track record: async-raft 0.6.1

Every known defect of the published crate, and what the guards of `consensus/src/async_raft` make of it. Written by
`CHRONIK_WRITE=1 cargo test -p chronik-consensus --test async_raft record`; a test compares this page with its source.

*Without the guard*: **guard off** means that a test here switches the guard off in our engine and sees the defect; **alone**,
that a test runs the crate with none of our code around it, an honest store in memory and peers that it scripts, and sees
the defect: what guards against it is that we do not use that part of the crate, or other guards would hide it. *With the
guard* every other test named is green. Defects that the product itself once had, put back, are on
[another page](mutants.md).

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
    let seen = |how: &str| ROWS.iter().filter(|row| row.vanilla == how).count();
    let (off, alone) = (seen(OFF), seen(ALONE));
    writeln!(
        page,
        "\nOf {} rows {off} are seen red with their guard off, and {alone} with the crate alone.",
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
    for row in ROWS.iter().filter(|row| row.vanilla == ALONE) {
        let alone = row.judges.iter().any(|test| test.contains("_alone_"));
        assert!(alone, "{} is seen in no test of the crate alone", row.defect);
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
