//! Where the time of a request goes, part by part, with how far that can be trusted. Pure: series and counts in, findings
//! out.
//!
//! Separate because this is an interpretation, and each of its sentences must follow from figures that stand beside it.
//! Parts are means, because only means add up; the one difference that is of medians is that of the paired reads.

use super::account::{Account, is_from_cache};
use super::phases::{Phase, TOTAL};
use super::way::Way;
use crate::model::{Advice, Finding, Labels, Scalar, Series, Severity};

/// Answers below which nothing is said about shares.
const FEWEST: u64 = 20;

/// Our share of the requests of a cell from which on the server's mean is taken for ours.
const NEARLY_ALL: f64 = 0.9;

/// Above this share the server has counted fewer requests than we made: another replica answered some.
const MORE_THAN_ALL: f64 = 1.05;

/// The read that goes through etcd, and the same from the server's cache.
pub const QUORUM_PATH: &str = "/api/v1/namespaces/default";
/// The same from the server's cache.
pub const CACHE_PATH: &str = "/api/v1/namespaces/default?resourceVersion=0";

/// A part of the time of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The name is looked up.
    Lookup,
    /// The TCP handshake.
    Handshake,
    /// The TLS handshake.
    Tls,
    /// The way to the server and back, where the server says how long it took itself.
    Network,
    /// The way and the server, where it does not.
    Answer,
    /// The queues of API priority and fairness.
    Queue,
    /// The API server, apart from its queue and from etcd.
    Work,
    /// What the API server waited for etcd.
    Etcd,
    /// From the first byte to the last.
    Transfer,
}

/// How far a split can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// It may be somebody else's.
    Low,
    /// Partly somebody else's.
    Medium,
    /// The server counted our requests and hardly any others.
    High,
}

/// One path as it was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct PathTimes {
    /// Path and query.
    pub path: String,
    /// Answered attempts that were recorded.
    pub ok_count: u64,
    means: Vec<(Phase, f64)>,
    total: Option<f64>,
    ttfb_p50_ns: Option<u64>,
}

/// A path's time in parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// Nanoseconds of each part, largest first.
    pub parts: Vec<(Part, f64)>,
    /// Nanoseconds of all.
    pub total: f64,
    /// How far to trust the server's parts; `None` where it gave none.
    pub confidence: Option<Confidence>,
    /// What lowers the confidence.
    pub doubts: Vec<String>,
}

impl PathTimes {
    /// The times of one path out of the series of a run.
    #[must_use]
    pub fn of(series: &[Series], path: &str) -> Self {
        let find = |name: &str| series.iter().find(|s| s.name == name && s.labels.value("path") == Some(path));
        let mean = |name: &str| find(name)?.summary.mean_ns.map(|ns| ns as f64);
        let phases = [Phase::Dns, Phase::Tcp, Phase::Tls, Phase::Ttfb, Phase::Transfer];
        Self {
            path: path.to_owned(),
            ok_count: find(TOTAL).map_or(0, |series| series.counts.ok_count),
            means: phases.into_iter().filter_map(|phase| Some((phase, mean(phase.series())?))).collect(),
            total: mean(TOTAL),
            ttfb_p50_ns: find(Phase::Ttfb.series()).and_then(|series| series.summary.p50_ns),
        }
    }
}

