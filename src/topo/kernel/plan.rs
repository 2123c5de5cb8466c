//! What has to be done for a link of the kernel, as plain data: the commands inside of its namespaces, and the table of
//! delays that netem draws from.
//!
//! The delays are in the middle, on a bridge between both ends, as a network is: at an end itself they would be on the wrong
//! side of the kernel's stamp of a sending, which is made at the driver, behind every queue; a round trip by the stamps would
//! be all but free of the link. TCP too takes a queue of its own host for its own and holds back.
//!
//! netem draws each packet's delay by itself, in each direction. Two independent delays with half of the mean and half of
//! the variance each add up to the profile's mean and variance; their sum is nearly log-normal again (Fenton and
//! Wilkinson), so the p95 fits too. Neighbouring packets are independent: netem's own correlation narrows the
//! distribution, so it is left out, and the mean |IPDV| is that of independent round trips.

use statrs::distribution::{ContinuousCDF as _, Normal};

use crate::model::LinkProfile;
use crate::topo::{FitError, log_normal_of};

/// The link's name at both ends.
const DEVICE: &str = "link0";

/// The middle: its bridge, and its ports to the near and to the far end.
const BRIDGE: &str = "bridge0";
const NEAR_PORT: &str = "near0";
const FAR_PORT: &str = "far0";

/// Addresses of both ends, of the networks that are reserved for measuring devices (RFC 2544, RFC 5180).
pub const NEAR_V4: &str = "198.18.0.1";
pub const NEAR_V6: &str = "2001:2::1";
/// The far end's.
pub const FAR_V4: &str = "198.18.0.2";
/// The far end's.
pub const FAR_V6: &str = "2001:2::2";

/// Link-layer addresses of both ends, locally administered.
const NEAR_STATION: &str = "02:00:00:00:00:01";
const FAR_STATION: &str = "02:00:00:00:00:02";

/// Name of the table of delays.
pub const TABLE: &str = "offloadctl";

/// Entries of the table, as in those that come with iproute2.
const ENTRIES: u32 = 4096;

/// The largest entry, and how many of its units are one spread (NETEM_DIST_SCALE).
const LARGEST: f64 = 32_767.0;
const SCALE: f64 = 8_192.0;

/// The largest spread, which the kernel holds in 32 bits with a sign, and the units of a loss, in 32 bits without.
const LARGEST_SPREAD_NS: i32 = i32::MAX;
const LOSS_UNITS: f64 = u32::MAX as f64;

/// Bits a second of a link without a limit: netem keeps the order of packets only where it has a rate.
const UNLIMITED: u64 = 100_000_000_000;

/// Packets that netem holds, by what the profile carries in its longest delay: at least its own default, and not without
/// bound.
const LEAST_PACKETS: u64 = 1_000;
const MOST_PACKETS: u64 = 100_000;
const PACKET_BITS: u64 = 1_500 * 8;

/// One of the namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where the command runs.
    Near,
    /// Where packets are delayed.
    Middle,
    /// What it talks to.
    Far,
}

/// A command inside of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub place: Place,
    /// `ip` or `tc`.
    pub program: &'static str,
    /// What it is told.
    pub words: Vec<String>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What makes the link, in this order.
    pub links: Vec<Step>,
    /// What makes it slow.
    pub delays: Vec<Step>,
    /// The text of the table that the delays refer to.
    pub table: String,
}

/// A profile that netem has no words for.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// No log-normal delay has the profile's figures.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// It would be cut off in silence.
    #[error("netem spreads delays by {LARGEST_SPREAD_NS} ns at most, and the profile's would need {spread_ns} ns")]
    Spread {
        /// What would be needed.
        spread_ns: u64,
    },
    /// It would be none.
    #[error("netem counts losses in shares of 2^32: a loss of {}% would be none", ratio * 100.0)]
    Loss {
        /// The profile's.
        ratio: f64,
    },
}

