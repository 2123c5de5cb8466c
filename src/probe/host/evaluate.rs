//! Conclusions from the facts: for each thing that matters to a measurement whether it works here, how well, and what
//! would help. A pure function, tried on hosts that nobody has.

use super::fact::{Adapter, AdapterStamps, Adapters, Facts, Ways};
use crate::model::figure::{count, duration, ratio, significant};
use crate::model::{Advice, CardState, Finding, Labels, Scalar, Severity};

/// The scalar of every check: 1 for yes, 0.5 for limited, 0 for no; what is checked is its label `what`.
pub const ABLE: &str = "doctor.able";

/// A limit beyond what a process can have open is none.
const ENDLESS_FILES: u64 = 1_000_000_000;

/// A read of the clock beyond this is a call into the kernel and not a read of a counter.
const CHEAP_READ_NS: f64 = 300.0;

/// Wake-ups later than this spoil a run at any rate, and at the rate of ten a second that is the default: the rule by which
/// runs are judged valid.
const LATE_WAKEUP_NS: u64 = 1_000_000;
const SPOILING_WAKEUP_NS: u64 = 10_000_000;

/// The slack of a program that asked for nothing.
const USUAL_SLACK_NS: u64 = 50_000;

/// Processors' time given to others above which tails are somebody else's.
const NOTABLE_STEAL: f64 = 0.01;

/// Open files of a thousand targets, and of a measurement at all.
const AMPLE_FILES: u64 = 4_096;
const LEAST_FILES: u64 = 64;

/// Governors that let an idle processor become slow.
const SLOW_GOVERNORS: [&str; 4] = ["conservative", "ondemand", "powersave", "schedutil"];

/// Whether something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Yes,
    /// In part, or coarsely.
    Limited,
    /// It does not.
    No,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What it is: an interface of ours, as the label and as the name of its finding.
    pub what: String,
    /// What was seen.
    pub figure: String,
    /// Whether it works.
    pub verdict: Verdict,
    /// Whether a command with its default options cannot measure without it.
    pub is_needed: bool,
    /// Why not, where it does not.
    pub reason: Option<String>,
    /// What would help, and a command that shows whether it did.
    pub remedy: Option<(String, Option<String>)>,
}

impl Check {
    fn yes(what: &str, figure: impl Into<String>) -> Self {
        Self {
            what: what.to_owned(),
            figure: figure.into(),
            verdict: Verdict::Yes,
            is_needed: false,
            reason: None,
            remedy: None,
        }
    }

    fn limited(self, reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Limited, reason: Some(reason.into()), ..self }
    }

    fn no(self, reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::No, reason: Some(reason.into()), ..self }
    }

    fn needed(self) -> Self {
        Self { is_needed: true, ..self }
    }

    fn remedy_unless_fine(self, text: &str, verify: &str) -> Self {
        if self.verdict == Verdict::Yes { self } else { self.remedy(text, Some(verify)) }
    }

    fn remedy(self, text: &str, verify: Option<&str>) -> Self {
        Self { remedy: Some((text.to_owned(), verify.map(str::to_owned))), ..self }
    }
}

/// Everything that was looked at, in the order in which a measurement depends on it.
#[must_use]
pub fn evaluate(facts: &Facts) -> Vec<Check> {
    let first = [clock(facts), slack(facts), wakeup(facts), loopback(facts), stamps(facts)];
    let last = [icmp(facts), privileges(facts), kernel_links(facts), processor(facts), files(facts), runs(facts)];
    first.into_iter().chain(adapters(facts)).chain(last).collect()
}

