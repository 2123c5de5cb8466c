//! TCP connections over the link: each is taken at once, dialled on when its first piece would have arrived, and carried
//! piece by piece; ends and resets are pieces too, so that a half-closed connection stays half open.

use std::convert::Infallible;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};

use super::hold::{Hold, Load, NEVER, Piece};
use super::{Shared, Way, is_short};
use crate::model::Stamp;
use crate::sys::timer::Timer;
use crate::sys::{clock, stamping};
use crate::topo::Link;

/// How long the far end may take to accept.
const DIAL_PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait before accepting again when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bytes that travel together at most, and at least: a segment of the usual size.
const LARGEST_PIECE: usize = 16 << 10;
const SMALLEST_PIECE: usize = 1448;

/// Makes the listener one of the event loop's.
pub fn listen(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Carries every connection; without a listener there is none.
pub async fn serve(listener: Option<TcpListener>, shared: &Shared) -> Infallible {
    let Some(listener) = listener else { return std::future::pending().await };
    let mut connections = FuturesUnordered::new();
    let (mut number, mut is_pausing) = (0, false);
    let pause = tokio::time::sleep(ACCEPT_PAUSE);
    tokio::pin!(pause);
    loop {
        tokio::select! {
            accepted = listener.accept(), if !is_pausing => match accepted {
                Ok((near, _)) if connections.len() < shared.spec.limits.flows => {
                    connections.push(carry(near, number, shared));
                    number += 1;
                }
                Ok((near, _)) => {
                    shared.count(|tally| tally.streams.turned_away += 1);
                    drop(near);
                }
                Err(error) => {
                    if is_short(&error) {
                        shared.tell_short(&error);
                    }
                    is_pausing = true;
                    pause.as_mut().reset(tokio::time::Instant::now() + ACCEPT_PAUSE);
                }
            },
            () = &mut pause, if is_pausing => is_pausing = false,
            Some(()) = connections.next(), if !connections.is_empty() => {}
        }
    }
}

/// One connection to its end. What breaks it has been carried to the other side, as far as there is one.
async fn carry(near: TcpStream, number: u64, shared: &Shared) {
    let Ok(link) = shared.link(true, number) else { return };
    let mut timer = match Timer::new() {
        Ok(timer) => timer,
        Err(error) => {
            shared.count(|tally| tally.streams.turned_away += 1);
            shared.tell_short(&error);
            break_off(&near);
            return;
        }
    };
    shared.count(|tally| tally.streams.flows += 1);
    let connection = Connection {
        shared,
        link,
        there: Side::new(shared),
        back: Side::new(shared),
        piece_length: piece_length(shared.spec.profile.bandwidth_bits_per_s),
    };
    if connection.run(&near, &mut timer).await.is_err() {
        // A socket or timer that fails: the near end must not take it for a proper end.
        break_off(&near);
    }
}

/// What a narrow link carries in a millisecond travels together, so that delivery is not lumpier than a network's.
fn piece_length(bandwidth_bits_per_s: Option<u64>) -> usize {
    let in_a_millisecond = bandwidth_bits_per_s.map_or(usize::MAX, |bits| (bits / 8_000) as usize);
    in_a_millisecond.clamp(SMALLEST_PIECE, LARGEST_PIECE)
}

/// One direction.
struct Side<'a> {
    hold: Hold<'a>,
    /// Nothing more is read: an end or a reset is on its way.
    is_ended: bool,
    /// Nothing more is delivered.
    is_over: bool,
    /// The receiver takes nothing for now.
    is_blocked: bool,
    /// Since when it takes something: what it could not take before that is not late by our doing.
    free_since: Stamp,
    /// The link has no room for more of it.
    is_full: bool,
    /// Since when the link takes what its sender says: what waited before that sets out only then.
    taken_since: Stamp,
}

