//! Which nodes hold a new partition.

use super::state::{Placement, State};
use chronik_core::NodeId;
use chronik_core::env::Rng;

/// Places `partitions` partitions with `factor` replicas each: brokers in turn, from a random one on, so that leaders
/// and replicas of one topic spread evenly and topics do not all start at the same broker.
///
/// # Errors
/// The number of brokers, where it is below `factor`.
pub fn place(
    state: &State,
    partitions: usize,
    factor: usize,
    rng: &dyn Rng,
) -> Result<Vec<Placement>, usize> {
    let nodes: Vec<u64> = state.brokers().keys().map(|NodeId(node)| *node).collect();
    if nodes.len() < factor || nodes.is_empty() {
        return Err(nodes.len());
    }
    let start = usize::try_from(rng.next_u64() % nodes.len() as u64).unwrap_or(0);
    let in_turn = |from: usize| nodes.iter().copied().cycle().skip(from % nodes.len());
    Ok((0..partitions)
        .map(|partition| in_turn(start + partition).take(factor).collect())
        .collect())
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
            let placed = place(&brokers(5), 10, 3, &Fixed(seed)).unwrap();
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
    fn more_replicas_than_brokers_are_refused() {
        assert_eq!(place(&brokers(2), 1, 3, &Fixed(0)), Err(2));
        assert_eq!(place(&State::default(), 1, 1, &Fixed(0)), Err(0));
    }
}
