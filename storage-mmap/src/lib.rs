//! The segment log store: groups of entries in one directory, durable by group commit.