impl<'a> Side<'a> {
    const fn new(shared: &'a Shared) -> Self {
        Self {
            hold: Hold::new(shared),
            is_ended: false,
            is_over: false,
            is_blocked: false,
            free_since: Stamp::from_nanos(0),
            is_full: false,
            taken_since: Stamp::from_nanos(0),
        }
    }

    fn unblock(&mut self) {
        self.is_blocked = false;
        self.free_since = clock::now();
    }

    fn next_due(&self) -> Stamp {
        if self.is_blocked { NEVER } else { self.hold.next_due() }
    }
}

struct Connection<'a> {
    shared: &'a Shared,
    link: Link,
    there: Side<'a>,
    back: Side<'a>,
    piece_length: usize,
}

impl<'a> Connection<'a> {
    async fn run(mut self, near: &TcpStream, timer: &mut Timer) -> io::Result<()> {
        prepare(near)?;
        match self.dial(near, timer).await? {
            Some(far) => self.exchange(near, &far, timer).await,
            None => Ok(()),
        }
    }

    /// The far end of the connection, dialled when the first packet would have come there; what the near end says meanwhile
    /// sets out. `None` if it was refused, which is known when the answer would have come back.
    async fn dial(&mut self, near: &TcpStream, timer: &mut Timer) -> io::Result<Option<TcpStream>> {
        let arrives = self.shared.set_out(&mut self.link, Way::There, 0, clock::now());
        let to = self.shared.spec.to;
        let far = {
            let dialled = async {
                timer.wait_until(arrives.unwrap_or_else(clock::now)).await?;
                tokio::time::timeout(DIAL_PATIENCE, TcpStream::connect(to)).await?
            };
            tokio::pin!(dialled);
            loop {
                tokio::select! {
                    far = &mut dialled => break far,
                    ready = near.readable(), if self.takes(Way::There) => {
                        ready?;
                        self.take(Way::There, near);
                    }
                }
            }
        };
        match far {
            Ok(far) => {
                prepare(&far)?;
                Ok(Some(far))
            }
            Err(error) if is_short(&error) => {
                self.shared.count(|tally| tally.streams.turned_away += 1);
                self.shared.tell_short(&error);
                break_off(near);
                Ok(None)
            }
            Err(error) => {
                self.shared.count(|tally| tally.streams.refused += 1);
                self.shared.tell_refused(&error);
                let known = self.shared.set_out(&mut self.link, Way::Back, 0, clock::now());
                timer.wait_until(known.unwrap_or_else(clock::now)).await?;
                break_off(near);
                Ok(None)
            }
        }
    }

    async fn exchange(mut self, near: &TcpStream, far: &TcpStream, timer: &mut Timer) -> io::Result<()> {
        while !(self.there.is_over && self.back.is_over) {
            let due = self.there.next_due().min(self.back.next_due());
            tokio::select! {
                ready = near.readable(), if self.takes(Way::There) => {
                    ready?;
                    self.take(Way::There, near);
                }
                ready = far.readable(), if self.takes(Way::Back) => {
                    ready?;
                    self.take(Way::Back, far);
                }
                ready = far.writable(), if self.there.is_blocked => {
                    ready?;
                    self.there.unblock();
                }
                ready = near.writable(), if self.back.is_blocked => {
                    ready?;
                    self.back.unblock();
                }
                waited = timer.wait_closely(due), if due != NEVER => waited?,
            }
            if self.deliver(Way::There, far) || self.deliver(Way::Back, near) {
                return Ok(());
            }
        }
        Ok(())
    }

