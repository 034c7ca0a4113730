//! A Tokio runtime, which runs the futures of records.

use std::future::Future;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::Submit;
use crate::error::BoxError;
use crate::handler::{Ack, OwnedRecord};

/// A Tokio runtime; see [`Offload::tokio`](super::Offload::tokio).
#[derive(Clone, Debug)]
pub struct Tokio {
    runtime: Handle,
}

impl Tokio {
    pub(super) fn on(runtime: Handle) -> Self {
        Self { runtime }
    }

    pub(super) fn working<F, T, E>(&self, work: F) -> Arc<dyn Submit>
    where
        F: Fn(OwnedRecord) -> T + Send + Sync + 'static,
        T: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        Arc::new(Working { runtime: self.runtime.clone(), work })
    }
}

struct Working<F> {
    runtime: Handle,
    work: F,
}

impl<F, T, E> Submit for Working<F>
where
    F: Fn(OwnedRecord) -> T + Send + Sync,
    T: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<BoxError>,
{
    fn submit(&self, record: OwnedRecord, ack: Ack) {
        let working = (self.work)(record);
        // Should it panic, or the runtime shut down, the acknowledgement is dropped, and that fails the partition.
        self.runtime.spawn(async move {
            match working.await {
                Ok(()) => ack.done(),
                Err(error) => ack.fail(error),
            }
        });
    }
}
