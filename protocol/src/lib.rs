//! Kafka's consumer protocol without IO.
//!
//! Bytes and time come in, bytes, events and the next deadline go out: no sockets, no clock, no threads. Whatever a
//! broker sends is untrusted: it is answered by an error that says what is wrong and where, never by a panic, and no
//! length off the wire decides how much is allocated.
//!
//! - [`request`]: frames, headers, versions, and the requests of the control plane.
//! - [`fetch`]: Fetch requests written into a kept buffer, responses walked in place, incremental sessions.
//! - [`record`]: record batches and records viewed where they lie, and the codecs.
//! - [`group`]: membership in a consumer group as a state machine, and assignors.
//! - [`backoff`]: how long to wait before the next try.
//!
//! Reading allocates nothing once buffers have grown:
//!
//! ```
//! use millstream_protocol::record::{NewRecord, RecordBatchBuilder, RecordBatches};
//!
//! let mut builder = RecordBatchBuilder::new(42);
//! builder.append(&NewRecord { value: Some(b"hello"), ..NewRecord::default() });
//! let received = builder.finish()?;
//!
//! for batch in RecordBatches::new(&received) {
//!     let batch = batch?;
//!     batch.verify_crc()?;
//!     // A compressed batch goes through a `Decompressor` first.
//!     for record in &batch.records().ok_or("compressed")? {
//!         let record = record?;
//!         assert_eq!((record.offset, record.value), (42, Some(&b"hello"[..])));
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod backoff;
pub mod fetch;
pub mod group;
pub mod record;
pub mod request;
