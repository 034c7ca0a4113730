//! Which batches `read_committed` may deliver.

use super::{ControlError, ControlType, Decompressor, RecordBatch};

/// A transaction that was aborted, as a Fetch response lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AbortedTransaction {
    /// Id of the producer whose transaction it was.
    pub producer_id: i64,
    /// Offset of its first record in this partition.
    pub first_offset: i64,
}

/// What `read_committed` does with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Its records go to the handler.
    Deliver,
    /// It is a control batch: its offsets are passed, its record is shown to nobody.
    Control,
    /// It belongs to an aborted transaction: its offsets are passed.
    Aborted,
}

/// Decides under `read_committed` which batches of one partition response are delivered.
///
/// [`load`](Self::load) takes the aborted transactions of the response; then each of its batches, in order, is put to
/// [`delivery`](Self::delivery). An aborted transaction reaches from its first offset to its producer's next ABORT
/// marker. The buffer is kept from one response to the next, so nothing is allocated once it has grown.
#[derive(Debug, Clone, Default)]
pub struct AbortedFilter {
    /// Sorted by producer, then by first offset.
    transactions: Vec<Transaction>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Transaction {
    producer_id: i64,
    first_offset: i64,
    ended: bool,
}

impl AbortedFilter {
    /// A filter without aborted transactions: it delivers all batches of data.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the former response and takes the aborted transactions of the next.
    pub fn load(&mut self, aborted: impl IntoIterator<Item = AbortedTransaction>) {
        self.transactions.clear();
        self.transactions.extend(aborted.into_iter().map(|transaction| Transaction {
            producer_id: transaction.producer_id,
            first_offset: transaction.first_offset,
            ended: false,
        }));
        self.transactions.sort_unstable();
    }

    /// Says what to do with the next batch. A control batch that cannot be understood is an error: whether the
    /// transaction has ended would be a guess.
    pub fn delivery(
        &mut self,
        batch: &RecordBatch<'_>,
        decompressor: &mut Decompressor,
    ) -> Result<Delivery, ControlError> {
        let open = self.newest_begun(batch.producer_id(), batch.last_offset());
        if batch.is_control() {
            if let Some(transaction) = open
                && batch.control_type(decompressor)? == Some(ControlType::Abort)
            {
                transaction.ended = true;
            }
            return Ok(Delivery::Control);
        }
        match open {
            Some(Transaction { ended: false, .. }) if batch.is_transactional() => Ok(Delivery::Aborted),
            _ => Ok(Delivery::Deliver),
        }
    }

