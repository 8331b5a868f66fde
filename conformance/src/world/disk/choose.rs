//! Who decides what survives a power cut.

use crate::world::Prng;

/// Decides among options. Option 0 is always "as it was when it was last synced", the last one "as it was last
/// written"; those between are what stood there in between.
pub trait Chooser {
    /// A number below `options`, which is at least 1.
    fn choose(&mut self, options: usize) -> usize;
}

/// Nothing that was not synced survives.
#[derive(Clone, Copy, Debug, Default)]
pub struct DropAll;

impl Chooser for DropAll {
    fn choose(&mut self, _options: usize) -> usize {
        0
    }
}

/// Everything survives, as after a kill of the process alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepAll;

impl Chooser for KeepAll {
    fn choose(&mut self, options: usize) -> usize {
        options - 1
    }
}

/// Random numbers decide each unit on its own.
impl Chooser for Prng {
    fn choose(&mut self, options: usize) -> usize {
        self.index(options)
    }
}

/// Keeps the first `keep` units that were not synced and drops the others: a write-back that was cut off.
#[derive(Clone, Copy, Debug)]
pub struct KeepFirst {
    /// How many units survive.
    pub keep: usize,
}

impl Chooser for KeepFirst {
    fn choose(&mut self, options: usize) -> usize {
        match self.keep.checked_sub(1) {
            Some(left) => {
                self.keep = left;
                options - 1
            }
            None => 0,
        }
    }
}

/// Drops the first `drop` units that were not synced and keeps the others: a write-back out of order.
#[derive(Clone, Copy, Debug)]
pub struct DropFirst {
    /// How many units are lost.
    pub drop: usize,
}

impl Chooser for DropFirst {
    fn choose(&mut self, options: usize) -> usize {
        match self.drop.checked_sub(1) {
            Some(left) => {
                self.drop = left;
                0
            }
            None => options - 1,
        }
    }
}

/// What only a mutant does: once something was lost, everything behind it is lost too.
pub(super) struct InOrder<'a> {
    chooser: &'a mut dyn Chooser,
    in_order: bool,
    lost: bool,
}

impl<'a> InOrder<'a> {
    pub(super) fn new(chooser: &'a mut dyn Chooser, in_order: bool) -> Self {
        Self {
            chooser,
            in_order,
            lost: false,
        }
    }
}

impl Chooser for InOrder<'_> {
    fn choose(&mut self, options: usize) -> usize {
        if self.in_order && self.lost {
            return 0;
        }
        let choice = self.chooser.choose(options);
        self.lost |= options > 1 && choice == 0;
        choice
    }
}

/// Goes through all combinations of choices: crash with it, call [`Enumerate::advance`], and repeat until that
/// says no. The subject must offer the same choices after the same answers.
#[derive(Clone, Debug, Default)]
pub struct Enumerate {
    /// The answers of this pass and how many options each had.
    path: Vec<(usize, usize)>,
    at: usize,
}

impl Enumerate {
    /// Moves to the next combination; false where all were tried.
    pub fn advance(&mut self) -> bool {
        self.path.truncate(self.at);
        self.at = 0;
        while let Some((answer, options)) = self.path.pop() {
            if answer + 1 < options {
                self.path.push((answer + 1, options));
                return true;
            }
        }
        false
    }
}

impl Chooser for Enumerate {
    fn choose(&mut self, options: usize) -> usize {
        let answer = match self.path.get(self.at) {
            Some((answer, _)) => *answer,
            None => {
                self.path.push((0, options));
                0
            }
        };
        self.at += 1;
        assert!(answer < options, "the subject offers other choices than before");
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enumeration_meets_every_combination_once() {
        let mut all = Vec::new();
        let mut chooser = Enumerate::default();
        loop {
            let first = chooser.choose(2);
            // The second choice exists only after one of the answers, as torn pages do.
            let second = if first == 1 { chooser.choose(3) } else { 9 };
            all.push((first, second));
            if !chooser.advance() {
                break;
            }
        }
        assert_eq!(all, [(0, 9), (1, 0), (1, 1), (1, 2)]);
    }
}
