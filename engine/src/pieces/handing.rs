//! Record batches as a handler is given them, without a shard.

use std::sync::Arc;
use std::time::Instant;

use millstream_protocol::record::RecordBatches;

use crate::handler::{Batch, BatchProgress, Segment};
use crate::link::Topic;
use crate::shard::open_batch;

/// Record batches that are checked and opened, to be handed out as one dispatch, again and again.
#[derive(Debug)]
pub struct Handing {
    topic: Arc<Topic>,
    position: i64,
    segments: Vec<Segment>,
}

impl Handing {
    /// Opens record batches that lie behind each other.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub fn new(batches: &[u8]) -> Result<Self, String> {
        let mut segments = Vec::new();
        for batch in RecordBatches::new(batches) {
            let batch = batch.map_err(|error| error.to_string())?;
            let open = open_batch(batch.bytes(), batch.base_offset()..batch.next_offset(), Instant::now())?;
            segments.push(Segment { count: open.cursor.remaining(), batch: open });
        }
        let position = segments.first().and_then(Segment::first_offset).unwrap_or_default();
        let topic = Arc::new(Topic { name: "handed out".into(), id: [0; 16] });
        Ok(Self { topic, position, segments })
    }

    /// Hands them out, and walks what the handler has left unwalked, as a dispatch does.
    #[inline]
    pub fn hand_to(&self, handler: impl FnOnce(&Batch<'_>)) {
        let progress = BatchProgress::new(self.position);
        let batch = Batch::new(&self.topic, 0, self.position, &self.segments, &progress);
        handler(&batch);
        batch.walk_rest();
    }
}
