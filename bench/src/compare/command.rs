//! The subcommand `compare`.

use std::error::Error;
use std::io::Write;

use lexopt::prelude::*;

use super::{Contender, Host, Plan, markdown};
use crate::contract::Request;

/// Each peer's name in the report, its program, and what is set for it beside the request.
const PEERS: [(&str, &str, &[&str]); 6] = [
    ("millstream", "peer_millstream", &[]),
    ("millstream-uring", "peer_millstream", &["-X", "transport=uring"]),
    ("millstream-epoll", "peer_millstream", &["-X", "transport=poll"]),
    ("millstream-caller", "peer_millstream", &["--drive", "caller"]),
    ("librdkafka-batch", "peer_rdkafka", &["--mode", "batch"]),
    ("librdkafka-single", "peer_rdkafka", &["--mode", "single"]),
];

/// Compares, and prints the result as Markdown.
///
/// # Errors
/// If an option is wrong, a peer fails, or not all read the same.
pub fn run(parser: &mut lexopt::Parser) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (mut rounds, mut core) = (5, 1);
    let mut request = Request::new("", "", 1, 1);
    let mut peers = "millstream,librdkafka-batch".to_owned();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("bootstrap") => request.bootstrap = parser.value()?.string()?,
            Long("topic") => request.topic = parser.value()?.string()?,
            Long("partitions") => request.partitions = parser.value()?.parse()?,
            Long("records") => request.records = parser.value()?.parse()?,
            Long("peers") => peers = parser.value()?.string()?,
            Long("rounds") => rounds = parser.value()?.parse()?,
            Long("core") => core = parser.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    let contenders = peers.split(',').map(|name| contender(name, core)).collect::<Result<_, _>>()?;
    let workload =
        format!("{} records of {} in {} partitions", request.records, request.topic, request.partitions);
    let plan = Plan { contenders, request, rounds };
    let rounds = plan.run(|label, contender, run| {
        let speed = run.records_per_cpu_s() / 1e6;
        // Nothing is left to do if stderr is closed.
        let _ =
            writeln!(std::io::stderr(), "{label}: {} {speed:.2} M records per CPU second", contender.name);
    })?;
    write!(std::io::stdout(), "{}", markdown(&plan, &rounds, &workload, &Host::read()))?;
    Ok(())
}

fn contender(name: &str, core: usize) -> Result<Contender, Box<dyn Error + Send + Sync>> {
    let known = PEERS.iter().find(|(peer, ..)| *peer == name);
    let (name, program, own) = known.ok_or_else(|| {
        let all: Vec<&str> = PEERS.iter().map(|(peer, ..)| *peer).collect();
        format!("{name} is no peer; there are {}", all.join(", "))
    })?;
    let program = std::env::current_exe()?.with_file_name(program);
    Ok(Contender::new(name, &program, own, core)?)
}