/// Splits the mean time of a path; `None` below the fewest answers. `beside` are all of our paths in the same cell, for the
/// server's mean is one over all of them.
#[must_use]
pub fn split(times: &PathTimes, account: Option<&Account>, beside: &[PathTimes]) -> Option<Split> {
    let total = times.total.filter(|total| *total > 0.0 && times.ok_count >= FEWEST)?;
    let (mut parts, mut doubts, mut confidence) = (Vec::new(), Vec::new(), None);
    for (phase, mean) in &times.means {
        match phase {
            Phase::Dns => parts.push((Part::Lookup, *mean)),
            Phase::Tcp => parts.push((Part::Handshake, *mean)),
            Phase::Tls => parts.push((Part::Tls, *mean)),
            Phase::Transfer => parts.push((Part::Transfer, *mean)),
            Phase::Ttfb => match account.and_then(|account| Some((account, account.growth.requests?.mean_ns()?))) {
                None => parts.push((Part::Answer, *mean)),
                Some((account, server)) => {
                    let waited = mean_ttfb(beside).unwrap_or(*mean);
                    parts.extend(inside(times, *mean, (waited - server).max(0.0), account));
                    let (trust, reasons) = doubt(account, server, waited);
                    confidence = Some(trust);
                    doubts = reasons;
                }
            },
        }
    }
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    Some(Split { parts, total, confidence, doubts })
}

/// The mean time to the first byte over several paths.
fn mean_ttfb(paths: &[PathTimes]) -> Option<f64> {
    let known = paths.iter().filter_map(|times| {
        let (_, mean) = times.means.iter().find(|(phase, _)| *phase == Phase::Ttfb)?;
        Some((*mean, times.ok_count as f64))
    });
    let (sum, count) = known.fold((0.0, 0.0), |(sum, n), (mean, count)| (sum + mean * count, n + count));
    (count > 0.0).then(|| sum / count)
}

/// What lies between the request and the first byte of its answer, by the server's own account; `network` is what the
/// server does not account for.
fn inside(times: &PathTimes, ttfb: f64, network: f64, account: &Account) -> Vec<(Part, f64)> {
    let growth = &account.growth;
    let network = network.min(ttfb);
    let server = ttfb - network;
    // Per request of ours, not per request to etcd: a list from the cache causes none.
    let etcd = growth.etcd.zip(growth.requests).map(|(etcd, requests)| match is_from_cache(&times.path) {
        true => 0.0,
        false => (etcd.seconds / requests.count * 1e9 / account.uncached_ratio()).min(server),
    });
    let queue = growth.queue.and_then(|queue| queue.mean_ns()).map(|queue| queue.min(server - etcd.unwrap_or(0.0)));
    let mut parts = vec![(Part::Network, network)];
    parts.extend(etcd.map(|etcd| (Part::Etcd, etcd)));
    parts.extend(queue.map(|queue| (Part::Queue, queue)));
    parts.push((Part::Work, server - etcd.unwrap_or(0.0) - queue.unwrap_or(0.0)));
    parts
}

fn doubt(account: &Account, server: f64, ttfb: f64) -> (Confidence, Vec<String>) {
    let counted = account.growth.requests.map_or(0.0, |requests| requests.count);
    let share = account.our_count() as f64 / counted.max(1.0);
    let mut doubts = Vec::new();
    let mut confidence = Confidence::High;
    let mut lower = |to: Confidence, why: String| {
        confidence = confidence.min(to);
        doubts.push(why);
    };
    if share > MORE_THAN_ALL {
        let text = format!(
            "the server counted {counted:.0} of our {} requests: another replica behind the address answered the rest",
            account.our_count()
        );
        lower(Confidence::Low, text);
    } else if share < NEARLY_ALL {
        let to = if share >= 0.5 { Confidence::Medium } else { Confidence::Low };
        lower(to, format!("{:.0} % of the requests in its means are other clients'", (1.0 - share) * 100.0));
    }
    if server > ttfb * 1.1 {
        lower(Confidence::Low, "its mean is longer than what we waited, so it is not of our requests".to_owned());
    }
    let queued = account.growth.queue.map_or(0.0, |queue| queue.count);
    if queued * NEARLY_ALL > account.total_count as f64 {
        lower(Confidence::Medium, "its queue wait is the mean of all its requests, not of ours".to_owned());
    }
    if account.growth.etcd.is_none() {
        lower(Confidence::Medium, "it counts no requests to etcd for this resource".to_owned());
    }
    (confidence, doubts)
}