/// Plans a link of this profile; `middle` is the path of the namespace between both ends.
///
/// # Errors
/// When no log-normal delay has the profile's mean and p95, or netem has no words for it.
pub fn plan(profile: &LinkProfile, middle: &str) -> Result<Plan, PlanError> {
    let (delay, table) = delays(profile)?;
    let shape = shape(profile)?;
    let ip = |place, text: String| step(place, "ip", &text);
    // Nothing is sent by the middle itself, and no group is pruned.
    let mut links = vec![
        ip(Place::Middle, format!("link add {BRIDGE} type bridge stp_state 0 mcast_snooping 0")),
        ip(Place::Middle, format!("link set {BRIDGE} addrgenmode none up")),
    ];
    let [near, far] = [(NEAR_V4, NEAR_V6, NEAR_STATION), (FAR_V4, FAR_V6, FAR_STATION)];
    for (end, port, (v4, v6, station), peer) in [(Place::Near, NEAR_PORT, near, far), (Place::Far, FAR_PORT, far, near)]
    {
        links.push(ip(end, "link set lo up".to_owned()));
        let veth = format!("link add {DEVICE} address {station} type veth peer name {port} netns {middle}");
        links.push(ip(end, veth));
        links.push(ip(Place::Middle, format!("link set {port} master {BRIDGE} addrgenmode none up")));
        links.push(ip(end, format!("address add {v4}/30 dev {DEVICE}")));
        // No detection of duplicates: it takes a second, and there are none.
        links.push(ip(end, format!("address add {v6}/64 dev {DEVICE} nodad")));
        // One segment a packet: loss and rate are those of packets, and a veth would carry 64 KiB as one.
        links.push(ip(end, format!("link set {DEVICE} gso_max_segs 1")));
        links.push(ip(end, format!("link set {DEVICE} up")));
        // Neither end looks for the other: the first packet is not later than all others.
        for address in [peer.0, peer.1] {
            links.push(ip(end, format!("neighbour add {address} lladdr {} dev {DEVICE} nud permanent", peer.2)));
        }
    }
    let netem = format!("root netem limit {} {delay}{shape}", packets(profile));
    let ports = [FAR_PORT, NEAR_PORT];
    let delays = ports.map(|port| step(Place::Middle, "tc", &format!("qdisc add dev {port} {netem}"))).to_vec();
    Ok(Plan { links, delays, table })
}

/// Mean |IPDV| of round trips that do not depend on each other: what the kernel's link has instead of the profile's jitter.
///
/// # Errors
/// When no log-normal delay has the profile's mean and p95.
pub fn independent_jitter_ns(profile: &LinkProfile) -> Result<u64, FitError> {
    let (_, sigma) = log_normal_of(profile)?;
    let share = 2.0 * (2.0 * Normal::standard().cdf(sigma / std::f64::consts::SQRT_2) - 1.0);
    Ok((profile.rtt_mean_ns as f64 * share).round() as u64)
}

fn step(place: Place, program: &'static str, text: &str) -> Step {
    Step { place, program, words: text.split(' ').map(str::to_owned).collect() }
}

/// The delay of one direction in netem's words, and its table.
fn delays(profile: &LinkProfile) -> Result<(String, String), PlanError> {
    let (_, sigma) = log_normal_of(profile)?;
    let mean = profile.rtt_mean_ns as f64 / 2.0;
    let one_way = (1.0 + 2.0 * ((sigma * sigma).exp() - 1.0)).ln();
    let (mu, sigma) = (mean.ln() - one_way / 2.0, one_way.sqrt());
    let quantile = |at: u32| {
        let z = Normal::standard().inverse_cdf((f64::from(at) + 0.5) / f64::from(ENTRIES));
        (mu + sigma * z).exp() - mean
    };
    // The table is stretched so that its largest entry is the largest there is: no delay is cut off.
    let spread = (0..ENTRIES).map(|at| quantile(at).abs()).fold(0.0, f64::max) * SCALE / LARGEST;
    let microseconds = |ns: f64| format!("{:.3}us", ns / 1_000.0);
    if spread < 1.0 {
        return Ok((format!("delay {}", microseconds(mean)), String::new()));
    }
    if spread > f64::from(LARGEST_SPREAD_NS) {
        return Err(PlanError::Spread { spread_ns: spread as u64 });
    }
    let entries: Vec<String> = (0..ENTRIES).map(|at| format!("{:.0}\n", quantile(at) / spread * SCALE)).collect();
    Ok((format!("delay {} {} distribution {TABLE}", microseconds(mean), microseconds(spread)), entries.concat()))
}

/// Loss and rate in netem's words.
fn shape(profile: &LinkProfile) -> Result<String, PlanError> {
    let loss = match profile.loss_ratio {
        ratio if ratio > 0.0 && (ratio * LOSS_UNITS).round() < 1.0 => return Err(PlanError::Loss { ratio }),
        // With as many digits as it has: rounded, a small one would be none.
        ratio if ratio > 0.0 => format!(" loss random {}%", ratio * 100.0),
        _ => String::new(),
    };
    Ok(format!("{loss} rate {}bit", profile.bandwidth_bits_per_s.unwrap_or(UNLIMITED)))
}

