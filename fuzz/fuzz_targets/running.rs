#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 2 == 0 {
        libfuzzer_sys::fuzzer_mutate(data, size, max_size)
    } else {
        albatross_fuzz_checks::mutate_values(data, size, max_size, seed)
    }
});

fuzz_target!(|data: &[u8]| {
    albatross_fuzz_checks::running(data);
});
