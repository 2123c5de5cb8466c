//! Everything before the first attempt: addresses, emulated links, the noise floor, and who is an echo.
//!
//! Separate from the measurement because here nothing is timed, and because here it is decided what a target is asked:
//! a peer that is not ours gets one PING, once, and never another byte of ours unless the user named the channel.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;

use super::card::Cards;
use super::connect::ConnectChannel;
use super::echo::EchoChannel;
use super::icmp::{IcmpChannel, IcmpHub};
use super::operation::{RttOperation, Stamped, Way, kernel_series, series_name};
use super::spec::{Channel, Place, RttSpec, Target};
use super::udp::UdpChannel;
use super::{far, missing};
use crate::echo::{Embedded, FRAME_LENGTH, answer, bind_pair};
use crate::load::Lane;
use crate::model::{Finding, Labels, LinkProfile, Scalar, Series, Severity, Stamp, Warning};
use crate::sys::icmp::IcmpDenied;
use crate::sys::stamping::Stampers;
use crate::topo::{Applied, EmulatedTarget, Emulation, EmulationError, Responder, reference};
use crate::wire::locate::{BindError, LocateError, Located, Sought, locate};

/// How long the first PING may take to show that the far end is an echo.
const DISCOVERY_PATIENCE: Duration = Duration::from_secs(2);
const LONGEST_DISCOVERY: Duration = Duration::from_secs(10);

/// What keeps a far end from being asked at all.
const REFUSED: &str = "it refused the connection";
const UNREACHED: &str = "it could not be connected to";

/// What must be there before anything can be measured, and is not.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A target without an address.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// ICMP was asked for by name and is not allowed.
    #[error("the channel `icmp` was asked for and this process may not use ICMP")]
    Icmp(#[source] IcmpDenied),
    /// The emulated links.
    #[error(transparent)]
    Emulation(#[from] EmulationError),
    /// The loopback echo of the noise floor.
    #[error("the loopback echo of the noise floor could not be started")]
    Floor(#[source] io::Error),
    /// A local address that cannot be used.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A UDP socket.
    #[error("no UDP socket")]
    Udp(#[source] io::Error),
    /// Nothing can be asked of a target.
    #[error("target `{target}` has no port and ICMP is not allowed here, so there is nothing to measure")]
    Nothing {
        /// Name of the target.
        target: String,
    },
}

impl PrepareError {
    /// The next step, where there is one.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Icmp(_) => {
                "run `sysctl net.ipv4.ping_group_range=\"0 2147483647\"`, or give the program CAP_NET_RAW, or leave icmp out of --channel"
            }
            Self::Locate(error) => error.hint(),
            Self::Nothing { .. } => "write NAME=HOST:PORT",
            Self::Bind(error) => error.hint(),
            Self::Emulation(_) | Self::Floor(_) | Self::Udp(_) => return None,
        })
    }
}

/// All lanes, ready to be driven, and what keeps them alive.
pub struct Prepared {
    /// The targets' lanes, then the floor's.
    pub lanes: Vec<Lane<RttOperation>>,
    /// How many of the lanes are targets'.
    pub target_count: usize,
    /// What was noticed about the measurement.
    pub warnings: Vec<Warning>,
    notes: Vec<Finding>,
    programmed: Vec<(&'static str, Labels, Arc<Applied>)>,
    hubs: Hubs,
    _emulation: Option<Emulation>,
    _floor: Embedded,
}

/// A target with its address, and the links in front of it if it is emulated.
struct Site<'a> {
    target: &'a Target,
    address: SocketAddr,
    has_port: bool,
    stampers: Stampers,
    emulated: Option<EmulatedTarget>,
}

/// The ICMP sockets by family, opened when first needed, and why one could not be.
#[derive(Default)]
struct Hubs {
    open: BTreeMap<bool, Arc<IcmpHub>>,
    denied: Option<IcmpDenied>,
}

/// Prepares everything; on error nothing is left behind.
pub async fn prepare(spec: &RttSpec) -> Result<Prepared, PrepareError> {
    spec.reach.try_bind()?;
    let emulation = emulate(spec)?;
    let mut prepared = Prepared::bare()?;
    let sites = prepared.sites(spec, emulation.as_ref()).await?;
    let echoes = futures_util::future::join_all(sites.iter().map(|site| discover(spec, site))).await;
    for (site, echo) in sites.iter().zip(echoes) {
        prepared.add_target(spec, site, echo).await?;
    }
    if let Some(bound) = spec.clock_bound {
        prepared.lanes.iter().for_each(|lane| lane.operation.trust(bound));
    }
    prepared.note_emulated(&sites);
    prepared.target_count = prepared.lanes.len();
    let used: BTreeSet<Channel> = prepared.lanes.iter().map(|lane| channel_of(&lane.operation)).collect();
    prepared.add_floor(&used, spec.load.timeout).await?;
    if let Some(denied) = &prepared.hubs.denied {
        let text = format!(
            "no icmp channel: {denied}; allow it with `sysctl net.ipv4.ping_group_range=\"0 2147483647\"` or give the program CAP_NET_RAW"
        );
        prepared.warnings.push(Warning::new("icmp_denied", text));
    }
    prepared._emulation = emulation;
    Ok(prepared)
}

