//! What the figures mean: which of disk, network, batching, client and processor held the writes back.
//!
//! Pure, so that each cause can be tested on made-up figures. The limits are etcd's own (its hardware and tuning pages).

use super::window::Window;
use crate::model::{Advice, Finding, Severity};
use crate::wire::Spread;

/// Above these, etcd calls a disk too slow: 99 of 100 WAL syncs and database commits.
pub const WAL_FSYNC_LIMIT_NS: f64 = 10e6;
/// The same of commits of the database.
pub const BACKEND_COMMIT_LIMIT_NS: f64 = 25e6;

/// Share of one core above which this program, one event loop, is the limit itself.
const CLIENT_LIMIT_CORES: f64 = 0.9;

/// Share of all cores above which the machine is busy.
const HOST_LIMIT_RATIO: f64 = 0.85;

/// Share of a put's median that makes a part of it the cause.
const MAIN_PART_RATIO: f64 = 0.4;

/// Times the floor above which a put mostly waits for its turn.
const QUEUE_RATIO: f64 = 3.0;

/// Puts to a WAL sync above which etcd writes them together.
const TOGETHER: f64 = 1.5;

/// One measurement of puts, and all that is known about it.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Median of the puts' service time.
    pub p50_ns: Option<f64>,
    /// Answered requests a second.
    pub per_second: f64,
    /// Answered requests.
    pub answered_count: f64,
    /// Puts in a request.
    pub batch: usize,
    /// Requests in flight; `None` of an open loop.
    pub clients: Option<usize>,
    /// Shortest round trip from here to a member.
    pub client_rtt_ns: Option<f64>,
    /// Members that vote.
    pub voter_count: Option<usize>,
    /// The member that decided most, over the same span.
    pub leader: Option<Window>,
    /// Cores that this program used.
    pub own_cores: Option<f64>,
    /// Cores that all asked members on this host used together; `None` where they are elsewhere.
    pub local_cores: Option<f64>,
    /// Cores of this host.
    pub host_cores: Option<f64>,
    /// As `--endpoints` has them.
    pub access: String,
}

/// The least that a put can take, by its parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// From here to the member and back.
    pub client_ns: f64,
    /// From the leader to the follower that completes the majority, and back.
    pub peer_ns: f64,
    /// One sync of the write-ahead log.
    pub fsync_ns: f64,
}

