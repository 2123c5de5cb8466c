//! Datagrams over the link: each peer is a flow with a socket of its own to the far end, so that answers find their way
//! back; a datagram that the profile loses, or that finds no room, is gone and counted.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::hold::{Hold, Load, NEVER};
use super::{LONGEST, Shared, Way, is_short};
use crate::model::Stamp;
use crate::sys::datagram::{self, Origin};
use crate::sys::timer::Timer;
use crate::sys::{clock, stamping};
use crate::topo::Link;

/// Datagrams of one peer that wait for its flow to take them; on an idle event loop there is never more than one.
const WAITING: usize = 256;

/// A datagram of a peer, with the moment at which it came.
type Arrival = (Stamp, Origin, Vec<u8>);

/// The listening socket: the event loop says when, the plain socket knows from where.
pub struct Listening {
    ready: UdpSocket,
    plain: std::net::UdpSocket,
}

/// Makes the socket one of the event loop's.
pub fn listen(socket: std::net::UdpSocket) -> io::Result<Listening> {
    socket.set_nonblocking(true)?;
    datagram::want_origin(&socket)?;
    // Without stamps, delays begin when it was read.
    let _ = stamping::stamp_receptions(&socket);
    Ok(Listening { ready: UdpSocket::from_std(socket.try_clone()?)?, plain: socket })
}

/// Carries every datagram; without a socket there is none.
pub async fn serve(socket: Option<Listening>, shared: &Shared) -> Infallible {
    let Some(socket) = socket else { return std::future::pending().await };
    let mut buffer = vec![0; LONGEST];
    let mut flows = FuturesUnordered::new();
    let mut peers: HashMap<SocketAddr, mpsc::Sender<Arrival>> = HashMap::new();
    let mut number = 0;
    loop {
        tokio::select! {
            // An error reports what became of an earlier answer; the socket itself stays usable.
            received = socket.ready.async_io(Interest::READABLE, || datagram::receive(&socket.plain, &mut buffer)) => {
                let Ok((length, origin)) = received else { continue };
                let Some(peer) = origin.peer() else { continue };
                let arrival = (shared.came(origin.received_at), origin, buffer[..length].to_vec());
                let Some(arrival) = hand_over(&peers, peer, arrival, shared) else { continue };
                if peers.len() >= shared.spec.limits.flows {
                    shared.count(|tally| tally.datagrams.turned_away += 1);
                    continue;
                }
                let (sender, receiver) = mpsc::channel(WAITING);
                // A new channel has room.
                let _ = sender.try_send(arrival);
                peers.insert(peer, sender);
                flows.push(flow(peer, number, receiver, &socket, shared));
                number += 1;
            }
            Some(peer) = flows.next(), if !flows.is_empty() => {
                if peers.get(&peer).is_some_and(mpsc::Sender::is_closed) {
                    peers.remove(&peer);
                }
            }
        }
    }
}

/// Gives a datagram to the flow of its peer; it comes back if there is none.
fn hand_over(
    peers: &HashMap<SocketAddr, mpsc::Sender<Arrival>>,
    peer: SocketAddr,
    arrival: Arrival,
    shared: &Shared,
) -> Option<Arrival> {
    let Some(sender) = peers.get(&peer) else { return Some(arrival) };
    match sender.try_send(arrival) {
        Ok(()) => None,
        Err(mpsc::error::TrySendError::Full(_)) => {
            shared.count(|tally| tally.datagrams.dropped += 1);
            None
        }
        Err(mpsc::error::TrySendError::Closed(arrival)) => Some(arrival),
    }
}

/// One peer until it is silent; returns whose flow it was.
async fn flow(
    peer: SocketAddr,
    number: u64,
    mut arrivals: mpsc::Receiver<Arrival>,
    socket: &Listening,
    shared: &Shared,
) -> SocketAddr {
    if let Err(error) = carry(number, &mut arrivals, socket, shared).await {
        match is_short(&error) {
            true => shared.tell_short(&error),
            false => shared.tell_refused(&error),
        }
    }
    // What came for it meanwhile is gone with it.
    arrivals.close();
    while arrivals.try_recv().is_ok() {
        shared.count(|tally| tally.datagrams.dropped += 1);
    }
    peer
}

struct Flow<'a> {
    shared: &'a Shared,
    link: Link,
    there: Hold<'a>,
    back: Hold<'a>,
    far: UdpSocket,
    near: &'a Listening,
    /// Where the peer is, and which of our addresses it spoke to.
    origin: Option<Origin>,
}

