//! The test broker in a process of its own, seen from the outside.

use super::helper::Helper;
use super::{Error, Offer};
use crate::workload::Workload;

/// The line that asks for a fresh topic.
pub(super) const RENEW: &str = "renew";

/// The broker's process.
pub(super) struct Replay {
    helper: Helper,
    core: Option<usize>,
    is_live: bool,
}

impl Replay {
    pub(super) fn start(workload: &Workload, core: Option<usize>) -> Result<(Self, Offer), Error> {
        let json = serde_json::to_string(workload)
            .map_err(|error| Error::Io { what: "writing the workload", source: error.into() })?;
        let mut helper = Helper::start("replay", &["replay", &json], core)?;
        let offer = helper.answer()?;
        Ok((Self { helper, core, is_live: workload.live.is_some() }, offer))
    }

    pub(super) fn renew(&mut self, offer: &Offer) -> Result<Offer, Error> {
        if !self.is_live {
            return Ok(offer.clone());
        }
        self.helper.tell(RENEW)?;
        self.helper.answer()
    }

    pub(super) fn description(&self) -> String {
        let place = self.core.map_or("unpinned".to_owned(), |core| format!("on core {core}"));
        format!("replay: Millstream's test broker {}, from memory, {place}", env!("CARGO_PKG_VERSION"))
    }
}