impl Part {
    /// In a sentence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lookup => "name lookup",
            Self::Handshake => "TCP handshake",
            Self::Tls => "TLS handshake",
            Self::Network => "network",
            Self::Answer => "waiting for the answer",
            Self::Queue => "API server queue",
            Self::Work => "API server work",
            Self::Etcd => "etcd",
            Self::Transfer => "transfer",
        }
    }

    /// As in the label of its share.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Lookup => "dns",
            Self::Handshake => "tcp",
            Self::Tls => "tls",
            Self::Network => "network",
            Self::Answer => "answer",
            Self::Queue => "queue",
            Self::Work => "work",
            Self::Etcd => "etcd",
            Self::Transfer => "transfer",
        }
    }

    /// What to look at when this part of the time of a path is the largest, and a command that shows more.
    fn advice(self, path: &str, way: &Way) -> Advice {
        let (text, verify) = match self {
            Self::Lookup => {
                ("look at this host's resolver: its search list and ndots, and whether it caches", way.lookup())
            }
            Self::Handshake | Self::Network => ("measure the path to the server", way.probe_rtt()),
            Self::Tls => ("keep connections: each new one pays for the handshake again", way.probe_kept(path)),
            Self::Answer => {
                ("look at the server itself: how long it says that it worked, against this", way.probe_rtt())
            }
            Self::Queue => (
                "requests wait in API priority and fairness: raise the shares of their priority level, or send fewer",
                way.kubectl_raw("/debug/api_priority_and_fairness/dump_priority_levels"),
            ),
            Self::Work => (
                "look at admission webhooks, authorization and the CPU of the API server, and ask for less at a time",
                format!("{} | grep -e admission_webhook -e process_cpu", way.kubectl_raw("/metrics")),
            ),
            // Where it is, nobody but its cluster knows.
            Self::Etcd => {
                let text = "measure etcd itself, with `offloadctl bench etcd --endpoints` and the URLs of its members: disk, network between members, or load";
                return Advice::new(text, None);
            }
            Self::Transfer => ("ask for less: a limit, a selector, or metadata only", way.probe_rtt()),
        };
        Advice::new(text, verify)
    }
}

/// Shares of the mean time of a request, one for each of its parts.
pub const SHARE: &str = "api.share";

/// Share of the time from which on what no part explains is said.
const LEAST_REST: f64 = 0.01;

impl Split {
    /// The share of each part.
    pub fn scalars(&self, path: &str) -> impl Iterator<Item = Scalar> {
        let labels = Labels::new().with("path", path);
        let share = move |(part, ns): &(Part, f64)| {
            Scalar::new(SHARE, &labels.clone().with("part", part.label()), "ratio", ns / self.total)
        };
        self.parts.iter().map(share)
    }

    /// The finding that says it.
    #[must_use]
    pub fn finding(&self, path: &str, way: &Way) -> Finding {
        let mut shares: Vec<String> =
            self.parts.iter().map(|(part, ns)| format!("{} {}", part.name(), percent(ns / self.total))).collect();
        let rest = self.total - self.parts.iter().map(|(_, ns)| ns).sum::<f64>();
        if rest / self.total >= LEAST_REST {
            shares.push(format!("between these {}", percent(rest / self.total)));
        }
        let confidence = match self.confidence {
            None => "",
            Some(Confidence::High) => "; confidence in the server's parts: high",
            Some(Confidence::Medium) => "; confidence in the server's parts: medium",
            Some(Confidence::Low) => "; confidence in the server's parts: low",
        };
        let parts = self.parts.iter().map(|(part, ns)| format!("{} {}", part.name(), milliseconds(*ns)));
        let text = format!("{path} takes {} in the mean: {}{confidence}", milliseconds(self.total), shares.join(", "));
        Finding::new("time_split", Severity::Notice, text)
            .with_evidence(parts.chain(self.doubts.iter().cloned()).collect())
            .with_advice(self.parts.first().map(|(part, _)| part.advice(path, way)))
    }
}

