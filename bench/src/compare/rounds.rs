//! The order of runs: contents compared first, one pass of each discarded, then turn by turn.

use crate::contract::{Contents, Outcome};

use super::Error;

/// A turn that counts goes on until it took so much CPU time: what is over in a tenth of a second is told from noise
/// by its mean.
const TURN_CPU_S: f64 = 0.5;
/// Or so much time: one that waits for its records gains little by another run.
const TURN_WALL_S: f64 = 3.0;
/// So many runs in a turn at most.
const RUNS_PER_TURN_MAX: usize = 5;

/// One who takes turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Its name.
    pub name: String,
    /// Whether it looks at values when it is timed; one that does not can only be asked how many records there were.
    pub looks_at_values: bool,
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Contents are compared by checksum. Not timed.
    Check,
    /// The first pass over data that lay idle can be many times slower than the next ones.
    Discarded,
    /// It counts.
    Counted,
}

/// What came of all runs, by the order in which turns were taken.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Course {
    /// The counted runs of each, one per round.
    pub counted: Vec<Vec<Outcome>>,
    /// Why one did not get through; whoever fails once takes no further part.
    pub failed: Vec<Option<String>>,
}

/// Has all take turns: one round with checksums, one that is discarded, and then `rounds` that count.
///
/// # Errors
/// If one reads anything else than `truth`: comparing its speed would mean nothing.
pub fn take_turns(
    turns: &[Turn],
    rounds: usize,
    truth: &Contents,
    run: &mut dyn FnMut(usize, Pass) -> Result<Outcome, Error>,
) -> Result<Course, Error> {
    let mut course = Course { counted: vec![Vec::new(); turns.len()], failed: vec![None; turns.len()] };
    let passes = [Pass::Check, Pass::Discarded].into_iter().chain(std::iter::repeat_n(Pass::Counted, rounds));
    for pass in passes {
        for (index, turn) in turns.iter().enumerate() {
            if course.failed[index].is_some() {
                continue;
            }
            match take_turn(turn, pass, truth, &mut || run(index, pass))? {
                Ok(outcome) if pass == Pass::Counted => course.counted[index].push(outcome),
                Ok(_) => {}
                Err(reason) => course.failed[index] = Some(reason),
            }
        }
    }
    Ok(course)
}

/// The mean of as many runs as a turn has, or why one failed.
fn take_turn(
    turn: &Turn,
    pass: Pass,
    truth: &Contents,
    run: &mut dyn FnMut() -> Result<Outcome, Error>,
) -> Result<Result<Outcome, String>, Error> {
    let runs_max = if pass == Pass::Counted { RUNS_PER_TURN_MAX } else { 1 };
    let mut runs: Vec<Outcome> = Vec::new();
    loop {
        match run() {
            Ok(outcome) => {
                compare(turn, pass, &outcome, truth)?;
                runs.push(outcome);
            }
            Err(error) => return Ok(Err(error.to_string())),
        }
        let took = |of: fn(&Outcome) -> f64| runs.iter().map(of).sum::<f64>();
        let is_long = took(|run| run.cpu_s) >= TURN_CPU_S || took(|run| run.wall_s) >= TURN_WALL_S;
        if runs.len() == runs_max || is_long {
            return Ok(mean(runs).ok_or_else(|| "had no run".to_owned()));
        }
    }
}

/// One run that stands for several over the same records: means of times, the largest of memory.
fn mean(runs: Vec<Outcome>) -> Option<Outcome> {
    let mean = |of: fn(&Outcome) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
    let outcome = Outcome {
        wall_s: mean(|run| run.wall_s),
        cpu_s: mean(|run| run.cpu_s),
        host_cpu_s: mean(|run| run.host_cpu_s),
        first_record_ms: mean(|run| run.first_record_ms),
        max_rss_kb: runs.iter().map(|run| run.max_rss_kb).max()?,
        ..runs.last()?.clone()
    };
    Some(outcome)
}

