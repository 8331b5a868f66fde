//! Fetch sessions (KIP-227): the broker remembers what a client fetches, and answers only what changed.

use crate::kafka::api::fetch::{FetchPartition, FetchRequest, ForgottenTopic, PartitionData};
use crate::kafka::wire::{ErrorCode, KafkaString, Uuid};
use chronik_core::Env;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The session id of a request that wants no session, or has none yet.
pub const NO_SESSION: i32 = 0;
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;
/// A session that was used within this time is not evicted for a new one.
const EVICTABLE_AFTER: Duration = Duration::from_secs(120);

/// A topic as the request names it: up to version 12 by name, from version 13 on by id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicRef {
    /// By name.
    Name(KafkaString),
    /// By id.
    Id(Uuid),
}

impl TopicRef {
    fn new(name: &KafkaString, id: Uuid) -> Self {
        if id.is_zero() {
            Self::Name(name.clone())
        } else {
            Self::Id(id)
        }
    }
}

/// What was last sent about a partition; only a difference is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    high_watermark: i64,
    last_stable_offset: i64,
    log_start_offset: i64,
}

/// One partition that a request, or its session, asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The topic.
    pub topic: TopicRef,
    /// The partition and from where.
    pub partition: FetchPartition,
    sent: Option<Sent>,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    used_at: Duration,
    wanted: Vec<Wanted>,
    places: HashMap<(TopicRef, i32), usize>,
    /// Where the next answer starts, so that a partition with much data does not starve those behind it.
    first: usize,
}

/// What a request is: which partitions it means, and how its answer is made.
#[derive(Debug)]
pub struct Plan {
    /// The partitions, in the order in which they are read.
    pub wanted: Vec<Wanted>,
    session_id: i32,
    /// Whether partitions without news are left out of the answer.
    incremental: bool,
}

/// The sessions of a broker.
#[derive(Debug)]
pub struct Sessions {
    max_sessions: usize,
    env: Env,
    sessions: Mutex<HashMap<i32, Session>>,
}

