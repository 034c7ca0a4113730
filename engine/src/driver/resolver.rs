//! Host names to addresses, on a thread of its own: the system's resolver blocks, for seconds when a server is down.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::waker::Waker;
use crate::control::Endpoint;

/// Names that wait for the resolver; more are answered with an error, and tried again by whoever asked.
const QUESTIONS_MAX: usize = 256;

/// What became of a name.
pub(crate) struct Resolution {
    /// The name that was asked for.
    pub(crate) endpoint: Endpoint,
    /// Its addresses.
    pub(crate) result: io::Result<Vec<SocketAddr>>,
}

/// The asking end. Dropping it ends the thread after the name in hand.
pub(crate) struct Resolver {
    questions: SyncSender<Endpoint>,
    answers: Receiver<Resolution>,
    refused: Vec<Endpoint>,
}

impl Resolver {
    /// Starts the thread; it wakes the control thread with each answer.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(control: Waker) -> io::Result<Self> {
        let (questions, asked) = sync_channel::<Endpoint>(QUESTIONS_MAX);
        let (answer, answers) = sync_channel(QUESTIONS_MAX);
        thread::Builder::new().name("millstream-dns".to_owned()).spawn(move || {
            for endpoint in asked {
                let result = (&*endpoint.host, endpoint.port).to_socket_addrs().map(Iterator::collect);
                if answer.send(Resolution { endpoint, result }).is_err() {
                    return;
                }
                control.wake();
            }
        })?;
        Ok(Self { questions, answers, refused: Vec::new() })
    }

    /// Asks for a name.
    pub(crate) fn resolve(&mut self, endpoint: Endpoint) {
        if let Err(refused) = self.questions.try_send(endpoint) {
            let (std::sync::mpsc::TrySendError::Full(endpoint)
            | std::sync::mpsc::TrySendError::Disconnected(endpoint)) = refused;
            self.refused.push(endpoint);
        }
    }

    /// The next answer.
    pub(crate) fn next(&mut self) -> Option<Resolution> {
        if let Some(endpoint) = self.refused.pop() {
            let result = Err(io::Error::other("too many names wait for the resolver"));
            return Some(Resolution { endpoint, result });
        }
        self.answers.try_recv().ok()
    }
}
