//! What a ticket means, without and with a failing disk.

use super::driver::{Driver, Stop};
use super::lab::{Lab, SMALL};
use super::maker::Maker;
use super::{Check, must};
use crate::check::{Failure, Verdict, ensure};
use crate::model::GroupModel;
use crate::world::disk::{DropAll, Unit};
use crate::world::locked;
use chronik_core::log_store::HardState;
use chronik_core::{GroupId, LogError, LogIndex, ReplicaId, Term, Ticket};
use std::sync::{Arc, Mutex};

pub(super) const CHECKS: &[Check] = &[
    must(
        "LS-DUR-01",
        "no_ticket_resolves_before_its_bytes_are_synced",
        ack_means_synced,
    ),
    must(
        "LS-DUR-03",
        "tickets_of_a_group_resolve_in_the_order_of_the_calls",
        ticket_order,
    ),
    must(
        "LS-DUR-04",
        "a_hard_state_is_durable_when_its_ticket_resolves",
        hard_state,
    ),
    must("LS-DUR-17", "dropping_tickets_cancels_nothing", dropped_tickets),
];

/// After every single step of the environment, drops all that is not synced and looks for what was acknowledged.
fn ack_means_synced(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "acks")?;
    for round in 0..12 {
        let acted = match round % 4 {
            0 => driver.append(1, &[300, 30]),
            1 => driver.append(2, &[1000]).and_then(|()| driver.append(1, &[10])),
            2 => driver.vote(1, 1).and_then(|()| driver.append(1, &[10])),
            _ => driver.truncate(1, 1).and_then(|()| driver.append(1, &[700])),
        };
        let mut acted = acted;
        loop {
            match acted {
                Ok(()) => {}
                Err(Stop::Failed(failure)) => return Err(failure),
                Err(Stop::PowerOff) => return Err(Failure::new("the power went though nobody cut it")),
            }
            let image = driver.subject.disk.snapshot(&mut DropAll, Unit::Sector, lab.seed);
            super::recovered::check_image(&driver, image, false)
                .map_err(|failure| failure.at(format!("round {round}, all unsynced bytes dropped")))?;
            if !driver.subject.sim.step() {
                break;
            }
            acted = driver.poll();
        }
    }
    Ok(())
}

fn ticket_order(lab: &Lab<'_>) -> Verdict {
    let subject = lab.fresh("order")?;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut issued = Vec::new();
    let mut prng = lab.seed.child("calls").prng();
    let mut groups = Vec::new();
    for group in 1..=3_u64 {
        groups.push((
            group,
            subject.group(group)?,
            GroupModel::new(SMALL),
            Maker::new(lab.seed.nth(group).prng()),
        ));
    }
    for number in 0..200_u64 {
        let pick = prng.index(groups.len());
        let Some((group, log, model, maker)) = groups.get_mut(pick) else {
            continue;
        };
        let ticket = match prng.below(6) {
            0 => log.writer.save_hard_state(HardState {
                term: Term(number),
                vote: Some(ReplicaId(number)),
            }),
            1 if model.state().last.index.0 > 2 => {
                let from = model.state().last.index;
                model.truncate(from);
                log.writer.truncate_from(from)
            }
            _ => {
                let entries = maker.entries(GroupId(*group), model, Term(1), &[50, 700]);
                let answer = log.writer.append(&entries);
                entries.into_iter().for_each(|entry| model.append(entry));
                answer
            }
        };
        let ticket: Ticket = ticket.map_err(|error| Failure(format!("call {number}: {error}")))?;
        issued.push((*group, number));
        let (order, group) = (Arc::clone(&order), *group);
        ticket.on_resolve(move |result| locked(&order).push((group, number, result.is_ok())));
        for _ in 0..prng.below(2) {
            subject.sim.step();
        }
    }
    subject.settle();
    let order = locked(&order).clone();
    ensure!(
        order.len() == issued.len(),
        "{} tickets resolved of {}",
        order.len(),
        issued.len()
    );
    ensure!(
        order.iter().all(|(_, _, ok)| *ok),
        "a ticket failed on a healthy disk"
    );
    for group in 1..=3 {
        let of_group: Vec<u64> = order
            .iter()
            .filter(|(at, ..)| *at == group)
            .map(|(_, number, _)| *number)
            .collect();
        ensure!(
            of_group.is_sorted(),
            "tickets of group {group} resolved in the order {of_group:?}"
        );
    }
    Ok(())
}

fn hard_state(lab: &Lab<'_>) -> Verdict {
    for (round, vote) in [None, Some(ReplicaId(5)), Some(ReplicaId(u64::MAX))]
        .into_iter()
        .enumerate()
    {
        let subject = lab.fresh("hard state")?;
        let mut log = subject.group(1)?;
        let first = HardState { term: Term(3), vote };
        subject.durable("first", log.writer.save_hard_state(first))?;
        let second = HardState {
            term: Term(4),
            vote: vote.map(|ReplicaId(id)| ReplicaId(id / 2)),
        };
        let ticket = log.writer.save_hard_state(second);
        let resolved = ticket.is_ok_and(|ticket| ticket.result() == Some(Ok(())));
        drop(log);
        let after = subject.crash(&mut DropAll, Unit::Sector)?;
        let found = after.group(1)?.reader.state().hard_state;
        let right = found == second || (!resolved && found == first);
        ensure!(
            right,
            "round {round}: after a crash the hard state is {found:?}, acknowledged was {first:?}"
        );
    }
    Ok(())
}

fn dropped_tickets(lab: &Lab<'_>) -> Verdict {
    let subject = lab.fresh("dropped")?;
    let mut log = subject.group(1)?;
    let mut maker = Maker::new(lab.seed.prng());
    let mut model = GroupModel::new(SMALL);
    for _ in 0..5 {
        let entries = maker.entries(GroupId(1), &model, Term(1), &[400]);
        drop(log.writer.append(&entries));
        entries.into_iter().for_each(|entry| model.append(entry));
    }
    subject.settle();
    ensure!(
        log.reader.state().durable == LogIndex(5),
        "durable is {} though nothing is left to run",
        log.reader.state().durable
    );
    drop(log);
    let after = subject.crash(&mut DropAll, Unit::Sector)?;
    let log = after.group(1)?;
    super::compare::compare(&after, &*log.reader, &model, &mut lab.seed.prng())?;
    ensure!(
        !matches!(
            after.store.health().get(),
            chronik_core::log_store::StoreHealth::Poisoned(_)
        ),
        "the store is poisoned: {:?}",
        LogError::Closed
    );
    Ok(())
}
