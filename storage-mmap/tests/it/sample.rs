//! A small store in which every type of file and of frame occurs, and all that can be read of one.

use crate::kit::{Machine, POLICY, close, entry, small};
use bytes::Bytes;
use chronik_conformance::world::disk::{KeepAll, Unit};
use chronik_conformance::world::{Seed, SimEnv};
use chronik_core::log_store::{Checkpoint, GroupLog, HardState, LogState, LogStore, Purge, Read};
use chronik_core::{Entry, GroupId, LogError, LogId, LogIndex, ReplicaId, Term};
use chronik_storage_mmap::StoreOptions;

/// Everything that can be read of a group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dump {
    pub(crate) state: LogState,
    pub(crate) by_index: Vec<Entry>,
    pub(crate) by_offset: Vec<Entry>,
    pub(crate) checkpoint: Option<Checkpoint>,
}

pub(crate) fn options() -> StoreOptions {
    let mut options = small("/d");
    options.journal_file_bytes = 16 << 10;
    options.payload_bytes_max = 4 << 10;
    options
}

/// Everything in a store; `wait` runs what a read waits for.
pub(crate) fn dump(
    wait: impl Fn(Read<Vec<Entry>>) -> Result<Vec<Entry>, LogError>,
    store: &dyn LogStore,
) -> Result<Vec<Dump>, LogError> {
    let mut dumps = Vec::new();
    for id in store.groups() {
        let log = store.open_group(id, POLICY)?;
        let mut state = log.reader.state();
        // A hint is a lower bound, and may be lost with the end of the journal.
        state.commit_hint = LogIndex(0);
        let indices = state.index_start()..state.last.index.next();
        let offsets = state.offset_start..state.offset_end;
        dumps.push(Dump {
            state,
            by_index: wait(log.reader.entries(indices, u64::MAX)?)?,
            by_offset: wait(log.reader.read_offsets(offsets, u64::MAX)?)?,
            checkpoint: log.reader.checkpoint(LogIndex(u64::MAX))?,
        });
    }
    Ok(dumps)
}

fn append(log: &mut GroupLog, term: u64, count: usize, bytes: usize) {
    for number in 0..count {
        let state = log.reader.state();
        let id = LogId::new(term, state.last.index.0 + 1);
        let records = if number % 5 == 4 { 0 } else { 2 };
        drop(
            log.writer
                .append(&[entry(id, state.offset_end.0, records, bytes)])
                .unwrap(),
        );
    }
}

fn checkpoint(log: &GroupLog, text: &'static str) -> Checkpoint {
    let state = log.reader.state();
    Checkpoint {
        at: state.last,
        next_offset: state.offset_end,
        data: Bytes::from_static(text.as_bytes()),
        consensus: Bytes::from_static(b"members"),
    }
}

/// A closed store in which every type of file and of frame occurs.
pub(crate) fn sample() -> Machine {
    let machine = Machine::new(7);
    let store = machine.open(options()).unwrap();
    let mut logs: Vec<GroupLog> = (1..=3)
        .map(|id| store.open_group(GroupId(id), POLICY).unwrap())
        .collect();
    for round in 1..=3 {
        for (place, log) in logs.iter_mut().enumerate() {
            append(log, round, 6, 200 + 300 * place);
            drop(
                log.writer
                    .save_checkpoint(checkpoint(log, "state of the machine"))
                    .unwrap(),
            );
            machine.env.run_until_idle();
        }
    }
    let cut = logs[1].reader.state().last.index.0 - 3;
    drop(logs[1].writer.truncate_from(LogIndex(cut)).unwrap());
    append(&mut logs[1], 9, 4, 100);
    let through = logs[2].reader.segments()[1].clone();
    let purge = Purge {
        through: through.last,
        offset_start: through.offsets.end,
    };
    drop(logs[2].writer.purge(purge).unwrap());
    logs[0].writer.roll(POLICY, true).unwrap();
    append(&mut logs[0], 9, 2, 50);
    let voted = HardState {
        term: Term(9),
        vote: Some(ReplicaId(4)),
    };
    drop(logs[0].writer.save_hard_state(voted).unwrap());
    logs[0].writer.commit_hint(LogIndex(5));
    machine.env.run_until_idle();
    drop(logs);
    close(&machine, &store);
    machine
}

pub(crate) fn copy_of(machine: &Machine) -> Machine {
    Machine {
        disk: machine.disk.snapshot(&mut KeepAll, Unit::Page, Seed(1)),
        env: SimEnv::new(Seed(1)),
    }
}

pub(crate) fn open_and_dump(machine: &Machine) -> Result<Vec<Dump>, LogError> {
    let store = machine.open(options())?;
    dump(|read| machine.get(read), &store)
}
