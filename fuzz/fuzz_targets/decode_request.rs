#![no_main]

#[path = "../checks/decode_request.rs"]
mod decode_request;

libfuzzer_sys::fuzz_target!(|data: &[u8]| decode_request::check(data));
