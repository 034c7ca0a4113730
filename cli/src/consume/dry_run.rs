//! `--dry-run`: what would be consumed where and how, without consuming.

use std::fmt::Write;

use millstream::Prepared;
use millstream::admin::{ApiVersion, ClusterDescription, describe_cluster};

use super::args::{ConsumeArgs, Mode};
use super::list;
use crate::args::print;
use crate::config::effective;
use crate::exit::Failure;

/// Asks and prints.
pub(crate) fn run(args: &ConsumeArgs, prepared: &Prepared) -> Result<(), Failure> {
    let cluster = describe_cluster(prepared.config(), Some(&args.topics))?;
    let mut page = list::brokers(&cluster);
    versions(&cluster.versions, &mut page);
    cores(prepared, &mut page);
    partitions(args, prepared, &cluster, &mut page)?;
    // A String takes every write, here and below.
    _ = writeln!(page, "{}", prepared.footprint());
    _ = writeln!(page, "configuration in force:");
    page.push_str(&effective(prepared.config(), false));
    print(&page)?;
    list::missing(&cluster.topics)
}

fn versions(versions: &[ApiVersion], page: &mut String) {
    _ = writeln!(page, "versions:");
    for api in versions {
        _ = match &api.version {
            Ok(version) => writeln!(page, "  {} {version} (known here up to {})", api.api, api.newest_known),
            Err(reason) => writeln!(page, "  {} not to be had: {reason}", api.api),
        };
    }
}

fn cores(prepared: &Prepared, page: &mut String) {
    _ = writeln!(page, "shards ({}):", prepared.core_plan_reason());
    for (shard, core) in prepared.shard_cores().iter().enumerate() {
        _ = match core {
            Some(core) => writeln!(page, "  shard {shard} on core {core}"),
            None => writeln!(page, "  shard {shard} on any core"),
        };
    }
    if let Some(core) = prepared.control_core() {
        _ = writeln!(page, "  control thread on core {core}");
    }
}

/// Partitions go one by one to the shard that has the fewest, so in turn where there is none yet.
fn partitions(
    args: &ConsumeArgs,
    prepared: &Prepared,
    cluster: &ClusterDescription,
    page: &mut String,
) -> Result<(), Failure> {
    let wanted = match &args.mode {
        Mode::Group(group) => {
            let of = match &args.pattern {
                Some(pattern) => format!("out of all topics in whose names {pattern} is found"),
                None => "out of".to_owned(),
            };
            _ = writeln!(
                page,
                "partitions: those that group {group} assigns, spread evenly over the shards, {of}"
            );
            None
        }
        Mode::Assign { partitions } => {
            _ = writeln!(page, "partitions:");
            partitions.as_ref()
        }
    };
    let shards = prepared.shard_cores().len();
    let mut placed = 0;
    for topic in &cluster.topics {
        let known = || topic.partitions.iter().map(|partition| partition.partition);
        if let Some(absent) =
            wanted.into_iter().flatten().find(|wanted| !known().any(|known| known == **wanted))
        {
            let count = topic.partitions.len();
            let problem = format!("topic {} has no partition {absent}: it has {count}", topic.name);
            return if topic.error.is_some() { Ok(()) } else { Err(Failure::Failed(problem)) };
        }
        for partition in known().filter(|known| wanted.is_none_or(|wanted| wanted.contains(known))) {
            let shard = match args.mode {
                Mode::Group(_) => String::new(),
                Mode::Assign { .. } => format!(" -> shard {}", placed % shards),
            };
            _ = writeln!(page, "  {}/{partition}{shard}", topic.name);
            placed += 1;
        }
    }
    Ok(())
}
