#![no_main]

#[path = "../checks/primitives.rs"]
mod primitives;

libfuzzer_sys::fuzz_target!(|data: &[u8]| primitives::check(data));
