#![no_main]

#[path = "../checks/decode_response.rs"]
mod decode_response;

libfuzzer_sys::fuzz_target!(|data: &[u8]| decode_response::check(data));
