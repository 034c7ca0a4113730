//! The cluster behind its lock, and who is woken when.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::core::{Cluster, ConnectionId, Output, Response};

/// What all threads of a test broker share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes the timer thread when it has to look at its deadline again.
    timer: Condvar,
    /// Wakes threads that wait for the cluster to get into some state.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    cluster: Cluster,
    mailboxes: BTreeMap<ConnectionId, Mailbox>,
    connection_threads: Vec<JoinHandle<()>>,
    /// When the timer thread looks next; `None` while it waits for a deadline to appear.
    timer_wakes_at: Option<Instant>,
    stopping: bool,
}

/// Responses on their way to one connection's thread.
#[derive(Debug)]
struct Mailbox {
    stream: Arc<TcpStream>,
    responses: VecDeque<Response>,
    arrived: Arc<Condvar>,
}

/// What a connection's thread does next.
#[derive(Debug)]
pub(super) enum Next {
    Write(Response),
    Read,
    Close,
}

impl Shared {
    pub(super) fn new(cluster: Cluster) -> Self {
        let state = State {
            cluster,
            mailboxes: BTreeMap::new(),
            connection_threads: Vec::new(),
            timer_wakes_at: None,
            stopping: false,
        };
        Self { state: Mutex::new(state), timer: Condvar::new(), changed: Condvar::new() }
    }

    /// Runs `action` on the cluster and delivers what comes of it.
    pub(super) fn with<R>(&self, action: impl FnOnce(&mut Cluster, Instant) -> R) -> R {
        let mut state = self.lock();
        self.apply(&mut state, action)
    }

    /// Waits until `condition` holds, looking again after every change; false when `timeout` passes first.
    pub(super) fn wait_until(&self, timeout: Duration, condition: impl Fn(&Cluster) -> bool) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, timeout, |state| !condition(&state.cluster));
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        condition(&state.cluster)
    }

    /// Registers a connection; `None` when the broker is stopped or has too many already.
    pub(super) fn connect(
        &self,
        broker_id: i32,
        stream: &Arc<TcpStream>,
        limit: usize,
    ) -> Option<ConnectionId> {
        let mut state = self.lock();
        if state.stopping || state.mailboxes.len() >= limit {
            return None;
        }
        let connection = state.cluster.connect(broker_id).ok()?;
        let mailbox = Mailbox {
            stream: Arc::clone(stream),
            responses: VecDeque::new(),
            arrived: Arc::new(Condvar::new()),
        };
        state.mailboxes.insert(connection, mailbox);
        self.changed.notify_all();
        Some(connection)
    }

    pub(super) fn disconnect(&self, connection: ConnectionId) {
        let mut state = self.lock();
        state.mailboxes.remove(&connection);
        self.apply(&mut state, |cluster, _| cluster.disconnect(connection));
    }

    /// Keeps a connection's thread to be joined at the end, and lets go of those that have ended.
    pub(super) fn keep_thread(&self, thread: JoinHandle<()>) {
        let mut state = self.lock();
        state.connection_threads.retain(|thread| !thread.is_finished());
        state.connection_threads.push(thread);
    }

    pub(super) fn take_connection_threads(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.lock().connection_threads)
    }

    /// Sleeps until the connection has a response to write, nothing left to answer, or is closed.
    pub(super) fn next(&self, connection: ConnectionId) -> Next {
        let mut state = self.lock();
        loop {
            let State { cluster, mailboxes, .. } = &mut *state;
            let Some(mailbox) = mailboxes.get_mut(&connection) else { return Next::Close };
            if let Some(response) = mailbox.responses.pop_front() {
                return Next::Write(response);
            }
            if cluster.is_idle(connection) {
                return Next::Read;
            }
            let arrived = Arc::clone(&mailbox.arrived);
            state = arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Closes every connection and lets all threads end.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        for (_, mailbox) in std::mem::take(&mut state.mailboxes) {
            mailbox.close();
        }
        self.timer.notify_all();
    }

    /// The timer thread: sleeps until the cluster's next deadline.
    pub(super) fn run_timers(&self) {
        let mut state = self.lock();
        while !state.stopping {
            self.apply(&mut state, |_, _| ());
            let wakes_at = state.cluster.deadline();
            state.timer_wakes_at = wakes_at;
            state = match wakes_at {
                None => self.timer.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    self.timer.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn apply<R>(&self, state: &mut State, action: impl FnOnce(&mut Cluster, Instant) -> R) -> R {
        let now = Instant::now();
        let result = action(&mut state.cluster, now);
        for output in state.cluster.poll(now) {
            state.deliver(output);
        }
        let deadline = state.cluster.deadline();
        if deadline.is_some_and(|at| state.timer_wakes_at.is_none_or(|wakes_at| at < wakes_at)) {
            self.timer.notify_one();
        }
        self.changed.notify_all();
        result
    }

    /// The state stays usable after a panic in a test's closure: the cluster's calls leave it consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn deliver(&mut self, output: Output) {
        match output {
            Output::Respond { connection, response } => {
                if let Some(mailbox) = self.mailboxes.get_mut(&connection) {
                    mailbox.responses.push_back(response);
                    mailbox.arrived.notify_one();
                }
            }
            Output::Close { connection } => {
                if let Some(mailbox) = self.mailboxes.remove(&connection) {
                    mailbox.close();
                }
            }
        }
    }
}

impl Mailbox {
    /// Ends both a read and a wait of the connection's thread.
    fn close(&self) {
        if let Err(error) = self.stream.shutdown(Shutdown::Both) {
            tracing::debug!(%error, "a connection was closed by its client first");
        }
        self.arrived.notify_one();
    }
}
