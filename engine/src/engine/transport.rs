//! Which transport an engine runs over: as configured, and as the host permits.

use millstream_tuning::{Host, Needs, preflight, preflight_without_ring};

use crate::config::Transport;
use crate::error::Error;
use crate::net::TransportKind;

/// The transport, and what a person should know of the host; one line each.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) transport: TransportKind,
    pub(super) warnings: Vec<String>,
}

/// Chooses, after a trial where io_uring is wanted.
///
/// # Errors
/// [`Error::Host`] where io_uring is insisted on and cannot be had; the text names the fix.
pub(super) fn choose(wanted: Transport, host: &Host, needs: Needs) -> Result<Chosen, Error> {
    let mut checked = match wanted {
        Transport::Uring | Transport::Auto => preflight(host, needs),
        Transport::Poll => preflight_without_ring(host, needs),
    };
    let refusal = checked.fatal().next().map(ToString::to_string);
    let (transport, warning) = decide(wanted, refusal)?;
    if warning.is_some() {
        // What else the trial found concerns a ring that is not used.
        checked = preflight_without_ring(host, needs);
    }
    let others = checked.problems.iter().map(ToString::to_string);
    Ok(Chosen { transport, warnings: warning.into_iter().chain(others).collect() })
}

/// The transport by what the trial said against io_uring, and the one line that tells of another choice than a user
/// would expect.
fn decide(wanted: Transport, refusal: Option<String>) -> Result<(TransportKind, Option<String>), Error> {
    match (wanted, refusal) {
        (Transport::Poll, _) => Ok((TransportKind::Poll, None)),
        (_, None) => Ok((TransportKind::Uring, None)),
        (Transport::Uring, Some(refusal)) => Err(Error::Host(format!(
            "{refusal}; or set transport=auto, which takes epoll where there is no io_uring"
        ))),
        (Transport::Auto, Some(refusal)) => Ok((
            TransportKind::Poll,
            Some(format!(
                "io_uring cannot be used, so epoll takes its place, which costs more CPU: {refusal}; or set \
                 transport=poll, which does not expect io_uring"
            )),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_epoll_where_the_trial_fails_and_says_why_in_one_line() {
        let (transport, warning) =
            decide(Transport::Auto, Some("denied; to mend it: permit it".into())).unwrap();
        assert_eq!(transport, TransportKind::Poll);
        let warning = warning.expect("a user expects io_uring");
        assert!(warning.contains("denied; to mend it: permit it") && !warning.contains('\n'), "{warning}");
        assert_eq!(decide(Transport::Auto, None).unwrap(), (TransportKind::Uring, None));
    }

    #[test]
    fn uring_is_an_error_where_the_trial_fails() {
        let error = decide(Transport::Uring, Some("denied; to mend it: permit it".into())).unwrap_err();
        assert!(
            error.to_string().contains("permit it") && error.to_string().contains("transport=auto"),
            "{error}"
        );
        assert_eq!(decide(Transport::Uring, None).unwrap(), (TransportKind::Uring, None));
    }

    #[test]
    fn poll_asks_for_no_ring_and_warns_of_none() {
        let needs = Needs { shards: 1, memory_budget_bytes: 1 << 20 };
        let chosen = choose(Transport::Poll, &Host::default(), needs).unwrap();
        assert_eq!((chosen.transport, chosen.warnings.len()), (TransportKind::Poll, 0));
    }
}
