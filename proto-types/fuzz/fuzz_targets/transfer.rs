#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quoit_proto_types_fuzz::transfer(data));
