use super::*;
use chronik_core::env::DiskLane;
use std::sync::atomic::AtomicU32;

#[test]
fn ordered_lanes_keep_their_order_and_jobs_may_submit_jobs() {
    let sim = SimEnv::new(Seed(3));
    let seen = Arc::new(Mutex::new(Vec::new()));
    for lane in [DiskLane::Journal, DiskLane::Background] {
        for number in 0..20 {
            let (seen, disk) = (Arc::clone(&seen), sim.env().disk);
            let inner = Arc::clone(&seen);
            disk.clone().submit(
                lane,
                Box::new(move || {
                    locked(&seen).push((lane, number));
                    if number == 19 {
                        disk.submit(lane, Box::new(move || locked(&inner).push((lane, 20))));
                    }
                }),
            );
        }
    }
    assert_eq!(sim.run_until_idle(), 42);
    for lane in [DiskLane::Journal, DiskLane::Background] {
        let of_lane: Vec<i32> = locked(&seen)
            .iter()
            .filter(|(at, _)| *at == lane)
            .map(|(_, n)| *n)
            .collect();
        assert_eq!(of_lane, (0..=20).collect::<Vec<_>>());
    }
}

#[test]
fn time_passes_only_when_nothing_else_moves_and_timers_fire_in_order() {
    let sim = SimEnv::new(Seed(4));
    let env = sim.env();
    let order = Arc::new(Mutex::new(Vec::new()));
    for ms in [30_u64, 10, 20] {
        let (clock, order) = (Arc::clone(&env.clock), Arc::clone(&order));
        env.spawn.spawn(
            "sleeper",
            Box::pin(async move {
                clock.sleep(Duration::from_millis(ms)).await;
                locked(&order).push(ms);
            }),
        );
    }
    sim.run_until_idle();
    assert!(locked(&order).is_empty());
    sim.advance(Duration::from_millis(25));
    assert_eq!(*locked(&order), [10, 20]);
    assert_eq!(sim.clock().elapsed(), Duration::from_millis(25));
    assert_eq!(sim.block_on(env.clock.sleep(Duration::from_secs(1))), Ok(()));
    assert_eq!(*locked(&order), [10, 20, 30]);
    assert_eq!(sim.executor().alive(), 0);
}

#[test]
fn a_wait_without_hope_says_so() {
    let sim = SimEnv::new(Seed(5));
    let (sender, ticket) = Ticket::pair();
    assert_eq!(sim.wait(&ticket), Err(Stuck::Idle));
    sim.env()
        .disk
        .submit(DiskLane::Journal, Box::new(move || sender.resolve(Ok(()))));
    assert_eq!(sim.wait(&ticket), Ok(Ok(())));
}

#[test]
fn dropped_jobs_leave_their_tickets_unknown() {
    let sim = SimEnv::new(Seed(6));
    let (sender, ticket) = Ticket::pair();
    sim.env()
        .disk
        .submit(DiskLane::Journal, Box::new(move || sender.resolve(Ok(()))));
    sim.queue().clear();
    assert_eq!(ticket.result(), Some(Err(LogError::Closed)));
}

#[test]
fn a_blocking_call_is_served_by_the_driver() {
    let sim = SimEnv::new(Seed(7));
    let disk = sim.env().disk;
    let answer = sim.run_blocking(|| {
        let (sender, ticket) = Ticket::pair();
        disk.submit(DiskLane::Journal, Box::new(move || sender.resolve(Ok(()))));
        ticket.wait()
    });
    assert_eq!(answer, Ok(()));
}

#[test]
fn the_same_seed_gives_the_same_schedule() {
    let run = |seed| {
        let sim = SimEnv::new(Seed(seed));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let count = Arc::new(AtomicU32::new(0));
        for lane in [DiskLane::Read, DiskLane::Journal, DiskLane::Background] {
            for _ in 0..8 {
                let (seen, count) = (Arc::clone(&seen), Arc::clone(&count));
                let number = count.fetch_add(1, Ordering::SeqCst);
                sim.env()
                    .disk
                    .submit(lane, Box::new(move || locked(&seen).push(number)));
            }
        }
        sim.run_until_idle();
        locked(&seen).clone()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
