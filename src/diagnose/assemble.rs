//! The document of a diagnosis: the figures that its facts rest on, beside the series of the runs that were made.
//!
//! Separate from the facts because it is what is kept. Pure.

use super::facts::Facts;
use crate::detect::Parts;
use crate::model::{Labels, Scalar};

/// The scalars of these facts, beside those of the trace itself.
#[must_use]
pub fn scalars(facts: &Facts) -> Vec<Scalar> {
    let mut all = detection(facts);
    let none = Labels::new();
    for server in &facts.servers {
        let of = |phase: &str| Labels::new().with("target", &server.name).with("phase", phase);
        all.extend(server.phases.iter().map(|(phase, ns)| Scalar::new("diagnose.api", &of(phase), "ns", *ns)));
        let connect: f64 = ["dns", "tcp", "tls"].into_iter().filter_map(|phase| server.phase(phase)).sum();
        let kept = server.phase("total").map(|total| (total - connect).max(0.0));
        all.push(Scalar::new("diagnose.api", &of("kept"), "ns", kept));
    }
    for member in &facts.members {
        let labels = Labels::new().with("target", &member.name);
        let low = |p99: Option<(f64, Option<f64>)>| p99.map(|(low, _)| low);
        all.push(Scalar::new("diagnose.etcd_fsync_p99", &labels, "ns", low(member.fsync_p99)));
        all.push(Scalar::new("diagnose.etcd_commit_p99", &labels, "ns", low(member.commit_p99)));
    }
    all.push(Scalar::new("diagnose.clock_steps", &none, "count", facts.host.clock_steps as f64));
    all.push(Scalar::new("diagnose.load", &none, "count", facts.host.load));
    all
}

fn detection(facts: &Facts) -> Vec<Scalar> {
    let network = facts.hop("wire").unwrap_or(0.0);
    let (mean, worst) = facts.detection.time_ns(network);
    let Parts { interval_ns, detector_ns, sweep_ns } = facts.detection.parts();
    let parts = [
        ("interval", interval_ns),
        ("detector", detector_ns),
        ("wait", interval_ns + detector_ns),
        ("sweep", sweep_ns),
        ("network", network),
        ("mean", mean),
        ("worst", worst),
    ];
    let of = |part: &str| Labels::new().with("part", part);
    parts.into_iter().map(|(part, ns)| Scalar::new("diagnose.detection", &of(part), "ns", ns)).collect()
}
