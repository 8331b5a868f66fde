//! What the background lane does: copies durable entries into segments, syncs and seals them, and lets go of what
//! is not needed any more. Nobody waits for it, unless the journal is out of room.

use crate::group::Group;
use crate::group::seg::Seg;
use crate::group::state::GroupState;
use crate::pool::{Pool, SHRINK_PACE};
use crate::ring;
use crate::store::Inner;
use crate::sync::locked;
use chronik_core::env::DiskLane;
use chronik_core::fs::{FsError, FsErrorKind};
use chronik_core::{GroupId, LogIndex};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long the store waits before it tries again what found no space.
const SPACE_PACE: Duration = Duration::from_millis(500);

/// What the background lane has to do; behind a lock that it holds while it works.
#[derive(Debug)]
pub(crate) struct Background {
    /// Groups whose segment files may be open, the longest first.
    pub(crate) open: VecDeque<Arc<Group>>,
    /// Files of dropped segments.
    pub(crate) pool: Pool,
}

impl Background {
    pub(crate) const fn new(pool: Pool) -> Self {
        Self {
            open: VecDeque::new(),
            pool,
        }
    }
}

/// Requests to the background lane.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// A job is submitted or running.
    running: bool,
    /// The last step found no space: nothing is tried until time has passed or space was seen.
    starved: Starved,
    drops: VecDeque<DropTask>,
    /// It is time to free some space of dropped segments.
    shrink: bool,
    /// There is no space: files of dropped segments are not kept for others.
    give_up: bool,
    /// Somebody will say when that is.
    shrink_timer: bool,
    /// Somebody will say when to look for space again.
    space_timer: bool,
    checkpoints: VecDeque<Arc<Group>>,
    /// Groups that keep old journal files.
    sweep: VecDeque<Arc<Group>>,
    /// Groups with durable entries that no segment has.
    copy: VecDeque<Arc<Group>>,
}

/// Whether the background lane is short of space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Starved {
    #[default]
    No,
    /// The next step may find that there is space again.
    Trying,
    /// It waits.
    Waiting,
}

/// Files that nobody needs any more.
#[derive(Debug)]
pub(crate) struct DropTask {
    pub(crate) group: Arc<Group>,
    pub(crate) segments: Vec<Seg>,
    pub(crate) checkpoints: Vec<LogIndex>,
    pub(crate) whole_group: bool,
}

impl DropTask {
    pub(crate) fn segments(group: &Arc<Group>, segments: Vec<Seg>) -> Self {
        Self {
            group: Arc::clone(group),
            segments,
            checkpoints: Vec::new(),
            whole_group: false,
        }
    }

    const fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.checkpoints.is_empty() && !self.whole_group
    }
}

/// One piece of work.
enum Step {
    Drop(DropTask),
    Checkpoints(Arc<Group>),
    Sweep(Arc<Group>),
    Copy(Arc<Group>),
    Shrink,
    GiveUp,
}

impl Inner {
    /// Notes that a group has durable entries to copy.
    pub(crate) fn queue_copy(&self, group: &Arc<Group>, state: &mut GroupState) {
        if !state.queued && !state.removed && state.copied < state.durable {
            state.queued = true;
            locked(&self.requests).copy.push_back(Arc::clone(group));
        }
    }

    pub(crate) fn queue_drop(&self, task: DropTask) {
        if !task.is_empty() {
            locked(&self.requests).drops.push_back(task);
        }
    }

    /// Notes that a group has checkpoints whose data can move into files.
    pub(crate) fn queue_checkpoints(&self, group: &Arc<Group>) {
        locked(&self.requests).checkpoints.push_back(Arc::clone(group));
    }

    /// Asks for everything of these groups to become durable in segments.
    pub(crate) fn request_sweep(&self, groups: &BTreeSet<GroupId>) {
        let known = locked(&self.groups);
        let mut requests = locked(&self.requests);
        for group in groups {
            let queued = requests.sweep.iter().any(|queued| queued.id == *group);
            let sound = known.get(group).filter(|found| found.damaged.is_none());
            if let (false, Some(found)) = (queued, sound) {
                requests.sweep.push_back(Arc::clone(found));
            }
        }
    }

