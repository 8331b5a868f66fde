//! Who waits for which command to be applied.

use crate::cluster::error::ControlError;
use crate::cluster::state::{Applied, Effect};
use chronik_core::Watch;
use chronik_core::env::Rng;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Answer = Watch<Option<Result<Effect, ControlError>>>;

#[derive(Default)]
struct Table {
    waiting: HashMap<u64, Answer>,
    ended: Option<Arc<str>>,
}

/// The commands of this process that were proposed and not applied yet, by request number.
#[derive(Default)]
pub(super) struct Pending {
    table: Arc<Mutex<Table>>,
}

/// One waiting command; forgotten when it is dropped.
pub(super) struct Waiting {
    table: Arc<Mutex<Table>>,
    request: u64,
    answer: Answer,
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pending {
    /// Registers a command before it is proposed, so that its answer cannot come too early. The number is random:
    /// other nodes and earlier processes propose into the same log.
    pub(super) fn register(&self, rng: &dyn Rng) -> Result<Waiting, ControlError> {
        let mut table = lock(&self.table);
        if let Some(why) = &table.ended {
            return Err(ControlError::Unknown(Arc::clone(why)));
        }
        let mut request = rng.next_u64();
        while table.waiting.contains_key(&request) {
            request = request.wrapping_add(1);
        }
        let answer = Watch::new(None);
        table.waiting.insert(request, answer.clone());
        drop(table);
        Ok(Waiting {
            table: Arc::clone(&self.table),
            request,
            answer,
        })
    }

    /// The command with this number was applied.
    pub(super) fn resolve(&self, request: u64, applied: Applied) {
        let answer = lock(&self.table).waiting.remove(&request);
        if let Some(answer) = answer {
            set(&answer, applied.map_err(ControlError::Refused));
        }
    }

    /// Nothing will be applied any more: whoever waits, or comes later, does not get to know.
    pub(super) fn end(&self, why: &Arc<str>) {
        let waiting = {
            let mut table = lock(&self.table);
            table.ended.get_or_insert_with(|| Arc::clone(why));
            std::mem::take(&mut table.waiting)
        };
        for answer in waiting.values() {
            set(answer, Err(ControlError::Unknown(Arc::clone(why))));
        }
    }
}

fn set(answer: &Answer, result: Result<Effect, ControlError>) {
    answer.update(|slot| {
        *slot = Some(result);
        true
    });
}

impl Waiting {
    pub(super) const fn request(&self) -> u64 {
        self.request
    }

    pub(super) async fn applied(self) -> Result<Effect, ControlError> {
        let answer = self.answer.wait_for(Option::is_some).await;
        answer.unwrap_or_else(|| Err(ControlError::Unknown("no answer".into())))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.table).waiting.remove(&self.request);
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = lock(&self.table).waiting.len();
        f.debug_struct("Pending").field("waiting", &waiting).finish()
    }
}