    const fn side(&mut self, way: Way) -> &mut Side<'a> {
        match way {
            Way::There => &mut self.there,
            Way::Back => &mut self.back,
        }
    }

    fn takes(&mut self, way: Way) -> bool {
        let shared = self.shared;
        let side = self.side(way);
        let has_room = shared.has_room(side.hold.bytes());
        if side.is_full && has_room {
            side.taken_since = clock::now();
        }
        side.is_full = !has_room;
        has_room && !side.is_ended
    }

    /// Reads once: what is there sets out.
    fn take(&mut self, way: Way, from: &TcpStream) {
        let read = {
            let mut buffer = self.shared.buffer.borrow_mut();
            let room = &mut buffer[..self.piece_length];
            let read = from.try_io(Interest::READABLE, || stamping::receive(from.as_fd(), room));
            read.map(|(length, reception)| (buffer[..length].to_vec(), reception.kernel))
        };
        let (load, stamp) = match read {
            Ok((bytes, _)) if bytes.is_empty() => (Load::End, None),
            Ok((bytes, stamp)) => (Load::Bytes(bytes), stamp),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => (Load::Reset, None),
        };
        let came = self.shared.came(stamp).max(self.side(way).taken_since);
        self.send(way, load, came);
    }

    fn send(&mut self, way: Way, load: Load, came: Stamp) {
        let release = self.shared.set_out(&mut self.link, way, load.length(), came).unwrap_or(came);
        let side = self.side(way);
        side.is_ended |= !matches!(load, Load::Bytes(_));
        side.hold.push(release, load);
    }

    /// Delivers what is due, as far as the receiver takes it; true if the connection is broken off.
    fn deliver(&mut self, way: Way, to: &TcpStream) -> bool {
        let shared = self.shared;
        let side = self.side(way);
        loop {
            let now = clock::now();
            let Some(piece) = side.hold.due(now).filter(|_| !side.is_blocked) else { return false };
            match piece.deliver(to) {
                Delivery::Written(written) => {
                    let due = piece.begin().map(|due| due.max(side.free_since));
                    piece.written += written;
                    shared.count(|tally| tally.streams.deliver(way, written, (due, now)));
                    if piece.written == piece.load.length() {
                        side.hold.pop();
                    }
                }
                Delivery::Ended => {
                    side.is_over = true;
                    side.hold.pop();
                }
                Delivery::Blocked => {
                    // From here on it is late because its receiver is.
                    piece.begin();
                    side.is_blocked = true;
                }
                Delivery::BrokenOff => return true,
                Delivery::Refused => return self.refuse(way),
            }
        }
    }

    /// The receiver of this direction has broken the connection: what is on its way to it is gone, and the sender hears of
    /// it over the link. True if there is nobody to hear it.
    fn refuse(&mut self, way: Way) -> bool {
        let side = self.side(way);
        side.hold.clear();
        (side.is_ended, side.is_over) = (true, true);
        let opposite = way.opposite();
        let is_heard = !self.side(opposite).is_over;
        if is_heard {
            self.send(opposite, Load::Reset, clock::now());
        }
        !is_heard
    }
}

/// What became of a piece that was handed to the kernel.
enum Delivery {
    /// So many bytes of it were taken.
    Written(usize),
    /// The receiver takes nothing for now.
    Blocked,
    /// It was the end of its direction.
    Ended,
    /// It broke the connection.
    BrokenOff,
    /// The receiver is gone.
    Refused,
}

impl Piece {
    fn deliver(&self, to: &TcpStream) -> Delivery {
        match &self.load {
            Load::Bytes(bytes) => match to.try_write(&bytes[self.written..]) {
                Ok(written) => Delivery::Written(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Delivery::Blocked,
                Err(_) => Delivery::Refused,
            },
            Load::End => {
                // A peer that has gone has nothing to be told.
                let _ = SockRef::from(to).shutdown(Shutdown::Write);
                Delivery::Ended
            }
            Load::Reset => {
                break_off(to);
                Delivery::BrokenOff
            }
        }
    }
}

/// What is written leaves at once, and what comes is stamped by the kernel, where it does.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Without stamps, delays begin when it was read.
    let _ = stamping::stamp_receptions(stream);
    stream.set_nodelay(true)
}

/// Closes a connection so that its peer sees that it was not in order.
fn break_off(stream: &TcpStream) {
    // Where this fails, the peer sees an ordinary close.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
