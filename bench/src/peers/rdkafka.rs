//! librdkafka's C interface, as far as the comparison needs it: safe wrappers, nothing between it and C.

use std::ffi::{CStr, CString, c_char};
use std::marker::PhantomData;
use std::ptr;
use std::slice;
use std::time::Duration;

use rdkafka_sys as rd;
use rdkafka_sys::RDKafkaRespErr as Code;

const ANSWER_TIMEOUT_MS: i32 = 30_000;
const ERROR_BYTES: usize = 512;

/// `RD_KAFKA_PARTITION_UA`, a macro in C: no certain partition.
const ALL_PARTITIONS: i32 = -1;

/// What librdkafka refused.
#[derive(Debug, thiserror::Error)]
#[error("librdkafka: {what}: {message}")]
pub struct Error {
    what: String,
    message: String,
}

/// A consumer whose partitions are assigned by hand or by its group.
pub struct Consumer {
    client: *mut rd::rd_kafka_t,
    queue: *mut rd::rd_kafka_queue_t,
}

/// Room for messages, used again for each poll.
pub struct Batch {
    messages: Vec<*mut rd::rd_kafka_message_t>,
    filled: usize,
}

/// One message, ours until it is dropped.
pub struct Message {
    message: *mut rd::rd_kafka_message_t,
}

/// A record in librdkafka's memory.
pub struct Record<'a> {
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    message: &'a rd::rd_kafka_message_t,
}

/// The headers of a record, in order: name and value.
pub struct Headers<'a> {
    list: *mut rd::rd_kafka_headers_t,
    next: usize,
    record: PhantomData<&'a rd::rd_kafka_message_t>,
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

    /// Starts consuming the partitions 0 up to `partitions` from their beginning.
    ///
    /// # Errors
    /// If no broker answers, or librdkafka refuses the assignment.
    pub fn assign_from_beginning(&self, topic: &str, partitions: u32) -> Result<(), Error> {
        self.learn_leaders(topic)?;
        let list = Partitions::from_beginning(topic, partitions)?;
        // SAFETY: client and list live, and librdkafka copies the list.
        let code = unsafe { rd::rd_kafka_assign(self.client, list.0) };
        check(|| format!("assigning {topic}"), code)
    }

    /// Waits for the metadata of a topic. A partition that is assigned before its leader is known is left alone for
    /// 500 ms, which a program that has a look at its topic first does not see.
    fn learn_leaders(&self, topic: &str) -> Result<(), Error> {
        let name = c_string(topic)?;
        let mut metadata: *const rd::rd_kafka_metadata = ptr::null();
        // SAFETY: the client lives; the topic handle is destroyed after its one use, and so is the metadata, which
        // nobody looks at, if there is any.
        let code = unsafe {
            let handle = rd::rd_kafka_topic_new(self.client, name.as_ptr(), ptr::null_mut());
            let code = rd::rd_kafka_metadata(self.client, 0, handle, &mut metadata, ANSWER_TIMEOUT_MS);
            rd::rd_kafka_topic_destroy(handle);
            if !metadata.is_null() {
                rd::rd_kafka_metadata_destroy(metadata);
            }
            code
        };
        check(|| format!("metadata of topic {topic}"), code)
    }

    /// Goes back to the beginning of partitions that are assigned.
    ///
    /// # Errors
    /// If librdkafka refuses it.
    pub fn seek_to_beginning(&self, topic: &str, partitions: u32) -> Result<(), Error> {
        let list = Partitions::from_beginning(topic, partitions)?;
        // SAFETY: client and list live; a returned error is ours, read once and destroyed.
        unsafe {
            let refused = rd::rd_kafka_seek_partitions(self.client, list.0, ANSWER_TIMEOUT_MS);
            if refused.is_null() {
                return Ok(());
            }
            let message = text(rd::rd_kafka_error_string(refused));
            rd::rd_kafka_error_destroy(refused);
            Err(Error { what: format!("seeking in {topic}"), message })
        }
    }

    /// Subscribes to a topic as a member of the group that is set.
    ///
    /// # Errors
    /// If librdkafka refuses it.
    pub fn subscribe(&self, topic: &str) -> Result<(), Error> {
        let list = Partitions::all_of(topic)?;
        // SAFETY: client and list live, and librdkafka copies the list.
        let code = unsafe { rd::rd_kafka_subscribe(self.client, list.0) };
        check(|| format!("subscribing to {topic}"), code)
    }

    /// Fills the batch until it is full or the timeout has passed, and returns what it holds.
    pub fn poll_into<'a>(
        &self,
        batch: &'a mut Batch,
        timeout: Duration,
    ) -> impl Iterator<Item = Result<Record<'a>, Error>> + use<'a> {
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
            record(unsafe { &*message })
        })
    }

    /// The next message, or none within the timeout.
    pub fn poll(&self, timeout: Duration) -> Option<Message> {
        // SAFETY: the client lives; what comes back is null or a message that is ours.
        let message = unsafe { rd::rd_kafka_consumer_poll(self.client, timeout.as_millis() as i32) };
        // Not `then_some`: what that drops would be destroyed.
        (!message.is_null()).then(|| Message { message })
    }
}

