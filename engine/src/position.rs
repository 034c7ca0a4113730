//! Where a partition's consumption starts.

use std::fmt;

/// Where to start in a partition.
///
/// ```
/// use millstream::StartPosition;
/// assert_eq!(StartPosition::default(), StartPosition::Committed);
/// assert_eq!(StartPosition::FromEnd(10).to_string(), "10 before the end");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartPosition {
    /// The group's committed offset; where there is none, `auto.offset.reset` decides.
    #[default]
    Committed,
    /// The first offset in the log.
    Earliest,
    /// The end of the log: the high watermark, or the last stable offset under `read_committed`.
    Latest,
    /// This offset.
    Offset(i64),
    /// The first record whose timestamp is at least this, milliseconds since the epoch; the end where there is none.
    Timestamp(i64),
    /// So many offsets before the end, but not before the first offset in the log.
    FromEnd(i64),
}

impl fmt::Display for StartPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed => f.write_str("the committed offset"),
            Self::Earliest => f.write_str("the earliest offset"),
            Self::Latest => f.write_str("the latest offset"),
            Self::Offset(offset) => write!(f, "offset {offset}"),
            Self::Timestamp(ms) => write!(f, "timestamp {ms} ms"),
            Self::FromEnd(back) => write!(f, "{back} before the end"),
        }
    }
}
