//! The order of runs: contents compared first, one pass of each discarded, then turn by turn.

use super::{Contender, Error};
use crate::contract::{Outcome, Request};

/// Who is compared with whom, and how often.
pub struct Plan {
    /// The clients in the order of their turns; ratios are of the first one to each of the others.
    pub contenders: Vec<Contender>,
    /// What each of them is asked to read.
    pub request: Request,
    /// How many runs of each are counted.
    pub rounds: usize,
}

/// What was measured. Every round has one run of each contender, in the plan's order.
pub struct Rounds {
    /// With checksums: all read the same.
    pub compared: Vec<Outcome>,
    /// The counted runs.
    pub counted: Vec<Vec<Outcome>>,
}

impl Plan {
    /// Runs everything; `progress` is told about each run.
    ///
    /// # Errors
    /// If a run fails, or not all read the same.
    pub fn run(&self, mut progress: impl FnMut(&str, &Contender, &Outcome)) -> Result<Rounds, Error> {
        let compared = self.round("checksum", true, &mut progress)?;
        // The first pass over data that lay idle can be many times slower than the next ones.
        self.round("discarded", false, &mut progress)?;
        let mut counted = Vec::new();
        for round in 1..=self.rounds {
            counted.push(self.round(&format!("round {round}"), false, &mut progress)?);
        }
        Ok(Rounds { compared, counted })
    }

    fn round(
        &self,
        label: &str,
        checksum: bool,
        progress: &mut impl FnMut(&str, &Contender, &Outcome),
    ) -> Result<Vec<Outcome>, Error> {
        let request = Request { checksum, ..self.request.clone() };
        let mut round: Vec<Outcome> = Vec::with_capacity(self.contenders.len());
        for contender in &self.contenders {
            let run = contender.run(&request)?;
            progress(label, contender, &run);
            let first = round.first().unwrap_or(&run);
            if run.contents() != first.contents() || (checksum && run.checksum.is_none()) {
                return Err(Error::Different {
                    first: format!("{} {:?}", self.contenders[0].name, first.contents()),
                    second: format!("{} {:?}", contender.name, run.contents()),
                });
            }
            round.push(run);
        }
        Ok(round)
    }
}
