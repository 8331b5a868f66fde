//! Many seeds of a simulation at once, and one failing plan with as few faults as possible.
//!
//! For a simulation of one's own over [`world`](crate::world): a plan follows from its seed, and a run from its plan.
//! [`survey`] plays many plans on all cores and names the seeds that break a rule, [`shrink`] leaves out the faults that
//! such a run does not need.

use crate::check::Marks;
use crate::runner::{per_minute, say, timed};
use crate::world::Seed;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many seeds a survey plays, and what they are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How many.
    pub count: u64,
    /// The seed of them all.
    pub base: Seed,
}

impl Batch {
    /// Reads what `CHRONIK_SWARM` says: `N`, or `N@S` with the base seed S.
    ///
    /// # Errors
    /// A line for whoever set the variable.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (count, base) = text.split_once('@').unwrap_or((text, "1"));
        match (count.parse(), base.parse()) {
            (Ok(count), Ok(base)) => Ok(Self { count, base }),
            _ => Err(format!("CHRONIK_SWARM={text} is no number of seeds")),
        }
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} seeds, base {}", self.count, self.base)
    }
}

/// A rule that a run broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The rule, or the clause of a contract.
    pub rule: &'static str,
    /// What was seen.
    pub what: String,
}

impl Breach {
    /// Says it as a line that `CHRONIK_SEED` can be taken from.
    pub fn tell(&self, seed: Seed) {
        say(&format!("CHRONIK_SEED={seed} {}: {}", self.rule, self.what));
    }
}

/// What a run of one seed showed.
#[derive(Debug)]
pub struct Played {
    /// The seed that plays the run again.
    pub seed: Seed,
    /// The rules that it broke.
    pub breaches: Vec<Breach>,
    /// What it met.
    pub marks: Marks,
}

/// What the runs of a survey showed together; displayed, it counts them.
#[derive(Debug)]
pub struct Outcome {
    /// What they met.
    pub marks: Marks,
    passed: u64,
    failed: u64,
    took: Duration,
}

impl Outcome {
    /// Whether no run broke a rule.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.failed == 0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, .. } = self;
        let rate = per_minute(passed + failed, self.took);
        write!(f, "{passed} seeds passed, {failed} seeds failed, {rate} a minute")
    }
}

/// Plays the seeds of a batch on all cores, each of them the `number`-th of its base, and says at once what they break.
pub fn survey(batch: Batch, play: impl Fn(u64) -> Played + Sync) -> Outcome {
    play_all(batch, |number| {
        let played = play(number);
        played.breaches.iter().for_each(|breach| breach.tell(played.seed));
        played
    })
}

fn play_all(batch: Batch, play: impl Fn(u64) -> Played + Sync) -> Outcome {
    let (next, failed, marks) = (AtomicU64::new(0), AtomicU64::new(0), Marks::default());
    let ((), took) = timed(|| {
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        if number >= batch.count {
                            return;
                        }
                        let played = play(number);
                        marks.merge(&played.marks);
                        failed.fetch_add(u64::from(!played.breaches.is_empty()), Ordering::SeqCst);
                    }
                });
            }
        })
    });
    let failed = failed.into_inner();
    Outcome {
        marks,
        passed: batch.count - failed,
        failed,
        took,
    }
}

/// Leaves out faults for as long as those that are left still break what is looked at; `tries` bounds the runs.
pub fn shrink<F: Clone>(faults: &[F], tries: u32, mut breaks: impl FnMut(&[F]) -> bool) -> Vec<F> {
    let (mut best, mut left) = (faults.to_vec(), tries);
    let mut chunk = best.len().div_ceil(2);
    while chunk > 0 && left > 0 {
        let mut at = 0;
        while at < best.len() && left > 0 {
            let mut fewer = best.clone();
            fewer.drain(at..(at + chunk).min(best.len()));
            left -= 1;
            if breaks(&fewer) {
                best = fewer;
            } else {
                at += chunk;
            }
        }
        chunk /= 2;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    #[test]
    fn a_batch_is_a_number_of_seeds_and_their_base() {
        let batch = |count, base| {
            Ok(Batch {
                count,
                base: Seed(base),
            })
        };
        assert_eq!(Batch::parse("7"), batch(7, 1));
        assert_eq!(Batch::parse("7@9"), batch(7, 9));
        assert_eq!(Batch::parse("7@0x10"), batch(7, 16));
        for text in ["", "@", "x", "7@", "7@x", "-1"] {
            let what = format!("CHRONIK_SWARM={text} is no number of seeds");
            assert_eq!(Batch::parse(text), Err(what));
        }
    }

    #[test]
    fn every_seed_is_played_once_and_counted() {
        let batch = Batch::parse("40@3").unwrap();
        let played = Mutex::new(BTreeSet::new());
        let outcome = play_all(batch, |number| {
            assert!(played.lock().unwrap().insert(number), "{number} is played again");
            let marks = Marks::default();
            marks.hit("runs");
            let breach = Breach {
                rule: "of-ten",
                what: String::new(),
            };
            Played {
                seed: batch.base.nth(number),
                breaches: vec![breach; usize::from(number % 10 == 0) * 2],
                marks,
            }
        });
        assert_eq!(played.into_inner().unwrap(), (0..40).collect());
        assert_eq!(outcome.marks.count("runs"), 40);
        assert!(!outcome.is_clean());
        let said = outcome.to_string();
        assert!(said.starts_with("36 seeds passed, 4 seeds failed, ") && said.ends_with(" a minute"));
    }

    #[test]
    fn only_the_faults_that_matter_are_left_within_the_tries() {
        let faults: Vec<u32> = (0..50).collect();
        let breaks = |faults: &[u32]| faults.contains(&3) && faults.contains(&41);
        assert_eq!(shrink(&faults, 200, breaks), [3, 41]);
        let mut runs = 0;
        let few = shrink(&faults, 5, |faults| {
            runs += 1;
            breaks(faults)
        });
        assert_eq!(runs, 5);
        assert!(breaks(&few), "what is left breaks nothing: {few:?}");
        assert_eq!(shrink(&faults, 200, |_| false), faults);
    }
}
