//! The batch interface of librdkafka, as far as the comparison needs it: safe wrappers, nothing between it and C.

use std::ffi::{CStr, CString, c_char};
use std::marker::PhantomData;
use std::ptr;
use std::slice;
use std::time::Duration;

use rdkafka_sys as rd;
use rdkafka_sys::RDKafkaRespErr as Code;

const ANSWER_TIMEOUT_MS: i32 = 30_000;
const ERROR_BYTES: usize = 512;
/// Flag of `rd_kafka_destroy_flags`: do not leave the group first; there is none.
const NO_CONSUMER_CLOSE: i32 = 0x8;

/// What librdkafka refused.
#[derive(Debug, thiserror::Error)]
#[error("librdkafka: {what}: {message}")]
pub struct Error {
    what: String,
    message: String,
}

/// A consumer without a group: partitions are assigned by hand.
pub struct Consumer {
    client: *mut rd::rd_kafka_t,
    queue: *mut rd::rd_kafka_queue_t,
}

/// Room for messages, used again for each poll.
pub struct Batch {
    messages: Vec<*mut rd::rd_kafka_message_t>,
    filled: usize,
}

/// What a batch holds.
pub enum Event<'a> {
    /// A record.
    Record(Record<'a>),
    /// The end of a partition was reached.
    EndOfPartition {
        /// The partition.
        partition: i32,
        /// The offset that the next record will have.
        offset: i64,
    },
    /// Anything else; it ends the run.
    Failed(Error),
}

/// A record that lives in librdkafka's memory until its batch is polled into again.
pub struct Record<'a> {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The size of its key in bytes.
    pub key_len: usize,
    /// Its value.
    pub value: Option<&'a [u8]>,
    batch: PhantomData<&'a Batch>,
}

/// The version of librdkafka that is linked.
pub fn version() -> String {
    // SAFETY: the function returns a static string.
    unsafe { text(rd::rd_kafka_version_str()) }
}

impl Consumer {
    /// A consumer with these properties.
    ///
    /// # Errors
    /// If librdkafka refuses one.
    pub fn new(properties: &[(String, String)]) -> Result<Self, Error> {
        let mut message = [0 as c_char; ERROR_BYTES];
        // SAFETY: the configuration is new and ours until rd_kafka_new takes it; on failure it stays ours and is
        // destroyed. The message buffer is as long as it is said to be and ends with a zero.
        unsafe {
            let conf = rd::rd_kafka_conf_new();
            for (name, value) in properties {
                if let Err(error) = set(conf, name, value) {
                    rd::rd_kafka_conf_destroy(conf);
                    return Err(error);
                }
            }
            let kind = rd::rd_kafka_type_t::RD_KAFKA_CONSUMER;
            let client = rd::rd_kafka_new(kind, conf, message.as_mut_ptr(), message.len());
            if client.is_null() {
                rd::rd_kafka_conf_destroy(conf);
                return Err(Error { what: "creating a consumer".into(), message: text(message.as_ptr()) });
            }
            // Everything, records included, comes through one queue.
            rd::rd_kafka_poll_set_consumer(client);
            let queue = rd::rd_kafka_queue_get_consumer(client);
            Ok(Self { client, queue })
        }
    }

    /// The partitions of a topic.
    ///
    /// # Errors
    /// If it does not exist, or no broker answers.
    pub fn partitions(&self, topic: &str) -> Result<Vec<i32>, Error> {
        let what = || format!("metadata of topic {topic}");
        let name = c_string(topic)?;
        let mut metadata: *const rd::rd_kafka_metadata = ptr::null();
        // SAFETY: the client lives; the topic handle is destroyed after its one use; on success the metadata is a
        // valid structure whose arrays have the lengths beside them, until it is destroyed at the end.
        unsafe {
            let handle = rd::rd_kafka_topic_new(self.client, name.as_ptr(), ptr::null_mut());
            let code = rd::rd_kafka_metadata(self.client, 0, handle, &mut metadata, ANSWER_TIMEOUT_MS);
            rd::rd_kafka_topic_destroy(handle);
            check(what, code)?;
            let topics = slice::from_raw_parts((*metadata).topics, (*metadata).topic_cnt as usize);
            let partitions = match topics {
                [one] => check(what, one.err).map(|()| {
                    let all = slice::from_raw_parts(one.partitions, one.partition_cnt as usize);
                    all.iter().map(|partition| partition.id).collect()
                }),
                _ => Err(Error { what: what(), message: format!("{} topics came back", topics.len()) }),
            };
            rd::rd_kafka_metadata_destroy(metadata);
            partitions
        }
    }

