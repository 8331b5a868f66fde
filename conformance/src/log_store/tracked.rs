//! What was done to a group, and which of it is known to be durable.

use crate::check::{Verdict, ensure};
use crate::model::GroupModel;
use chronik_core::{Entry, GroupId, GroupLog, LogError, Ticket};

/// One call and the state after it.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) what: String,
    pub(super) model: GroupModel,
    /// The entries of an append: any front of them may be recovered.
    pub(super) appended: Vec<Entry>,
    /// `None` where the call promises nothing, or its outcome is unknown.
    pub(super) ticket: Option<Ticket>,
}

/// A group under test.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) id: GroupId,
    pub(super) log: Option<GroupLog>,
    /// The newest state known to be durable.
    pub(super) base: GroupModel,
    /// Whether anything of the group is known to be durable, so that it must exist after a crash.
    pub(super) must_exist: bool,
    /// What was done since.
    pub(super) steps: Vec<Step>,
    /// The removal, where it was asked for.
    pub(super) removal: Option<Ticket>,
}

impl Tracked {
    pub(super) const fn new(id: GroupId, log: Option<GroupLog>, base: GroupModel, must_exist: bool) -> Self {
        Self {
            id,
            log,
            base,
            must_exist,
            steps: Vec::new(),
            removal: None,
        }
    }

    /// The state that readers see.
    pub(super) fn model(&self) -> &GroupModel {
        self.steps.last().map_or(&self.base, |step| &step.model)
    }

    /// Takes note of tickets that resolved. `strict` is off once a fault was injected or the power went.
    pub(super) fn poll(&mut self, strict: bool) -> Verdict {
        let results: Vec<Option<Result<(), LogError>>> = self
            .steps
            .iter()
            .map(|step| step.ticket.as_ref().map_or(Some(Ok(())), Ticket::result))
            .collect();
        // A step without a ticket says nothing on its own; it is durable once a later ticket says so.
        let with_ticket = |at: usize| self.steps.get(at).is_some_and(|step| step.ticket.is_some());
        let last_ok = (0..results.len())
            .rev()
            .find(|at| with_ticket(*at) && results.get(*at) == Some(&Some(Ok(()))));
        if let Some(last_ok) = last_ok {
            for (step, result) in self.steps.iter().zip(&results).take(last_ok) {
                ensure!(
                    result == &Some(Ok(())),
                    "the ticket of \"{}\" is {result:?}, and that of the later \"{}\" is resolved",
                    step.what,
                    self.steps.get(last_ok).map_or("", |step| step.what.as_str())
                );
            }
        }
        if strict {
            for (step, result) in self.steps.iter().zip(&results) {
                ensure!(
                    !matches!(result, Some(Err(_))),
                    "the ticket of \"{}\" failed: {result:?}",
                    step.what
                );
            }
        }
        if let Some(last_ok) = last_ok {
            if let Some(step) = self.steps.drain(..=last_ok).next_back() {
                self.base = step.model;
            }
            self.must_exist = true;
        }
        Ok(())
    }

    /// Whether everything that was done is known to be durable.
    pub(super) fn all_durable(&self) -> bool {
        self.steps.iter().all(|step| step.ticket.is_none())
    }

    /// The states that a crash may leave, oldest first: after each step, and after each front of an append.
    pub(super) fn candidates(&self) -> Vec<(usize, GroupModel)> {
        let mut states = vec![(0, self.base.clone())];
        let mut before = &self.base;
        for (at, step) in self.steps.iter().enumerate() {
            let mut partial = before.clone();
            for entry in step.appended.iter().take(step.appended.len().saturating_sub(1)) {
                partial.append(entry.clone());
                states.push((at, partial.clone()));
            }
            states.push((at + 1, step.model.clone()));
            before = &step.model;
        }
        states
    }

    /// The state after `position` steps.
    pub(super) fn state_at(&self, position: usize) -> &GroupModel {
        position
            .checked_sub(1)
            .and_then(|at| self.steps.get(at))
            .map_or(&self.base, |step| &step.model)
    }
}