/// The checks as findings: what works is good to know, what does not is worth a look, and what a default command cannot do
/// without is a problem.
#[must_use]
pub fn findings(checks: &[Check]) -> Vec<Finding> {
    let finding = |check: &Check| {
        let severity = match check.verdict {
            Verdict::Yes => Severity::Info,
            Verdict::No if check.is_needed => Severity::Problem,
            Verdict::Limited | Verdict::No => Severity::Notice,
        };
        let text = format!("{}: {}", check.what.replace('_', " "), check.reason.as_deref().unwrap_or("it works"));
        Finding::new(&check.what, severity, text)
            .with_evidence(vec![check.figure.clone()])
            .with_advice(check.remedy.clone().map(|(text, verify)| Advice::new(text, verify)))
    };
    checks.iter().map(finding).collect()
}

/// The checks and the figures beside them as scalars.
#[must_use]
pub fn scalars(facts: &Facts, checks: &[Check]) -> Vec<Scalar> {
    let able = checks.iter().map(|check| {
        let value = match check.verdict {
            Verdict::Yes => 1.0,
            Verdict::Limited => 0.5,
            Verdict::No => 0.0,
        };
        Scalar::new(ABLE, &Labels::new().with("what", &check.what), "ratio", value)
    });
    let figures = [
        ("clock.read", "ns", facts.clock_cost.map(|cost| cost.read_ns)),
        ("clock.step", "ns", facts.clock_cost.and_then(|cost| cost.step_ns).map(|ns| ns as f64)),
        ("clock.resolution", "ns", facts.clock_resolution_ns.map(|ns| ns as f64)),
        ("timer.slack", "ns", facts.timer_slack_ns.map(|ns| ns as f64)),
        ("cpu.steal", "ratio", facts.steal_ratio),
        ("open_files.limit", "count", facts.file_limit.map(|(_, most)| most as f64)),
    ];
    able.chain(figures.map(|(name, unit, value)| Scalar::new(name, &Labels::new(), unit, value))).collect()
}

fn clock(facts: &Facts) -> Check {
    let source = facts.clock_source.as_deref().unwrap_or("unknown source");
    let Some(cost) = facts.clock_cost else { return Check::yes("clock", source).no("it could not be read").needed() };
    let step = cost.step_ns.map_or_else(|| "no step seen".to_owned(), |ns| format!("steps of {}", duration(ns)));
    let check =
        Check::yes("clock", format!("{source}, a read takes {}, {step}", duration(cost.read_ns.round() as u64)));
    if cost.step_ns.is_none() {
        return check.no("it stood still over a hundred thousand reads").needed();
    }
    if cost.read_ns <= CHEAP_READ_NS {
        return check;
    }
    let others: Vec<&str> = facts
        .clock_sources
        .iter()
        .map(String::as_str)
        .filter(|other| Some(*other) != facts.clock_source.as_deref())
        .collect();
    let check = check.limited("a read takes long, and several of them are in every figure");
    let verify = Some("cat /sys/devices/system/clocksource/clocksource0/current_clocksource");
    match others.contains(&"tsc") {
        true => check.remedy("write tsc to /sys/devices/system/clocksource/clocksource0/current_clocksource", verify),
        false => check.remedy(
            "use a release build, and boot with clocksource=tsc where the processor's counter is constant",
            verify,
        ),
    }
}

fn slack(facts: &Facts) -> Check {
    match facts.timer_slack_ns {
        None => Check::yes("timer_slack", "unknown").limited("the kernel does not say"),
        Some(ns) if ns > USUAL_SLACK_NS => Check::yes("timer_slack", duration(ns))
            .limited("waits with a timeout may end so much later; planned starts use timers that it does not touch")
            .remedy(
                "start it without TimerSlackNSec= of its service, or another setter of it",
                Some("cat /proc/self/timerslack_ns"),
            ),
        Some(ns) => Check::yes("timer_slack", duration(ns)),
    }
}

/// A thing without which no default command measures, and which could not even be tried.
fn untried(what: &str, reason: &str) -> Check {
    Check::yes(what, "not tried")
        .no(reason)
        .needed()
        .remedy("raise the limit that was reached: for open files, `ulimit -Hn 65536`", Some("ulimit -Hn"))
}