    /// The producer's newest aborted transaction that has begun by an offset. The older ones have ended: a producer has
    /// one transaction at a time.
    fn newest_begun(&mut self, producer_id: i64, offset: i64) -> Option<&mut Transaction> {
        let after = self
            .transactions
            .partition_point(|known| (known.producer_id, known.first_offset) <= (producer_id, offset));
        let newest = self.transactions[..after].last_mut()?;
        (newest.producer_id == producer_id).then_some(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Codec, NewRecord, RecordBatchBuilder};
    use super::*;

    const EPOCH: i16 = 0;

    fn data(offset: i64, producer_id: i64) -> RecordBatchBuilder {
        let mut builder = RecordBatchBuilder::new(offset).producer(producer_id, EPOCH, 0).transactional();
        builder.append(&NewRecord { value: Some(b"value"), ..NewRecord::default() });
        builder
    }

    fn end(offset: i64, producer_id: i64, outcome: ControlType) -> RecordBatchBuilder {
        RecordBatchBuilder::end_transaction(offset, producer_id, EPOCH, outcome, 0)
    }

    fn deliveries(aborted: &[(i64, i64)], batches: Vec<RecordBatchBuilder>) -> Vec<Delivery> {
        let mut filter = AbortedFilter::new();
        // What a former response left behind must not matter.
        filter.load([AbortedTransaction { producer_id: 7, first_offset: 0 }]);
        filter.load(
            aborted
                .iter()
                .map(|&(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset }),
        );
        let mut decompressor = Decompressor::new();
        let decide = |builder: RecordBatchBuilder| {
            let bytes = builder.finish().unwrap();
            filter.delivery(&RecordBatch::parse(&bytes).unwrap().unwrap(), &mut decompressor).unwrap()
        };
        batches.into_iter().map(decide).collect()
    }

    use Delivery::{Aborted, Control, Deliver};

    #[test]
    fn an_aborted_transaction_reaches_from_its_first_offset_to_its_abort_marker() {
        let found = deliveries(
            &[(7, 2)],
            vec![
                data(0, 7),
                end(1, 7, ControlType::Commit),
                data(2, 7),
                data(3, 8),
                data(4, 7),
                end(5, 7, ControlType::Abort),
                data(6, 7),
                end(7, 7, ControlType::Commit),
            ],
        );
        assert_eq!(found, [Deliver, Control, Aborted, Deliver, Aborted, Control, Deliver, Control]);
    }

    #[test]
    fn several_aborted_transactions_of_one_producer_are_kept_apart_in_whatever_order_they_are_listed() {
        for aborted in [[(7, 0), (7, 4)], [(7, 4), (7, 0)]] {
            let found = deliveries(
                &aborted,
                vec![
                    data(0, 7),
                    end(1, 7, ControlType::Abort),
                    data(2, 7),
                    end(3, 7, ControlType::Commit),
                    data(4, 7),
                    end(5, 7, ControlType::Abort),
                    data(6, 7),
                ],
            );
            assert_eq!(found, [Aborted, Control, Deliver, Control, Aborted, Control, Deliver]);
        }
    }

    #[test]
    fn interleaved_producers_end_only_their_own_transactions() {
        let found = deliveries(
            &[(7, 0), (8, 1)],
            vec![data(0, 7), data(1, 8), end(2, 8, ControlType::Abort), data(3, 7), data(4, 8)],
        );
        assert_eq!(found, [Aborted, Aborted, Control, Aborted, Deliver]);
    }

    #[test]
    fn batches_without_a_transaction_are_delivered_whatever_their_producer() {
        let mut idempotent = RecordBatchBuilder::new(0).producer(7, EPOCH, 0);
        idempotent.append(&NewRecord::default());
        let mut plain = RecordBatchBuilder::new(1);
        plain.append(&NewRecord::default());
        assert_eq!(deliveries(&[(7, 0)], vec![idempotent, plain]), [Deliver, Deliver]);
    }

    #[test]
    fn a_fetch_that_begins_within_an_aborted_transaction_skips_the_rest_of_it() {
        let found = deliveries(&[(7, 10)], vec![data(50, 7), end(51, 7, ControlType::Abort), data(52, 7)]);
        assert_eq!(found, [Aborted, Control, Deliver]);
    }

    #[test]
    fn a_compressed_abort_marker_is_understood() {
        for codec in Codec::ALL {
            let marker = end(1, 7, ControlType::Abort).codec(codec);
            assert_eq!(
                deliveries(&[(7, 0)], vec![data(0, 7), marker, data(2, 7)]),
                [Aborted, Control, Deliver]
            );
        }
    }

    #[test]
    fn a_control_batch_without_a_key_is_an_error_and_no_guess() {
        let mut builder = RecordBatchBuilder::new(3).producer(7, EPOCH, 0).transactional().control();
        builder.append(&NewRecord { key: Some(b"ab"), ..NewRecord::default() });
        let bytes = builder.finish().unwrap();
        let mut filter = AbortedFilter::new();
        filter.load([AbortedTransaction { producer_id: 7, first_offset: 0 }]);
        let batch = RecordBatch::parse(&bytes).unwrap().unwrap();
        let error = filter.delivery(&batch, &mut Decompressor::new()).unwrap_err();
        assert_eq!(error, ControlError::Key { offset: 3 });
    }
}
