//! Gives the fuzzer's input to the target `classic_group` of the library, where it is described.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::classic_group(data));