fn wakeup(facts: &Facts) -> Check {
    let summary = match &facts.wakeup {
        Ok(summary) => summary,
        Err(reason) => return untried("timer_wakeup", reason),
    };
    let named = [("p50", summary.p50_ns), ("p95", summary.p95_ns), ("p99", summary.p99_ns), ("max", summary.max_ns)];
    let figures: Vec<String> =
        named.iter().filter_map(|(name, ns)| Some(format!("{name} {}", duration((*ns)?)))).collect();
    let check = Check::yes("timer_wakeup", figures.join(", "));
    let remedy = "leave a processor idle, set the governor to performance, and ask the hypervisor's owner for steal";
    let verify = Some("offloadctl doctor");
    match summary.p95_ns.or(summary.max_ns) {
        None => check.no("no sleep ended").needed(),
        Some(late) if late > SPOILING_WAKEUP_NS => check
            .no("starts would slip so much that runs at the default rate are invalid")
            .needed()
            .remedy(remedy, verify),
        Some(late) if late > LATE_WAKEUP_NS => check
            .limited("starts would slip by over a millisecond, which spoils runs above ten a second")
            .remedy(remedy, verify),
        Some(_) => check,
    }
}

fn loopback(facts: &Facts) -> Check {
    let floor = match &facts.floor {
        Ok(floor) => floor,
        Err(reason) => return untried("loopback", reason),
    };
    match floor.user_ns {
        None => Check::yes("loopback", "nothing was answered")
            .no("an echo of our own did not answer over 127.0.0.1")
            .needed()
            .remedy("let TCP through on the loopback, and bring it up: ip link set lo up", Some("ip address show lo")),
        Some(user) => {
            let part = |name: &str, ns: Option<u64>| ns.map(|ns| format!("{name} {}", duration(ns)));
            let parts = [part("user", Some(user)), part("kernel", floor.kernel_ns), part("network", floor.network_ns)];
            Check::yes("loopback", format!("p50 {}", parts.into_iter().flatten().collect::<Vec<_>>().join(", ")))
        }
    }
}

fn stamps(facts: &Facts) -> Check {
    let floor = facts.floor.as_ref().copied().unwrap_or_default();
    let share = floor.user_ns.zip(floor.network_ns).filter(|(user, _)| *user > 0);
    match (floor.kernel_ns, share) {
        (Some(_), Some((user, network))) => {
            let text = format!(
                "software, both ends; {} of a loopback round trip is the network",
                ratio(network as f64 / user as f64)
            );
            Check::yes("kernel_stamps", text)
        }
        (Some(_), None) => {
            Check::yes("kernel_stamps", "software, this end").limited("the far end's stamps did not come")
        }
        // Where nothing was exchanged there was nothing to stamp, which says nothing of the kernel.
        (None, _) if floor.user_ns.is_none() => Check::yes("kernel_stamps", "not tried")
            .limited("nothing was exchanged over the loopback, so there was nothing to stamp")
            .remedy("mend the loopback first", Some("offloadctl doctor")),
        (None, _) => {
            let reason = facts.unstamped.clone().unwrap_or_else(|| "the kernel stamped nothing".to_owned());
            Check::yes("kernel_stamps", "none").no(reason).remedy(
                "use a kernel with SO_TIMESTAMPING for TCP (Linux 4.0) that no sandbox stands in front of",
                Some("offloadctl doctor"),
            )
        }
    }
}

fn adapters(facts: &Facts) -> Vec<Check> {
    match &facts.adapters {
        Ok(all) => std::iter::once(interfaces(all)).chain(all.looked_at.iter().map(adapter)).collect(),
        Err(error) => vec![Check::yes("interfaces", "unknown").limited(error.as_str())],
    }
}

