//! `millstream consume --record` and `millstream replay`.

use std::fs;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use crate::common::{broker, consume, fill, millstream, stderr, stdout};
use millstream_tests::engine::wait_until;

/// A file that is removed when this is dropped.
struct Recording(PathBuf);

impl Recording {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("millstream-cli-{}-{name}", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn replay(&self) -> Output {
        millstream(&["replay", self.path()]).output().unwrap()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn what_was_consumed_and_recorded_happens_again_in_a_replay() {
    let broker = broker(2);
    fill(&broker, 0, 0..250);
    fill(&broker, 1, 0..30);
    for (name, arguments) in
        [("all", &["-t", "t", "-e"][..]), ("group", &["-G", "g", "t", "-o", "beginning", "-e"])]
    {
        let recording = Recording::new(name);
        let output = consume(&broker, &[arguments, &["--record", recording.path()]].concat());
        assert_eq!(stdout(&output).lines().count(), 280);
        let page = stdout(&recording.replay());
        assert!(page.starts_with("recorded by millstream ") && page.ends_with("\nthe same\n"), "{page}");
        let records: u64 = page
            .lines()
            .filter_map(|line| line.split(" records in ").next()?.rsplit(' ').next()?.parse::<u64>().ok())
            .sum();
        assert_eq!(records, 280, "{page}");
    }
}

#[test]
fn a_damaged_recording_and_none_at_all_end_with_2_and_say_where() {
    let broker = broker(1);
    fill(&broker, 0, 0..10);
    let recording = Recording::new("damaged");
    stdout(&consume(&broker, &["-t", "t", "-e", "--record", recording.path()]));
    let mut bytes = fs::read(&recording.0).unwrap();
    bytes[40] ^= 1;
    fs::write(&recording.0, &bytes).unwrap();
    let damaged = recording.replay();
    assert_eq!(damaged.status.code(), Some(2));
    assert!(
        stderr(&damaged).contains("at byte 10: the CRC of a block does not match"),
        "{}",
        stderr(&damaged)
    );
    fs::write(&recording.0, "records").unwrap();
    let none = recording.replay();
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("no recording of millstream"), "{}", stderr(&none));
    assert_eq!(Recording::new("absent").replay().status.code(), Some(2));
    let unnamed = millstream(&["replay"]).output().unwrap();
    assert_eq!(unnamed.status.code(), Some(2));
    assert!(stderr(&unnamed).contains("no recording is named"), "{}", stderr(&unnamed));
}

#[test]
fn a_recording_of_something_else_ends_with_1_and_the_first_difference() {
    let broker = broker(1);
    fill(&broker, 0, 0..10);
    let recording = Recording::new("changed");
    let arguments = ["-t", "t", "-e", "-X", "check.crcs=false", "--record", recording.path()];
    stdout(&consume(&broker, &arguments));
    let mut bytes = fs::read(&recording.0).unwrap();
    let at = bytes.windows(3).position(|window| window == b"0-7").expect("it was recorded");
    bytes[at] = b'9';
    repair(&mut bytes);
    fs::write(&recording.0, &bytes).unwrap();
    let changed = recording.replay();
    assert_eq!(changed.status.code(), Some(1));
    assert!(stderr(&changed).contains("it is not the same: shard 0, "), "{}", stderr(&changed));
    assert!(!String::from_utf8_lossy(&changed.stdout).contains("the same"));
}

#[test]
fn what_a_killed_process_has_recorded_is_replayed_up_to_its_last_whole_block() {
    let broker = broker(1);
    fill(&broker, 0, 0..500);
    let recording = Recording::new("killed");
    let brokers = broker.bootstrap();
    let mut child =
        millstream(&["consume", "-b", &brokers, "-t", "t", "-c", "1000", "-q", "--record", recording.path()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
    // The block with the records is there once it is in the file, whenever that is.
    let value = b"0-499";
    wait_until("the last record is in the file", || {
        let bytes = fs::read(&recording.0).ok()?;
        bytes.windows(value.len()).any(|window| window == value).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let page = stdout(&recording.replay());
    assert!(page.contains("the file is cut off at byte ") && page.ends_with("\nthe same\n"), "{page}");
}

/// Makes the CRCs of all blocks right again.
fn repair(bytes: &mut [u8]) {
    let mut at = 10;
    while at < bytes.len() {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let crc = millstream_protocol::record::crc32c(&bytes[at + 12..at + 12 + length]);
        bytes[at + 8..at + 12].copy_from_slice(&crc.to_be_bytes());
        at += 12 + length;
    }
}
