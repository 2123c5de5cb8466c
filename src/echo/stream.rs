//! One connection of the echo: reads PINGs, writes PONGs, and has an end for every peer that does neither as it should.
//!
//! Separate from the service because here every wait has a limit of its own, and because the stamps of the kernel are
//! matched with the bytes of one stream.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::frame::{Earlier, FRAME_LENGTH, Frame, Kind};
use super::server::{EchoLimits, EchoStatistics};
use super::stamper::{Answered, Stamper};
use crate::model::{Stamp, WallStamp};
use crate::sys::host::same_kernel;
use crate::sys::interrupted::again;
use crate::sys::stamping::Stampers;
use crate::sys::{clock, stamping};

/// Bytes read from a connection at once; also all that is kept of it.
const BUFFER: usize = 56 * FRAME_LENGTH;

/// Answers the PINGs of one connection until it ends.
pub fn answer_stream(stream: &TcpStream, limits: &EchoLimits, statistics: &EchoStatistics) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(limits.write))?;
    let mut buffer = [0; BUFFER];
    let mut filled = first_frame(stream, &mut buffer, limits.first_ping)?;
    stream.set_read_timeout(Some(limits.idle))?;
    let mut last_frame = clock::now();
    let mut stamps = Stamps::default();
    let mut stamp = None;
    loop {
        let received = clock::now();
        let whole = filled - filled % FRAME_LENGTH;
        if whole > 0 {
            last_frame = received;
        } else if received.since(last_frame) > limits.idle {
            // Single bytes do not keep a connection alive.
            return Ok(());
        }
        let mut last = None;
        stamps.tell_apart(stamp);
        for bytes in buffer[..whole].chunks_exact_mut(FRAME_LENGTH) {
            let ping = Frame::decode(bytes).filter(|frame| frame.kind == Kind::Ping);
            let ping = ping.ok_or(io::ErrorKind::InvalidData)?;
            bytes.copy_from_slice(&stamps.pong(stream, ping, received).encode());
            last = Some(ping.sequence);
        }
        write_all(stream, &buffer[..whole], received + limits.write)?;
        if let Some(sequence) = last {
            stamps.written(stream, whole, sequence, stamp);
        }
        statistics.answered.fetch_add((whole / FRAME_LENGTH) as u64, Ordering::Relaxed);
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
        let read;
        (read, stamp) = stamps.read(stream, &mut buffer[filled..])?;
        match read {
            0 => return Ok(()),
            read => filled += read,
        }
    }
}

/// The kernel's stamps of one connection, once its peer has asked for them.
#[derive(Default)]
struct Stamps {
    stamper: Option<Stamper<()>>,
    /// Whether the kernel refused: it is not asked again.
    is_refused: bool,
    /// Bytes written since stamps were asked for, as the kernel numbers them.
    written: u32,
    earlier: Option<Earlier>,
    /// Whether the peer's first PING came from this host.
    is_same_host: Option<bool>,
}

impl Stamps {
    /// Reads what there is. Where stamps are wanted it is the rest of one frame, though more may wait: each is then stamped
    /// for itself, and answered for itself.
    fn read(&mut self, mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<(usize, Option<WallStamp>)> {
        let filled = BUFFER - buffer.len();
        match &mut self.stamper {
            Some(stamper) => {
                stamper.before_reading(stream.as_fd());
                let (read, stamps) = stamping::receive(stream.as_fd(), &mut buffer[..FRAME_LENGTH - filled])?;
                Ok((read, stamps.kernel))
            }
            None => again(|| stream.read(buffer)).map(|read| (read, None)),
        }
    }

    /// Segments that wait together may be joined, under the stamp of the last: then that of the one before was not its own.
    fn tell_apart(&mut self, stamp: Option<WallStamp>) {
        let Some(stamp) = stamp else { return };
        self.earlier = self.earlier.filter(|earlier| earlier.received != stamp);
        if let Some(stamper) = &mut self.stamper {
            stamper.retract(stamp);
        }
    }

    fn pong(&mut self, stream: &TcpStream, ping: Frame, received: Stamp) -> Frame {
        if ping.wants_stamps && self.stamper.is_none() && !self.is_refused {
            match stamping::stamp_stream(stream, Stampers::Kernel) {
                Ok(()) => self.stamper = Some(Stamper::new()),
                Err(_) => self.is_refused = true,
            }
        }
        let epoch = self.stamper.as_ref().map(Stamper::epoch).unwrap_or_default();
        let earlier = self.earlier.take();
        let is_same_host = *self.is_same_host.get_or_insert_with(|| same_kernel(ping.session, ping.host));
        Frame { earlier, epoch, is_same_host, ..ping.pong(received, clock::now()) }
    }

    /// Takes note of a write, and of whatever stamps there are by now.
    fn written(&mut self, stream: &TcpStream, length: usize, sequence: u64, received: Option<WallStamp>) {
        let Some(stamper) = &mut self.stamper else { return };
        self.written = self.written.wrapping_add(length as u32);
        stamper.answered(self.written.wrapping_sub(1), Answered { flow: (), sequence, received });
        stamper.collect(stream.as_fd(), |(), earlier, _| self.earlier = Some(earlier));
    }
}

/// Writes all of it by the deadline: a peer that takes a byte now and then gains nothing.
fn write_all(mut stream: &TcpStream, mut bytes: &[u8], deadline: Stamp) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = again(|| stream.write(bytes))?;
        bytes = &bytes[written..];
        if written == 0 || (!bytes.is_empty() && clock::now() > deadline) {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// Reads until the first whole frame is there, all within `patience`: a peer that drips bytes gains nothing.
fn first_frame(mut stream: &TcpStream, buffer: &mut [u8], patience: Duration) -> io::Result<usize> {
    let ours = Frame::ping(0, 0, Stamp::from_nanos(0)).encode();
    let deadline = clock::now() + patience;
    let mut filled = 0;
    while filled < FRAME_LENGTH {
        let left = deadline.since(clock::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match again(|| stream.read(&mut buffer[filled..]))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
        // A foreign protocol is refused at its first bytes instead of waiting for a whole frame of it.
        let head = filled.min(5);
        if buffer[..head] != ours[..head] {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(filled)
}
