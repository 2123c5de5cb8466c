//! One emulated link between other programs: what comes in at one address goes out to another, as late as the link says.
//!
//! Separate from the links in front of our own responder because here neither the messages nor their answers are known:
//! every flow (a TCP connection, or the datagrams of one peer) has delays of its own and keeps its order; all of them
//! share the bandwidth. One piece on its way is what arrived together. Its delay begins when the kernel had received it:
//! that this process was woken for it takes nothing on top.

mod datagram;
mod hold;
mod stream;
mod tally;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

pub use tally::{Crossing, Lateness, Tally};

use super::link::Wire;
use super::{FitError, Link};
use crate::model::{LinkProfile, Stamp, WallStamp};
use crate::sys::clock;
use crate::sys::wall::WallWatch;

/// Exchanges that a flow remembers, so that an answer has the delay that belongs to its question.
const REMEMBERED: usize = 256;

/// Longest that is read at once: a whole datagram.
const LONGEST: usize = 65_535;

/// What the link between other programs is to be.
#[derive(Clone, Debug)]
pub struct ProxySpec {
    /// How it behaves.
    pub profile: LinkProfile,
    /// Where it leads.
    pub to: SocketAddr,
    /// Seed of its delays and losses.
    pub seed: u64,
    /// What it may use.
    pub limits: ProxyLimits,
}

/// What a link may use of this host.
#[derive(Clone, Copy, Debug)]
pub struct ProxyLimits {
    /// TCP connections, and likewise UDP peers, at a time.
    pub flows: usize,
    /// Bytes on their way in one direction of one flow; a stream is not read further, a datagram is dropped.
    pub flow_bytes: usize,
    /// Bytes on their way in all flows.
    pub all_bytes: usize,
    /// A UDP peer without a datagram for so long is forgotten.
    pub idle: Duration,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self { flows: 1024, flow_bytes: 4 << 20, all_bytes: 256 << 20, idle: Duration::from_secs(60) }
    }
}

/// Sockets to listen on; either may be left out.
#[derive(Debug)]
pub struct ProxySockets {
    /// For streams.
    pub tcp: Option<std::net::TcpListener>,
    /// For datagrams.
    pub udp: Option<std::net::UdpSocket>,
}

/// A link that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No delay process has the profile's figures.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// No sockets or timers.
    #[error("the emulated link cannot be made")]
    Start(#[from] io::Error),
}

/// Says something that its user should know, once.
pub type Tell = Box<dyn Fn(&str)>;

/// The two ways over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

impl Way {
    const fn opposite(self) -> Self {
        match self {
            Self::There => Self::Back,
            Self::Back => Self::There,
        }
    }
}

/// What all flows of a link share. They run on one event loop, so there are no locks.
struct Shared {
    spec: ProxySpec,
    tell: Tell,
    /// Bandwidth of the way there and of the way back.
    wires: RefCell<(Wire, Wire)>,
    /// Bytes on their way in all flows.
    held: Cell<usize>,
    tally: RefCell<Tally>,
    /// The clock of the kernel's stamps.
    watch: RefCell<WallWatch>,
    /// Whether it was said that the far end does not take something, and that this host has not got something.
    told: (Cell<bool>, Cell<bool>),
    /// What is read goes here first: a flow has no buffer of its own.
    buffer: RefCell<Vec<u8>>,
}

/// Carries everything between the listening sockets and the far end until `ended`; then tells what it did.
///
/// # Errors
/// When the profile cannot be emulated, or the sockets cannot be used.
pub async fn carry(
    spec: ProxySpec,
    sockets: ProxySockets,
    tell: Tell,
    ended: impl Future<Output = ()>,
) -> Result<Tally, ProxyError> {
    Link::new(&spec.profile, true, spec.seed, 0)?;
    let bandwidth = spec.profile.bandwidth_bits_per_s;
    let shared = Shared {
        spec,
        tell,
        wires: RefCell::new((Wire::new(bandwidth), Wire::new(bandwidth))),
        held: Cell::new(0),
        tally: RefCell::default(),
        watch: RefCell::new(WallWatch::new(clock::reading())),
        told: Default::default(),
        buffer: RefCell::new(vec![0; LONGEST]),
    };
    let listener = sockets.tcp.map(stream::listen).transpose()?;
    let socket = sockets.udp.map(datagram::listen).transpose()?;
    tokio::select! {
        never = stream::serve(listener, &shared) => match never {},
        never = datagram::serve(socket, &shared) => match never {},
        () = ended => {}
    }
    Ok(shared.tally.into_inner())
}

impl Shared {
    /// The delays of the flow of this number; streams have even numbers of the generator, datagrams odd ones, as the links
    /// in front of our own responder have.
    fn link(&self, stream: bool, number: u64) -> Result<Link, FitError> {
        // The bandwidth belongs to all flows, so it is not the link's own.
        let profile = LinkProfile { bandwidth_bits_per_s: None, ..self.spec.profile.clone() };
        let link = Link::new(&profile, stream, self.spec.seed, number * 2 + u64::from(!stream))?;
        Ok(link.remembering(REMEMBERED))
    }

    /// When the kernel received what it stamped so; where there is no stamp, or the clock was set meanwhile, it is now.
    fn came(&self, stamp: Option<WallStamp>) -> Stamp {
        let mut watch = self.watch.borrow_mut();
        let reading = clock::reading();
        watch.observe(reading);
        let came = stamp.map(|stamp| watch.latest(stamp));
        came.filter(|came| *came <= reading.after && watch.is_steady_since(*came)).unwrap_or(reading.after)
    }

    /// A piece sets out that came so: when it arrives, or `None` if the link loses it.
    fn set_out(&self, link: &mut Link, way: Way, bytes: usize, came: Stamp) -> Option<Stamp> {
        let mut wires = self.wires.borrow_mut();
        match way {
            Way::There => link.forward(bytes, wires.0.carry(bytes, came)),
            Way::Back => link.backward_from(came, bytes, wires.1.carry(bytes, came)),
        }
    }

    /// Whether a flow that holds so much may take more. One that holds nothing may always: else it would wait for others.
    fn has_room(&self, flow_held: usize) -> bool {
        let limits = &self.spec.limits;
        flow_held == 0 || (flow_held < limits.flow_bytes && self.held.get() < limits.all_bytes)
    }

    /// Counts what was carried.
    fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.tally.borrow_mut());
    }

    /// Says the first time that the far end does not take what is carried to it.
    fn tell_refused(&self, error: &io::Error) {
        if !self.told.0.replace(true) {
            let to = self.spec.to;
            (self.tell)(&format!("{to} does not take what is carried to it: {error}; this is said once, and counted"));
        }
    }

    /// Says the first time that this host has not got what another flow needs.
    fn tell_short(&self, error: &io::Error) {
        if !self.told.1.replace(true) {
            (self.tell)(&format!(
                "this host has no room for more of them: {error}; raise `ulimit -n` or lower --max-connections; \
                 this is said once, and counted"
            ));
        }
    }
}

/// Whether it is this host that has run out of something, and not the far end that refuses.
fn is_short(error: &io::Error) -> bool {
    use nix::libc::{EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM};
    error.raw_os_error().is_some_and(|code| [EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(&code))
}
