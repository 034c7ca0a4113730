//! One connection's thread: read a request, wait for its answer, write it.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::Builder;

use bytes::Bytes;

use super::MAX_CONNECTIONS;
use super::shared::{Next, Shared};
use crate::core::{ConnectionId, Response};

/// Largest request that is read, as `socket.request.max.bytes` of a broker.
pub const MAX_REQUEST_BYTES: usize = 100 * 1024 * 1024;
/// Segments given to one vectored write: what Linux takes at most.
const MAX_SEGMENTS_PER_WRITE: usize = 1_024;

/// Starts a thread for an accepted connection, or closes it.
pub(super) fn serve(shared: &Arc<Shared>, broker_id: i32, stream: TcpStream) {
    let stream = Arc::new(stream);
    let Some(connection) = shared.connect(broker_id, &stream, MAX_CONNECTIONS) else { return };
    let thread_shared = Arc::clone(shared);
    let body = move || {
        if let Err(error) = exchange(&thread_shared, connection, &stream) {
            tracing::debug!(?connection, %error, "a connection ended");
        }
        thread_shared.disconnect(connection);
    };
    match Builder::new().name("testbroker-connection".to_owned()).spawn(body) {
        Ok(thread) => shared.keep_thread(thread),
        Err(error) => {
            tracing::warn!(%error, "no thread for a connection");
            shared.disconnect(connection);
        }
    }
}

fn exchange(shared: &Shared, connection: ConnectionId, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    while let Some(request) = read_request(stream)? {
        shared.with(|cluster, now| cluster.handle_request(connection, request, now));
        loop {
            match shared.next(connection) {
                Next::Write(response) => write_response(stream, &response)?,
                Next::Read => break,
                Next::Close => return Ok(()),
            }
        }
    }
    Ok(())
}

/// Reads one request without its length; `None` at the end of the stream.
fn read_request(mut stream: &TcpStream) -> io::Result<Option<Bytes>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_REQUEST_BYTES {
        let message = format!("a request of {length} bytes; at most {MAX_REQUEST_BYTES} are read");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    // The buffer grows with what arrives, so a length alone takes no memory.
    let mut request = Vec::new();
    stream.take(length as u64).read_to_end(&mut request)?;
    if request.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(Bytes::from(request)))
}

fn write_response(mut stream: &TcpStream, response: &Response) -> io::Result<()> {
    for segments in response.segments().chunks(MAX_SEGMENTS_PER_WRITE) {
        let mut slices: Vec<IoSlice<'_>> = segments.iter().map(|bytes| IoSlice::new(bytes)).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            match stream.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
