//! A proxy that cuts connections in the middle of what the server says.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Passes connections on to one address. The n-th of them is cut after so many bytes from the server as the n-th limit
/// says; those beyond the limits are not cut. Its threads end with their connections, the first with the process.
#[derive(Debug)]
pub struct Cutter {
    address: SocketAddr,
    cuts: Arc<AtomicUsize>,
}

impl Cutter {
    /// Listens on a free port.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn start(server: SocketAddr, limits: Vec<usize>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let cuts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&cuts);
        thread::spawn(move || {
            let mut limits = limits.into_iter();
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else { continue };
                pass_on(client, server, limits.next(), &counted);
            }
        });
        Ok(Self { address, cuts })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that were cut.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }
}

fn pass_on(client: TcpStream, server: TcpStream, limit: Option<usize>, cuts: &Arc<AtomicUsize>) {
    let (Ok(requests), Ok(sink)) = (client.try_clone(), server.try_clone()) else { return };
    thread::spawn(move || copy(requests, sink, None));
    let cuts = Arc::clone(cuts);
    thread::spawn(move || {
        if copy(server, client, limit) {
            cuts.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// Copies until one side ends or the limit is reached, then closes both. Whether it was the limit.
fn copy(mut from: TcpStream, mut to: TcpStream, limit: Option<usize>) -> bool {
    let mut buffer = [0; 4096];
    let mut left = limit.unwrap_or(usize::MAX);
    while left > 0 {
        let most = left.min(buffer.len());
        let Ok(read) = from.read(&mut buffer[..most]) else { break };
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            break;
        }
        left -= read;
    }
    for stream in [&from, &to] {
        // It may be closed already.
        let _ = stream.shutdown(Shutdown::Both);
    }
    left == 0
}
