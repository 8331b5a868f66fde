//! A run of a swarm follows its seed alone: played again, it is the same run.

use chronik_conformance::consensus::{self, Reference};
use chronik_conformance::world::Seed;

#[test]
fn a_seed_names_one_run() {
    let reference = Reference::default();
    let runs = [2, 3, 5].map(|seed| [(); 2].map(|()| consensus::run_seed(&reference, Seed(seed))));
    for [first, second] in &runs {
        assert_eq!(
            first.digest, second.digest,
            "seed {} was played differently",
            first.seed
        );
        assert_eq!(first.plan, second.plan);
    }
    assert_ne!(runs[0][0].digest, runs[1][0].digest, "seeds make no difference");
}
