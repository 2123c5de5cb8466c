//! What is known of a host, before anything is concluded from it: plain data, so that conclusions can be tried on hosts
//! that nobody has.

use crate::model::{CardState, Series, Summary};

/// Everything; what could not be found out is absent, or an error in its own words.
#[derive(Debug)]
pub struct Facts {
    /// The clock source in use.
    pub clock_source: Option<String>,
    /// Those that the kernel could use.
    pub clock_sources: Vec<String>,
    /// Resolution that the kernel claims.
    pub clock_resolution_ns: Option<u64>,
    /// What a read costs.
    pub clock_cost: Option<ClockFigures>,
    /// How much later than asked a sleep may end.
    pub timer_slack_ns: Option<u64>,
    /// How late this process woke, or why that could not be tried.
    pub wakeup: Result<Summary, String>,
    /// Exchanges with ourselves, or why there could be none.
    pub floor: Result<Floor, String>,
    /// Why the kernel stamped none of them, if it did not.
    pub unstamped: Option<String>,
    /// Interfaces that lead out of this host.
    pub adapters: Result<Adapters, String>,
    /// Whether an ICMP datagram socket can be had.
    pub icmp_datagram: Result<(), String>,
    /// Whether a raw one can.
    pub icmp_raw: Result<(), String>,
    /// Who may have a datagram one.
    pub ping_group_range: Option<String>,
    /// Names of the capabilities in effect, of those that matter here.
    pub capabilities: Option<Vec<&'static str>>,
    /// Whether the kernel emulates links for us.
    pub netem: Result<(), String>,
    /// Processors that this process may use.
    pub cpu_count: Option<u64>,
    /// Their frequency governor.
    pub cpu_governor: Option<String>,
    /// Processors' time that the control group is limited to.
    pub cpu_quota: Option<f64>,
    /// Whether a hypervisor is below.
    pub is_virtual: Option<bool>,
    /// Share of the time that it gave to others meanwhile.
    pub steal_ratio: Option<f64>,
    /// Open files: now and at most.
    pub file_limit: Option<(u64, u64)>,
    /// Where runs are kept, or why they cannot be.
    pub runs: Result<String, String>,
}

impl Default for Facts {
    /// A host of which nothing is known yet.
    fn default() -> Self {
        let unknown = || "it was not tried".to_owned();
        Self {
            clock_source: None,
            clock_sources: Vec::new(),
            clock_resolution_ns: None,
            clock_cost: None,
            timer_slack_ns: None,
            wakeup: Err(unknown()),
            floor: Err(unknown()),
            unstamped: None,
            adapters: Err(unknown()),
            icmp_datagram: Err(unknown()),
            icmp_raw: Err(unknown()),
            ping_group_range: None,
            capabilities: None,
            netem: Err(unknown()),
            cpu_count: None,
            cpu_governor: None,
            cpu_quota: None,
            is_virtual: None,
            steal_ratio: None,
            file_limit: None,
            runs: Err(unknown()),
        }
    }
}

/// What reading the clock costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClockFigures {
    /// One read.
    pub read_ns: f64,
    /// The least by which two reads differed, if they did.
    pub step_ns: Option<u64>,
}

/// The network interfaces.
#[derive(Clone, Debug, Default)]
pub struct Adapters {
    /// Those that were looked at.
    pub looked_at: Vec<Adapter>,
    /// How many more are up.
    pub further_count: usize,
    /// How many are down.
    pub down_count: usize,
}

/// A network interface.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Its name.
    pub name: String,
    /// What is stamped on its way, or why it does not say.
    pub stamps: Result<AdapterStamps, String>,
}

/// What is stamped on the way through a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterStamps {
    /// By its driver.
    pub software: Ways,
    /// What its card could stamp of every message.
    pub hardware: Ways,
    /// Whether the card's stamps can be had.
    pub card: CardState,
}

/// Which ways are stamped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// What is sent.
    pub send: bool,
    /// What is received.
    pub receive: bool,
}

/// Medians of exchanges over the loopback by TCP: as this process sees them, as the kernel does, and without both ends'
/// wake-ups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// By our own clock.
    pub user_ns: Option<u64>,
    /// By the kernel's stamps.
    pub kernel_ns: Option<u64>,
    /// Between the kernel's stamps of both ends.
    pub network_ns: Option<u64>,
}

impl Floor {
    /// Of the series of a measurement.
    #[must_use]
    pub fn of(series: &[Series]) -> Self {
        let median = |name: &str| {
            let is_it = |series: &&Series| {
                series.name == name && series.labels.value("channel").is_none_or(|channel| channel == "echo")
            };
            series.iter().find(is_it).and_then(|series| series.summary.p50_ns)
        };
        Self {
            user_ns: median("rtt.floor.echo"),
            kernel_ns: median("rtt.floor.echo.kernel"),
            network_ns: median("rtt.floor.network"),
        }
    }
}