/// Which of them are in the lines below.
fn interfaces(Adapters { looked_at, further_count, down_count }: &Adapters) -> Check {
    let figure = format!("{} up, {down_count} down", looked_at.len() + further_count);
    let check = Check::yes("interfaces", figure);
    match further_count {
        0 => check,
        1.. => check
            .limited(format!(
                "{further_count} further ones that are up were not looked at; those with a card came first"
            ))
            .remedy("ask the one that you measure over, with `ethtool -T` and its name", None),
    }
}

fn adapter(adapter: &Adapter) -> Check {
    let what = format!("stamps_{}", adapter.name);
    let AdapterStamps { software, hardware, card } = match &adapter.stamps {
        Ok(stamps) => *stamps,
        Err(error) => return Check::yes(&what, "unknown").limited(error.as_str()),
    };
    let ways = |ways: Ways| match (ways.send, ways.receive) {
        (true, true) => "both ways",
        (true, false) => "sent only",
        (false, true) => "received only",
        (false, false) => "none",
    };
    let told = match card {
        CardState::On => ", switched on",
        CardState::Off => ", not switched on",
        CardState::TimeProtocolOnly => ", and received of a time protocol",
        CardState::Absent | CardState::OneWay => "",
    };
    let check = Check::yes(&what, format!("software {}, hardware {}{told}", ways(software), ways(hardware)));
    let remedy = "another driver or, in a virtual machine, another kind of network card stamps both";
    let verify = format!("ethtool -T {}", adapter.name);
    match (software.send, software.receive) {
        (true, true) if card == CardState::Off => return idle_card(check, &adapter.name),
        (true, true) => check,
        (false, false) => check.no("its driver stamps nothing, so figures over it are this process's own"),
        _ => check.limited("its driver stamps one way, so there are no .kernel figures over it"),
    }
    .remedy_unless_fine(remedy, &verify)
}

/// A card that could stamp. We never tell it to: a program that steers its clock would be disturbed.
fn idle_card(check: Check, interface: &str) -> Check {
    check
        .limited("its card could stamp every message and has not been told to, so .kernel is measured at the driver only")
        .remedy(
            &format!(
                "run `hwstamp_ctl -i {interface} -t 1 -r 1` (of linuxptp), unless a program such as ptp4l keeps that clock and decides on it"
            ),
            Some(&format!("ethtool -T {interface}; offloadctl doctor")),
        )
}

fn icmp(facts: &Facts) -> Check {
    match (&facts.icmp_datagram, &facts.icmp_raw) {
        (Ok(()), _) => Check::yes("icmp", "datagram sockets"),
        (_, Ok(())) => Check::yes("icmp", "raw sockets"),
        (Err(datagram), Err(raw)) => {
            let range = facts.ping_group_range.as_deref().unwrap_or("unknown");
            Check::yes("icmp", format!("groups that may ping: {range}"))
                .no(format!("datagram socket: {datagram}; raw socket: {raw}"))
                .remedy(
                    "run `sysctl net.ipv4.ping_group_range=\"0 2147483647\"`, or give the program CAP_NET_RAW",
                    Some("offloadctl probe rtt 127.0.0.1 --channel icmp --count 3"),
                )
        }
    }
}

fn privileges(facts: &Facts) -> Check {
    let wanted = [
        ("CAP_NET_ADMIN", "there are no links by the kernel"),
        ("CAP_NET_RAW", "there are no raw sockets, which icmp needs where ping is not allowed"),
        ("CAP_SYS_ADMIN", "there are no namespaces, which links by the kernel end in"),
    ];
    let Some(all) = &facts.capabilities else {
        return Check::yes("privileges", "unknown").limited("the kernel does not say");
    };
    let missing = wanted.into_iter().filter(|(name, _)| !all.contains(name));
    let reasons: Vec<String> = missing.map(|(name, lack)| format!("without {name} {lack}")).collect();
    let figure = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    let check = Check::yes("privileges", figure);
    if reasons.is_empty() {
        return check;
    }
    check.limited(reasons.join("; ")).remedy("run as root what needs them; everything else works without", None)
}

