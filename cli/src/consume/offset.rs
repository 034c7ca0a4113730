//! The offsets that `-o` takes.

use millstream::StartPosition;

/// Where to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offset {
    Beginning,
    End,
    Stored,
    At(i64),
    FromEnd(i64),
    Timestamp(i64),
}

/// One `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Argument {
    /// Start there.
    Start(Offset),
    /// Stop at the first record of this time, milliseconds since the epoch.
    StopAtTimestamp(i64),
}

impl Offset {
    /// Whether it can be said by `auto.offset.reset`.
    pub(crate) fn is_reset(self) -> bool {
        matches!(self, Self::Beginning | Self::End | Self::Stored)
    }

    /// The engine's word for it.
    pub(crate) fn start_position(self) -> StartPosition {
        match self {
            Self::Beginning => StartPosition::Earliest,
            Self::End => StartPosition::Latest,
            Self::Stored => StartPosition::Committed,
            Self::At(offset) => StartPosition::Offset(offset),
            Self::FromEnd(back) => StartPosition::FromEnd(back),
            Self::Timestamp(ms) => StartPosition::Timestamp(ms),
        }
    }
}

/// Reads an offset; the error quotes it and says what it could be.
pub(crate) fn parse(text: &str) -> Result<Argument, String> {
    let wrong = || format!("-o {text}: expected beginning, end, stored, N, -N, s@MS or e@MS");
    let number = |text: &str| -> Result<i64, String> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits).ok_or_else(wrong)
    };
    let start = match text {
        "beginning" | "earliest" => Offset::Beginning,
        "end" | "latest" => Offset::End,
        "stored" => Offset::Stored,
        text if text.starts_with("e@") => return number(&text[2..]).map(Argument::StopAtTimestamp),
        text if text.starts_with("s@") => Offset::Timestamp(number(&text[2..])?),
        text if text.starts_with('-') => Offset::FromEnd(number(&text[1..])?),
        text => Offset::At(number(text)?),
    };
    Ok(Argument::Start(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        for (text, offset) in [
            ("beginning", Offset::Beginning),
            ("end", Offset::End),
            ("stored", Offset::Stored),
            ("0", Offset::At(0)),
            ("9223372036854775807", Offset::At(i64::MAX)),
            ("-10", Offset::FromEnd(10)),
            ("s@1700000000000", Offset::Timestamp(1_700_000_000_000)),
        ] {
            assert_eq!(parse(text), Ok(Argument::Start(offset)), "{text}");
        }
        assert_eq!(parse("e@7"), Ok(Argument::StopAtTimestamp(7)));
    }

    #[test]
    fn anything_else_is_quoted_back() {
        for text in ["", "-", "--1", "+1", "s@", "s@-1", "e@x", "1e3", "9223372036854775808", "Beginning"] {
            assert!(parse(text).unwrap_err().contains(&format!("-o {text}:")), "{text}");
        }
    }
}
