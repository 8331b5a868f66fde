//! Makes calls on a store, and knows what must and what may be there after a crash.

use super::compare::compare;
use super::lab::{Lab, SMALL, Subject};
use super::maker::Maker;
use super::tracked::{Step, Tracked};
use crate::check::{Failure, Verdict, ensure};
use crate::model::GroupModel;
use crate::world::disk::{Chooser, Unit};
use crate::world::env::MAX_STEPS;
use crate::world::{Prng, SimDisk};
use chronik_core::log_store::{HardState, LogState, Purge, SegmentPolicy};
use chronik_core::{Entry, GroupId, LogError, LogIndex, LogWriter, Offset, ReplicaId, Term, Ticket};
use std::collections::BTreeMap;

/// Why a script ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The store broke the contract.
    Failed(Failure),
    /// The power went; what the last call did is unknown.
    PowerOff,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// The answer of one act.
pub(super) type Acted = Result<(), Stop>;

/// A list of acts.
pub(super) type Script = fn(&mut Driver<'_>) -> Acted;

/// A store, its groups, and what is known about them.
pub(super) struct Driver<'a> {
    pub(super) subject: Subject<'a>,
    pub(super) groups: BTreeMap<u64, Tracked>,
    pub(super) maker: Maker,
    pub(super) prng: Prng,
    /// Whether a fault was injected, so that errors are to be expected.
    pub(super) faulty: bool,
    /// Tickets that resolved well after a call on the file system failed.
    pub(super) late_acks: usize,
    failure_seen: bool,
}

impl<'a> Driver<'a> {
    pub(super) fn new(subject: Subject<'a>, prng: Prng) -> Self {
        Self {
            subject,
            groups: BTreeMap::new(),
            maker: Maker::new(prng.clone()),
            prng,
            faulty: false,
            late_acks: 0,
            failure_seen: false,
        }
    }

    pub(super) fn fresh(lab: &'a Lab<'a>, name: &str) -> Result<Self, Failure> {
        let prng = lab.seed.child(name).child("driver").prng();
        Ok(Self::new(lab.fresh(name)?, prng))
    }

    fn stop(&self, what: &str, error: &LogError) -> Stop {
        if self.subject.disk.power_is_off() {
            Stop::PowerOff
        } else {
            Stop::Failed(Failure(format!("{what}: {error}")))
        }
    }

    /// Opens a group that is not open.
    pub(super) fn open(&mut self, group: u64) -> Acted {
        if self
            .groups
            .get(&group)
            .is_some_and(|tracked| tracked.log.is_some())
        {
            return Ok(());
        }
        let opened = self.subject.store.open_group(GroupId(group), SMALL);
        let log = opened.map_err(|error| self.stop(&format!("open group {group}"), &error))?;
        let tracked = self
            .groups
            .entry(group)
            .or_insert_with(|| Tracked::new(GroupId(group), None, GroupModel::new(SMALL), false));
        tracked.log = Some(log);
        Ok(())
    }

    /// The state that the group must have.
    pub(super) fn model(&self, group: u64) -> GroupModel {
        self.groups
            .get(&group)
            .map_or_else(|| GroupModel::new(SMALL), |tracked| tracked.model().clone())
    }

    pub(super) fn state(&self, group: u64) -> LogState {
        self.model(group).state()
    }

