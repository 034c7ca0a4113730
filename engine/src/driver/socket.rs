//! The sockets of a transport's connections.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// Options of every socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SocketSettings {
    /// `receive.buffer.bytes`; `None` leaves it to the kernel, which adapts it.
    pub(crate) receive_buffer_bytes: Option<usize>,
    /// `send.buffer.bytes`; `None` leaves it to the kernel.
    pub(crate) send_buffer_bytes: Option<usize>,
}

/// An unconnected socket. Buffer sizes are set now, because the window's scale is agreed on when connecting.
pub(super) fn open(address: &SocketAddr, settings: &SocketSettings) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(bytes) = settings.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = settings.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(socket)
}