fn compare(turn: &Turn, pass: Pass, outcome: &Outcome, truth: &Contents) -> Result<(), Error> {
    let read = outcome.contents();
    let wanted = match pass {
        Pass::Check => *truth,
        _ if turn.looks_at_values => Contents { checksum: None, ..*truth },
        _ => Contents { records: truth.records, ..read },
    };
    if read == wanted {
        return Ok(());
    }
    Err(Error::Different { name: turn.name.clone(), read: Box::new(read), wanted: Box::new(wanted) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH: Contents =
        Contents { records: 10, bytes: 100, value_bytes: 90, first_byte_sum: 5, checksum: Some(77) };

    fn outcome(contents: Contents) -> Outcome {
        let Contents { records, bytes, value_bytes, first_byte_sum, checksum } = contents;
        Outcome {
            records,
            bytes,
            value_bytes,
            first_byte_sum,
            checksum,
            wall_s: 1.0,
            cpu_s: 1.0,
            host_cpu_s: 1.0,
            first_record_ms: 1.0,
            max_rss_kb: 1,
            settings: Default::default(),
        }
    }

    fn right(pass: Pass) -> Outcome {
        outcome(Contents { checksum: TRUTH.checksum.filter(|_| pass == Pass::Check), ..TRUTH })
    }

    fn turns() -> [Turn; 2] {
        [("a", true), ("b", false)]
            .map(|(name, looks_at_values)| Turn { name: name.to_owned(), looks_at_values })
    }

    #[test]
    fn turns_alternate_after_a_check_and_a_discarded_pass() {
        let mut order = Vec::new();
        let course = take_turns(&turns(), 2, &TRUTH, &mut |index, pass| {
            order.push((index, pass));
            Ok(right(pass))
        });
        use Pass::{Check, Counted, Discarded};
        let expected =
            [Check, Discarded, Counted, Counted].into_iter().flat_map(|pass| [(0, pass), (1, pass)]);
        assert_eq!(order, expected.collect::<Vec<_>>());
        let course = course.unwrap();
        assert_eq!(course.counted.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(course.failed, [None, None]);
    }

    #[test]
    fn a_turn_of_a_fast_one_is_the_mean_of_several_runs() {
        let mut runs_of = [0, 0];
        let course = take_turns(&turns(), 1, &TRUTH, &mut |index, pass| {
            runs_of[index] += usize::from(pass == Pass::Counted);
            let cpu_s = if index == 0 { 0.04 * runs_of[0] as f64 } else { 0.5 };
            Ok(Outcome { cpu_s, wall_s: cpu_s, max_rss_kb: runs_of[index] as u64, ..right(pass) })
        });
        assert_eq!(runs_of, [RUNS_PER_TURN_MAX, 1]);
        let counted = course.unwrap().counted;
        assert!((counted[0][0].cpu_s - 0.12).abs() < 1e-9, "{:?}", counted[0]);
        assert_eq!((counted[0].len(), counted[0][0].max_rss_kb), (1, 5));
        assert_eq!(counted[1][0].cpu_s, 0.5);
    }

    #[test]
    fn every_run_of_a_turn_is_compared() {
        let mut runs = 0;
        let error = take_turns(&turns(), 1, &TRUTH, &mut |_, pass| {
            runs += usize::from(pass == Pass::Counted);
            let records = if runs == 2 { 9 } else { 10 };
            Ok(Outcome { cpu_s: 0.01, wall_s: 0.01, records, ..right(pass) })
        });
        assert!(error.is_err());
    }

    #[test]
    fn another_checksum_is_an_error_that_names_who_has_it() {
        let error = take_turns(&turns(), 1, &TRUTH, &mut |index, pass| match index {
            0 => Ok(right(pass)),
            _ => Ok(outcome(Contents { checksum: Some(78), ..TRUTH })),
        });
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("b read") && error.contains("78") && error.contains("77"), "{error}");
    }

    #[test]
    fn a_checksum_that_is_missing_is_an_error() {
        let error = take_turns(&turns(), 1, &TRUTH, &mut |_, _| Ok(right(Pass::Counted)));
        assert!(error.is_err());
    }

    #[test]
    fn a_record_less_in_a_counted_round_is_an_error() {
        for wrong in [0, 1] {
            let error = take_turns(&turns(), 1, &TRUTH, &mut |index, pass| match (pass, index == wrong) {
                (Pass::Counted, true) => Ok(outcome(Contents { records: 9, checksum: None, ..TRUTH })),
                _ => Ok(right(pass)),
            });
            assert!(error.is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_are_asked_only_of_who_looks_at_them() {
        let nothing = Contents { bytes: 0, value_bytes: 0, first_byte_sum: 0, checksum: None, ..TRUTH };
        for (index_of_nothing, is_fine) in [(0, false), (1, true)] {
            let course = take_turns(&turns(), 1, &TRUTH, &mut |index, pass| match pass {
                Pass::Counted if index == index_of_nothing => Ok(outcome(nothing)),
                _ => Ok(right(pass)),
            });
            assert_eq!(course.is_ok(), is_fine);
        }
    }

    #[test]
    fn one_that_fails_is_left_out_from_then_on_with_its_reason() {
        let mut runs_of_b = 0;
        let course = take_turns(&turns(), 3, &TRUTH, &mut |index, pass| {
            if index == 1 {
                runs_of_b += 1;
                return Err(Error::Start { program: "b".to_owned(), source: std::io::Error::other("gone") });
            }
            Ok(right(pass))
        });
        let course = course.unwrap();
        assert_eq!(runs_of_b, 1);
        assert_eq!(course.counted[0].len(), 3);
        assert!(course.failed[1].as_ref().unwrap().contains("gone"));
    }
}