/// Prepares the noise floor of these channels and no target.
pub async fn floor_alone(channels: &BTreeSet<Channel>, patience: Duration) -> Result<Prepared, PrepareError> {
    let mut prepared = Prepared::bare()?;
    prepared.add_floor(channels, patience).await?;
    Ok(prepared)
}

fn emulate(spec: &RttSpec) -> Result<Option<Emulation>, PrepareError> {
    let link = |target: &Target| match &target.place {
        Place::Emulated { link, .. } => Some(link.clone()),
        Place::Address { .. } => None,
    };
    let profiles: Vec<LinkProfile> = spec.targets.iter().filter_map(link).collect();
    if profiles.is_empty() {
        return Ok(None);
    }
    let pong = |message: &[u8], at: Stamp| answer(message, at, at).map(Vec::from);
    let responder = Responder { message_length: FRAME_LENGTH, answer: pong };
    Ok(Some(Emulation::start(&profiles, responder, spec.load.seed, bind_pair)?))
}

/// What the first PING showed.
enum Echo {
    /// An echo, or the user says that it must be one.
    Is(EchoChannel),
    /// Not an echo, with what it did instead.
    IsNot(&'static str),
    /// Not asked.
    Unasked,
}

async fn discover(spec: &RttSpec, site: &Site<'_>) -> Echo {
    if !site.has_port || !(spec.wants(Channel::Echo) || spec.wants(Channel::Udp)) {
        return Echo::Unasked;
    }
    let named = spec.named(Channel::Echo);
    if !named && spec.named(Channel::Udp) {
        return Echo::Unasked;
    }
    let channel = EchoChannel::open(site.address, spec.reach.bind, spec.load.timeout, site.stampers);
    channel.settled().await;
    if site.emulated.is_some() {
        // The greeting is back before recording begins, so the link's own count is that of the attempts.
        let _ = tokio::time::timeout(LONGEST_DISCOVERY, channel.greeted()).await;
        return Echo::Is(channel);
    }
    if named {
        return Echo::Is(channel);
    }
    let patience = spec.load.timeout.clamp(DISCOVERY_PATIENCE, LONGEST_DISCOVERY);
    match tokio::time::timeout(patience, channel.greeted()).await {
        Ok(true) => Echo::Is(channel),
        Ok(false) if channel.is_refused() => Echo::IsNot(REFUSED),
        Ok(false) => Echo::IsNot(channel.foreign().unwrap_or(UNREACHED)),
        Err(_) => Echo::IsNot("it did not answer a PING"),
    }
}

impl Prepared {
    /// The echo of the noise floor, and no lanes yet.
    fn bare() -> Result<Self, PrepareError> {
        Ok(Self {
            lanes: Vec::new(),
            target_count: 0,
            warnings: Vec::new(),
            notes: Vec::new(),
            programmed: Vec::new(),
            hubs: Hubs::default(),
            _floor: Embedded::start().map_err(PrepareError::Floor)?,
            _emulation: None,
        })
    }

    /// The delays that the emulated links applied.
    pub fn programmed(&self) -> Vec<Series> {
        self.programmed.iter().map(|(name, labels, applied)| applied.series(name, labels.clone())).collect()
    }

    /// The series of the kernel's stamps, which are then with the caller alone.
    pub fn take_stamped(&self) -> impl Iterator<Item = Series> {
        self.lanes.iter().filter_map(Stamped::take).flat_map(Stamped::into_series)
    }

    /// What is known of the far ends' clocks.
    pub fn scalars(&self) -> Vec<Scalar> {
        far::scalars(&self.lanes[..self.target_count])
    }

    /// Hears the far end's stamps of the last exchanges, if that is quick.
    pub async fn flush(&self, patience: Duration) {
        futures_util::future::join_all(self.lanes.iter().map(|lane| lane.operation.flush(patience))).await;
    }

    /// Answers that came after their attempt had been given up.
    pub fn late_count(&self) -> u64 {
        let lanes: u64 = self.lanes.iter().map(|lane| lane.operation.late_count()).sum();
        lanes + self.hubs.open.values().map(|hub| hub.late_count()).sum::<u64>()
    }

