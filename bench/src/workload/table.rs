//! The named workloads.

use millstream_protocol::record::Codec;

use super::{Burst, Consumer, Fill, Live, Workload};

/// What Kafka's producers fill a batch to unless told otherwise (`batch.size`).
const PRODUCER_DEFAULT: Fill = Fill::Bytes(16 * 1024);
/// As large as brokers take them unless told otherwise (`message.max.bytes` is 1048588).
const LARGEST: Fill = Fill::Bytes(1_000_000);
const PARTITIONS: u32 = 4;

/// The workload of this name.
pub fn by_name(name: &str) -> Option<Workload> {
    all().into_iter().find(|workload| workload.name == name)
}

/// Those of the main table: small, middling and large values, and every codec.
pub fn main() -> Vec<Workload> {
    let mut workloads =
        vec![named("16b", 16, 8_000_000), named("100b", 100, 5_000_000), named("1000b", 1_000, 600_000)];
    workloads.extend([Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd].map(compressed));
    workloads
}

/// All of them.
pub fn all() -> Vec<Workload> {
    let mut workloads = main();
    workloads.extend(shapes());
    workloads.extend(idle_partitions());
    workloads.extend(live());
    workloads.extend(consumers());
    workloads
}

/// Other records, batches and partitions.
fn shapes() -> Vec<Workload> {
    vec![
        named("10000b", 10_000, 60_000),
        Workload { keyed: true, ..named("keyed", 100, 3_000_000) },
        Workload { fill: Fill::Records(1), ..named("batches-of-1", 100, 400_000) },
        Workload { fill: Fill::Records(100), ..named("batches-of-100", 100, 5_000_000) },
        Workload { fill: LARGEST, ..named("batches-of-1mb", 100, 5_000_000) },
        spread("1-partition", 1, 1),
        spread("64-partitions", 64, 64),
    ]
}

fn idle_partitions() -> Vec<Workload> {
    [10, 100, 1_000, 10_000].map(|all| spread(&format!("1-of-{all}"), all, 1)).to_vec()
}

fn live() -> Vec<Workload> {
    let rate = |records_per_s, for_ms| Live { records_per_s, for_ms, burst: None };
    let burst = Burst { at_ms: 2_000, for_ms: 200, factor: 20 };
    vec![
        Workload { live: Some(rate(1_000, 5_000)), ..named("trickle", 100, 0) },
        Workload { live: Some(Live { burst: Some(burst), ..rate(10_000, 4_000) }), ..named("burst", 100, 0) },
        Workload { live: Some(rate(10_000, 3_000)), ..spread("catch-up-beside-live", 64, 64) },
    ]
}

fn consumers() -> Vec<Workload> {
    let asked = |name: &str, records, consumer| Workload { consumer, ..named(name, 100, records) };
    let plain = Consumer::default();
    let slow = Consumer { handler_ns: 20_000, slow_partition: Some(0), ..plain };
    vec![
        asked("group", 5_000_000, Consumer { commit_interval_ms: Some(1_000), ..plain }),
        asked("handler-1us", 1_000_000, Consumer { handler_ns: 1_000, ..plain }),
        asked("handler-50us", 40_000, Consumer { handler_ns: 50_000, ..plain }),
        Workload { consumer: slow, ..spread("slow-lane-of-64", 64, 64).with_preloaded(2_000_000) },
        Workload { round_trip_us: Some(500), ..named("round-trip-500us", 100, 5_000_000) },
        asked("unpinned-2-cpus", 5_000_000, Consumer { unpinned_cpus: Some(2), ..plain }),
    ]
}

fn named(name: &str, value_bytes: usize, records: u64) -> Workload {
    Workload {
        name: name.to_owned(),
        value_bytes,
        keyed: false,
        fill: PRODUCER_DEFAULT,
        codec: Codec::None,
        partitions: PARTITIONS,
        active_partitions: PARTITIONS,
        preloaded: records,
        live: None,
        round_trip_us: None,
        consumer: Consumer::default(),
    }
}

fn compressed(codec: Codec) -> Workload {
    Workload { codec, ..named(&format!("100b-{codec}"), 100, 5_000_000) }
}

fn spread(name: &str, partitions: u32, active_partitions: u32) -> Workload {
    Workload { partitions, active_partitions, ..named(name, 100, 5_000_000) }
}