    /// Makes one call that must succeed, and notes what it means.
    fn act(
        &mut self,
        group: u64,
        what: &str,
        call: impl FnOnce(&mut dyn LogWriter) -> Result<Option<Ticket>, LogError>,
        change: impl FnOnce(&mut GroupModel) -> Vec<Entry>,
    ) -> Acted {
        self.open(group)?;
        let off = self.subject.disk.power_is_off();
        let Some(tracked) = self.groups.get_mut(&group) else {
            return Ok(());
        };
        let Some(log) = &mut tracked.log else {
            return Ok(());
        };
        let answer = call(&mut *log.writer);
        let mut model = tracked.model().clone();
        let appended = change(&mut model);
        let (ticket, stop) = match answer {
            Ok(ticket) => (ticket, None),
            Err(error) => (None, Some(error)),
        };
        let step = Step {
            what: what.to_owned(),
            model,
            appended,
            ticket,
        };
        match stop {
            None => tracked.steps.push(step),
            // Without power, nobody knows how far the call came.
            Some(_) if off || self.subject.disk.power_is_off() => {
                tracked.steps.push(step);
                return Err(Stop::PowerOff);
            }
            Some(error) if self.faulty => {
                tracked.steps.push(step);
                return Err(Stop::Failed(Failure(format!("{what}: {error}"))));
            }
            Some(error) => return Err(Stop::Failed(Failure(format!("group {group}, {what}: {error}")))),
        }
        Ok(())
    }

    pub(super) fn append_entries(&mut self, group: u64, entries: Vec<Entry>) -> Acted {
        let what = format!("append {} entries", entries.len());
        self.act(
            group,
            &what,
            |writer| writer.append(&entries).map(Some),
            |model| {
                entries.iter().for_each(|entry| model.append(entry.clone()));
                entries.clone()
            },
        )
    }

    /// Appends entries of the given sizes in the newest term.
    pub(super) fn append(&mut self, group: u64, sizes: &[usize]) -> Acted {
        let model = self.model(group);
        let term = model
            .state()
            .last
            .term
            .max(model.state().hard_state.term)
            .max(Term(1));
        let entries = self.maker.entries(GroupId(group), &model, term, sizes);
        self.append_entries(group, entries)
    }

    /// Removes the last `count` entries, and what follows is written in a new term.
    pub(super) fn truncate(&mut self, group: u64, count: u64) -> Acted {
        let state = self.state(group);
        let floor = state.index_start().0;
        let from = LogIndex((state.last.index.0 + 1).saturating_sub(count).max(floor));
        self.act(
            group,
            &format!("truncate from {from}"),
            |writer| writer.truncate_from(from).map(Some),
            |model| {
                if model.check_truncate(from) == Ok(true) {
                    model.truncate(from);
                }
                Vec::new()
            },
        )
    }

    pub(super) fn purge_to(&mut self, group: u64, purge: Purge) -> Acted {
        self.act(
            group,
            &format!(
                "purge through {} and offset {}",
                purge.through, purge.offset_start
            ),
            |writer| writer.purge(purge).map(Some),
            |model| {
                model.purge(&purge);
                Vec::new()
            },
        )
    }

    /// Drops the first `count` entries for consensus and for clients.
    pub(super) fn purge(&mut self, group: u64, count: u64) -> Acted {
        let model = self.model(group);
        let state = model.state();
        let index = LogIndex((state.purged.index.0 + count).min(state.last.index.0));
        let Ok(term) = model.term_at(index) else {
            return Ok(());
        };
        let offset_start = match model.entries(&(index..index.next()), 0) {
            Ok(run) => run.first().map_or(state.offset_start, Entry::end_offset),
            Err(_) => state.offset_start,
        };
        self.purge_to(
            group,
            Purge {
                through: chronik_core::LogId { term, index },
                offset_start,
            },
        )
    }

    /// Stores a term `ahead` above the newest, and a vote.
    pub(super) fn vote(&mut self, group: u64, ahead: u64) -> Acted {
        let state = self.state(group);
        let term = Term(state.hard_state.term.max(state.last.term).0 + ahead);
        let vote = self.prng.chance(80).then(|| ReplicaId(self.prng.next_u64()));
        let hard = HardState { term, vote };
        self.act(
            group,
            &format!("vote in term {term}"),
            |writer| writer.save_hard_state(hard).map(Some),
            |model| {
                model.set_hard_state(hard);
                Vec::new()
            },
        )
    }

