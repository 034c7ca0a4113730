//! InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn and EndTxn on the wire.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse, ProducerId,
};

use super::cluster::Cluster;
use super::request::Request;
use super::transaction::ProducerIdentity;

impl Cluster {
    pub(crate) fn init_producer_id(
        &mut self,
        request: &Request,
        body: InitProducerIdRequest,
    ) -> InitProducerIdResponse {
        match self.new_identity(request, &body) {
            Ok(producer) => InitProducerIdResponse::default()
                .with_producer_id(ProducerId(producer.id))
                .with_producer_epoch(producer.epoch),
            Err(error) => InitProducerIdResponse::default()
                .with_error_code(fenced_as(error, request.api_version >= 4).code())
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1),
        }
    }

    pub(crate) fn add_partitions_to_txn(
        &mut self,
        request: &Request,
        body: AddPartitionsToTxnRequest,
    ) -> AddPartitionsToTxnResponse {
        let transactional_id = body.v3_and_below_transactional_id;
        let producer =
            ProducerIdentity { id: body.v3_and_below_producer_id.0, epoch: body.v3_and_below_producer_epoch };
        let checked = self.check_coordinator(request, &transactional_id);
        let topics = body.v3_and_below_topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|&partition| {
                let added = checked.and_then(|()| {
                    self.add_to_transaction(&transactional_id, producer, &topic.name, partition, request.now)
                });
                let error = added.err().map(|error| fenced_as(error, request.api_version >= 2));
                AddPartitionsToTxnPartitionResult::default()
                    .with_partition_index(partition)
                    .with_partition_error_code(error.map_or(0, |error| error.code()))
            });
            let partitions = partitions.collect();
            AddPartitionsToTxnTopicResult::default()
                .with_name(topic.name)
                .with_results_by_partition(partitions)
        });
        AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics.collect())
    }

    pub(crate) fn add_offsets_to_txn(
        &mut self,
        request: &Request,
        body: AddOffsetsToTxnRequest,
    ) -> AddOffsetsToTxnResponse {
        let producer = ProducerIdentity { id: body.producer_id.0, epoch: body.producer_epoch };
        let added = self.check_coordinator(request, &body.transactional_id).and_then(|()| {
            self.add_group_to_transaction(&body.transactional_id, producer, &body.group_id, request.now)
        });
        let error = added.err().map(|error| fenced_as(error, request.api_version >= 2));
        AddOffsetsToTxnResponse::default().with_error_code(error.map_or(0, |error| error.code()))
    }

    pub(crate) fn end_txn(&mut self, request: &Request, body: EndTxnRequest) -> EndTxnResponse {
        let producer = ProducerIdentity { id: body.producer_id.0, epoch: body.producer_epoch };
        let ended = self.check_coordinator(request, &body.transactional_id).and_then(|()| {
            self.end_transaction(&body.transactional_id, producer, body.committed, request.now)
        });
        let error = ended.err().map(|error| fenced_as(error, request.api_version >= 2));
        EndTxnResponse::default().with_error_code(error.map_or(0, |error| error.code()))
    }

    fn new_identity(
        &mut self,
        request: &Request,
        body: &InitProducerIdRequest,
    ) -> Result<ProducerIdentity, ResponseError> {
        if let Some(error) = request.injected_error.and_then(ResponseError::try_from_code) {
            return Err(error);
        }
        let Some(transactional_id) = &body.transactional_id else {
            return Ok(self.transactions.new_producer());
        };
        self.check_coordinator(request, transactional_id)?;
        if transactional_id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        let timeout = u64::try_from(body.transaction_timeout_ms).ok().filter(|&timeout_ms| timeout_ms > 0);
        let timeout = Duration::from_millis(timeout.ok_or(ResponseError::InvalidTransactionTimeout)?);
        let known = (body.producer_id.0 >= 0)
            .then_some(ProducerIdentity { id: body.producer_id.0, epoch: body.producer_epoch });
        self.init_transactions(transactional_id, timeout, known, request.now)
    }
}

/// Older versions call a fenced producer one with an invalid epoch.
pub(crate) fn fenced_as(error: ResponseError, knows_fenced: bool) -> ResponseError {
    match error {
        ResponseError::ProducerFenced if !knows_fenced => ResponseError::InvalidProducerEpoch,
        other => other,
    }
}
