//! Proposals of idempotent producers that are not applied yet, over the committed producer state.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use chronik_core::{Outcome, ProposalHandle, Term};

use crate::kafka::record::ProducerFields;

use super::producer_state::ProducerTail;

/// One proposal on its way.
#[derive(Debug)]
struct Flight {
    fields: ProducerFields,
    handle: Arc<ProposalHandle>,
}

/// The overlay of one leader's term. Apply takes flights out as they are committed; a new term starts empty.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    term: Term,
    flights: HashMap<i64, VecDeque<Flight>>,
}

impl InFlight {
    /// Starts over where `term` is not the one that the flights belong to.
    pub(super) fn enter(&mut self, term: Term) {
        if self.term != term {
            self.term = term;
            self.flights.clear();
        }
    }

    /// The newest proposal of a producer; those that are known never to be committed are taken out first.
    pub(super) fn tail(&mut self, id: i64) -> Option<ProducerTail> {
        let flights = self.flights.get_mut(&id)?;
        flights.retain(|flight| !matches!(flight.handle.peek(), Some(Outcome::NotCommitted(_))));
        let newest = flights.back().map(|flight| flight.fields);
        if newest.is_none() {
            self.flights.remove(&id);
        }
        newest.map(|fields| ProducerTail {
            epoch: fields.epoch,
            last_sequence: fields.last_sequence,
        })
    }

    /// The proposal that carries the same batch, if there is one.
    pub(super) fn duplicate_of(&self, fields: &ProducerFields) -> Option<Arc<ProposalHandle>> {
        let flights = self.flights.get(&fields.id)?;
        flights
            .iter()
            .find(|flight| flight.fields == *fields)
            .map(|flight| Arc::clone(&flight.handle))
    }

    /// Notes a proposal that was accepted.
    pub(super) fn add(&mut self, fields: ProducerFields, handle: Arc<ProposalHandle>) {
        self.flights
            .entry(fields.id)
            .or_default()
            .push_back(Flight { fields, handle });
    }

    /// Takes out a batch that was applied.
    pub(super) fn settle(&mut self, fields: &ProducerFields) {
        let Some(flights) = self.flights.get_mut(&fields.id) else {
            return;
        };
        if let Some(position) = flights.iter().position(|flight| flight.fields == *fields) {
            flights.remove(position);
        }
        if flights.is_empty() {
            self.flights.remove(&fields.id);
        }
    }
}
