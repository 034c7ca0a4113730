//! A broker that lies: it has an honest one answer, and does to the answers what a test tells it to.
//!
//! Each connection has two threads: one passes requests on and notes what was asked, the other reads whole answers and
//! gives what becomes of them.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use millstream_testbroker::ApiKey;

use crate::gate::PATIENCE;

/// Between two bytes of an answer that never ends.
const TRICKLE_PAUSE: Duration = Duration::from_millis(2);

/// What was asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// The request.
    pub api: ApiKey,
    /// Its version.
    pub version: i16,
}

/// What is sent instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes, and the end of the connection.
    End(Vec<u8>),
    /// These bytes, and then one after the other without an end.
    Trickle(Vec<u8>),
}

type Lie = Arc<dyn Fn(Asked, Vec<u8>) -> Reply + Send + Sync>;

/// A broker before an honest one.
#[derive(Debug)]
pub struct HostileBroker {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    lied: Condvar,
}

#[derive(Default)]
struct State {
    lie: Option<Lie>,
    lies: usize,
}

impl HostileBroker {
    /// Listens on a free port of 127.0.0.1. Honest until it is told otherwise.
    ///
    /// # Errors
    /// If there is no port.
    pub fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let of_connections = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) {
                    serve(&client, &server, &of_connections);
                }
            }
        });
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this becomes of all answers (whole, with their size), those to ApiVersions included.
    pub fn lie(&self, lie: impl Fn(Asked, Vec<u8>) -> Reply + Send + Sync + 'static) {
        self.shared.lock().lie = Some(Arc::new(lie));
    }

    /// From now on it tells the truth. What was begun before stays a lie.
    pub fn be_honest(&self) {
        self.shared.lock().lie = None;
    }

    /// Waits until so many answers were lies.
    ///
    /// # Panics
    /// If they do not come.
    pub fn wait_for_lies(&self, lies: usize) {
        let (state, _) = self
            .shared
            .lied
            .wait_timeout_while(self.shared.lock(), PATIENCE, |state| state.lies < lies)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(state.lies >= lies, "{} of {lies} lies", state.lies);
    }

    /// How many answers were lies.
    pub fn lies(&self) -> usize {
        self.shared.lock().lies
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What becomes of an answer.
    fn reply(&self, asked: Asked, answer: Vec<u8>) -> Reply {
        let Some(lie) = self.lock().lie.clone() else { return Reply::Bytes(answer) };
        let reply = lie(asked, answer.clone());
        if reply != Reply::Bytes(answer) {
            self.lock().lies += 1;
            self.lied.notify_all();
        }
        reply
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("lies", &self.lies).finish_non_exhaustive()
    }
}

fn serve(client: &TcpStream, server: &TcpStream, shared: &Arc<Shared>) {
    let asked = Arc::new(Mutex::new(VecDeque::new()));
    let ends = || Some((client.try_clone().ok()?, server.try_clone().ok()?));
    let (Some(forth), Some(back)) = (ends(), ends()) else { return };
    let noted = Arc::clone(&asked);
    thread::spawn(move || {
        let (mut client, mut server) = forth;
        // Either end may be gone at any time, which ends the other.
        let _ = pass_requests(&mut client, &mut server, &noted);
        close(&client, &server);
    });
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let (mut client, mut server) = back;
        let _ = pass_answers(&mut client, &mut server, &asked, &shared);
        close(&client, &server);
    });
}

fn pass_requests(
    client: &mut TcpStream,
    server: &mut TcpStream,
    asked: &Mutex<VecDeque<Asked>>,
) -> io::Result<()> {
    loop {
        let request = read_frame(client)?;
        let Some([_, _, _, _, api, api_low, version, version_low]) = request.first_chunk() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let (api, version) =
            (i16::from_be_bytes([*api, *api_low]), i16::from_be_bytes([*version, *version_low]));
        let api = ApiKey::try_from(api).map_err(|()| io::Error::from(io::ErrorKind::InvalidData))?;
        asked.lock().unwrap_or_else(PoisonError::into_inner).push_back(Asked { api, version });
        server.write_all(&request)?;
    }
}

fn pass_answers(
    client: &mut TcpStream,
    server: &mut TcpStream,
    asked: &Mutex<VecDeque<Asked>>,
    shared: &Shared,
) -> io::Result<()> {
    loop {
        let answer = read_frame(server)?;
        let asked = asked.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let asked = asked.ok_or(io::ErrorKind::InvalidData)?;
        match shared.reply(asked, answer) {
            Reply::Bytes(bytes) => client.write_all(&bytes)?,
            Reply::End(bytes) => return client.write_all(&bytes),
            Reply::Trickle(bytes) => {
                client.write_all(&bytes)?;
                loop {
                    client.write_all(&[0])?;
                    thread::sleep(TRICKLE_PAUSE);
                }
            }
        }
    }
}

/// A whole request or answer, with its size.
fn read_frame(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame)?;
    let size = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    frame.resize(4 + size, 0);
    from.read_exact(&mut frame[4..])?;
    Ok(frame)
}

fn close(client: &TcpStream, server: &TcpStream) {
    for stream in [client, server] {
        // It may be closed already.
        let _ = stream.shutdown(Shutdown::Both);
    }
}
