//! The terms of a group's log: where each starts.

use crate::segment::index::TermStart;
use chronik_core::{LogId, LogIndex, Offset, Term};

/// Where each term starts, oldest first; covers the entries from the start of the data to the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    starts: Vec<TermStart>,
}

impl Terms {
    /// Takes note of an appended entry.
    pub(crate) fn push(&mut self, id: LogId, offset: Offset) {
        let newer = self.starts.last().is_none_or(|start| start.term < id.term);
        if newer {
            self.starts.push(TermStart {
                term: id.term,
                index: id.index,
                offset,
            });
        }
    }

    /// Takes note of a term start that a segment's index names.
    pub(crate) fn push_start(&mut self, start: TermStart) {
        if self.starts.last().is_none_or(|known| known.term < start.term) {
            self.starts.push(start);
        }
    }

    /// The term of the entry at `index`, which is not beyond the last.
    pub(crate) fn at(&self, index: LogIndex) -> Option<Term> {
        let place = self.starts.partition_point(|start| start.index <= index);
        Some(self.starts.get(place.checked_sub(1)?)?.term)
    }

    /// Forgets the entries from `from` on.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        let keep = self.starts.partition_point(|start| start.index < from);
        self.starts.truncate(keep);
    }

    /// Forgets the entries before `index`, whose offset is `offset`.
    pub(crate) fn trim(&mut self, index: LogIndex, offset: Offset) {
        let place = self.starts.partition_point(|start| start.index <= index);
        self.starts.drain(..place.saturating_sub(1));
        if let Some(first) = self.starts.first_mut()
            && first.index < index
        {
            first.index = index;
            first.offset = offset;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.starts.clear();
    }

    /// The largest term at or below `term` with data in `readable`, and the offset after its last data.
    pub(crate) fn end_of(&self, term: Term, readable: std::ops::Range<Offset>) -> Option<(Term, Offset)> {
        let place = self.starts.partition_point(|start| start.term <= term);
        for at in (0..place).rev() {
            let start = self.starts.get(at)?;
            let end = self.starts.get(at + 1).map_or(readable.end, |next| next.offset);
            if end > start.offset.max(readable.start) {
                return Some((start.term, end));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        let mut terms = Terms::default();
        terms.push(LogId::new(1, 1), Offset(0));
        terms.push(LogId::new(1, 2), Offset(5));
        terms.push(LogId::new(3, 3), Offset(9));
        terms.push(LogId::new(4, 4), Offset(9));
        terms
    }

    #[test]
    fn the_term_of_an_index_is_that_of_the_last_start_at_or_before_it() {
        let terms = terms();
        assert_eq!(terms.at(LogIndex(2)), Some(Term(1)));
        assert_eq!(terms.at(LogIndex(3)), Some(Term(3)));
        assert_eq!(terms.at(LogIndex(9)), Some(Term(4)));
        assert_eq!(terms.at(LogIndex(0)), None);
    }

    #[test]
    fn a_term_without_data_is_passed_over() {
        let all = Offset(0)..Offset(12);
        assert_eq!(terms().end_of(Term(3), all.clone()), Some((Term(1), Offset(9))));
        assert_eq!(terms().end_of(Term(4), all.clone()), Some((Term(4), Offset(12))));
        assert_eq!(terms().end_of(Term(0), all), None);
        let late = Offset(10)..Offset(12);
        assert_eq!(
            terms().end_of(Term(3), late),
            None,
            "its data is not readable any more"
        );
    }

    #[test]
    fn trimming_keeps_the_term_of_what_stays() {
        let mut terms = terms();
        terms.trim(LogIndex(2), Offset(5));
        assert_eq!(terms.at(LogIndex(2)), Some(Term(1)));
        assert_eq!(terms.at(LogIndex(1)), None);
        terms.truncate(LogIndex(3));
        assert_eq!(terms.at(LogIndex(7)), Some(Term(1)));
    }
}
