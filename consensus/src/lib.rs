//! Replicated log contracts: a consensus backend turns proposals into a committed log.
