//! Whatever bytes a peer sends, they are read or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skyhaul_gateway::fuzzing::decode(data));
