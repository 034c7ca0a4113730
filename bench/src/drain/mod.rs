//! The limit: what it takes to get responses out of a socket and do nothing with them.
//!
//! A plain blocking loop over one connection. It negotiates versions, looks the topic up and finds its beginning as a
//! consumer does, then fetches within one incremental session: send, receive the four bytes of the length, receive the
//! rest into one buffer that serves every response. Of the records it reads the header of each batch only: it needs the
//! offset to go on from, and takes the number of records along. The next Fetch leaves right after that.
//!
//! It is no bound that nothing can beat: it touches one cache line per batch, and with [`Receive::WaitAll`] it never
//! receives while it sends. A ring, or receiving in chunks, can be cheaper.
//!
//! It counts records and nothing else: of values it prints zeros. With a checksum, which is not timed, it does walk the
//! records, so that it is known to have received what the others did.

mod fetching;
mod link;
mod setup;
mod wire;

use std::time::Instant;

use crate::contract::{Failure, Next, Outcome, Peer, Reading, Request};
use crate::workload::BatchReader;
use fetching::Fetching;
pub use link::Receive;
use wire::Wire;

/// The drain as a program that the comparison runs. It has no use for a group, CRC checks and a handler: it takes these
/// options of the contract and does without. Its own is `--receive waitall|chunks|uring|poll`.
#[derive(Debug, Default)]
pub struct Drain {
    receive: Receive,
}

impl Peer for Drain {
    fn version() -> String {
        format!("drain {}", env!("CARGO_PKG_VERSION"))
    }

    fn own_option(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<bool, lexopt::Error> {
        use lexopt::ValueExt;
        if name == "receive" {
            let how = parser.value()?.string()?;
            let known = Receive::by_name(&how);
            self.receive =
                known.ok_or_else(|| format!("--receive {how}: use waitall, chunks, uring or poll"))?;
        }
        Ok(name == "receive")
    }

    fn read(self, request: &Request, started: Instant) -> Result<Outcome, Failure> {
        let mut wire = Wire::connect(&request.bootstrap, request.idle_timeout, self.receive)?;
        let topic = setup::look_up(&mut wire, &request.topic, request.partitions)?;
        let mut fetching = Fetching::new(request, topic)?;
        fetching.make_room(&mut wire);
        let mut reader = BatchReader::default();
        let mut reading = Reading::new(request, started);
        loop {
            fetching.send(&mut wire)?;
            let records = fetching.receive(&mut wire)?;
            if records == 0 {
                reading.idle()?;
                continue;
            }
            reading.begin_batch();
            if request.checksum {
                for batches in fetching.record_batches(&wire) {
                    reader.each_record(batches, |record| {
                        let headers = record.headers.map(|header| (header.key, header.value));
                        reading.tally.record(record.key, record.value, headers);
                    })?;
                }
            } else {
                reading.tally.skip(records);
            }
            match reading.end_batch()? {
                Next::More => {}
                Next::Again => fetching.restart(),
                Next::Finished => return reading.outcome(fetching.settings(&wire)),
            }
        }
    }
}