    /// What is known about the targets at the end: a peer may prove foreign only during the run.
    pub fn findings(&self) -> Vec<Finding> {
        let foreign = |lane: &Lane<RttOperation>| match &lane.operation.way {
            Way::Echo(channel) => {
                channel.foreign().map(|what| not_an_echo(lane.labels.value("target").unwrap_or_default(), what))
            }
            _ => None,
        };
        let targets = &self.lanes[..self.target_count];
        let stamped = missing::findings(targets).into_iter().chain(far::findings(targets));
        self.notes.iter().cloned().chain(self.lanes.iter().filter_map(foreign)).chain(stamped).collect()
    }

    async fn sites<'a>(
        &mut self,
        spec: &'a RttSpec,
        emulation: Option<&Emulation>,
    ) -> Result<Vec<Site<'a>>, PrepareError> {
        let located = try_join_all(spec.targets.iter().map(|target| async move {
            match &target.place {
                Place::Address { host, port } => {
                    let place = Sought { target: &target.name, host, port: *port, timeout: spec.load.timeout };
                    locate(&spec.reach, &place).await.map(Some)
                }
                Place::Emulated { .. } => Ok(None),
            }
        }));
        let stamped = [Channel::Icmp, Channel::Echo, Channel::Udp].into_iter().any(|channel| spec.wants(channel));
        let mut cards = Cards::default();
        let mut emulated = emulation.into_iter().flat_map(|emulation| emulation.targets.clone());
        let mut sites = Vec::new();
        for (target, located) in spec.targets.iter().zip(located.await?) {
            let site = match located {
                Some(located) => {
                    self.note_passed_over(target, &located);
                    let address = located.address;
                    let stampers = match stamped {
                        true => cards.toward(address, spec.reach.bind),
                        false => Stampers::Kernel,
                    };
                    Site { target, address, has_port: address.port() != 0, stampers, emulated: None }
                }
                None => {
                    let Some(link) = emulated.next() else { continue };
                    let stampers = Stampers::Kernel;
                    Site { target, address: link.address, has_port: true, stampers, emulated: Some(link) }
                }
            };
            sites.push(site);
        }
        self.notes.extend(cards.findings());
        Ok(sites)
    }

    fn note_passed_over(&mut self, target: &Target, located: &Located) {
        for (address, what) in &located.passed_over {
            let text = format!("{}: {address} {what}; {} is measured instead", target.name, located.address.ip());
            self.notes.push(Finding::new("address_passed_over", Severity::Notice, text));
        }
    }

    /// A channel that was named and that this target cannot have is not dropped in silence.
    fn note_left_out(&mut self, spec: &RttSpec, site: &Site<'_>) {
        if site.has_port {
            return;
        }
        let missing = [Channel::Connect, Channel::Echo, Channel::Udp];
        let named: Vec<String> = missing.iter().filter(|c| spec.named(**c)).map(Channel::to_string).collect();
        if !named.is_empty() {
            let text = format!("{} has no port, so it is not measured by {}", site.target.name, named.join(", "));
            self.notes.push(Finding::new("channel_left_out", Severity::Notice, text));
        }
    }

    fn note_emulated(&mut self, sites: &[Site<'_>]) {
        let emulated = sites.iter().filter(|site| site.emulated.is_some());
        let names: Vec<&str> = emulated.map(|site| site.target.name.as_str()).collect();
        if !names.is_empty() {
            let text = format!(
                "emulated in user space, where the kernel's handshake and ICMP cannot be delayed, so with echo and udp only, and without rtt.network: {}",
                names.join(", ")
            );
            self.notes.push(Finding::new("emulated", Severity::Info, text));
        }
    }

    async fn add_target(&mut self, spec: &RttSpec, site: &Site<'_>, echo: Echo) -> Result<(), PrepareError> {
        let before = self.lanes.len();
        if site.emulated.is_none() {
            self.add_connect_and_icmp(spec, site)?;
        }
        self.note_left_out(spec, site);
        let proven = match echo {
            Echo::Is(channel) => {
                if spec.wants(Channel::Echo) {
                    self.add(site, Channel::Echo, Way::Echo(channel));
                }
                true
            }
            Echo::IsNot(what) => {
                self.notes.push(not_an_echo(&site.target.name, what));
                false
            }
            Echo::Unasked => false,
        };
        if site.has_port && (spec.named(Channel::Udp) || (spec.channels.is_none() && proven)) {
            let channel = UdpChannel::open(site.address, spec.reach.bind, spec.load.timeout, site.stampers)
                .map_err(PrepareError::Udp)?;
            self.add(site, Channel::Udp, Way::Udp(channel));
        }
        if self.lanes.len() == before {
            return Err(PrepareError::Nothing { target: site.target.name.clone() });
        }
        Ok(())
    }

    fn add_connect_and_icmp(&mut self, spec: &RttSpec, site: &Site<'_>) -> Result<(), PrepareError> {
        if site.has_port && spec.wants(Channel::Connect) {
            let channel =
                ConnectChannel { address: site.address, bind: spec.reach.bind, kernel_series: kernel_series(false) };
            self.add(site, Channel::Connect, Way::Connect(channel));
        }
        if spec.wants(Channel::Icmp) {
            match self.hubs.of(site.address.ip(), spec.reach.bind, spec.load.timeout) {
                Some(hub) => {
                    let channel = IcmpChannel::new(hub, site.address.into(), site.stampers);
                    self.add(site, Channel::Icmp, Way::Icmp(channel));
                }
                None if spec.named(Channel::Icmp) => {
                    return Err(self.hubs.denied.take().map_or_else(
                        || PrepareError::Nothing { target: site.target.name.clone() },
                        PrepareError::Icmp,
                    ));
                }
                None => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, site: &Site<'_>, channel: Channel, way: Way) {
        let mut operation = RttOperation::from(way);
        let name = series_name(channel, false);
        let target = &site.target.name;
        let mut labels = Labels::new().with("target", target);
        if let Some(link) = &site.emulated {
            let (name, applied) = match channel {
                Channel::Udp => ("rtt.echo_udp.programmed", &link.udp_applied),
                _ => ("rtt.echo.programmed", &link.tcp_applied),
            };
            self.programmed.push((name, labels.clone(), Arc::clone(applied)));
            operation.applied = Some(Arc::clone(applied));
        } else {
            // The port is in the spec; where there is none, there is only the address.
            labels = labels.with("address", &site.address.ip().to_string());
        }
        self.lanes.push(Lane { operation, name, labels, floor: false, reference: reference(target) });
    }

    /// One loopback lane for each channel that the targets use, whose answers are waited for as long.
    async fn add_floor(&mut self, channels: &BTreeSet<Channel>, patience: Duration) -> Result<(), PrepareError> {
        let (address, loopback) = (self._floor.address(), IpAddr::from(Ipv4Addr::LOCALHOST));
        for &channel in channels {
            let way = match channel {
                Channel::Connect => {
                    Way::Connect(ConnectChannel { address, bind: None, kernel_series: kernel_series(true) })
                }
                Channel::Icmp => match self.hubs.of(loopback, None, patience) {
                    Some(hub) => {
                        let address = SocketAddr::new(loopback, 0).into();
                        Way::Icmp(IcmpChannel::new(hub, address, Stampers::Kernel))
                    }
                    None => continue,
                },
                Channel::Echo => {
                    let channel = EchoChannel::open(address, None, patience, Stampers::Kernel);
                    channel.settled().await;
                    Way::Echo(channel)
                }
                Channel::Udp => {
                    let channel =
                        UdpChannel::open(address, None, patience, Stampers::Kernel).map_err(PrepareError::Floor)?;
                    Way::Udp(channel)
                }
            };
            let (operation, labels) = (RttOperation::from(way), Labels::new().with("target", "loopback"));
            let name = series_name(channel, true);
            self.lanes.push(Lane { operation, name, labels, floor: true, reference: None });
        }
        Ok(())
    }
}

impl Hubs {
    fn of(&mut self, like: IpAddr, bind: Option<IpAddr>, patience: Duration) -> Option<Arc<IcmpHub>> {
        if let Some(hub) = self.open.get(&like.is_ipv4()) {
            return Some(Arc::clone(hub));
        }
        match IcmpHub::open(like, bind, patience) {
            Ok(hub) => {
                let hub = Arc::new(hub);
                self.open.insert(like.is_ipv4(), Arc::clone(&hub));
                Some(hub)
            }
            Err(denied) => {
                self.denied = Some(denied);
                None
            }
        }
    }
}

const fn channel_of(operation: &RttOperation) -> Channel {
    match &operation.way {
        Way::Connect(_) => Channel::Connect,
        Way::Icmp(_) => Channel::Icmp,
        Way::Echo(_) => Channel::Echo,
        Way::Udp(_) => Channel::Udp,
    }
}

fn not_an_echo(target: &str, what: &str) -> Finding {
    let text = match what {
        REFUSED | UNREACHED => format!("no echo answers at {target}: {what}; no further echo is sent to it"),
        _ => format!("{target} is not an echo: {what}; no further echo is sent to it"),
    };
    Finding::new("not_an_echo", Severity::Info, text)
}
