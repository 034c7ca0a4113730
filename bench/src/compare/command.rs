//! The subcommand `compare`, from its options to its files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::build::Builder;
use super::codec::CodecTurns;
use super::comparison::{Comparison, Row, common_settings};
use super::contender::{CODEC_ALONE, CONTENDERS, Contender, DRAIN, Kind, REFERENCE};
use super::rounds::{Course, Pass, Turn, take_turns};
use super::{Absent, Host, Launch, Options, USAGE, report};
use crate::brokers::Source;
use crate::contract::{Contents, Failure, Group, Outcome, Request};
use crate::workload::{SLOW_TAG, Workload};
use millstream_protocol::record::Codec;

/// Without a record for this long a client has failed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Why one whom `--peers` leaves out is absent.
const NOT_ASKED: &str = "not asked to take part";
const COMMAND: &str = "cargo run --release -p millstream-bench --features peers -- compare";

/// Compares, and writes what came of it.
///
/// # Errors
/// If an option is wrong, a broker cannot be had, or somebody did not read what is there.
pub fn run(parser: &mut lexopt::Parser) -> Result<(), Failure> {
    let Some(options) = Options::parse(parser)? else {
        return Ok(std::io::stdout().write_all(USAGE.as_bytes())?);
    };
    fs::create_dir_all(&options.out).map_err(|error| format!("--out {}: {error}", options.out.display()))?;
    let builder = Builder::new(options.builds)?;
    let (ready, absent) = prepare(&options, &builder)?;
    let mut comparisons = Vec::new();
    let mut wrong = Vec::new();
    for workload in &options.workloads {
        say(&format!("== {}: {}", workload.name, workload.describe()));
        if let Some(comparison) = finished(&options, workload) {
            say("its results are there, made by the same command");
            comparisons.push(comparison);
            continue;
        }
        match compare(&options, &builder, workload, &ready, &absent) {
            Ok(comparison) => {
                write_all(&options.out, &comparison)?;
                comparisons.push(comparison);
            }
            Err(error) => {
                say(&format!("{}: {error}", workload.name));
                wrong.push(format!("{}: {error}", workload.name));
            }
        }
    }
    if comparisons.len() > 1 {
        let name = format!("{}-{}", options.workload_names.replace(',', "+"), kind_name(&options));
        write(
            &options.out,
            &name,
            "md",
            &report::overview(&comparisons, &command(&options, &options.workload_names)),
        )?;
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// A contender whose program is there.
struct Ready {
    contender: Contender,
    program: Vec<String>,
}

/// Builds what is missing. Programs that several share are built once.
fn prepare(options: &Options, builder: &Builder) -> Result<(Vec<Ready>, Vec<Absent>), Failure> {
    if options.builds {
        // Brokers run in it.
        builder.command(super::Program::Cargo { bin: "source", is_peer: false })?;
    }
    let (mut ready, mut absent) = (Vec::<Ready>::new(), Vec::new());
    let always = CONTENDERS.iter().filter(|contender| [REFERENCE, DRAIN].contains(&contender.name));
    for contender in CONTENDERS {
        if !options.contenders.contains(contender) && !always.clone().any(|other| other == contender) {
            absent.push(Absent { name: contender.name.to_owned(), reason: NOT_ASKED.to_owned() });
            continue;
        }
        say(&format!("getting {} ready", contender.name));
        let known = ready.iter().find(|other| other.contender.program == contender.program);
        let program = match known {
            Some(other) => Ok(other.program.clone()),
            None => builder.command(contender.program),
        };
        match program {
            Ok(program) => ready.push(Ready { contender: *contender, program }),
            Err(reason) => {
                say(&format!("{} is absent: {reason}", contender.name));
                absent.push(Absent { name: contender.name.to_owned(), reason });
            }
        }
    }
    Ok((ready, absent))
}

/// What an earlier run of the same command has left, if it is to be kept.
fn finished(options: &Options, workload: &Workload) -> Option<Comparison> {
    let path = options.out.join(format!("{}-{}.json", workload.name, kind_name(options)));
    let text = options.resumes.then(|| fs::read_to_string(path).ok())??;
    // One that cannot be read, of an older version perhaps, is made again.
    let comparison: Comparison = serde_json::from_str(&text).ok()?;
    (comparison.command == command(options, &workload.name)).then_some(comparison)
}

fn compare(
    options: &Options,
    builder: &Builder,
    workload: &Workload,
    ready: &[Ready],
    absent: &[Absent],
) -> Result<Comparison, Failure> {
    let host = Host::probe();
    let mut source = Source::start(options.broker, workload, Some(options.broker_core))?;
    let core = workload.consumer.unpinned_cpus.is_none().then_some(options.core);
    let mut absent = absent.to_vec();
    let mut lined_up = Vec::new();
    for Ready { contender, program } in ready {
        match Launch::new(program.clone(), contender.own, core) {
            Ok(launch) => lined_up.push((*contender, launch)),
            Err(error) => absent.push(Absent { name: contender.name.to_owned(), reason: error.to_string() }),
        }
    }
    let mut codec = match workload.codec {
        Codec::None => None,
        _ => Some(CodecTurns::start(builder, workload, core)),
    };
    let truth = contents(&source);
    let turns: Vec<Turn> = lined_up.iter().map(|(contender, _)| turn(contender)).collect();
    let (mut runs, mut previous, mut began) = (0, None, Instant::now());
    let course = take_turns(&turns, options.rounds, &truth, &mut |index, pass| {
        let (contender, launch) = &lined_up[index];
        if runs == lined_up.len() {
            began = Instant::now();
        } else if runs == 2 * lined_up.len() {
            let (round_s, rounds) = (began.elapsed().as_secs_f64(), options.rounds);
            say(&format!(
                "{rounds} rounds of about {round_s:.0} s follow: {:.1} min",
                expected_min(round_s, rounds)
            ));
        }
        runs += 1;
        if index == 0 && previous != Some(0) && pass != Pass::Check {
            take_codec_turn(&mut codec, pass);
        }
        previous = Some(index);
        source.renew().map_err(|error| super::Error::Broker(error.to_string()))?;
        let request = request(workload, &source, contender, core, pass, runs);
        let ran = launch.run(&request);
        match &ran {
            Ok(outcome) => say(&format!("{pass:?}: {} {}", contender.name, in_short(outcome))),
            Err(error) => say(&format!("{pass:?}: {} {error}", contender.name)),
        }
        ran
    })?;
    let mut rows = rows(workload, &source, &lined_up, core, course, &mut absent);
    if let Some(lost) = absent.iter().find(|absent| [REFERENCE, DRAIN].contains(&&*absent.name)) {
        return Err(format!("{} got not through: {}", lost.name, lost.reason).into());
    }
    match codec.map(|turns| turns.and_then(|turns| turns.row(workload))) {
        None => {}
        Some(Ok(row)) => rows.push(row),
        Some(Err(reason)) => absent.push(Absent { name: CODEC_ALONE.to_owned(), reason }),
    }
    let kind = kind_name(options);
    let mut comparison = Comparison {
        name: format!("{}-{kind}", workload.name),
        command: command(options, &workload.name),
        workload_description: workload.describe(),
        workload: workload.clone(),
        broker: source.description(),
        placement: match core {
            Some(core) => format!("every client, all of its threads, on core {core} (taskset)"),
            None => "clients on any core".to_owned(),
        },
        host,
        revision: builder.revision(),
        rounds: options.rounds,
        settings: common_settings(&request(workload, &source, &CONTENDERS[0], None, Pass::Counted, 0)),
        contents: truth.into(),
        rows,
        absent,
    };
    comparison.settle();
    Ok(comparison)
}

/// Its turn, which is at the head of each round.
fn take_codec_turn(codec: &mut Option<Result<CodecTurns, String>>, pass: Pass) {
    if let Some(Ok(turns)) = codec
        && let Err(reason) = turns.take(pass == Pass::Counted)
    {
        *codec = Some(Err(reason));
    }
}

/// Those that got through, with their runs; the others go to the absent ones.
fn rows(
    workload: &Workload,
    source: &Source,
    lined_up: &[(Contender, Launch)],
    core: Option<usize>,
    course: Course,
    absent: &mut Vec<Absent>,
) -> Vec<Row> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let root = root.canonicalize().unwrap_or(root);
    let mut rows = Vec::new();
    for (((contender, launch), mut runs), failed) in lined_up.iter().zip(course.counted).zip(course.failed) {
        if let Some(reason) = failed {
            let reason = reason.replace(&format!("{}/", root.display()), "");
            absent.push(Absent { name: contender.name.to_owned(), reason });
            continue;
        }
        let settings = runs.last_mut().map(|run| std::mem::take(&mut run.settings)).unwrap_or_default();
        runs.iter_mut().for_each(|run| run.settings.clear());
        rows.push(Row {
            name: contender.name.to_owned(),
            title: contender.title.to_owned(),
            kind: contender.kind,
            version: launch.version.clone(),
            command: launch
                .command_line(&request(workload, source, contender, core, Pass::Counted, 0), &root),
            settings,
            figures: BTreeMap::new(),
            millstream_against_it: None,
            against_librdkafka: None,
            of_the_drain: None,
            of_the_limit: None,
            runs,
        });
    }
    rows
}

fn turn(contender: &Contender) -> Turn {
    Turn { name: contender.name.to_owned(), looks_at_values: contender.kind != Kind::Limit }
}

/// Every run gets a group of its own, so that none finds what another one has committed.
fn request(
    workload: &Workload,
    source: &Source,
    contender: &Contender,
    core: Option<usize>,
    pass: Pass,
    run: usize,
) -> Request {
    let plain = Request::new(source.bootstrap(), source.topic(), workload.partitions, workload.records());
    let consumer = &workload.consumer;
    // A group goes on where it was, so it has nothing to read a second time; nor have live records.
    let can_repeat = consumer.commit_interval_ms.is_none() && workload.live.is_none();
    Request {
        checksum: pass == Pass::Check,
        group: consumer.commit_interval_ms.map(|ms| Group {
            name: format!("{}-{}-{run}", workload.name, contender.name),
            commit_interval: Duration::from_millis(ms),
        }),
        crc: contender.crc,
        handler: Duration::from_nanos(consumer.handler_ns),
        handler_tag: consumer.slow_partition.map(|_| SLOW_TAG),
        idle_timeout: IDLE_TIMEOUT,
        passes: if can_repeat { contender.passes } else { 1 },
        properties: match (contender.kind, core) {
            (Kind::Own, Some(core)) => vec![("cores".to_owned(), core.to_string())],
            _ => Vec::new(),
        },
        ..plain
    }
}

fn contents(source: &Source) -> Contents {
    let truth = source.truth();
    Contents {
        records: truth.records,
        bytes: truth.bytes,
        value_bytes: truth.value_bytes,
        first_byte_sum: truth.first_byte_sum,
        checksum: Some(truth.checksum),
    }
}

fn write_all(out: &Path, comparison: &Comparison) -> Result<(), Failure> {
    let mut json = serde_json::to_string_pretty(comparison)?;
    json.push('\n');
    write(out, &comparison.name, "json", &json)?;
    write(out, &comparison.name, "md", &report::markdown(comparison))?;
    write(out, &comparison.name, "svg", &report::svg(comparison))
}

fn write(out: &Path, name: &str, extension: &str, text: &str) -> Result<(), Failure> {
    let path: PathBuf = out.join(format!("{name}.{extension}"));
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    say(&format!("wrote {}", path.display()));
    Ok(())
}

/// The command that makes this one of the results.
fn command(options: &Options, workloads: &str) -> String {
    let others = options.command.split("--").map(str::trim).filter(|option| !option.is_empty());
    let others = others.filter(|option| !option.starts_with("workload "));
    let others: String = others.map(|option| format!(" --{option}")).collect();
    format!("{COMMAND} --workload {workloads}{others}")
}

fn expected_min(round_s: f64, rounds: usize) -> f64 {
    round_s * rounds as f64 / 60.0
}

fn kind_name(options: &Options) -> &'static str {
    match options.broker {
        crate::brokers::Kind::Replay => "replay",
        crate::brokers::Kind::Kafka => "kafka",
    }
}

fn in_short(run: &Outcome) -> String {
    let speed = run.records_per_cpu_s() / 1e6;
    format!("{speed:.2} M records per CPU second, {:.3} s of {:.3} s", run.cpu_s, run.wall_s)
}

/// Progress, and who is absent; results go to files.
fn say(line: &str) {
    // Nothing is left to do if stderr is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}
