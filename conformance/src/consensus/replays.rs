//! Whether a seed names one run of the subject.

use super::plan::Plan;
use super::{Check, Lab, should, swarm};
use crate::check::{Verdict, ensure};

pub(super) const CHECKS: &[Check] = &[should("CS-SIM-01", "a_seed_is_the_same_run_again", again)];

fn again(lab: &Lab<'_>) -> Verdict {
    for round in 0..3 {
        let plan = Plan::random(lab.seed.nth(round));
        let [one, other] = [(); 2].map(|()| swarm::run(lab.backend, &plan).0.digest);
        ensure!(
            one == other,
            "seed {} was played differently the second time: {one:x?}, then {other:x?}; what fails here need not fail again",
            plan.seed
        );
        lab.marks.hit("runs played again");
    }
    Ok(())
}
