//! Tests of the store as a whole.
#![allow(clippy::unwrap_used)]

mod basics;
mod damage;
mod full;
mod golden;
mod held;
mod kit;
mod model;
mod random;
mod sample;
mod torn;
