//! What a member's own metrics say about a span of time: the difference of two scrapes.
//!
//! Pure, so that it can be tested on recorded text. What a member does not tell is `None`.

use crate::model::{Labels, Scalar};
use crate::wire::{Exposition, Spread, grown};

/// The figures of one scrape that the verdict and the report use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    wal_fsync: Option<Spread>,
    backend_commit: Option<Spread>,
    peer_rtt: Vec<Spread>,
    leader_change_count: Option<f64>,
    slow_apply_count: Option<f64>,
    pending_count: Option<f64>,
    cpu_seconds: Option<f64>,
    /// Bytes of the database file.
    pub db_size_bytes: Option<f64>,
    /// Bytes that it may have.
    pub quota_bytes: Option<f64>,
}

/// One member over a span of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// Syncs of the write-ahead log.
    pub wal_fsync: Option<Spread>,
    /// Commits of the database.
    pub backend_commit: Option<Spread>,
    /// Leader changes seen.
    pub leader_change_count: Option<f64>,
    /// Applies that took longer than etcd expects.
    pub slow_apply_count: Option<f64>,
    /// Most proposals that were seen waiting.
    pub pending_count: Option<f64>,
    /// Bytes of the database file, at the end.
    pub db_size_bytes: Option<f64>,
    /// Bytes that it may have.
    pub quota_bytes: Option<f64>,
    /// Mean round trips to the other members since it started, the shortest first.
    pub peer_rtt_ns: Vec<f64>,
    /// Processor time that the member used.
    pub cpu_seconds: Option<f64>,
    /// How long the window is.
    pub seconds: f64,
    /// Whether the member was started again in it: then nothing of what it counted is known.
    pub is_restarted: bool,
}

/// Beginnings of the lines that are read: a scrape has thousands of others, and it is read between timed attempts.
const READ: [&str; 6] =
    ["etcd_disk_", "etcd_network_peer_round", "etcd_server_", "etcd_mvcc_db", "etcd_debugging_mvcc_db", "process_cpu"];

impl Counters {
    /// Reads the text of a scrape.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| READ.iter().any(|beginning| line.starts_with(beginning)));
        Self::of(&Exposition::parse(&lines.collect::<Vec<_>>().join("\n")))
    }

    /// Reads a scrape.
    #[must_use]
    pub fn of(scrape: &Exposition) -> Self {
        let sum = |names: &[&str]| names.iter().find_map(|name| scrape.sum_of(name, |_| true));
        Self {
            wal_fsync: Spread::of(scrape, "etcd_disk_wal_fsync_duration_seconds", |_| true),
            backend_commit: Spread::of(scrape, "etcd_disk_backend_commit_duration_seconds", |_| true),
            peer_rtt: peer_rtts(scrape),
            leader_change_count: sum(&["etcd_server_leader_changes_seen_total"]),
            slow_apply_count: sum(&["etcd_server_slow_apply_total"]),
            pending_count: sum(&["etcd_server_proposals_pending"]),
            cpu_seconds: sum(&["process_cpu_seconds_total"]),
            db_size_bytes: sum(&["etcd_mvcc_db_total_size_in_bytes", "etcd_debugging_mvcc_db_total_size_in_bytes"]),
            quota_bytes: sum(&["etcd_server_quota_backend_bytes"]),
        }
    }

    /// Whether this is the scrape of an etcd at all.
    #[must_use]
    pub const fn is_etcd(&self) -> bool {
        self.wal_fsync.is_some()
    }

    /// From `self` to `after`, `seconds` later; `between` are scrapes in the meantime.
    #[must_use]
    pub fn until(&self, after: &Self, between: &[Self], seconds: f64) -> Window {
        let pending = between.iter().chain([self, after]).filter_map(|scrape| scrape.pending_count);
        let mut peer_rtt_ns: Vec<f64> = after.peer_rtt.iter().filter_map(Spread::mean_ns).collect();
        peer_rtt_ns.sort_by(f64::total_cmp);
        let counted = self.counted_until(after);
        Window {
            pending_count: pending.reduce(f64::max),
            db_size_bytes: after.db_size_bytes,
            quota_bytes: after.quota_bytes,
            peer_rtt_ns,
            seconds,
            is_restarted: counted.is_none(),
            ..counted.unwrap_or_default()
        }
    }

    /// What was counted until `after`; `None` where the member was started again in between.
    fn counted_until(&self, after: &Self) -> Option<Window> {
        let spread = |of: fn(&Self) -> &Option<Spread>| match of(self).as_ref().zip(of(after).as_ref()) {
            Some((before, after)) => after.since(before).map(Some),
            None => Some(None),
        };
        let counter = |of: fn(&Self) -> Option<f64>| match of(self).zip(of(after)) {
            Some((before, after)) => grown(before, after).map(Some),
            None => Some(None),
        };
        Some(Window {
            wal_fsync: spread(|scrape| &scrape.wal_fsync)?,
            backend_commit: spread(|scrape| &scrape.backend_commit)?,
            leader_change_count: counter(|scrape| scrape.leader_change_count)?,
            slow_apply_count: counter(|scrape| scrape.slow_apply_count)?,
            cpu_seconds: counter(|scrape| scrape.cpu_seconds)?,
            ..Window::default()
        })
    }
}

