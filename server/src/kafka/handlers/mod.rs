//! One file for each API: turns a decoded request into a response.

pub mod create_topics;
pub mod delete_topics;
pub mod metadata;
