//! The clauses that must hold in every run of the swarm.

use super::{Check, Lab, must};
use crate::check::{Failure, Verdict};

pub(super) const CHECKS: &[Check] = &[
    must("CS-ELE-01", "a_term_has_at_most_one_leader", in_every_run),
    must(
        "CS-ELE-02",
        "a_leader_has_the_durable_votes_of_a_quorum",
        in_every_run,
    ),
    must("CS-LOG-01", "logs_match", in_every_run),
    must("CS-LOG-02", "a_leader_only_appends", in_every_run),
    must("CS-LOG-03", "a_leader_has_every_committed_entry", in_every_run),
    must("CS-LOG-04", "a_committed_entry_never_changes", in_every_run),
    must(
        "CS-LOG-05",
        "what_is_acknowledged_is_durable_on_a_quorum",
        in_every_run,
    ),
    must(
        "CS-LOG-06",
        "a_leader_counts_only_entries_of_its_term",
        in_every_run,
    ),
    must(
        "CS-LOG-07",
        "a_follower_removes_nothing_that_its_leader_has",
        in_every_run,
    ),
    must("CS-SM-01", "every_replica_applies_the_same_entries", in_every_run),
    must(
        "CS-SM-02",
        "entries_are_applied_once_in_order_across_restarts",
        in_every_run,
    ),
    must("CS-ORD-01", "term_and_commit_index_never_go_back", in_every_run),
    must("CS-LIN-01", "a_barrier_sees_what_was_acknowledged", in_every_run),
    must("CS-LIN-02", "a_deposed_leader_completes_no_barrier", in_every_run),
    must(
        "CS-LIN-04",
        "what_is_reported_as_not_committed_never_appears",
        in_every_run,
    ),
    must(
        "CS-LIN-05",
        "proposals_keep_the_order_of_their_calls",
        in_every_run,
    ),
    must(
        "CS-SNP-01",
        "a_restored_checkpoint_is_the_state_that_applying_gives",
        in_every_run,
    ),
    must(
        "CS-SNP-05",
        "who_needs_purged_entries_gets_a_checkpoint",
        in_every_run,
    ),
    must(
        "CS-STO-01",
        "what_was_acknowledged_is_there_at_the_end",
        in_every_run,
    ),
    must("CS-LIV-01", "there_is_a_leader_after_every_run", in_every_run),
    must("CS-LIV-02", "commits_resume_after_every_run", in_every_run),
    must("CS-LIV-03", "replicas_converge_after_every_run", in_every_run),
];

/// What must have happened in a swarm for its silence to mean something.
const MARKS: &[&str] = &[
    "leaders",
    "acknowledged",
    "barriers",
    "suffixes removed",
    "unknown",
    "checkpoints installed",
    "checkpoints restored",
    "memberships changed",
];

fn in_every_run(lab: &Lab<'_>) -> Verdict {
    match lab
        .swarm
        .first_breach(lab.backend, lab.clause, lab.offset, lab.marks)
    {
        None => lab.marks.require(MARKS),
        Some((report, violation)) => Err(Failure(format!(
            "{}\n  in the run of CHRONIK_SEED={} ({} faults)",
            violation.what,
            report.seed,
            report.plan.len()
        ))),
    }
}
