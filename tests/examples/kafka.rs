//! Starts real Kafka for a look by hand: `kafka [VERSION [TOPIC PARTITIONS RECORDS]]`. It ends with stdin.

use std::error::Error;
use std::io::{Read, Write};
use std::time::Instant;

use millstream_tests::kafka::{DEFAULT_VERSION, JavaTools, KafkaCluster, Produce, Spec};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let version = arguments.first().map_or(DEFAULT_VERSION, String::as_str);
    let kafka = KafkaCluster::start(Spec::new().version(version))?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", kafka.bootstrap())?;
    if let [_, topic, partitions, records] = &arguments[..] {
        let what = Produce::new(topic, partitions.parse()?, records.parse()?);
        kafka.create_topic(topic, partitions.parse()?, &[])?;
        let start = Instant::now();
        let produced = JavaTools::new()?.produce(&kafka.bootstrap(), &what)?;
        writeln!(out, "{topic}: {:?} in {:.1?}", produced.committed.total, start.elapsed())?;
    }
    writeln!(out, "folder {}; close stdin to end it", kafka.folder().display())?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
