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

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(socket: &Socket) -> (usize, usize) {
        (socket.recv_buffer_size().unwrap(), socket.send_buffer_size().unwrap())
    }

    #[test]
    fn buffers_are_of_the_size_asked_for_or_left_to_the_system() {
        let address = "127.0.0.1:9092".parse().unwrap();
        let settings = SocketSettings { receive_buffer_bytes: Some(20_000), send_buffer_bytes: Some(30_000) };
        let socket = open(&address, &settings).unwrap();
        // The kernel takes as much again for its own bookkeeping.
        assert_eq!(sizes(&socket), (40_000, 60_000));
        assert!(socket.tcp_nodelay().unwrap());
        let plain = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        assert_eq!(sizes(&open(&address, &SocketSettings::default()).unwrap()), sizes(&plain));
    }
}