    /// Stores a checkpoint as of the entry `back` before the last.
    pub(super) fn checkpoint(&mut self, group: u64, back: u64, size: usize) -> Acted {
        let model = self.model(group);
        let index = LogIndex(model.state().last.index.0.saturating_sub(back));
        if index.0 == 0 || index <= model.state().purged.index {
            return Ok(());
        }
        let Some(checkpoint) = self.maker.checkpoint(GroupId(group), &model, index, size) else {
            return Ok(());
        };
        self.act(
            group,
            &format!("checkpoint at {index}"),
            |writer| writer.save_checkpoint(checkpoint.clone()).map(Some),
            |model| {
                model.set_checkpoint(checkpoint.clone());
                Vec::new()
            },
        )
    }

    /// Stores a checkpoint beyond the end and starts the log after it, as a replica does that was left behind.
    pub(super) fn install(&mut self, group: u64, ahead: u64) -> Acted {
        let state = self.state(group);
        let term = Term(state.last.term.0.max(1) + 1);
        let at = chronik_core::LogId {
            term,
            index: LogIndex(state.last.index.0 + ahead),
        };
        let next_offset = Offset(state.offset_end.0 + i64::try_from(ahead).unwrap_or(0));
        let checkpoint = chronik_core::log_store::Checkpoint {
            at,
            next_offset,
            data: self.maker.bytes(GroupId(group), 300),
            consensus: self.maker.bytes(GroupId(group), 30),
        };
        let stored = checkpoint.clone();
        self.act(
            group,
            &format!("install a checkpoint at {at}"),
            |writer| writer.save_checkpoint(stored).map(Some),
            |model| {
                model.set_checkpoint(checkpoint);
                Vec::new()
            },
        )?;
        self.purge_to(
            group,
            Purge {
                through: at,
                offset_start: next_offset,
            },
        )
    }

    /// Notes how far the log is committed.
    pub(super) fn hint(&mut self, group: u64) -> Acted {
        let state = self.state(group);
        self.act(
            group,
            "commit hint",
            |writer| {
                writer.commit_hint(state.last.index);
                Ok(None)
            },
            |model| {
                model.set_commit_hint(state.last.index);
                Vec::new()
            },
        )
    }

    /// Ends the active segment.
    pub(super) fn roll(&mut self, group: u64) -> Acted {
        self.act(
            group,
            "roll",
            |writer| writer.roll(SMALL, true).map(|()| None),
            |model| {
                model.roll(SegmentPolicy { ..SMALL }, true);
                Vec::new()
            },
        )
    }

    /// Closes a group and asks for its removal.
    pub(super) fn remove(&mut self, group: u64) -> Acted {
        let Some(tracked) = self.groups.get_mut(&group) else {
            return Ok(());
        };
        tracked.log = None;
        let answer = self.subject.store.remove_group(GroupId(group));
        match answer {
            Ok(ticket) => {
                tracked.removal = Some(ticket);
                Ok(())
            }
            Err(error) if self.subject.disk.power_is_off() => {
                // The group is as it was, or removed: a removal nobody knows the outcome of.
                tracked.removal = Some(Ticket::resolved(Err(error)));
                Err(Stop::PowerOff)
            }
            Err(error) => Err(Stop::Failed(Failure(format!("remove group {group}: {error}")))),
        }
    }

    /// Removes a group for good and continues with the others; an id is never used twice.
    pub(super) fn remove_some(&mut self, group: u64) -> Acted {
        // Ids beyond those that histories write to: the group lives shortly.
        let group = group + 100 * (1 + self.prng.below(1 << 40));
        self.append(group, &[300, 2000])?;
        if self.prng.chance(50) {
            self.sync()?;
        }
        self.remove(group)
    }

    /// Runs `count` disk jobs.
    pub(super) fn step(&mut self, count: u64) -> Acted {
        for _ in 0..count {
            if !self.one_step()? {
                break;
            }
        }
        self.poll()
    }

