//! Gives the fuzzer's input to the target `record_batches` of the library, where it is described.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::record_batches(data));
