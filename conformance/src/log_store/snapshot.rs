//! Checkpoints beside the log.

use super::driver::{Acted, Driver, Stop};
use super::lab::Lab;
use super::{Check, must};
use crate::check::{Failure, Verdict, ensure};
use chronik_core::LogError;
use chronik_core::log_store::Checkpoint;

pub(super) const CHECKS: &[Check] = &[
    must(
        "LS-SNP-01",
        "the_newest_checkpoint_at_the_purge_point_and_all_above_are_kept",
        kept,
    ),
    must(
        "LS-SNP-03",
        "a_checkpoint_that_is_too_large_is_refused_whole",
        too_large,
    ),
];

fn play(acted: Acted) -> Verdict {
    match acted {
        Ok(()) => Ok(()),
        Err(Stop::Failed(failure)) => Err(failure),
        Err(Stop::PowerOff) => Err(Failure::new("the power went though nobody cut it")),
    }
}

fn kept(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "kept")?;
    for round in 0..12 {
        play(driver.append(1, &[600, 500, 400]))?;
        play(driver.checkpoint(1, round % 3, 100 + usize::try_from(round).unwrap_or(0) * 90))?;
        driver.compare()?;
        if round % 4 == 3 {
            play(driver.sync())?;
            play(driver.purge(1, 4))?;
            driver.compare()?;
            play(driver.sync())?;
            driver = driver.reopen()?;
        }
    }
    // Two checkpoints at one entry: the later one stands.
    play(driver.checkpoint(1, 0, 50))?;
    play(driver.checkpoint(1, 0, 70))?;
    play(driver.sync())?;
    driver.compare()?;
    // A purge to exactly a checkpoint keeps that one.
    play(driver.purge(1, 99))?;
    play(driver.sync())?;
    driver.compare()?;
    drop(driver.reopen()?);
    Ok(())
}

fn too_large(lab: &Lab<'_>) -> Verdict {
    let mut driver = Driver::fresh(lab, "too large")?;
    play(driver.append(1, &[100, 100]))?;
    let limit = usize::try_from(lab.payload_limit()).unwrap_or(usize::MAX);
    let at = driver.state(1).last;
    let next_offset = driver.state(1).offset_end;
    let data = driver.maker.bytes(chronik_core::GroupId(1), limit + 1);
    let writer = driver.groups.get_mut(&1).and_then(|tracked| tracked.log.as_mut());
    let answer = writer.map(|log| {
        let checkpoint = Checkpoint {
            at,
            next_offset,
            data,
            consensus: bytes::Bytes::new(),
        };
        log.writer.save_checkpoint(checkpoint).map(drop)
    });
    ensure!(
        matches!(answer, Some(Err(LogError::TooLarge { .. }))),
        "a checkpoint of {} bytes: {answer:?}",
        limit + 1
    );
    driver.compare()?;
    play(driver.checkpoint(1, 0, limit))?;
    play(driver.sync())?;
    driver.compare()?;
    drop(driver.reopen()?);
    Ok(())
}