/// What a read through etcd costs beside the same from the cache.
#[must_use]
pub fn quorum(quorum: &PathTimes, cache: &PathTimes) -> Option<(Finding, Scalar)> {
    let (slow, fast) = (quorum.ttfb_p50_ns?, cache.ttfb_p50_ns?);
    let cost = slow as f64 - fast as f64;
    let text = match cost > 0.0 {
        true => {
            format!("a read of one object through etcd costs {} more than from the server's cache", milliseconds(cost))
        }
        false => "a read of one object through etcd costs nothing that could be measured here".to_owned(),
    };
    let evidence = vec![
        format!("{}: median to the first byte {} of {}", quorum.path, milliseconds(slow as f64), quorum.ok_count),
        format!("{}: {} of {}", cache.path, milliseconds(fast as f64), cache.ok_count),
    ];
    let finding = Finding::new("quorum_read_cost", Severity::Info, text).with_evidence(evidence);
    Some((finding, Scalar::new("api.quorum_read_cost", &Labels::new(), "ns", cost)))
}

fn milliseconds(ns: f64) -> String {
    format!("{:.3} ms", ns / 1e6)
}

fn percent(ratio: f64) -> String {
    if ratio > 0.0 && ratio < 0.01 { "under 1 %".to_owned() } else { format!("{:.0} %", ratio * 100.0) }
}

#[cfg(test)]
mod tests {
    use super::super::account::Ours;
    use super::super::cell::Cell;
    use super::super::server::Growth;
    use super::super::spec::tests::spec;
    use super::*;
    use crate::wire::Totals;

    fn times(means: &[(Phase, f64)]) -> PathTimes {
        PathTimes {
            path: "/api/v1/pods".to_owned(),
            ok_count: 100,
            means: means.iter().map(|(phase, ms)| (*phase, ms * 1e6)).collect(),
            total: Some(means.iter().map(|(_, ms)| ms * 1e6).sum()),
            ttfb_p50_ns: Some(1_000_000),
        }
    }

    fn totals(count: f64, mean_ms: f64) -> Option<Totals> {
        Some(Totals { count, seconds: count * mean_ms / 1e3 })
    }

    fn account(our_count: u64, growth: Growth) -> Account {
        let ours = vec![Ours { path: "/api/v1/pods".to_owned(), answer_count: our_count }];
        Account { cell: Cell::of("/api/v1/pods"), growth, ours, total_count: our_count }
    }

    fn shown(split: &Split) -> Vec<(Part, f64)> {
        split.parts.iter().map(|(part, ns)| (*part, (ns / 1e3).round() / 1e3)).collect()
    }

    #[test]
    fn the_servers_account_is_taken_apart() {
        let growth = Growth { requests: totals(100.0, 30.0), etcd: totals(200.0, 10.0), queue: totals(100.0, 2.0) };
        let times = times(&[(Phase::Dns, 1.0), (Phase::Tls, 5.0), (Phase::Ttfb, 40.0), (Phase::Transfer, 4.0)]);
        let split = split(&times, Some(&account(100, growth)), &[]).unwrap();
        let expected = [
            (Part::Etcd, 20.0),
            (Part::Network, 10.0),
            (Part::Work, 8.0),
            (Part::Tls, 5.0),
            (Part::Transfer, 4.0),
            (Part::Queue, 2.0),
            (Part::Lookup, 1.0),
        ];
        assert_eq!((shown(&split), split.confidence), (expected.into(), Some(Confidence::High)));
        let spec = spec("https://api:6443", &["/api/v1/pods"]);
        let finding = split.finding("/api/v1/pods", &Way::new(&spec, &"https://api:6443".parse().unwrap()));
        assert!(finding.text.contains("50.000 ms in the mean: etcd 40 %, network 20 %"), "{}", finding.text);
        assert!(finding.advice.is_some_and(|advice| advice.text.contains("bench etcd") && advice.verify.is_none()));
    }

