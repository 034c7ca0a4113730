//! The order of runs: contents compared first, one pass of each discarded, then turn by turn.

use super::{Contender, Error};
use crate::summary::Summary;

/// Who is compared with whom, and how often.
pub struct Plan {
    /// The two, the one whose ratio is reported first.
    pub contenders: [Contender; 2],
    /// How many runs of each are counted.
    pub rounds: usize,
}

/// What was measured.
pub struct Rounds {
    /// With checksums: the two read the same.
    pub compared: [Summary; 2],
    /// The counted runs, in pairs.
    pub pairs: Vec<[Summary; 2]>,
}

impl Plan {
    /// Runs everything; `progress` is told about each run.
    ///
    /// # Errors
    /// If a run fails, or the two do not read the same.
    pub fn run(&self, mut progress: impl FnMut(&str, &Contender, &Summary)) -> Result<Rounds, Error> {
        let compared = self.pair("checksum", true, &mut progress)?;
        // The first pass over data that lay idle can be many times slower than the next ones.
        self.pair("discarded", false, &mut progress)?;
        let mut pairs = Vec::new();
        for round in 1..=self.rounds {
            pairs.push(self.pair(&format!("round {round}"), false, &mut progress)?);
        }
        Ok(Rounds { compared, pairs })
    }

    fn pair(
        &self,
        label: &str,
        checksum: bool,
        progress: &mut impl FnMut(&str, &Contender, &Summary),
    ) -> Result<[Summary; 2], Error> {
        let [a, b] = &self.contenders;
        let first = a.run(checksum)?;
        progress(label, a, &first);
        let second = b.run(checksum)?;
        progress(label, b, &second);
        let both_checked = !checksum || (first.checksum.is_some() && second.checksum.is_some());
        match first.contents() == second.contents() && both_checked {
            true => Ok([first, second]),
            false => Err(Error::Different {
                first: format!("{} {:?}", a.name, first.contents()),
                second: format!("{} {:?}", b.name, second.contents()),
            }),
        }
    }
}
