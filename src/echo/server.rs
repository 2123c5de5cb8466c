//! The echo as a service on sockets that somebody else bound.
//!
//! Separate from the frame because here everything is about limits: a slow, half-open or garbage-sending peer costs at
//! most one connection slot and a few KiB until its time is up, and nobody else notices.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::frame::{FRAME_LENGTH, answer};
use crate::sys::clock;

/// Bytes read from a connection at once; also all that is kept of it.
const BUFFER: usize = 56 * FRAME_LENGTH;

/// How long to wait before accepting again when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What one peer, and all together, may use.
#[derive(Clone, Copy, Debug)]
pub struct EchoLimits {
    /// Connections at a time; further ones are closed at once.
    pub connections: usize,
    /// A connection that has not sent a whole PING by then is closed.
    pub first_ping: Duration,
    /// A connection that is silent for so long is closed.
    pub idle: Duration,
    /// A peer that does not take its answers for so long is closed.
    pub write: Duration,
}

impl Default for EchoLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            first_ping: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            write: Duration::from_secs(10),
        }
    }
}

/// What the echo has done so far.
#[derive(Debug, Default)]
pub struct EchoStatistics {
    /// PINGs answered.
    pub answered: AtomicU64,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections closed at once because there were too many.
    pub turned_away: AtomicU64,
    /// Connections closed and datagrams dropped because they were not ours.
    pub foreign: AtomicU64,
}

/// Serves both sockets until the future is dropped; then every connection ends with it.
pub async fn serve(tcp: TcpListener, udp: UdpSocket, limits: EchoLimits, statistics: Arc<EchoStatistics>) {
    tokio::join!(serve_tcp(tcp, limits, &statistics), serve_udp(udp, &statistics));
}

async fn serve_tcp(listener: TcpListener, limits: EchoLimits, statistics: &Arc<EchoStatistics>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < limits.connections => {
                    statistics.accepted.fetch_add(1, Ordering::Relaxed);
                    connections.spawn(connection(stream, limits, Arc::clone(statistics)));
                }
                Ok(_) => { statistics.turned_away.fetch_add(1, Ordering::Relaxed); }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// One connection, to its end. How it ends is the peer's business; only a foreign protocol is counted.
async fn connection(stream: TcpStream, limits: EchoLimits, statistics: Arc<EchoStatistics>) {
    if let Err(error) = answer_stream(stream, limits, &statistics).await
        && error.kind() == io::ErrorKind::InvalidData
    {
        statistics.foreign.fetch_add(1, Ordering::Relaxed);
    }
}

async fn answer_stream(mut stream: TcpStream, limits: EchoLimits, statistics: &EchoStatistics) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; BUFFER];
    let (mut filled, mut patience) = (0, limits.first_ping);
    while timeout(patience, fill(&mut stream, &mut buffer, &mut filled)).await?? {
        let received = clock::now();
        let whole = filled - filled % FRAME_LENGTH;
        for frame in buffer[..whole].chunks_exact_mut(FRAME_LENGTH) {
            let pong = answer(frame, received, clock::now()).ok_or(io::ErrorKind::InvalidData)?;
            frame.copy_from_slice(&pong);
        }
        timeout(limits.write, stream.write_all(&buffer[..whole])).await??;
        statistics.answered.fetch_add((whole / FRAME_LENGTH) as u64, Ordering::Relaxed);
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
        patience = limits.idle;
    }
    Ok(())
}

/// Reads until at least one whole frame is there; false at the end of the stream.
async fn fill(stream: &mut TcpStream, buffer: &mut [u8], filled: &mut usize) -> io::Result<bool> {
    while *filled < FRAME_LENGTH {
        let read = stream.read(&mut buffer[*filled..]).await?;
        if read == 0 {
            return Ok(false);
        }
        *filled += read;
        check_beginning(&buffer[..*filled])?;
    }
    Ok(true)
}

/// Refuses a foreign protocol at its first bytes instead of waiting for a whole frame of it.
fn check_beginning(bytes: &[u8]) -> io::Result<()> {
    let ours = super::Frame::ping(0, 0, crate::model::Stamp::from_nanos(0)).encode();
    let shared = bytes.len().min(5);
    if bytes[..shared] == ours[..shared] { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

async fn serve_udp(socket: UdpSocket, statistics: &EchoStatistics) {
    // One byte more than a frame, so that a longer datagram is not taken for one.
    let mut buffer = [0; FRAME_LENGTH + 1];
    loop {
        // Errors here report what became of an earlier answer; the socket itself stays usable.
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let received = clock::now();
        match answer(&buffer[..length], received, clock::now()) {
            Some(pong) => {
                if socket.try_send_to(&pong, peer).is_ok() {
                    statistics.answered.fetch_add(1, Ordering::Relaxed);
                }
            }
            None => {
                statistics.foreign.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