    #[test]
    fn two_reads_that_share_a_cell_are_told_apart() {
        // 60 ms through etcd, 10 ms from the cache: the server's mean is 33 ms, and 2 ms are the way.
        let growth = Growth { requests: totals(200.0, 33.0), etcd: totals(100.0, 50.0), queue: None };
        let named = |path: &str, ttfb| PathTimes { path: path.to_owned(), ..times(&[(Phase::Ttfb, ttfb)]) };
        let (quorum, cache) = (named(QUORUM_PATH, 60.0), named(CACHE_PATH, 10.0));
        let ours = [QUORUM_PATH, CACHE_PATH].map(|path| Ours { path: path.to_owned(), answer_count: 100 });
        let account = Account { cell: Cell::of(QUORUM_PATH), growth, ours: ours.into(), total_count: 200 };
        let parts = |times| {
            let split = split(times, Some(&account), &[quorum.clone(), cache.clone()]).unwrap();
            (shown(&split), split.confidence)
        };
        let through_etcd = vec![(Part::Etcd, 50.0), (Part::Work, 8.0), (Part::Network, 2.0)];
        assert_eq!(parts(&quorum), (through_etcd, Some(Confidence::High)));
        let from_cache = vec![(Part::Work, 8.0), (Part::Network, 2.0), (Part::Etcd, 0.0)];
        assert_eq!(parts(&cache), (from_cache, Some(Confidence::High)));
    }

    #[test]
    fn without_the_servers_account_the_answer_is_one_part() {
        let split = split(&times(&[(Phase::Tcp, 1.0), (Phase::Ttfb, 3.0)]), None, &[]).unwrap();
        assert_eq!((shown(&split), split.confidence), (vec![(Part::Answer, 3.0), (Part::Handshake, 1.0)], None));
        let few = PathTimes { ok_count: FEWEST - 1, ..times(&[(Phase::Ttfb, 3.0)]) };
        assert_eq!(super::split(&few, None, &[]), None);
    }

    #[test]
    fn other_clients_and_other_replicas_lower_the_confidence() {
        let growth = |count, mean| Growth { requests: totals(count, mean), etcd: totals(count, 1.0), queue: None };
        let trust = |ours, growth| {
            let split = split(&times(&[(Phase::Ttfb, 40.0)]), Some(&account(ours, growth)), &[]).unwrap();
            (split.confidence.unwrap(), split.doubts.len())
        };
        assert_eq!(trust(100, growth(103.0, 20.0)), (Confidence::High, 0));
        assert_eq!(trust(100, growth(150.0, 20.0)), (Confidence::Medium, 1));
        assert_eq!(trust(100, growth(1000.0, 20.0)), (Confidence::Low, 1));
        assert_eq!(trust(100, growth(50.0, 20.0)), (Confidence::Low, 1));
        assert_eq!(trust(100, growth(100.0, 60.0)), (Confidence::Low, 1));
        assert_eq!(trust(100, Growth { queue: totals(500.0, 1.0), ..growth(100.0, 20.0) }), (Confidence::Medium, 1));
        assert_eq!(trust(100, Growth { etcd: None, ..growth(100.0, 20.0) }), (Confidence::Medium, 1));
    }

    #[test]
    fn a_quorum_read_costs_the_difference_of_the_medians() {
        let slow = PathTimes { ttfb_p50_ns: Some(3_500_000), ..times(&[]) };
        let (finding, scalar) = quorum(&slow, &times(&[])).unwrap();
        assert!(finding.text.contains("costs 2.500 ms more"), "{}", finding.text);
        assert_eq!(scalar.value, Some(2.5e6));
        assert!(quorum(&times(&[]), &slow).unwrap().0.text.contains("nothing that could be measured"));
        assert_eq!(quorum(&PathTimes { ttfb_p50_ns: None, ..times(&[]) }, &slow), None);
    }
}