async fn carry(
    number: u64,
    arrivals: &mut mpsc::Receiver<Arrival>,
    near: &Listening,
    shared: &Shared,
) -> io::Result<()> {
    let link = shared.link(false, number).map_err(io::Error::other)?;
    let far = UdpSocket::bind(any_port(shared.spec.to)).await?;
    let _ = stamping::stamp_receptions(&far);
    far.connect(shared.spec.to).await?;
    let (there, back) = (Hold::new(shared), Hold::new(shared));
    let mut flow = Flow { shared, link, there, back, far, near, origin: None };
    let mut timer = Timer::new()?;
    shared.count(|tally| tally.datagrams.flows += 1);
    loop {
        let due = flow.there.next_due().min(flow.back.next_due());
        tokio::select! {
            Some((came, origin, bytes)) = arrivals.recv() => {
                flow.origin = Some(origin);
                flow.set_out(Way::There, bytes, came);
            }
            ready = flow.far.readable() => {
                ready?;
                flow.take_answer();
            }
            waited = timer.wait_closely(due), if due != NEVER => waited?,
            () = tokio::time::sleep(shared.spec.limits.idle), if due == NEVER => return Ok(()),
        }
        flow.deliver();
    }
}

fn any_port(to: SocketAddr) -> SocketAddr {
    match to.ip() {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

impl Flow<'_> {
    fn set_out(&mut self, way: Way, bytes: Vec<u8>, came: Stamp) {
        let shared = self.shared;
        let hold = match way {
            Way::There => &self.there,
            Way::Back => &self.back,
        };
        if !shared.has_room(hold.bytes()) {
            shared.count(|tally| tally.datagrams.dropped += 1);
            return;
        }
        match (shared.set_out(&mut self.link, way, bytes.len(), came), way) {
            (None, _) => shared.count(|tally| tally.datagrams.lost += 1),
            (Some(release), Way::There) => self.there.push(release, Load::Bytes(bytes)),
            (Some(release), Way::Back) => self.back.push(release, Load::Bytes(bytes)),
        }
    }

    fn take_answer(&mut self) {
        let received = {
            let mut buffer = self.shared.buffer.borrow_mut();
            let received = self.far.try_io(Interest::READABLE, || stamping::receive(self.far.as_fd(), &mut buffer));
            received.map(|(length, reception)| (buffer[..length].to_vec(), reception.kernel))
        };
        match received {
            Ok((bytes, stamp)) => self.set_out(Way::Back, bytes, self.shared.came(stamp)),
            Err(error) => not_taken(self.shared, &error),
        }
    }

    /// Hands over everything that is due; what a socket does not take is gone, as on a network.
    fn deliver(&mut self) {
        let mut now = clock::now();
        while let Some(piece) = self.there.due(now) {
            let Load::Bytes(bytes) = &piece.load else { break };
            let (length, due) = (bytes.len(), Some(piece.release));
            match send(&self.far, bytes, self.shared) {
                Ok(()) => self.shared.count(|tally| tally.datagrams.deliver(Way::There, length, (due, now))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.shared.count(|tally| tally.datagrams.dropped += 1);
                }
                Err(error) => not_taken(self.shared, &error),
            }
            self.there.pop();
            now = clock::now();
        }
        while let Some(piece) = self.back.due(now) {
            if let (Load::Bytes(bytes), Some(origin)) = (&piece.load, &self.origin) {
                let (length, due) = (bytes.len(), Some(piece.release));
                match datagram::answer(&self.near.plain, bytes, origin) {
                    Ok(()) => self.shared.count(|tally| tally.datagrams.deliver(Way::Back, length, (due, now))),
                    Err(_) => self.shared.count(|tally| tally.datagrams.dropped += 1),
                }
            }
            self.back.pop();
            now = clock::now();
        }
    }
}

/// Hands a datagram to the far end. A refusal that the kernel tells instead is that of an earlier one.
fn send(far: &UdpSocket, bytes: &[u8], shared: &Shared) -> io::Result<()> {
    let mut sent = far.try_send(bytes);
    if let Err(error) = &sent
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        not_taken(shared, error);
        sent = far.try_send(bytes);
    }
    sent.map(|_| ())
}

/// The far end, or our socket to it, did not take a datagram.
fn not_taken(shared: &Shared, error: &io::Error) {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        shared.count(|tally| tally.datagrams.refused += 1);
        shared.tell_refused(error);
    } else if error.kind() != io::ErrorKind::WouldBlock {
        shared.count(|tally| tally.datagrams.dropped += 1);
    }
}