impl Message {
    /// The record that it is.
    ///
    /// # Errors
    /// What it says instead.
    pub fn record(&self) -> Result<Record<'_>, Error> {
        // SAFETY: the message is not null and ours until it is dropped, and what is returned borrows it.
        record(unsafe { &*self.message })
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: it is ours, and destroyed once.
        unsafe { rd::rd_kafka_message_destroy(self.message) };
    }
}

impl<'a> Record<'a> {
    /// Its headers, which librdkafka decodes now.
    pub fn headers(&self) -> Headers<'a> {
        let mut list = ptr::null_mut();
        // SAFETY: the message lives as long as this record; without headers the list stays null.
        unsafe { rd::rd_kafka_message_headers(self.message, &mut list) };
        Headers { list, next: 0, record: PhantomData }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.list.is_null() {
            return None;
        }
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the list belongs to a message that lives for 'a. On success the name is a string that ends with a
        // zero, and the value null or valid for its size, as long as the message is.
        unsafe {
            let code = rd::rd_kafka_header_get_all(self.list, self.next, &mut name, &mut value, &mut size);
            if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            self.next += 1;
            let value = (!value.is_null()).then(|| slice::from_raw_parts(value.cast::<u8>(), size));
            Some((CStr::from_ptr(name).to_bytes(), value))
        }
    }
}

/// A list of partitions, ours until it is dropped.
struct Partitions(*mut rd::rd_kafka_topic_partition_list_t);

impl Partitions {
    fn from_beginning(topic: &str, partitions: u32) -> Result<Self, Error> {
        let name = c_string(topic)?;
        // SAFETY: the list is ours; each added element is valid until another one is added.
        unsafe {
            let list = rd::rd_kafka_topic_partition_list_new(partitions as i32);
            for partition in 0..partitions {
                let added = rd::rd_kafka_topic_partition_list_add(list, name.as_ptr(), partition as i32);
                (*added).offset = i64::from(rd::RD_KAFKA_OFFSET_BEGINNING);
            }
            Ok(Self(list))
        }
    }

    fn all_of(topic: &str) -> Result<Self, Error> {
        let name = c_string(topic)?;
        // SAFETY: the list is ours, and the name is copied.
        unsafe {
            let list = rd::rd_kafka_topic_partition_list_new(1);
            rd::rd_kafka_topic_partition_list_add(list, name.as_ptr(), ALL_PARTITIONS);
            Ok(Self(list))
        }
    }
}

impl Drop for Partitions {
    fn drop(&mut self) {
        // SAFETY: it is ours, and destroyed once.
        unsafe { rd::rd_kafka_topic_partition_list_destroy(self.0) };
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // SAFETY: both are ours and used by nobody else; messages of batches keep what they need alive. A member of a
        // group commits and leaves, so that the next run does not wait until it is given up.
        unsafe {
            rd::rd_kafka_queue_destroy(self.queue);
            rd::rd_kafka_destroy(self.client);
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

fn record(message: &rd::rd_kafka_message_t) -> Result<Record<'_>, Error> {
    if message.err != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(error(format!("partition {}", message.partition), message.err));
    }
    // SAFETY: librdkafka's key and payload are null or valid for their lengths as long as the message is.
    let (key, value) = unsafe { (bytes(message.key, message.key_len), bytes(message.payload, message.len)) };
    Ok(Record { key, value, message })
}

/// # Safety
/// `start` is null or valid for `len` bytes as long as 'a.
unsafe fn bytes<'a>(start: *const std::ffi::c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: by the contract of this function.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), len) })
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