    /// The first offset of a partition and its end, asked of the broker.
    ///
    /// # Errors
    /// If no broker answers.
    pub fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64), Error> {
        let name = c_string(topic)?;
        let (mut low, mut high) = (0, 0);
        // SAFETY: the client and the name live, and both results are written before the call returns.
        let code = unsafe {
            rd::rd_kafka_query_watermark_offsets(
                self.client,
                name.as_ptr(),
                partition,
                &mut low,
                &mut high,
                ANSWER_TIMEOUT_MS,
            )
        };
        check(|| format!("offsets of {topic}/{partition}"), code)?;
        Ok((low, high))
    }

    /// Starts consuming partitions from their beginning.
    ///
    /// # Errors
    /// If librdkafka refuses the assignment.
    pub fn assign_from_beginning(&self, topic: &str, partitions: &[i32]) -> Result<(), Error> {
        let name = c_string(topic)?;
        // SAFETY: the list is ours from creation to destruction; each added element is valid until then.
        let code = unsafe {
            let list = rd::rd_kafka_topic_partition_list_new(partitions.len() as i32);
            for &partition in partitions {
                let added = rd::rd_kafka_topic_partition_list_add(list, name.as_ptr(), partition);
                (*added).offset = i64::from(rd::RD_KAFKA_OFFSET_BEGINNING);
            }
            let code = rd::rd_kafka_assign(self.client, list);
            rd::rd_kafka_topic_partition_list_destroy(list);
            code
        };
        check(|| format!("assigning {topic}"), code)
    }

    /// Fills the batch until it is full or the timeout has passed, and returns what it holds.
    pub fn poll_into<'a>(
        &self,
        batch: &'a mut Batch,
        timeout: Duration,
    ) -> impl Iterator<Item = Event<'a>> + use<'a> {
        batch.clear();
        // SAFETY: the queue lives, and the array has as many places as is said.
        let filled = unsafe {
            rd::rd_kafka_consume_batch_queue(
                self.queue,
                timeout.as_millis() as i32,
                batch.messages.as_mut_ptr(),
                batch.messages.len(),
            )
        };
        // -1 is an error without messages; errors that matter also come as messages.
        batch.filled = filled.max(0) as usize;
        let batch = &*batch;
        batch.messages[..batch.filled].iter().map(|&message| {
            // SAFETY: librdkafka has filled this place with a message that lives until `clear` destroys it, which
            // needs the batch mutably and so cannot happen while the event borrows it.
            event(unsafe { &*message })
        })
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // SAFETY: both are ours and used by nobody else; messages of batches keep what they need alive.
        unsafe {
            rd::rd_kafka_queue_destroy(self.queue);
            rd::rd_kafka_destroy_flags(self.client, NO_CONSUMER_CLOSE);
        }
    }
}

impl Batch {
    /// Room for this many messages.
    pub fn new(messages: usize) -> Self {
        Self { messages: vec![ptr::null_mut(); messages], filled: 0 }
    }

    /// Gives the messages back to librdkafka.
    pub fn clear(&mut self) {
        for &message in &self.messages[..self.filled] {
            // SAFETY: librdkafka filled this place, and it is destroyed once.
            unsafe { rd::rd_kafka_message_destroy(message) };
        }
        self.filled = 0;
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.clear();
    }
}

fn event(message: &rd::rd_kafka_message_t) -> Event<'_> {
    match message.err {
        Code::RD_KAFKA_RESP_ERR_NO_ERROR => {
            let value = match message.payload.is_null() {
                true => None,
                // SAFETY: librdkafka's payload is valid for its length as long as the message is.
                false => Some(unsafe { slice::from_raw_parts(message.payload.cast::<u8>(), message.len) }),
            };
            let (partition, offset, key_len) = (message.partition, message.offset, message.key_len);
            Event::Record(Record { partition, offset, key_len, value, batch: PhantomData })
        }
        Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
            Event::EndOfPartition { partition: message.partition, offset: message.offset }
        }
        code => Event::Failed(error(format!("partition {}", message.partition), code)),
    }
}

/// # Safety
/// `conf` is a live configuration.
unsafe fn set(conf: *mut rd::rd_kafka_conf_t, name: &str, value: &str) -> Result<(), Error> {
    let (c_name, c_value) = (c_string(name)?, c_string(value)?);
    let mut message = [0 as c_char; ERROR_BYTES];
    // SAFETY: by the contract of this function; strings and buffer live across the call.
    unsafe {
        let (buffer, size) = (message.as_mut_ptr(), message.len());
        match rd::rd_kafka_conf_set(conf, c_name.as_ptr(), c_value.as_ptr(), buffer, size) {
            rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => Ok(()),
            _ => Err(Error { what: format!("{name}={value}"), message: text(message.as_ptr()) }),
        }
    }
}

fn check(what: impl FnOnce() -> String, code: Code) -> Result<(), Error> {
    match code {
        Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(error(what(), code)),
    }
}

fn error(what: String, code: Code) -> Error {
    // SAFETY: the function returns a static string for every code.
    let message = unsafe { text(rd::rd_kafka_err2str(code)) };
    Error { what, message }
}

/// # Safety
/// `pointer` is a live string that ends with a zero.
unsafe fn text(pointer: *const c_char) -> String {
    // SAFETY: by the contract of this function.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

fn c_string(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|error| Error { what: format!("{text:?}"), message: error.to_string() })
}