impl Window {
    /// This window and a later one of the same member as one.
    #[must_use]
    pub fn merged(self, later: Self) -> Self {
        let add = |a: Option<f64>, b: Option<f64>| Some(a? + b?);
        let sum = |a: Option<Spread>, b: Option<Spread>| Some(a?.and(&b?));
        Self {
            wal_fsync: sum(self.wal_fsync, later.wal_fsync),
            backend_commit: sum(self.backend_commit, later.backend_commit),
            leader_change_count: add(self.leader_change_count, later.leader_change_count),
            slow_apply_count: add(self.slow_apply_count, later.slow_apply_count),
            pending_count: [self.pending_count, later.pending_count].into_iter().flatten().reduce(f64::max),
            cpu_seconds: add(self.cpu_seconds, later.cpu_seconds),
            seconds: self.seconds + later.seconds,
            is_restarted: self.is_restarted || later.is_restarted,
            ..later
        }
    }

    /// Cores that the member used.
    #[must_use]
    pub fn cpu_cores(&self) -> Option<f64> {
        self.cpu_seconds.filter(|_| self.seconds > 0.0).map(|used| used / self.seconds)
    }

    /// The scalars of one endpoint.
    #[must_use]
    pub fn scalars(&self, labels: &Labels) -> Vec<Scalar> {
        let p99 = |spread: &Option<Spread>| spread.as_ref().and_then(Spread::p99_ns).and_then(|(_, upper)| upper);
        let mean = |values: &[f64]| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        let all = [
            ("wal_fsync_mean", "ns", self.wal_fsync.as_ref().and_then(Spread::mean_ns)),
            ("wal_fsync_p99_upper", "ns", p99(&self.wal_fsync)),
            ("backend_commit_mean", "ns", self.backend_commit.as_ref().and_then(Spread::mean_ns)),
            ("backend_commit_p99_upper", "ns", p99(&self.backend_commit)),
            ("leader_changes", "count", self.leader_change_count),
            ("slow_applies", "count", self.slow_apply_count),
            ("proposals_pending", "count", self.pending_count),
            ("db_size_bytes", "bytes", self.db_size_bytes),
            ("quota_bytes", "bytes", self.quota_bytes),
            ("peer_rtt_mean", "ns", mean(&self.peer_rtt_ns)),
            ("cpu_cores", "cores", self.cpu_cores()),
        ];
        all.map(|(name, unit, value)| Scalar::new(format!("etcd.server.{name}"), labels, unit, value)).into()
    }
}

