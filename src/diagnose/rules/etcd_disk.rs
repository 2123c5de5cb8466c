//! Is etcd's disk too slow for it?

use super::{Bottleneck, Budget, Facts, Rule, ms};
use crate::model::{Advice, Severity};

/// etcd's own limits of the 99th percentiles (etcd.io, FAQ "What does the warning mean"): WAL fsync and backend commit.
const FSYNC_NS: f64 = 10e6;
const COMMIT_NS: f64 = 25e6;

/// The rule.
pub const RULE: Rule = Rule {
    id: "etcd_disk",
    question: "Is etcd's disk too slow for it?",
    evidence: "an etcd member's own metrics, differences over the window; of its whole life where the window had under 100 fsyncs",
    threshold: "when the bucket of the 99th percentile lies wholly above etcd's limits: 10 ms of a WAL fsync, 25 ms of a backend commit",
    advice: "give the WAL a disk of its own (--wal-dir on SSD), and nothing else that syncs",
    against: &[],
    judge,
};

fn judge(facts: &Facts) -> Vec<Bottleneck> {
    let slow = |member: &crate::diagnose::facts::Member| {
        let above = |p99: Option<(f64, Option<f64>)>, limit: f64| p99.filter(|(low, _)| *low >= limit);
        let fsync = above(member.fsync_p99, FSYNC_NS);
        let commit = above(member.commit_p99, COMMIT_NS);
        let (what, (low, high), limit) = match (fsync, commit) {
            (Some(bounds), _) => ("WAL fsync", bounds, FSYNC_NS),
            (None, Some(bounds)) => ("backend commit", bounds, COMMIT_NS),
            (None, None) => return None,
        };
        let upper = high.map_or_else(|| "no known bound".to_owned(), ms);
        let text = format!(
            "etcd at {} waits for its disk: 99 % of each {what} lie within {} to {upper}",
            member.name,
            ms(low)
        );
        let when = if member.is_since_start { "since its start" } else { "in the window" };
        let advice = Advice::new(
            "give etcd's WAL a disk of its own",
            Some("offloadctl bench etcd --endpoints ENDPOINT --clients 1,16".to_owned()),
        )
        .of_setting(
            "--wal-dir",
            Some(format!("etcd's command line at {}", member.name)),
            None,
            "a folder on an SSD of its own",
        );
        Some(Bottleneck {
            id: RULE.id,
            severity: Severity::Problem,
            text,
            evidence: vec![format!(
                "{what} p99 above {} (limit {}), {:.0} fsyncs {when}",
                ms(low),
                ms(limit),
                member.fsyncs
            )],
            cost_ns: low,
            budget: Budget::Request,
            advice,
        })
    };
    facts.members.iter().filter_map(slow).collect()
}
