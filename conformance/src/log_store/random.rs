//! Seeded random histories against the model: every call, crashes and clean ends anywhere.

use super::crashes::split_purge;
use super::driver::{Acted, Driver, Stop};
use super::lab::Lab;
use super::{Check, must, should};
use crate::check::{Failure, Verdict, ensure};
use crate::world::disk::{DropAll, KeepAll, Unit};
use crate::world::{Prng, Seed};

pub(super) const CHECKS: &[Check] = &[
    must(
        "LS-DUR-02",
        "random_histories_with_crashes_match_the_model",
        histories,
    ),
    must(
        "LS-DUR-02",
        "random_histories_with_long_runs_between_crashes_match_the_model",
        long_histories,
    ),
    should("LS-SIM-01", "a_seed_is_the_same_history_again", again),
];

const MARKS: &[&str] = &[
    "crashes",
    "clean ends",
    "unacknowledged tails lost",
    "unacknowledged tails kept",
    "truncations crossed",
    "purges crossed",
    "votes crossed",
    "checkpoints crossed",
];

fn histories(lab: &Lab<'_>) -> Verdict {
    for round in 0..150 * lab.effort {
        let seed = lab.seed.nth(round);
        history(lab, seed, 60)
            .map(drop)
            .map_err(|failure| failure.at(format!("history {round}")))?;
    }
    lab.marks.require(MARKS)
}

fn long_histories(lab: &Lab<'_>) -> Verdict {
    for round in 0..4 * lab.effort {
        let seed = lab.seed.child("long").nth(round);
        history(lab, seed, 1500)
            .map(drop)
            .map_err(|failure| failure.at(format!("history {round}")))?;
    }
    lab.marks.require(&["crashes", "clean ends"])
}

/// How often each call comes in one history: every history has its own mixture.
struct Mixture {
    weights: [u64; 11],
    groups: u64,
    /// How often the disk gets time, in percent.
    steps: u64,
    /// How many calls come between two ends, on average.
    life: u64,
}

impl Mixture {
    fn draw(prng: &mut Prng, life: u64) -> Self {
        let mut weights = [30, 4, 4, 4, 4, 2, 1, 3, 3, 1, 6];
        for weight in &mut weights {
            // Some calls do not come at all, some come all the time.
            *weight = match prng.below(5) {
                0 => 0,
                1 => *weight * 5,
                _ => *weight,
            };
        }
        weights[0] = weights[0].max(10);
        Self {
            weights,
            groups: prng.between(1, 4),
            steps: [5, 30, 80][prng.index(3)],
            life,
        }
    }

    fn pick(&self, prng: &mut Prng) -> usize {
        let mut left = prng.below(self.weights.iter().sum());
        for (at, weight) in self.weights.iter().enumerate() {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return at,
            }
        }
        0
    }
}

fn again(lab: &Lab<'_>) -> Verdict {
    for round in 0..5 {
        let seed = lab.seed.child("again").nth(round);
        let one = history(lab, seed, 80)?;
        let other = history(lab, seed, 80)?;
        ensure!(
            one == other,
            "history {round} was played differently the second time, by what the disk saw: {one}, then {other}"
        );
    }
    Ok(())
}

