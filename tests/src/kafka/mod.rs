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
mod error;
mod jars;
mod process;
mod scratch;
mod topics;

pub use client::Client;
pub use cluster::KafkaCluster;
pub use config::{DEFAULT_VERSION, Spec};
pub use error::{Error, Result};
pub use jars::Jars;
pub use topics::PartitionInfo;

use std::io::Write;

/// The cluster that `spec` asks for, or `None` after saying on stderr why this machine cannot start it.
///
/// # Panics
/// If Kafka is available but does not start, and with `CI=true` if it is not available.
pub fn start_or_explain(spec: Spec) -> Option<KafkaCluster> {
    available_or_explain(KafkaCluster::start(spec))
}

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

/// Starts the cluster of a [`Spec`], or returns from the test when this machine cannot.
#[macro_export]
macro_rules! require_kafka {
    ($spec:expr) => {
        match $crate::kafka::start_or_explain($spec) {
            Some(cluster) => cluster,
            None => return,
        }
    };
}