fn kernel_links(facts: &Facts) -> Check {
    match &facts.netem {
        Ok(()) => Check::yes("kernel_links", "namespaces and netem"),
        Err(reason) => {
            let all = facts.capabilities.as_deref().unwrap_or_default();
            // Whoever may make namespaces lacks something else.
            let privileged = ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"].iter().all(|name| all.contains(name));
            let who = if privileged {
                ""
            } else {
                "run as root, or begin the command with `unshare --user --map-root-user` where users may have namespaces; then "
            };
            let remedy = format!(
                "{who}it takes iproute2, and a kernel with netem (`modprobe sch_netem`) and bridges; links in user space work everywhere"
            );
            let verify = Some("offloadctl topology emulate local-dc --kernel -- true");
            Check::yes("kernel_links", "none").no(reason.as_str()).remedy(&remedy, verify)
        }
    }
}

fn processor(facts: &Facts) -> Check {
    let count = facts.cpu_count.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
    let parts = [
        Some(format!("{count} processors")),
        facts.is_virtual.filter(|is| *is).map(|_| "virtual".to_owned()),
        facts.cpu_governor.as_ref().map(|governor| format!("governor {governor}")),
        facts.cpu_quota.map(|quota| format!("quota {}", significant(quota))),
        facts.steal_ratio.map(|steal| format!("steal {}", ratio(steal))),
    ];
    let check = Check::yes("processor", parts.into_iter().flatten().collect::<Vec<_>>().join(", "));
    let governor = facts.cpu_governor.as_deref().filter(|governor| SLOW_GOVERNORS.contains(governor));
    let reasons: Vec<(&str, &str)> = [
        governor.map(|_| {
            (
                "the governor lets an idle processor become slow",
                "set the governor: cpupower frequency-set -g performance",
            )
        }),
        facts
            .cpu_quota
            .filter(|quota| *quota < 1.0)
            .map(|_| ("the control group is stopped when its quota is used up", "give it at least one processor")),
        facts
            .steal_ratio
            .filter(|steal| *steal > NOTABLE_STEAL)
            .map(|_| ("the hypervisor gives time to others", "measure on a machine whose processors are its own")),
        facts
            .cpu_count
            .filter(|count| *count == 1)
            .map(|_| ("both ends of the loopback share the only processor", "measure between two machines")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let join = |texts: Vec<&str>| texts.join("; ");
    match reasons.is_empty() {
        true => check,
        false => check
            .limited(join(reasons.iter().map(|(reason, _)| *reason).collect()))
            .remedy(&join(reasons.iter().map(|(_, remedy)| *remedy).collect()), Some("offloadctl doctor")),
    }
}

fn files(facts: &Facts) -> Check {
    let Some((_, most)) = facts.file_limit else {
        return Check::yes("open_files", "unknown").limited("the kernel does not say");
    };
    let limit = if most > ENDLESS_FILES { "unlimited".to_owned() } else { format!("{} at most", count(most)) };
    let check = Check::yes("open_files", limit);
    let remedy = "raise it: `ulimit -Hn 65536`, or LimitNOFILE= of the service";
    match most {
        most if most < LEAST_FILES => {
            check.no("not even one measurement has its sockets and timers").needed().remedy(remedy, Some("ulimit -Hn"))
        }
        most if most < AMPLE_FILES => {
            check.limited("a thousand targets need a few thousand sockets").remedy(remedy, Some("ulimit -Hn"))
        }
        _ => check,
    }
}

fn runs(facts: &Facts) -> Check {
    match &facts.runs {
        Ok(path) => Check::yes("stored_runs", path.as_str()),
        Err(reason) => Check::yes("stored_runs", "cannot be kept")
            .no(reason.as_str())
            .needed()
            .remedy("give --runs-dir DIR or OFFLOADCTL_RUNS_DIR, or --no-save to each command", None),
    }
}

#[cfg(test)]
mod tests;