fn packets(profile: &LinkProfile) -> u64 {
    let bits_per_s = u128::from(profile.bandwidth_bits_per_s.unwrap_or(UNLIMITED));
    let under_way = bits_per_s * u128::from(profile.rtt_p95_ns) / 1_000_000_000 / u128::from(PACKET_BITS);
    u64::try_from(under_way).unwrap_or(MOST_PACKETS).clamp(LEAST_PACKETS, MOST_PACKETS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topo::BUILT_IN;

    fn netem(profile: &LinkProfile) -> String {
        plan(profile, "/middle").unwrap().delays.last().unwrap().words.join(" ")
    }

    /// The delays of one direction that netem draws from, evenly.
    fn drawn(profile: &LinkProfile) -> Vec<f64> {
        let (words, table) = delays(profile).unwrap();
        let figure = |at: usize| words.split(' ').nth(at).unwrap().strip_suffix("us").unwrap().parse::<f64>().unwrap();
        let (mean, spread) = (figure(1), figure(2));
        table.lines().map(|line| mean + spread * line.parse::<f64>().unwrap() / SCALE).collect()
    }

    #[test]
    fn both_directions_together_have_the_profiles_mean_and_p95() {
        for built_in in &BUILT_IN {
            let (link, one_way) = (built_in.link(), drawn(&built_in.link()));
            assert!(one_way.iter().all(|delay| *delay >= 0.0));
            // Each of both ways draws one of every eighth entry: all pairs are a quarter of a million.
            let few: Vec<f64> = one_way.iter().skip(4).step_by(8).copied().collect();
            let mut sums: Vec<f64> = few.iter().flat_map(|there| few.iter().map(move |back| there + back)).collect();
            sums.sort_unstable_by(f64::total_cmp);
            let mean = sums.iter().sum::<f64>() / sums.len() as f64;
            let p95 = sums[sums.len() * 95 / 100];
            let close = |got: f64, wanted_ns: u64| (got * 1_000.0 / wanted_ns as f64 - 1.0).abs() < 0.03;
            assert!(close(mean, link.rtt_mean_ns), "{}: mean {mean} us", built_in.name);
            assert!(close(p95, link.rtt_p95_ns), "{}: p95 {p95} us", built_in.name);
        }
    }

    #[test]
    fn a_profile_in_the_words_of_netem() {
        let constant = LinkProfile {
            rtt_mean_ns: 10_000_000,
            rtt_p95_ns: 10_000_000,
            jitter_ns: 0,
            loss_ratio: 0.005,
            bandwidth_bits_per_s: Some(20_000_000),
        };
        let words = "qdisc add dev near0 root netem limit 1000 delay 5000.000us loss random 0.5% rate 20000000bit";
        assert_eq!(netem(&constant), words);
        let without = LinkProfile { bandwidth_bits_per_s: None, loss_ratio: 0.0, ..constant };
        assert!(netem(&without).ends_with("limit 83333 delay 5000.000us rate 100000000000bit"), "{}", netem(&without));
        assert!(netem(&BUILT_IN[1].link()).contains("distribution offloadctl rate 1000000000bit"));
    }

    #[test]
    fn what_netem_would_cut_off_in_silence_is_refused() {
        let lossy = |loss_ratio| LinkProfile { loss_ratio, ..BUILT_IN[0].link() };
        assert!(netem(&lossy(1e-8)).contains(" loss random 0.000001% "), "{}", netem(&lossy(1e-8)));
        let none = plan(&lossy(1e-10), "/middle").unwrap_err();
        assert_eq!(none.to_string(), "netem counts losses in shares of 2^32: a loss of 0.00000001% would be none");
        let wide = |seconds: u64| {
            let link = BUILT_IN[0].link();
            let wider = |ns: u64| ns * 1_000_000_000 * seconds / link.rtt_mean_ns;
            let [rtt_mean_ns, rtt_p95_ns] = [link.rtt_mean_ns, link.rtt_p95_ns].map(wider);
            plan(&LinkProfile { rtt_mean_ns, rtt_p95_ns, ..link }, "/middle")
        };
        assert!(wide(1).is_ok());
        assert!(matches!(wide(5), Err(PlanError::Spread { spread_ns }) if spread_ns > 2_147_483_647), "{:?}", wide(5));
    }

    #[test]
    fn both_ends_are_joined_in_the_middle_and_delayed_there() {
        let plan = plan(&BUILT_IN[0].link(), "/proc/1/fd/9").unwrap();
        let ends = [(Place::Near, "near0", NEAR_V4, FAR_V4), (Place::Far, "far0", FAR_V4, NEAR_V4)];
        for (end, port, own, other) in ends {
            let said: Vec<String> =
                plan.links.iter().filter(|step| step.place == end).map(|step| step.words.join(" ")).collect();
            let peer = format!(" peer name {port} netns /proc/1/fd/9");
            assert!(said.iter().any(|words| words.ends_with(&peer)), "{said:?}");
            assert!(said.contains(&format!("address add {own}/30 dev link0")), "{said:?}");
            assert!(said.iter().any(|words| words.starts_with(&format!("neighbour add {other} "))), "{said:?}");
            let delay = format!("dev {port} root netem");
            let in_the_middle = plan.delays.iter().filter(|step| step.place == Place::Middle);
            assert_eq!(in_the_middle.filter(|step| step.words.join(" ").contains(&delay)).count(), 1);
        }
    }

    #[test]
    fn round_trips_that_do_not_depend_on_each_other_vary_more() {
        for built_in in &BUILT_IN {
            let jitter = independent_jitter_ns(&built_in.link()).unwrap();
            assert!(jitter > built_in.link().jitter_ns, "{}: {jitter}", built_in.name);
        }
    }
}
