//! What a partition remembers of each producer id, so that a batch sent again is not appended again.

use std::collections::VecDeque;

use kafka_protocol::ResponseError;

use super::batch::BatchHeader;

/// Batches of a producer that are recognised when they come again, as in Kafka.
const REMEMBERED_BATCHES: usize = 5;

/// One producer's state on one partition.
#[derive(Debug, Default)]
pub(crate) struct ProducerState {
    epoch: i16,
    recent: VecDeque<Remembered>,
}

#[derive(Debug, Clone, Copy)]
struct Remembered {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

/// What to do with a batch of an idempotent producer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Append,
    /// It was appended before, at this offset.
    Duplicate(i64),
}

impl ProducerState {
    /// Checks epoch and sequence of a batch against what came before.
    pub(crate) fn check(&self, header: &BatchHeader) -> Result<Verdict, ResponseError> {
        if header.producer_epoch < self.epoch {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        let last_sequence = sequence_after(header.base_sequence, header.last_offset_delta);
        let same = |known: &&Remembered| {
            known.first_sequence == header.base_sequence && known.last_sequence == last_sequence
        };
        if header.producer_epoch > self.epoch {
            let starts_anew = header.base_sequence == 0;
            return if starts_anew {
                Ok(Verdict::Append)
            } else {
                Err(ResponseError::OutOfOrderSequenceNumber)
            };
        }
        if let Some(known) = self.recent.iter().find(same) {
            return Ok(Verdict::Duplicate(known.base_offset));
        }
        match self.recent.back() {
            Some(last) if sequence_after(last.last_sequence, 1) != header.base_sequence => {
                Err(ResponseError::OutOfOrderSequenceNumber)
            }
            _ => Ok(Verdict::Append),
        }
    }

    /// Refuses older epochs from now on, as the marker of a newer one makes a partition do.
    pub(crate) fn fence(&mut self, epoch: i16) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.recent.clear();
        }
    }

    /// Notes a batch that was appended.
    pub(crate) fn note(&mut self, header: &BatchHeader, base_offset: i64) {
        if header.producer_epoch != self.epoch {
            self.epoch = header.producer_epoch;
            self.recent.clear();
        }
        if self.recent.len() == REMEMBERED_BATCHES {
            self.recent.pop_front();
        }
        self.recent.push_back(Remembered {
            first_sequence: header.base_sequence,
            last_sequence: sequence_after(header.base_sequence, header.last_offset_delta),
            base_offset,
        });
    }
}

/// Sequences wrap from `i32::MAX` to 0.
fn sequence_after(sequence: i32, steps: i32) -> i32 {
    let wrapped = (i64::from(sequence) + i64::from(steps)) % (i64::from(i32::MAX) + 1);
    i32::try_from(wrapped).unwrap_or(-1)
}