/// Plays a history; returns what the disks saw of it.
fn history(lab: &Lab<'_>, seed: Seed, calls: u64) -> Result<String, Failure> {
    lab.count_run();
    let mut prng = seed.child("calls").prng();
    let life = if calls > 500 { 250 } else { 20 };
    let mixture = Mixture::draw(&mut prng, life);
    let subject = lab
        .open(super::lab::disk(seed), seed, super::Scale::Small)
        .map_err(|error| Failure(format!("a new store does not open: {error}")))?;
    let mut driver = Driver::new(subject, seed.child("driver").prng());
    for call in 0..calls {
        if prng.below(mixture.life) == 0 {
            let at = |failure: Failure| failure.at(format!("after call {call}"));
            driver = end(lab, driver, &mut prng).map_err(at)?;
        }
        match act(&mut driver, &mixture, &mut prng) {
            Ok(()) => {}
            Err(Stop::PowerOff) => driver = crash(lab, driver, &mut prng)?,
            Err(Stop::Failed(failure)) => return Err(failure.at(format!("call {call}"))),
        }
    }
    driver.subject.settle();
    if let Err(Stop::Failed(failure)) = driver.poll().and_then(|()| compare(&mut driver)) {
        return Err(failure);
    }
    let seen = driver.subject.disk.stats();
    let driver = crash(lab, driver, &mut prng)?.reopen()?;
    Ok(format!("{seen:?}, {:?}", driver.subject.disk.stats()))
}

/// Ends the process in one of several ways.
fn end<'a>(lab: &Lab<'_>, driver: Driver<'a>, prng: &mut Prng) -> Result<Driver<'a>, Failure> {
    if driver.subject.disk.power_is_off() {
        return crash(lab, driver, prng);
    }
    driver.subject.disk.stay_on();
    match prng.below(4) {
        0 => {
            lab.marks.hit("clean ends");
            driver.reopen()
        }
        1 => crash(lab, driver, prng),
        _ => {
            // The power goes within the next calls.
            let now = driver.subject.disk.stats().steps;
            driver.subject.disk.power_off_at(now + prng.below(12));
            Ok(driver)
        }
    }
}

fn crash<'a>(lab: &Lab<'_>, mut driver: Driver<'a>, prng: &mut Prng) -> Result<Driver<'a>, Failure> {
    lab.marks.hit("crashes");
    if let Err(Stop::Failed(failure)) = driver.poll() {
        return Err(failure);
    }
    let unit = if prng.chance(50) { Unit::Sector } else { Unit::Page };
    match prng.below(5) {
        0 => driver.crash(&mut DropAll, unit),
        1 => driver.crash(&mut KeepAll, unit),
        _ => {
            let mut chooser = Seed(prng.next_u64()).prng();
            driver.crash(&mut chooser, unit)
        }
    }
}

fn act(driver: &mut Driver<'_>, mixture: &Mixture, prng: &mut Prng) -> Acted {
    let group = prng.between(1, mixture.groups);
    match mixture.pick(prng) {
        1 => driver.truncate(group, prng.below(6))?,
        2 => driver.purge(group, prng.below(12))?,
        3 => driver.vote(group, prng.below(3))?,
        4 => driver.checkpoint(group, prng.below(5), prng.index(1500))?,
        5 => driver.roll(group)?,
        6 => driver.install(group, prng.between(1, 9))?,
        7 => driver.hint(group)?,
        8 => split_purge(
            driver,
            group,
            prng.below(10),
            i64::try_from(prng.below(12)).unwrap_or(0),
        )?,
        9 => driver.remove_some(group)?,
        10 => driver.sync()?,
        _ => {
            let sizes: Vec<usize> = (0..prng.between(1, 4)).map(|_| size(prng)).collect();
            driver.append(group, &sizes)?;
        }
    }
    if prng.chance(mixture.steps) {
        driver.step(prng.between(1, 4))?;
    }
    if prng.chance(4) {
        compare(driver)?;
    }
    Ok(())
}

/// Compares, as long as there is power: a store may read from the disk, which answers nothing without.
fn compare(driver: &mut Driver<'_>) -> Acted {
    match driver.compare() {
        Err(_) if driver.subject.disk.power_is_off() => Err(Stop::PowerOff),
        other => other.map_err(Stop::from),
    }
}

/// Mostly small, sometimes near a sector, a page, or the limit.
fn size(prng: &mut Prng) -> usize {
    match prng.below(8) {
        0 => 0,
        1 => prng.index(40) + 460,
        2 => prng.index(120) + 3950,
        3 => prng.index(2500),
        _ => prng.index(200),
    }
}