    /// Starts the background lane where it has something to do.
    pub(crate) fn start_background(self: &Arc<Self>) {
        {
            let mut requests = locked(&self.requests);
            let waits = requests.starved == Starved::Waiting;
            if requests.running || waits || !self.has_work(&requests) || locked(&self.pending).closed {
                return;
            }
            requests.running = true;
        }
        self.submit_background();
    }

    fn submit_background(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        self.env
            .disk
            .submit(DiskLane::Background, Box::new(move || inner.background_job()));
    }

    fn must_copy(&self) -> bool {
        self.uncopied_bytes.load(Ordering::Relaxed) > self.options.copy_bytes
    }

    fn has_work(&self, requests: &Requests) -> bool {
        !requests.drops.is_empty()
            || requests.shrink
            || requests.give_up
            || !requests.checkpoints.is_empty()
            || !requests.sweep.is_empty()
            || (!requests.copy.is_empty() && self.must_copy())
    }

    fn background_job(self: &Arc<Self>) {
        let (went_on, shrinks) = {
            let mut background = locked(&self.background);
            let went_on = if locked(&self.pending).closed || self.check_health().is_err() {
                false
            } else {
                match self.next_step() {
                    None => true,
                    Some(step) => self.run_step(&mut background, step),
                }
            };
            // A full disk has nothing to keep for later.
            let kept_bytes = if self.is_full() {
                0
            } else {
                self.options.pool_bytes_max
            };
            background.pool.trim(kept_bytes);
            (went_on, background.pool.is_shrinking())
        };
        ring::evict(&self.ring, self.options.tail_bytes_max);
        self.look_at_space();
        self.note_space();
        // Also where there was no space: then nothing holds back any more what was taken.
        self.retry_blocked();
        if shrinks {
            self.start_shrink_timer();
        }
        let again = {
            let mut requests = locked(&self.requests);
            requests.running = went_on && self.has_work(&requests);
            requests.running
        };
        if again {
            self.submit_background();
        }
    }

    /// Frees space of dropped segments after a pause: a file system frees much at once only slowly, and makes
    /// everybody wait.
    fn start_shrink_timer(self: &Arc<Self>) {
        if std::mem::replace(&mut locked(&self.requests).shrink_timer, true) {
            return;
        }
        let inner = Arc::downgrade(self);
        let pause = self.env.clock.sleep(SHRINK_PACE);
        let later = async move {
            pause.await;
            if let Some(inner) = inner.upgrade() {
                {
                    let mut requests = locked(&inner.requests);
                    requests.shrink_timer = false;
                    requests.shrink = true;
                }
                inner.start_background();
            }
        };
        self.env.spawn.spawn("store-shrink", Box::pin(later));
    }

    /// Whether the last step of the background lane found no space.
    pub(crate) fn is_starved(&self) -> bool {
        locked(&self.requests).starved != Starved::No
    }

    /// Tries again what found no space.
    pub(crate) fn retry_space(self: &Arc<Self>) {
        {
            let mut requests = locked(&self.requests);
            if requests.starved == Starved::Waiting {
                requests.starved = Starved::Trying;
            }
        }
        self.start_background();
        self.retry_blocked();
    }

    /// There is no space: nothing more is tried for a while.
    pub(crate) fn wait_for_space(self: &Arc<Self>) {
        self.set_full(true);
        self.ask_for_space();
    }

    /// Gives back what is kept for later, and looks again after a while.
    pub(crate) fn ask_for_space(self: &Arc<Self>) {
        {
            let mut requests = locked(&self.requests);
            if std::mem::replace(&mut requests.space_timer, true) {
                return;
            }
            // Not with each call: what is tried again after it may call again.
            requests.give_up = true;
        }
        self.start_space_timer();
    }

