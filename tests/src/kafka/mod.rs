//! Real Apache Kafka for tests: clusters started from Maven Central jars, and Kafka's own Java clients.
//!
//! A test starts with [`require_kafka!`](crate::require_kafka), which skips it (or, with `CI=true`, fails it) on
//! a machine without Java or Maven:
//!
//! ```no_run
//! use millstream_tests::kafka::Spec;
//!
//! fn counts_what_java_wrote() {
//!     let kafka = millstream_tests::require_kafka!(Spec::new());
//!     kafka.create_topic("orders", 4, &[]).unwrap();
//!     println!("brokers at {}", kafka.bootstrap());
//! }
//! ```

mod client;
mod cluster;
mod config;
mod consume;
mod coordinator;
pub(crate) mod dialogue;
mod error;
mod groups;
mod jars;
mod leaders;
mod member;
mod process;
mod produce;
mod scratch;
mod tally;
mod tools;
mod topics;

pub use client::Client;
pub use cluster::KafkaCluster;
pub use config::{DEFAULT_VERSION, Spec, rack};
pub use consume::{Consume, Consumed, ConsumedPartition, GroupRead};
pub use coordinator::GroupDescription;
pub use error::{Error, Result};
pub use groups::GroupRow;
pub use jars::Jars;
pub use member::{Member, MemberEvent, OwnedPartition};
pub use produce::{Produce, Produced, Written};
pub use tally::{SeenRecord, Tally};
pub use tools::JavaTools;
pub use topics::{COMPACTED, PartitionInfo};

use std::io::Write;

/// The value, or `None` after saying on stderr why this machine cannot run Kafka's tools.
///
/// # Panics
/// On any other error, and with `CI=true` on that one too.
pub fn available_or_explain<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error @ Error::Unavailable(_)) if std::env::var("CI").as_deref() != Ok("true") => {
            // Straight to the file: a skipped test passes, and the test harness hides what passing tests print.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The value of a fixture's `Result`, or a return from the test when this machine cannot run Kafka or its tools.
#[macro_export]
macro_rules! require {
    ($result:expr) => {
        match $crate::kafka::available_or_explain($result) {
            Some(value) => value,
            None => return,
        }
    };
}

/// Starts the cluster that a [`Spec`](crate::kafka::Spec) describes, or returns from the test when this machine cannot.
#[macro_export]
macro_rules! require_kafka {
    ($spec:expr) => {
        $crate::require!($crate::kafka::KafkaCluster::start($spec))
    };
}
