//! The sockets of a broker that has one thread: nothing here waits unless it is told to.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_testbroker::{Cluster, ConnectionId, Output};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Connections served at the same time; more are closed at once.
const MAX_CONNECTIONS: usize = 64;
/// Consumers send nothing that comes near.
const MAX_REQUEST_BYTES: usize = 1 << 20;
const RECEIVE_BYTES: usize = 64 << 10;
/// Segments given to one vectored write.
const MAX_SEGMENTS_PER_WRITE: usize = 64;

/// A listener and the connections that it has accepted.
pub(super) struct Connections {
    listener: TcpListener,
    address: SocketAddr,
    broker_id: i32,
    open: Vec<Connection>,
    scratch: Vec<u8>,
}

struct Connection {
    id: ConnectionId,
    stream: TcpStream,
    /// The beginning of a request.
    received: Vec<u8>,
    /// What the socket has not taken yet.
    unsent: VecDeque<Bytes>,
}

impl Connections {
    /// Listens on a port of loopback, for this broker of the cluster.
    pub(super) fn listen(broker_id: i32) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, broker_id, open: Vec::new(), scratch: vec![0; RECEIVE_BYTES] })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sleeps until a socket has something, or the time is over.
    pub(super) fn wait(&self, at_most: Duration) -> io::Result<()> {
        let mut fds = vec![PollFd::new(&self.listener, PollFlags::IN)];
        for connection in &self.open {
            let writes = if connection.unsent.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            fds.push(PollFd::new(&connection.stream, PollFlags::IN | writes));
        }
        let timeout =
            Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: i64::from(at_most.subsec_nanos()) };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Accepts whoever has come, and gives the cluster all requests that are there.
    pub(super) fn receive(&mut self, cluster: &mut Cluster, now: Instant) {
        self.accept(cluster);
        let scratch = &mut self.scratch;
        self.open.retain_mut(|connection| match connection.receive(scratch, cluster, now) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "a connection ended");
                cluster.disconnect(connection.id);
                false
            }
        });
    }

    /// Writes what the cluster says, and what sockets did not take before.
    pub(super) fn send(&mut self, outputs: Vec<Output>, cluster: &mut Cluster) {
        for output in outputs {
            match output {
                Output::Respond { connection, response } => {
                    if let Some(to) = self.open.iter_mut().find(|open| open.id == connection) {
                        to.unsent.extend(response.segments().iter().cloned());
                    }
                }
                Output::Close { connection } => self.open.retain(|open| open.id != connection),
            }
        }
        self.open.retain_mut(|connection| match connection.flush() {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "a connection ended");
                cluster.disconnect(connection.id);
                false
            }
        });
    }

    fn accept(&mut self, cluster: &mut Cluster) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.open.len() >= MAX_CONNECTIONS {
                continue;
            }
            let is_set_up = stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true));
            if let (Ok(()), Ok(id)) = (is_set_up, cluster.connect(self.broker_id)) {
                let (received, unsent) = (Vec::new(), VecDeque::new());
                self.open.push(Connection { id, stream, received, unsent });
            }
        }
    }
}

impl Connection {
    fn receive(&mut self, scratch: &mut [u8], cluster: &mut Cluster, now: Instant) -> io::Result<()> {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received.extend_from_slice(&scratch[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            while let Some(request) = take_request(&mut self.received)? {
                cluster.handle_request(self.id, request, now);
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let segments = self.unsent.iter().take(MAX_SEGMENTS_PER_WRITE);
            let slices: Vec<IoSlice<'_>> = segments.map(|segment| IoSlice::new(segment)).collect();
            match self.stream.write_vectored(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => drop_front(&mut self.unsent, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The first whole request, without its length.
fn take_request(received: &mut Vec<u8>) -> io::Result<Option<Bytes>> {
    let Some((length, rest)) = received.split_first_chunk() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length > MAX_REQUEST_BYTES {
        let message = format!("a request of {length} bytes; at most {MAX_REQUEST_BYTES} are read");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let Some(request) = rest.get(..length) else { return Ok(None) };
    let request = Bytes::copy_from_slice(request);
    received.drain(..size_of::<u32>() + length);
    Ok(Some(request))
}

/// Takes so many bytes away from the beginning.
fn drop_front(segments: &mut VecDeque<Bytes>, mut bytes: usize) {
    while let Some(first) = segments.front_mut() {
        if bytes < first.len() {
            *first = first.slice(bytes..);
            return;
        }
        bytes -= first.len();
        segments.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_whole_however_they_were_cut() {
        let stream = [&[0, 0, 0, 3][..], b"one", &[0, 0, 0, 0], &[0, 0, 0, 5], b"three"].concat();
        let (mut received, mut requests) = (Vec::new(), Vec::new());
        for byte in stream {
            received.push(byte);
            requests.extend(take_request(&mut received).unwrap());
        }
        assert_eq!(requests, [&b"one"[..], b"", b"three"]);
        assert!(received.is_empty());
        assert!(take_request(&mut vec![0xff; 4]).is_err());
    }

    #[test]
    fn what_a_socket_took_is_not_sent_again() {
        let mut segments: VecDeque<Bytes> = ["abc", "", "de", "f"].map(Bytes::from).into();
        drop_front(&mut segments, 4);
        assert_eq!(segments, ["e", "f"]);
        drop_front(&mut segments, 2);
        assert!(segments.is_empty());
    }
}