impl Floor {
    /// All parts.
    #[must_use]
    pub const fn total_ns(self) -> f64 {
        self.client_ns + self.peer_ns + self.fsync_ns
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Client,
    Disk,
    Network,
    Batching,
    Processor,
}

/// What a put takes at least, with the mean sync of the log: single puts may meet a faster one; `None` where a part of it is not known.
#[must_use]
pub fn floor(figures: &Figures) -> Option<Floor> {
    let leader = figures.leader.as_ref()?;
    let fsync_ns = leader.wal_fsync.as_ref().and_then(Spread::mean_ns)?;
    // A majority of n is the leader and the nearest n/2 followers: the last of these decides.
    let needed = figures.voter_count? / 2;
    let peer_ns = match needed {
        0 => 0.0,
        needed => *leader.peer_rtt_ns.get(needed - 1)?,
    };
    Some(Floor { client_ns: figures.client_rtt_ns?, peer_ns, fsync_ns })
}

/// The verdict with its evidence; `None` where nothing was put.
#[must_use]
pub fn verdict(figures: &Figures) -> Option<Finding> {
    let p50 = figures.p50_ns?;
    let floor = floor(figures);
    let (cause, severity) = cause(figures, p50, floor)?;
    let text = match cause {
        Cause::Client => "this program is the limit: its event loop was busy all the time, the cluster can take more",
        Cause::Disk if severity == Severity::Problem => "the disk is the limit: it is slower than etcd needs",
        Cause::Disk => "the disk decides: the largest part of a put that is known is the sync of the write-ahead log",
        Cause::Network => "the network decides: the largest part of a put that is known is on the way",
        Cause::Batching => "batching decides: a put mostly waits until those before it are synced and applied",
        Cause::Processor => "the processor decides: disk and network are only a small part of a put",
    };
    let evidence = evidence(figures, p50, floor);
    Some(Finding::new("etcd_verdict", severity, text).with_evidence(evidence).with_advice(advice(cause, figures)))
}

fn cause(figures: &Figures, p50: f64, floor: Option<Floor>) -> Option<(Cause, Severity)> {
    if figures.own_cores.is_some_and(|cores| cores >= CLIENT_LIMIT_CORES) {
        return Some((Cause::Client, Severity::Notice));
    }
    let leader = figures.leader.as_ref()?;
    let is_slow = |spread: &Option<Spread>, limit: f64| {
        spread.as_ref().and_then(Spread::p99_ns).is_some_and(|(lower, _)| lower >= limit)
    };
    if is_slow(&leader.wal_fsync, WAL_FSYNC_LIMIT_NS) || is_slow(&leader.backend_commit, BACKEND_COMMIT_LIMIT_NS) {
        return Some((Cause::Disk, Severity::Problem));
    }
    let floor = floor?;
    if floor.client_ns + floor.peer_ns >= p50 * MAIN_PART_RATIO {
        return Some((Cause::Network, Severity::Info));
    }
    if floor.fsync_ns >= p50 * MAIN_PART_RATIO {
        return Some((Cause::Disk, Severity::Info));
    }
    if is_host_busy(figures) {
        return Some((Cause::Processor, Severity::Notice));
    }
    let waits = figures.clients.is_none_or(|clients| clients > 1) && p50 >= floor.total_ns() * QUEUE_RATIO;
    let together = puts_to_a_sync(figures).is_some_and(|puts| puts >= TOGETHER);
    Some((if waits && together { Cause::Batching } else { Cause::Processor }, Severity::Info))
}

fn is_host_busy(figures: &Figures) -> bool {
    let used = || Some((figures.local_cores? + figures.own_cores?) / figures.host_cores?);
    used().is_some_and(|ratio| ratio >= HOST_LIMIT_RATIO)
}

fn puts_to_a_sync(figures: &Figures) -> Option<f64> {
    let leader = figures.leader.as_ref()?;
    let syncs = leader.wal_fsync.as_ref()?.count();
    (syncs > 0.0).then(|| figures.answered_count / syncs)
}

fn evidence(figures: &Figures, p50: f64, floor: Option<Floor>) -> Vec<String> {
    let clients = match figures.clients {
        None => "an open loop".to_owned(),
        Some(1) => "1 client".to_owned(),
        Some(n) => format!("{n} clients"),
    };
    let mut lines = vec![format!(
        "measured put p50 {} with {clients}, {} to a request, {:.0} requests/s",
        span(p50),
        match figures.batch {
            1 => "1 put".to_owned(),
            batch => format!("{batch} puts"),
        },
        figures.per_second
    )];
    lines.push(match floor {
        Some(floor) => format!(
            "predicted floor {} = to the member {} + member to member {} + WAL fsync {}",
            span(floor.total_ns()),
            span(floor.client_ns),
            span(floor.peer_ns),
            span(floor.fsync_ns)
        ),
        None => "the floor cannot be predicted: not all of its parts are known".to_owned(),
    });
    if let Some(leader) = &figures.leader {
        lines.extend(against("WAL fsync", leader.wal_fsync.as_ref(), WAL_FSYNC_LIMIT_NS));
        lines.extend(against("backend commit", leader.backend_commit.as_ref(), BACKEND_COMMIT_LIMIT_NS));
    }
    lines.extend(puts_to_a_sync(figures).map(|puts| format!("{puts:.1} requests to a WAL fsync")));
    let cores =
        |cores: Option<f64>| cores.map_or_else(|| "an unknown number".to_owned(), |cores| format!("{cores:.2}"));
    let etcd = figures.leader.as_ref().and_then(Window::cpu_cores);
    let host = figures.host_cores.map_or_else(String::new, |cores| format!("; this host has {cores:.0}"));
    lines.push(format!("cores used: this program {}, etcd {}{host}", cores(figures.own_cores), cores(etcd)));
    lines
}

fn against(what: &str, spread: Option<&Spread>, limit: f64) -> Option<String> {
    let (lower, upper) = spread?.p99_ns()?;
    let between = match upper {
        Some(upper) => format!("between {} and {}", span(lower), span(upper)),
        None => format!("above {}", span(lower)),
    };
    Some(format!("{what} p99 {between} (etcd wants it below {})", span(limit)))
}

fn advice(cause: Cause, figures: &Figures) -> Advice {
    let again = |options: &str| format!("offloadctl bench etcd --endpoints {} {options}", figures.access);
    let (text, verify) = match cause {
        Cause::Client => (
            "take its figures as the least the cluster can do, and start this program on several hosts",
            again("--clients 8"),
        ),
        Cause::Disk => (
            "put the write-ahead log on a faster disk of its own (etcd --wal-dir) and keep other writers off it",
            again("--clients 1"),
        ),
        Cause::Network => (
            "bring the client and the members nearer to each other; set --heartbeat-interval to their round-trip time and --election-timeout to ten times that",
            again("--clients 1"),
        ),
        Cause::Batching => (
            "write keys that belong together in one transaction, and spread clients over connections",
            again("--batch 1,10,64"),
        ),
        Cause::Processor => {
            ("give etcd more or faster cores, and load it from another host than its own", again("--clients 1,8,64"))
        }
    };
    Advice::new(text, verify)
}

/// A span for a sentence.
fn span(ns: f64) -> String {
    if ns >= 1e6 { format!("{:.2} ms", ns / 1e6) } else { format!("{:.0} µs", ns / 1e3) }
}

#[cfg(test)]
mod tests {
    use super::super::window::Counters;
    use super::*;
    use crate::wire::Exposition;