    /// One step; on a faulty disk, counts what is acknowledged after the step in which a call failed.
    fn one_step(&mut self) -> Result<bool, Stop> {
        if self.faulty && self.failure_seen {
            let open = self.unresolved();
            let moved = self.subject.sim.step();
            self.late_acks += open.saturating_sub(self.unresolved());
            return Ok(moved);
        }
        let moved = self.subject.sim.step();
        if self.faulty && self.subject.disk.stats().failed > 0 {
            self.failure_seen = true;
            self.poll()?;
        }
        Ok(moved)
    }

    /// How many tickets are not resolved well.
    fn unresolved(&self) -> usize {
        let well = |ticket: &&Ticket| ticket.result() != Some(Ok(()));
        self.groups
            .values()
            .flat_map(|tracked| tracked.steps.iter().filter_map(|step| step.ticket.as_ref()))
            .filter(well)
            .count()
    }

    /// Lets everything become durable.
    pub(super) fn sync(&mut self) -> Acted {
        let mut steps = 0;
        while self.one_step()? {
            steps += 1;
            if steps > MAX_STEPS {
                let what = "the store never comes to rest".to_owned();
                return Err(Stop::Failed(Failure(what)));
            }
        }
        self.poll()?;
        if self.subject.disk.power_is_off() {
            return Err(Stop::PowerOff);
        }
        for (group, tracked) in &self.groups {
            if !self.faulty && !tracked.all_durable() {
                let what = format!("group {group}: tickets are open though nothing is left to run");
                return Err(Stop::Failed(Failure(what)));
            }
        }
        Ok(())
    }

    /// Takes note of what became durable.
    pub(super) fn poll(&mut self) -> Acted {
        let strict = !self.faulty && !self.subject.disk.power_is_off();
        for (group, tracked) in &mut self.groups {
            tracked
                .poll(strict)
                .map_err(|failure| failure.at(format!("group {group}")))?;
        }
        Ok(())
    }

    /// Compares what every open group answers with its model.
    pub(super) fn compare(&mut self) -> Verdict {
        for (group, tracked) in &self.groups {
            if let Some(log) = &tracked.log {
                compare(&self.subject, &*log.reader, tracked.model(), &mut self.prng)
                    .map_err(|failure| failure.at(format!("group {group}")))?;
            }
        }
        Ok(())
    }

    /// Cuts the power and goes on with what survives, which is checked.
    pub(super) fn crash(mut self, chooser: &mut dyn Chooser, unit: Unit) -> Result<Self, Failure> {
        let disk = self.subject.disk.crash(chooser, unit);
        self.recover(disk)
    }

    /// Goes on with the store on `disk`, a survivor of this one's.
    fn recover(&mut self, disk: SimDisk) -> Result<Self, Failure> {
        self.poll().map_err(|stop| match stop {
            Stop::Failed(failure) => failure,
            Stop::PowerOff => Failure::new("the power went twice"),
        })?;
        self.subject.check_maps()?;
        super::recovered::recover(self, disk)
    }

    /// Closes the store and opens it again; everything must be there.
    pub(super) fn reopen(mut self) -> Result<Self, Failure> {
        for tracked in self.groups.values_mut() {
            tracked.log = None;
        }
        let Self {
            subject,
            mut groups,
            maker,
            prng,
            faulty,
            ..
        } = self;
        let subject = subject.reopen()?;
        groups.retain(|_, tracked| tracked.removal.is_none());
        for (group, tracked) in &mut groups {
            // A clean end makes all durable, also what nobody waited for.
            tracked.base = tracked.model().clone();
            tracked.steps.clear();
            tracked.must_exist = true;
            let log = subject.group(*group)?;
            ensure!(
                log.reader.state().durable == log.reader.state().last.index,
                "group {group} is not durable after it was opened"
            );
            tracked.log = Some(log);
        }
        let known: Vec<GroupId> = groups.values().map(|tracked| tracked.id).collect();
        ensure!(
            subject.store.groups() == known,
            "groups are {:?}, not {known:?}",
            subject.store.groups()
        );
        let mut driver = Self {
            subject,
            groups,
            maker,
            prng,
            faulty,
            late_acks: 0,
            failure_seen: false,
        };
        driver.compare()?;
        Ok(driver)
    }
}
