//! A link between clients and their server that can be broken: bytes pass, vanish, or come late, and connections can be cut.
//!
//! Separate because it runs on a thread of its own, beside the clock that times its faults. It carries bytes and knows nothing
//! of TLS. When it is broken neither side is told: no connection is closed, and new ones are taken and lead nowhere. A cut closes
//! what is open, and new connections pass.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::model::Stamp;
use crate::model::span::nanos;
use crate::sys::clock;
use crate::sys::thread::Background;

/// Bytes that are read at once.
const BUFFER: usize = 4 << 10;

/// Pieces on their way in one direction; a side that sends more waits.
const MOST_ON_THE_WAY: usize = 256;

/// Pause after a failed accept.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// Stands for a delay that has no end.
const GONE: u64 = u64::MAX;

/// A relay that runs; dropping it ends every connection.
#[derive(Debug)]
pub struct Relay {
    /// Where clients connect to.
    pub address: SocketAddr,
    link: Link,
    cuts: watch::Sender<u64>,
    _thread: Background,
}

/// What happens to bytes: nothing, a delay in nanoseconds, or the end.
#[derive(Clone, Debug, Default)]
struct Link(Arc<AtomicU64>);

impl Link {
    fn delay(&self) -> Option<Duration> {
        let delay = self.0.load(Ordering::Acquire);
        (delay != GONE).then(|| Duration::from_nanos(delay))
    }
}

impl Relay {
    /// A whole link to a server, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is no port or no thread.
    pub fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let (address, link) = (listener.local_addr()?, Link::default());
        let (served, (cuts, cut)) = (link.clone(), watch::channel(0));
        let thread = Background::spawn("relay", move || serve(listener, server, served, cut))?;
        Ok(Self { address, link, cuts, _thread: thread })
    }

    /// From now on all bytes vanish, those on their way too.
    pub fn partition(&self) {
        self.link.0.store(GONE, Ordering::Release);
    }

    /// Closes every connection; new ones pass.
    pub fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }

    /// From now on all bytes come so much later.
    pub fn delay(&self, delay: Duration) {
        self.link.0.store(nanos(delay).min(GONE - 1), Ordering::Release);
    }
}

async fn serve(listener: std::net::TcpListener, server: SocketAddr, link: Link, cut: watch::Receiver<u64>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((near, _)) => drop(connections.spawn(until_cut(cut.clone(), connection(near, server, link.clone())))),
                Err(_) => tokio::time::sleep(AFTER_FAILED_ACCEPT).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn until_cut(mut cut: watch::Receiver<u64>, work: impl Future<Output = ()>) {
    cut.mark_unchanged();
    tokio::select! {
        () = work => {}
        _ = cut.changed() => {}
    }
}

/// One connection until both sides have closed it; of a broken link nobody ever learns that.
async fn connection(near: TcpStream, server: SocketAddr, link: Link) {
    if link.delay().is_none() {
        return swallow(near).await;
    }
    let Ok(far) = TcpStream::connect(server).await else { return };
    if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_err() {
        return;
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let (there, on_the_way_there) = mpsc::channel(MOST_ON_THE_WAY);
    let (back, on_the_way_back) = mpsc::channel(MOST_ON_THE_WAY);
    tokio::join!(
        take(near_in, there, link.clone()),
        deliver(far_out, on_the_way_there, link.clone()),
        take(far_in, back, link.clone()),
        deliver(near_out, on_the_way_back, link),
    );
}

/// Bytes with the moment at which they arrive; none at all are the end of a side.
type Piece = (Stamp, Vec<u8>);

/// Reads one side to its end.
async fn take(mut side: OwnedReadHalf, way: mpsc::Sender<Piece>, link: Link) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = side.read(&mut buffer).await.unwrap_or(0);
        let Some(delay) = link.delay() else {
            if length == 0 {
                // The end of a side vanishes like its bytes.
                return std::future::pending().await;
            }
            continue;
        };
        let sent = way.send((clock::now() + delay, buffer[..length].to_vec())).await;
        if length == 0 || sent.is_err() {
            return;
        }
    }
}

/// Writes what has arrived, in its order.
async fn deliver(mut side: OwnedWriteHalf, mut way: mpsc::Receiver<Piece>, link: Link) {
    while let Some((arrives, bytes)) = way.recv().await {
        tokio::time::sleep(arrives.since(clock::now())).await;
        if link.delay().is_none() {
            // Kept open: dropping it would tell the side.
            return std::future::pending().await;
        }
        if bytes.is_empty() || side.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// A connection into nothing.
async fn swallow(mut near: TcpStream) {
    let mut buffer = vec![0; BUFFER];
    while near.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Both ends of a connection over a relay.
    fn ends(relay: &Relay, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let near = TcpStream::connect(relay.address).unwrap();
        let (far, _) = listener.accept().unwrap();
        (near, far)
    }

    fn relay() -> (Relay, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (Relay::start(listener.local_addr().unwrap()).unwrap(), listener)
    }

    #[test]
    fn bytes_and_ends_pass_a_whole_link() {
        let (relay, listener) = relay();
        let (mut near, mut far) = ends(&relay, &listener);
        near.write_all(b"there").unwrap();
        let mut read = [0; 5];
        far.read_exact(&mut read).unwrap();
        far.write_all(b"back!").unwrap();
        near.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"back!");
        drop(near);
        assert_eq!(far.read(&mut read).unwrap(), 0);
    }

    #[test]
    fn over_a_broken_link_nothing_comes_and_nobody_is_told() {
        let (relay, listener) = relay();
        let (mut near, mut far) = ends(&relay, &listener);
        relay.partition();
        near.write_all(b"lost").unwrap();
        drop(near);
        far.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert_eq!(far.read(&mut [0; 4]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        // A new connection is taken, and the gateway hears nothing of it.
        let mut new = TcpStream::connect(relay.address).unwrap();
        new.write_all(b"lost").unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_cut_closes_what_is_open_and_nothing_else() {
        let (relay, listener) = relay();
        let (mut near, mut far) = ends(&relay, &listener);
        near.write_all(b"one").unwrap();
        far.read_exact(&mut [0; 3]).unwrap();
        relay.cut();
        assert_eq!((near.read(&mut [0; 4]).unwrap_or(0), far.read(&mut [0; 4]).unwrap_or(0)), (0, 0));
        let (mut near, mut far) = ends(&relay, &listener);
        near.write_all(b"two").unwrap();
        far.read_exact(&mut [0; 3]).unwrap();
    }

    #[test]
    fn over_a_slow_link_everything_comes_late_and_in_order() {
        let (relay, listener) = relay();
        let (mut near, mut far) = ends(&relay, &listener);
        let delay = Duration::from_millis(150);
        relay.delay(delay);
        let sent = clock::now();
        near.write_all(b"one ").unwrap();
        near.write_all(b"two").unwrap();
        let mut read = [0; 7];
        far.read_exact(&mut read).unwrap();
        assert!(clock::now().since(sent) >= delay && &read == b"one two");
    }
}