    /// A second with `count` WAL syncs of `mean_ms`, all in the bucket up to `upper` seconds.
    fn leader(count: u32, mean_ms: f64, upper: &str, peers: &[f64]) -> Window {
        let scrape = |count: f64, cpu: f64| {
            let name = "etcd_disk_wal_fsync_duration_seconds";
            let rows: String = ["0.001", "0.008", "0.016", "0.032", "+Inf"]
                .iter()
                .map(|le| {
                    let bound: f64 = le.parse().unwrap();
                    let inside = bound >= upper.parse::<f64>().unwrap();
                    format!("{name}_bucket{{le=\"{le}\"}} {}\n", if inside { count } else { 0.0 })
                })
                .collect();
            let sum = count * mean_ms / 1e3;
            Counters::of(&Exposition::parse(&format!(
                "{rows}{name}_sum {sum}\n{name}_count {count}\nprocess_cpu_seconds_total {cpu}\n"
            )))
        };
        let window = scrape(0.0, 0.0).until(&scrape(f64::from(count), 0.5), &[], 1.0);
        Window { peer_rtt_ns: peers.to_vec(), ..window }
    }

    fn figures(leader: Window) -> Figures {
        Figures {
            p50_ns: Some(1e6),
            per_second: 1_000.0,
            answered_count: 1_000.0,
            batch: 1,
            clients: Some(1),
            client_rtt_ns: Some(50e3),
            voter_count: Some(1),
            leader: Some(leader),
            own_cores: Some(0.1),
            access: "http://a:1".to_owned(),
            ..Figures::default()
        }
    }

    #[test]
    fn each_cause_is_told_from_the_others() {
        let fast = || figures(leader(1_000, 0.1, "0.001", &[]));
        let cases = [
            (Figures { own_cores: Some(0.97), ..fast() }, "this program is", Severity::Notice),
            (figures(leader(1_000, 0.7, "0.001", &[])), "the disk decides", Severity::Info),
            (figures(leader(1_000, 0.7, "0.032", &[])), "the disk is", Severity::Problem),
            (Figures { client_rtt_ns: Some(600e3), ..fast() }, "the network decides", Severity::Info),
            (fast(), "the processor decides", Severity::Info),
            (
                Figures {
                    clients: Some(64),
                    p50_ns: Some(4e6),
                    per_second: 9_000.0,
                    answered_count: 9_000.0,
                    ..fast()
                },
                "batching decides",
                Severity::Info,
            ),
            (
                Figures {
                    clients: Some(64),
                    per_second: 9_000.0,
                    answered_count: 9_000.0,
                    local_cores: Some(1.7),
                    host_cores: Some(2.0),
                    ..fast()
                },
                "the processor decides",
                Severity::Notice,
            ),
        ];
        for (figures, word, severity) in cases {
            let finding = verdict(&figures).unwrap();
            assert!(finding.text.starts_with(word) && finding.severity == severity, "{word}: {finding:?}");
        }
    }

    #[test]
    fn the_floor_of_three_is_the_nearest_follower() {
        let three = Figures { voter_count: Some(3), ..figures(leader(100, 1.0, "0.008", &[2e6, 30e6])) };
        let floor = floor(&three).unwrap();
        assert_eq!((floor.client_ns, floor.peer_ns, floor.fsync_ns.round()), (50e3, 2e6, 1e6));
        let five = Figures { voter_count: Some(5), ..figures(leader(100, 1.0, "0.008", &[1e6, 2e6, 3e6, 4e6])) };
        assert_eq!(super::floor(&five).unwrap().peer_ns, 2e6);
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        assert_eq!(verdict(&Figures::default()), None);
        let blind = Figures { leader: None, ..figures(Window::default()) };
        assert_eq!((floor(&blind), verdict(&blind)), (None, None));
        let alone = Figures { voter_count: Some(3), ..figures(leader(100, 1.0, "0.008", &[])) };
        assert_eq!(floor(&alone), None);
    }

    #[test]
    fn the_evidence_names_both_floor_and_measurement() {
        let finding = verdict(&figures(leader(1_000, 0.7, "0.001", &[]))).unwrap();
        let evidence = finding.evidence.join("\n");
        assert!(evidence.contains("measured put p50 1.00 ms"), "{evidence}");
        assert!(evidence.contains("predicted floor 750 µs = to the member 50 µs"), "{evidence}");
        assert!(evidence.contains("between 0 µs and 1.00 ms (etcd wants it below 10.00 ms)"), "{evidence}");
    }
}
