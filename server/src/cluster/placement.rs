//! Which nodes hold a new partition.

use super::state::{Broker, Placement, State};
use chronik_core::NodeId;
use chronik_core::env::Rng;
use std::collections::BTreeMap;

/// Places `partitions` partitions with `factor` replicas each: brokers in turn, from a random one on, so that leaders
/// and replicas of one topic spread evenly and topics do not all start at the same broker. Brokers of different racks
/// take turns. Brokers that are not live get replicas only where there are too few others, and none that leads.
///
/// # Errors
/// The number of brokers, where it is below `factor`.
pub fn place(
    state: &State,
    partitions: usize,
    factor: usize,
    is_live: &dyn Fn(NodeId) -> bool,
    rng: &dyn Rng,
) -> Result<Vec<Placement>, usize> {
    let all = state.brokers().len();
    if all < factor || all == 0 {
        return Err(all);
    }
    let live: Vec<&Broker> = state
        .brokers()
        .values()
        .filter(|broker| is_live(broker.node()))
        .collect();
    let others = state.brokers().values().filter(|broker| !is_live(broker.node()));
    let (first, mut rest) = (by_racks(&live), by_racks(&others.collect::<Vec<_>>()));
    let leaders = if first.is_empty() {
        std::mem::take(&mut rest)
    } else {
        first
    };
    let start = usize::try_from(rng.next_u64() % leaders.len() as u64).unwrap_or(0);
    let placed = |partition: usize| -> Placement {
        let at = (start + partition) % leaders.len();
        let (before, from) = leaders.split_at(at);
        let replicas = from.iter().chain(before).chain(&rest);
        replicas.copied().take(factor).collect()
    };
    Ok((0..partitions).map(placed).collect())
}

/// The nodes, one of each rack in turn.
fn by_racks(brokers: &[&Broker]) -> Vec<u64> {
    let mut racks: BTreeMap<Option<&str>, Vec<u64>> = BTreeMap::new();
    for broker in brokers {
        racks
            .entry(broker.rack.as_deref())
            .or_default()
            .push(broker.node().0);
    }
    let longest = racks.values().map(Vec::len).max().unwrap_or(0);
    let turn = |turn: usize| racks.values().filter_map(move |nodes| nodes.get(turn).copied());
    (0..longest).flat_map(turn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::state::Command;
    use chronik_core::LogId;
    use std::collections::BTreeSet;

    #[derive(Debug)]
    struct Fixed(u64);

    impl Rng for Fixed {
        fn next_u64(&self) -> u64 {
            self.0
        }
    }

    fn brokers(count: u64) -> State {
        let mut state = State::default();
        for node in 1..=count {
            let (host, port, rack) = ("h".to_owned(), 1, None);
            let register = Command::RegisterBroker {
                node,
                host,
                port,
                rack,
                incarnation: 0,
                peer: None,
            };
            state.apply(LogId::new(1, node), register).unwrap();
        }
        state
    }

    #[test]
    fn replicas_are_on_distinct_brokers_and_leaders_take_turns() {
        for seed in 0..7 {
            let placed = place(&brokers(5), 10, 3, &|_| true, &Fixed(seed)).unwrap();
            let mut leaders = [0; 6];
            for placement in &placed {
                assert_eq!(
                    placement.iter().collect::<BTreeSet<_>>().len(),
                    3,
                    "{placement:?}"
                );
                leaders[placement[0] as usize] += 1;
            }
            assert_eq!(leaders, [0, 2, 2, 2, 2, 2], "seed {seed}");
        }
    }

    #[test]
    fn brokers_that_are_down_get_replicas_only_where_they_are_needed_and_never_lead() {
        let up = |node: NodeId| node != NodeId(2);
        for seed in 0..7 {
            for placement in place(&brokers(4), 8, 3, &up, &Fixed(seed)).unwrap() {
                assert!(!placement.contains(&2), "{placement:?}");
            }
            for placement in place(&brokers(3), 8, 3, &up, &Fixed(seed)).unwrap() {
                let nodes: BTreeSet<_> = placement.iter().collect();
                assert!(nodes.len() == 3 && placement[0] != 2, "{placement:?}");
            }
        }
    }

    #[test]
    fn replicas_are_spread_over_racks() {
        let mut state = State::default();
        for (node, rack) in [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c"), (6, "c")] {
            let register = Command::RegisterBroker {
                node,
                host: "h".to_owned(),
                port: 1,
                rack: Some(rack.to_owned()),
                incarnation: 0,
                peer: None,
            };
            state.apply(LogId::new(1, node), register).unwrap();
        }
        for placement in place(&state, 12, 3, &|_| true, &Fixed(5)).unwrap() {
            let racks: BTreeSet<u64> = placement.iter().map(|node| (node - 1) / 2).collect();
            assert_eq!(racks.len(), 3, "{placement:?}");
        }
    }

    #[test]
    fn more_replicas_than_brokers_are_refused() {
        assert_eq!(place(&brokers(2), 1, 3, &|_| true, &Fixed(0)), Err(2));
        assert_eq!(place(&State::default(), 1, 1, &|_| true, &Fixed(0)), Err(0));
    }
}
