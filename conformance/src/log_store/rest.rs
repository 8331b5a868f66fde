//! Coming to rest: much is called at once, one of the disk's lanes stands still, and still everything ends.

use super::driver::{Acted, Driver, Stop};
use super::lab::Lab;
use super::{Check, Scale, must};
use crate::check::{Failure, Verdict, ensure};
use crate::world::disk::{DropAll, Unit};
use crate::world::{Prng, Seed};
use chronik_core::env::DiskLane;

pub(super) const CHECKS: &[Check] = &[must(
    "LS-OPS-05",
    "everything_ends_though_a_lane_stood_still",
    stood_still,
)];

/// Far more jobs than any burst of calls needs.
const JOBS_MAX: u64 = 3000;

fn stood_still(lab: &Lab<'_>) -> Verdict {
    for round in 0..60 * lab.effort {
        let seed = lab.seed.nth(round);
        history(lab, seed).map_err(|failure| failure.at(format!("history {round}")))?;
    }
    lab.marks.require(&["a lane ran dry while the other stood still"])
}

fn play(acted: Acted) -> Verdict {
    match acted {
        Ok(()) => Ok(()),
        Err(Stop::Failed(failure)) => Err(failure),
        Err(Stop::PowerOff) => Err(Failure::new("the power went though nobody cut it")),
    }
}

fn history(lab: &Lab<'_>, seed: Seed) -> Verdict {
    lab.count_run();
    let mut prng = seed.child("calls").prng();
    // Every history has its own mixture: some calls come all the time, some not at all.
    let mut weights = [0; 6];
    for weight in &mut weights {
        *weight = [0, 1, 3, 12][prng.index(4)];
    }
    weights[0] = weights[0].max(2);
    let groups = prng.between(1, 3);
    let subject = lab
        .open(super::lab::disk(seed), seed, Scale::Small)
        .map_err(|error| Failure(format!("a new store does not open: {error}")))?;
    let mut driver = Driver::new(subject, seed.child("driver").prng());
    for _ in 0..6 {
        for _ in 0..prng.between(3, 60) {
            let group = prng.between(1, groups);
            play(call(&mut driver, group, &weights, &mut prng))?;
        }
        play(driver.step(prng.below(6)))?;
        let lane = [DiskLane::Journal, DiskLane::Background][prng.index(2)];
        let mut jobs = 0;
        while driver.subject.sim.queue().step_lane(lane) {
            jobs += 1;
            ensure!(
                jobs < JOBS_MAX,
                "the lane {lane:?} runs on and on while the other stands still"
            );
        }
        if jobs > 0 {
            lab.marks.hit("a lane ran dry while the other stood still");
        }
        play(driver.poll())?;
        driver.compare()?;
        if prng.chance(50) {
            play(driver.sync())?;
        }
    }
    play(driver.sync())?;
    driver.compare()?;
    let driver = driver.crash(&mut DropAll, Unit::Sector)?;
    drop(driver.reopen()?);
    Ok(())
}

fn call(driver: &mut Driver<'_>, group: u64, weights: &[u64; 6], prng: &mut Prng) -> Acted {
    let mut left = prng.below(weights.iter().sum());
    let drawn = weights.iter().position(|weight| match left.checked_sub(*weight) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    });
    match drawn.unwrap_or(0) {
        1 => driver.truncate(group, prng.between(1, 6)),
        2 => driver.checkpoint(group, prng.below(2), prng.index(7000)),
        3 => driver.purge(group, prng.between(1, 20)),
        4 => {
            // Ids are used once.
            let id = 1000 + prng.below(1 << 40);
            driver.append(id, &[300, 2000])?;
            driver.remove(id)
        }
        5 => driver.vote(group, 1),
        _ => {
            let sizes: Vec<usize> = (0..prng.between(1, 4)).map(|_| prng.index(3000)).collect();
            driver.append(group, &sizes)
        }
    }
}
