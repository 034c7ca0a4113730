//! Gives the fuzzer's input to the target `consumer_group` of the library, where it is described.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::consumer_group(data));