    /// Looks for space after a while, and again and again as long as the disk counts as full: nobody else may.
    fn start_space_timer(self: &Arc<Self>) {
        let inner = Arc::downgrade(self);
        let pause = self.env.clock.sleep(SPACE_PACE);
        let later = async move {
            pause.await;
            if let Some(inner) = inner.upgrade() {
                locked(&inner.requests).space_timer = false;
                inner.look_at_space();
                inner.note_space();
                inner.retry_space();
                inner.look_again();
            }
        };
        self.env.spawn.spawn("store-space", Box::pin(later));
    }

    fn look_again(self: &Arc<Self>) {
        let goes_on = self.is_full() && !locked(&self.pending).closed;
        if goes_on && !std::mem::replace(&mut locked(&self.requests).space_timer, true) {
            self.start_space_timer();
        }
    }

    fn next_step(&self) -> Option<Step> {
        let mut requests = locked(&self.requests);
        if let Some(task) = requests.drops.pop_front() {
            return Some(Step::Drop(task));
        }
        if std::mem::take(&mut requests.give_up) {
            return Some(Step::GiveUp);
        }
        if std::mem::take(&mut requests.shrink) {
            return Some(Step::Shrink);
        }
        if let Some(group) = requests.checkpoints.pop_front() {
            return Some(Step::Checkpoints(group));
        }
        if let Some(group) = requests.sweep.pop_front() {
            return Some(Step::Sweep(group));
        }
        if self.must_copy() {
            return requests.copy.pop_front().map(Step::Copy);
        }
        None
    }

    /// Does one piece of work; false where it found no space, and it makes no sense to go on at once.
    fn run_step(self: &Arc<Self>, background: &mut Background, step: Step) -> bool {
        let result = match &step {
            Step::Drop(task) => self.drop_files(background, task),
            Step::Shrink => self.shrink_pool(&mut background.pool),
            Step::GiveUp => {
                self.give_up_pool(&mut background.pool);
                Ok(())
            }
            Step::Checkpoints(group) => self.store_checkpoints(group),
            Step::Sweep(group) => self.sweep(background, group),
            Step::Copy(group) => {
                locked(&group.state).queued = false;
                self.copy_group(background, group, self.options.copy_bytes)
            }
        };
        match result {
            Ok(()) => {
                if !matches!(step, Step::Drop(_) | Step::Shrink | Step::GiveUp) {
                    locked(&self.requests).starved = Starved::No;
                }
                true
            }
            Err(error) if error.kind == FsErrorKind::NoSpace => {
                self.give_up_pool(&mut background.pool);
                self.queue_again(step);
                locked(&self.requests).starved = Starved::Waiting;
                self.wait_for_space();
                false
            }
            Err(error) => {
                self.poison("segments", &error);
                // Those who wait for the journal learn of it from there.
                self.retry_blocked();
                false
            }
        }
    }

    fn queue_again(&self, step: Step) {
        if let Step::Copy(group) = &step {
            let mut state = locked(&group.state);
            if state.queued {
                return;
            }
            state.queued = true;
        }
        let mut requests = locked(&self.requests);
        match step {
            Step::Drop(task) => requests.drops.push_front(task),
            Step::Checkpoints(group) => requests.checkpoints.push_front(group),
            Step::Sweep(group) => requests.sweep.push_front(group),
            Step::Copy(group) => requests.copy.push_front(group),
            Step::Shrink => requests.shrink = true,
            Step::GiveUp => requests.give_up = true,
        }
    }

    /// Makes everything durable that a group keeps in the journal.
    pub(crate) fn sweep(
        self: &Arc<Self>,
        background: &mut Background,
        group: &Arc<Group>,
    ) -> Result<(), FsError> {
        self.store_checkpoints(group)?;
        self.copy_group(background, group, u64::MAX)?;
        let mut writer = locked(&group.writer);
        if let Some(writer) = writer.as_mut() {
            self.sync_segment(group, writer)?;
        }
        Ok(())
    }
}
