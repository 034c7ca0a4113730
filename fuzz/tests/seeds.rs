//! Every committed input, given to its target on a stable compiler.

use std::path::{Path, PathBuf};
use std::{env, fs};

use millstream_fuzz::TARGETS;
use millstream_fuzz::seeds::seeds;

/// Seeds are committed, so they are few and small.
const SEED_BYTES_MAX: usize = 1_000;
const TARGET_BYTES_MAX: usize = 8_000;
const UPDATE: &str = "MILLSTREAM_TEST_UPDATE_FUZZ_SEEDS";

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target)
}

/// The inputs in a folder by name; none where there is no folder.
fn inputs(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut inputs: Vec<_> = entries
        .map(|entry| entry.expect("the folder can be listed"))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .map(|(name, path)| (name, fs::read(path).expect("an input can be read")))
        .collect();
    inputs.sort();
    inputs
}

#[test]
fn every_target_has_the_seeds_that_its_generator_makes() {
    for (target, _) in TARGETS {
        let folder = folder("seeds", target);
        let mut made = seeds(target);
        made.sort();
        if env::var_os(UPDATE).is_some() {
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).expect("the folder can be made");
            for (name, bytes) in &made {
                fs::write(folder.join(name), bytes).expect("a seed can be written");
            }
        }
        assert!(!made.is_empty(), "{target} has no seeds");
        assert!(made.iter().all(|(_, bytes)| bytes.len() <= SEED_BYTES_MAX), "{target}");
        assert!(made.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() <= TARGET_BYTES_MAX, "{target}");
        assert_eq!(inputs(&folder), made, "{target}: with {UPDATE}=1 this test writes them");
    }
}

#[test]
fn every_seed_and_all_that_once_broke_a_promise_keep_it_now() {
    for (target, run) in TARGETS {
        for kind in ["seeds", "regressions"] {
            for (name, bytes) in inputs(&folder(kind, target)) {
                println!("{kind}/{target}/{name}");
                run(&bytes);
            }
        }
    }
}

#[test]
fn any_short_input_is_taken_by_every_target() {
    for (_, run) in TARGETS {
        run(&[]);
        for first in 0..=u8::MAX {
            run(&[first]);
            run(&[first, 0xff, 0xff, 0xff, 0xff, 0xff]);
            run(&[first, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80]);
        }
    }
}