impl Sessions {
    /// A cache of at most `max_sessions`.
    #[must_use]
    pub fn new(max_sessions: usize, env: Env) -> Self {
        Self {
            max_sessions,
            env,
            sessions: Mutex::new(HashMap::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many sessions there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Finds out what `request` means.
    ///
    /// # Errors
    /// `FETCH_SESSION_ID_NOT_FOUND`, `INVALID_FETCH_SESSION_EPOCH`, `FETCH_SESSION_TOPIC_ID_ERROR`: the client starts
    /// over with a full request.
    pub fn plan(&self, request: &FetchRequest) -> Result<Plan, ErrorCode> {
        match (request.session_id, request.session_epoch) {
            (id, epoch @ (INITIAL_EPOCH | FINAL_EPOCH)) => {
                if id != NO_SESSION {
                    self.lock().remove(&id);
                }
                Ok(self.full(request, epoch == INITIAL_EPOCH))
            }
            (id, epoch) => self.incremental(id, epoch, request),
        }
    }

    fn full(&self, request: &FetchRequest, wants_session: bool) -> Plan {
        let wanted: Vec<Wanted> = all_wanted(request).collect();
        let session_id = if wants_session && !wanted.is_empty() {
            self.create(&wanted)
        } else {
            NO_SESSION
        };
        Plan {
            wanted,
            session_id,
            incremental: false,
        }
    }

    fn create(&self, wanted: &[Wanted]) -> i32 {
        let now = self.env.clock.now();
        let mut sessions = self.lock();
        if sessions.len() >= self.max_sessions {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.used_at);
            match oldest.map(|(id, session)| (*id, session.used_at)) {
                Some((id, used_at)) if now.saturating_sub(used_at) >= EVICTABLE_AFTER => sessions.remove(&id),
                _ => return NO_SESSION,
            };
        }
        let id = loop {
            let id = (self.env.rng.next_u64() >> 33) as i32;
            if id != NO_SESSION && !sessions.contains_key(&id) {
                break id;
            }
        };
        let places = wanted
            .iter()
            .enumerate()
            .map(|(place, wanted)| (wanted.key(), place))
            .collect();
        let session = Session {
            epoch: 1,
            used_at: now,
            wanted: wanted.to_vec(),
            places,
            first: 0,
        };
        sessions.insert(id, session);
        id
    }

    fn incremental(&self, id: i32, epoch: i32, request: &FetchRequest) -> Result<Plan, ErrorCode> {
        let mut sessions = self.lock();
        let session = sessions
            .get_mut(&id)
            .ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        session.update(request)?;
        session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        session.used_at = self.env.clock.now();
        if session.wanted.is_empty() {
            // Nothing left to fetch ends the session, as the client expects of an empty one.
            sessions.remove(&id);
            return Ok(Plan {
                wanted: Vec::new(),
                session_id: NO_SESSION,
                incremental: true,
            });
        }
        let mut wanted = session.wanted.clone();
        wanted.rotate_left(session.first % session.wanted.len());
        Ok(Plan {
            wanted,
            session_id: id,
            incremental: true,
        })
    }

    /// Leaves out of `read` what the client knows already, and remembers what it will know. Returns the session id of
    /// the answer. `read` holds one answer for each partition of the plan, in its order.
    pub fn settle(&self, plan: &Plan, read: &mut Vec<(TopicRef, PartitionData)>) -> i32 {
        if plan.session_id == NO_SESSION {
            return NO_SESSION;
        }
        let mut sessions = self.lock();
        let Some(session) = sessions.get_mut(&plan.session_id) else {
            // Evicted meanwhile: the answer is whole, and the client learns it with its next request.
            return plan.session_id;
        };
        read.retain(|(topic, data)| {
            let news = session.note(topic, data);
            news || !plan.incremental
        });
        plan.session_id
    }
}

fn all_wanted(request: &FetchRequest) -> impl Iterator<Item = Wanted> {
    request.topics.iter().flat_map(|topic| {
        let topic_ref = TopicRef::new(&topic.topic, topic.topic_id);
        let wanted = move |partition: &FetchPartition| Wanted {
            topic: topic_ref.clone(),
            partition: partition.clone(),
            sent: None,
        };
        topic.partitions.iter().map(wanted)
    })
}

impl Wanted {
    fn key(&self) -> (TopicRef, i32) {
        (self.topic.clone(), self.partition.partition)
    }
}

impl Session {
    fn update(&mut self, request: &FetchRequest) -> Result<(), ErrorCode> {
        let uses_ids = self
            .wanted
            .first()
            .map(|wanted| matches!(wanted.topic, TopicRef::Id(_)));
        for wanted in all_wanted(request) {
            if uses_ids.is_some_and(|ids| ids != matches!(wanted.topic, TopicRef::Id(_))) {
                return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
            }
            match self
                .places
                .get(&wanted.key())
                .and_then(|place| self.wanted.get_mut(*place))
            {
                Some(known) => known.partition = wanted.partition,
                None => {
                    self.places.insert(wanted.key(), self.wanted.len());
                    self.wanted.push(wanted);
                }
            }
        }
        self.forget(&request.forgotten_topics_data);
        Ok(())
    }

    fn forget(&mut self, forgotten: &[ForgottenTopic]) {
        if forgotten.is_empty() {
            return;
        }
        for topic in forgotten {
            let topic_ref = TopicRef::new(&topic.topic, topic.topic_id);
            for partition in &topic.partitions {
                self.places.remove(&(topic_ref.clone(), *partition));
            }
        }
        let places = &self.places;
        self.wanted.retain(|wanted| places.contains_key(&wanted.key()));
        self.places = self
            .wanted
            .iter()
            .enumerate()
            .map(|(place, wanted)| (wanted.key(), place))
            .collect();
        self.first = 0;
    }

    /// Remembers what is sent; true where it is news to the client.
    fn note(&mut self, topic: &TopicRef, data: &PartitionData) -> bool {
        let key = (topic.clone(), data.partition_index);
        let Some(place) = self.places.get(&key).copied() else {
            return true;
        };
        let has_data = data.records.as_ref().is_some_and(|records| !records.is_empty());
        if has_data {
            self.first = place + 1;
        }
        let Some(wanted) = self.wanted.get_mut(place) else {
            return true;
        };
        let sent = Sent {
            high_watermark: data.high_watermark,
            last_stable_offset: data.last_stable_offset,
            log_start_offset: data.log_start_offset,
        };
        let failed = data.error_code != ErrorCode::NONE;
        let news = has_data
            || failed
            || data.preferred_read_replica != -1
            || data.diverging_epoch.epoch != -1
            || wanted.sent != Some(sent);
        // An error is told every time, and what follows it is news again.
        wanted.sent = (!failed).then_some(sent);
        news
    }
}