/// One spread for each other member.
fn peer_rtts(scrape: &Exposition) -> Vec<Spread> {
    const NAME: &str = "etcd_network_peer_round_trip_time_seconds";
    let counts = format!("{NAME}_count");
    let peers = scrape.samples(&counts).filter_map(|sample| sample.labels.get("To"));
    peers.filter_map(|peer| Spread::of(scrape, NAME, |sample| sample.has("To", peer))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(fast: u64, all: u64, sum: f64, cpu: f64) -> Counters {
        Counters::parse(&format!(
            "etcd_disk_wal_fsync_duration_seconds_bucket{{le=\"0.001\"}} {fast}\n\
             etcd_disk_wal_fsync_duration_seconds_bucket{{le=\"0.002\"}} {all}\n\
             etcd_disk_wal_fsync_duration_seconds_bucket{{le=\"+Inf\"}} {all}\n\
             etcd_disk_wal_fsync_duration_seconds_sum {sum}\n\
             etcd_disk_wal_fsync_duration_seconds_count {all}\n\
             etcd_network_peer_round_trip_time_seconds_sum{{To=\"b\"}} 0.4\n\
             etcd_network_peer_round_trip_time_seconds_count{{To=\"b\"}} 2\n\
             etcd_network_peer_round_trip_time_seconds_sum{{To=\"a\"}} 0.1\n\
             etcd_network_peer_round_trip_time_seconds_count{{To=\"a\"}} 2\n\
             etcd_server_proposals_pending 3\nprocess_cpu_seconds_total {cpu}\n"
        ))
    }

    #[test]
    fn a_window_is_what_lies_between_two_scrapes() {
        let window = counters(90, 100, 1.0, 5.0).until(&counters(91, 200, 1.3, 8.0), &[], 2.0);
        let fsync = window.wal_fsync.clone().unwrap();
        assert_eq!(fsync.mean_ns().map(f64::round), Some(3_000_000.0));
        assert_eq!(fsync.p99_ns(), Some((1_000_000.0, Some(2_000_000.0))));
        assert_eq!((window.cpu_cores(), window.pending_count), (Some(1.5), Some(3.0)));
        assert_eq!(window.peer_rtt_ns, [50_000_000.0, 200_000_000.0]);
        assert_eq!((window.slow_apply_count, window.backend_commit.clone()), (None, None));
    }

    #[test]
    fn what_a_member_counted_that_was_started_again_is_unknown() {
        let window = counters(90, 100, 1.0, 5.0).until(&counters(10, 10, 0.01, 1.0), &[], 1.0);
        assert_eq!((window.wal_fsync.clone(), window.cpu_cores(), window.is_restarted), (None, None, true));
        assert_eq!(window.pending_count, Some(3.0), "that is no counter");
        let whole = counters(90, 100, 1.0, 5.0).until(&counters(91, 200, 1.3, 8.0), &[], 2.0);
        let both = whole.clone().merged(window);
        assert_eq!((both.wal_fsync, both.is_restarted, whole.is_restarted), (None, true, false));
    }

    #[test]
    fn ten_syncs_have_no_99th_percentile() {
        let window = counters(90, 100, 1.0, 5.0).until(&counters(95, 110, 1.1, 6.0), &[], 1.0);
        let fsync = window.wal_fsync.unwrap();
        assert_eq!((fsync.count(), fsync.p99_ns()), (10.0, None));
    }

    #[test]
    fn windows_add_up() {
        let one = || counters(90, 100, 1.0, 5.0).until(&counters(91, 200, 1.3, 8.0), &[], 2.0);
        let both = one().merged(one());
        let fsync = both.wal_fsync.clone().unwrap();
        assert_eq!((fsync.count(), both.cpu_cores(), both.seconds), (200.0, Some(1.5), 4.0));
        assert_eq!(fsync.mean_ns().map(f64::round), Some(3_000_000.0));
    }
}
