//! The ring as kernels have it that know less: what it falls back to is tested on every kernel.

use std::io;

use super::Subject;
use crate::driver::ring::{RingMode, RingTransport};
use crate::driver::socket::SocketSettings;
use crate::driver::transport::HostTransport;
use crate::driver::waker::Waker;
use crate::net::{Completion, IoOp, Transport, TransportCounters, TransportKind, Wait};

/// A ring in the mode at that place of [`RingMode::ALL`] and in no better one.
pub(super) struct OlderRing<const MODE: usize>(RingTransport);

impl<const MODE: usize> HostTransport for OlderRing<MODE> {
    fn open(settings: SocketSettings, waker: Waker) -> Result<Self, String> {
        let ring = RingTransport::within(&RingMode::ALL[MODE..], settings, waker);
        ring.map(Self).map_err(|error| error.to_string())
    }
}

impl<const MODE: usize> Subject for OlderRing<MODE> {
    const KIND: TransportKind = TransportKind::Uring;
}

impl<const MODE: usize> Transport for OlderRing<MODE> {
    fn submit(&mut self, op: IoOp) {
        self.0.submit(op);
    }

    fn wait(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.0.wait(wait, completions)
    }

    fn has_pending(&mut self) -> bool {
        self.0.has_pending()
    }

    fn has_arrived(&mut self) -> bool {
        self.0.has_arrived()
    }

    fn counters(&self) -> TransportCounters {
        self.0.counters()
    }
}
