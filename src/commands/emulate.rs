//! `offloadctl topology emulate`: one emulated link between other programs, in user space or by the kernel.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::kernel_link;
use super::measuring::on_event_loop;
use super::topology::{find_profile, link_text};
use super::value;
use crate::console;
use crate::echo::bind_pair;
use crate::error::{Exit, Failure};
use crate::model::{LinkProfile, Summary};
use crate::probe::rtt::split_port;
use crate::report::{bytes_text, count_text, duration_text};
use crate::sys::host::raise_file_limit;
use crate::sys::interface::is_own;
use crate::sys::resolve::lookup;
use crate::sys::shutdown::Shutdown;
use crate::topo::{Crossing, ProxyLimits, ProxySockets, ProxySpec, Tally, carry};

const EXAMPLES: &str = "Examples:
  A server that is 38.7 ms away, for any program:
    offloadctl topology emulate cross-region --listen 127.0.0.1:7000 --to 127.0.0.1:6443
    curl https://127.0.0.1:7000/healthz
  Every packet of a command, by the kernel:
    offloadctl topology emulate hybrid --kernel -- sh -c 'ping -c 5 $OFFLOADCTL_FAR'

Without --kernel it delays what arrives on a connection, and datagrams. It cannot delay what the
kernel answers itself: a TCP handshake with it is over at once, though it connects to the far end
only when the first packet would have come there; the acknowledgements and window of either
connection; ICMP. A profile's loss holds up a stream for 200 ms, as one retransmission does, and no
congestion control hears of it. At its end it says what it carried, and how late it was.

With --kernel COMMAND runs in a network namespace that is joined to a second one by a link with
netem in both directions: every packet is delayed, handshakes, acknowledgements and ICMP too. Its
exit code is passed on; what it has started ends with it, and the namespaces are gone. It needs root
or `unshare --map-root-user`, a kernel with netem, and iproute2. COMMAND finds in its environment:
  OFFLOADCTL_FAR        IPv4 address of the far end, where an `offloadctl echo` is on port 7777
  OFFLOADCTL_FAR_V6     the same in IPv6
  OFFLOADCTL_FAR_NETNS  the far namespace, for `nsenter --net=$OFFLOADCTL_FAR_NETNS SERVER`";

/// Share of the profile's mean round trip by which lateness may lengthen it.
const LATE_SHARE: f64 = 0.1;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EmulateArgs {
    /// local-dc, cross-region, hybrid, or one of --topology
    #[arg(value_name = "PROFILE")]
    profile: String,
    /// A file with link profiles of your own
    #[arg(long, value_name = "FILE.toml")]
    topology: Option<PathBuf>,
    /// Take connections and datagrams here; port 0 takes a free one and says which
    #[arg(long, value_name = "ADDRESS:PORT", required_unless_present = "kernel")]
    listen: Option<SocketAddr>,
    /// Carry them to here; of a name's addresses, to the first of the family of --listen if there is one
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "kernel")]
    to: Option<String>,
    /// TCP alone
    #[arg(long, conflicts_with = "udp")]
    tcp: bool,
    /// UDP alone
    #[arg(long)]
    udp: bool,
    /// Seed for delays and losses, to repeat them [default: a new one, which is printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Stop after this long [default: on Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = value::parse_positive)]
    duration: Option<Duration>,
    /// TCP connections, and likewise UDP peers, at a time; further ones are turned away
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = value::parse_whole::<u32>)]
    max_connections: u32,
    /// Forget a UDP peer that has been silent for this long
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = value::parse_positive)]
    idle_timeout: Duration,
    /// Emulate by the kernel's netem instead, in namespaces of its own, for COMMAND
    #[arg(
        long,
        requires = "command",
        conflicts_with_all = ["listen", "to", "tcp", "udp", "seed", "duration", "max_connections", "idle_timeout"]
    )]
    kernel: bool,
    /// What to run over the link of the kernel
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Say nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

/// Emulates until the end of its duration, Ctrl-C or SIGTERM, or the end of the command.
///
/// # Errors
/// When the profile is not known, an address cannot be used, or the kernel has no such link.
pub fn run(args: &EmulateArgs) -> Result<Exit, Failure> {
    let profile = find_profile(&args.profile, args.topology.as_deref())?;
    if args.kernel {
        return kernel_link::run(&args.profile, &profile, &args.command, args.quiet);
    }
    if !args.command.is_empty() {
        return Err(Failure::plain(Exit::Usage, "a command after `--` runs over a link of the kernel only")
            .hint("add --kernel, or start the command by itself and let it connect to --listen"));
    }
    let (Some(listen), Some(to)) = (args.listen, args.to.as_deref()) else {
        return Err(Failure::plain(Exit::Usage, "`topology emulate` needs --listen and --to, or --kernel"));
    };
    raise_file_limit();
    on_event_loop(async |shutdown| {
        let to = far_end(to, listen).await?;
        refuse_circle(listen, to)?;
        let sockets = args.sockets(listen);
        let sockets = sockets.map_err(|error| Failure::listen("cannot listen on", listen, &error))?;
        args.emulate(&profile, sockets, to, shutdown).await
    })
}

impl EmulateArgs {
    fn sockets(&self, listen: SocketAddr) -> std::io::Result<ProxySockets> {
        Ok(match (self.tcp, self.udp) {
            (true, _) => ProxySockets { tcp: Some(TcpListener::bind(listen)?), udp: None },
            (_, true) => ProxySockets { tcp: None, udp: Some(UdpSocket::bind(listen)?) },
            _ => {
                let (tcp, udp) = bind_pair(listen)?;
                ProxySockets { tcp: Some(tcp), udp: Some(udp) }
            }
        })
    }

    async fn emulate(
        &self,
        profile: &LinkProfile,
        sockets: ProxySockets,
        to: SocketAddr,
        shutdown: &Shutdown,
    ) -> Result<Exit, Failure> {
        let seed = value::seed(self.seed);
        let listening = match &sockets {
            ProxySockets { tcp: Some(tcp), .. } => tcp.local_addr(),
            ProxySockets { udp: Some(udp), .. } => udp.local_addr(),
            _ => Ok(to),
        };
        let listening = listening.map_err(Failure::unable)?;
        let by = match (self.tcp, self.udp) {
            (true, _) => "TCP",
            (_, true) => "UDP",
            _ => "TCP and UDP",
        };
        let text = link_text(profile);
        self.say(format_args!("emulating {} from {listening} to {to} ({by}): {text}; seed {seed}", self.profile));
        let limits =
            ProxyLimits { flows: self.max_connections as usize, idle: self.idle_timeout, ..ProxyLimits::default() };
        let spec = ProxySpec { profile: profile.clone(), to, seed, limits };
        let quiet = self.quiet;
        let tell = Box::new(move |text: &str| {
            if !quiet {
                console::say(text)
            }
        });
        let ended = async {
            match self.duration {
                Some(span) => drop(tokio::time::timeout(span, shutdown.requested()).await),
                None => shutdown.requested().await,
            }
        };
        let tally = carry(spec, sockets, tell, ended).await.map_err(Failure::unable)?;
        summary(&tally, profile, (!self.udp, !self.tcp)).iter().for_each(|line| self.say(line));
        Ok(Exit::Fine)
    }

    fn say(&self, message: impl std::fmt::Display) {
        if !self.quiet {
            console::say(message);
        }
    }
}

/// A link whose far end is its own listener would carry everything to itself, over and over.
fn refuse_circle(listen: SocketAddr, to: SocketAddr) -> Result<(), Failure> {
    if listen.port() != to.port() || !covers(listen.ip().to_canonical(), to.ip().to_canonical()) {
        return Ok(());
    }
    let what = if listen == to {
        format!("--listen and --to are both {to}: the link would lead to itself")
    } else {
        format!("--listen {listen} takes what is sent to {to}, which is this host: the link would lead to itself")
    };
    Err(Failure::plain(Exit::Usage, what).hint("listen on another port; port 0 takes a free one and says which"))
}

/// Whether a listener at one address takes what is sent to the other. That of all addresses takes what is sent to any of this
/// host's, and that of all of IPv6 those of IPv4 too.
fn covers(listen: IpAddr, to: IpAddr) -> bool {
    match listen {
        IpAddr::V4(any) if any.is_unspecified() => to.is_ipv4() && is_own(to),
        IpAddr::V6(any) if any.is_unspecified() => is_own(to),
        // Sent to no address in particular, it goes to the loopback.
        one if to.is_unspecified() => one == loopback_of(to),
        one => one == to,
    }
}

const fn loopback_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

/// The address of the far end, for a listener at this one.
async fn far_end(text: &str, listen: SocketAddr) -> Result<SocketAddr, Failure> {
    let (host, port) = host_and_port(text)?;
    let addresses = lookup(&host, port).await.map_err(|error| {
        Failure::plain(Exit::Unable, format!("the name `{host}` does not resolve: {error}")).hint("check the name")
    })?;
    nearest(&addresses, listen).ok_or_else(|| Failure::plain(Exit::Unable, format!("the name `{host}` has no address")))
}

fn host_and_port(text: &str) -> Result<(String, u16), Failure> {
    let wrong = |why| {
        Failure::plain(Exit::Usage, format!("`{text}` is not `HOST:PORT`: {why}"))
            .hint("such as `127.0.0.1:6443`; an IPv6 address is in brackets, `[::1]:6443`")
    };
    let (host, port) = split_port(text).map_err(wrong)?;
    Ok((host, port.ok_or_else(|| wrong("it has no port"))?))
}

/// Of a name's addresses the first of the listener's own family, else the first: a server for the clients of this family listens
/// there, though a name such as `localhost` may begin with the other.
fn nearest(addresses: &[SocketAddr], listen: SocketAddr) -> Option<SocketAddr> {
    let same = addresses.iter().find(|address| address.is_ipv4() == listen.is_ipv4());
    same.or_else(|| addresses.first()).copied()
}

/// What was carried, a line for each way of transport, and whether it was in time.
fn summary(tally: &Tally, profile: &LinkProfile, (tcp, udp): (bool, bool)) -> Vec<String> {
    let streams = tcp.then(|| format!("TCP: {}", carried("connection", &tally.streams)));
    let datagrams = udp.then(|| {
        let Crossing { pieces_there, pieces_back, lost, dropped, .. } = &tally.datagrams;
        let [there, back, lost, dropped] = [pieces_there, pieces_back, lost, dropped].map(|n| count_text(*n));
        let flows = carried("peer", &tally.datagrams);
        format!("UDP: {there} datagrams there and {back} back, {lost} lost as the profile says, {dropped} dropped for want of room; {flows}")
    });
    let lines = [(streams, &tally.streams), (datagrams, &tally.datagrams)];
    let lines = lines.into_iter().filter_map(|(line, crossing)| Some((line?, crossing)));
    lines
        .flat_map(|(line, crossing)| [Some(line), warning(&crossing.lateness.series("link.lateness").summary, profile)])
        .flatten()
        .collect()
}

fn carried(flow: &str, crossing: &Crossing) -> String {
    let Crossing { flows, turned_away, refused, bytes_there, bytes_back, lateness, .. } = crossing;
    let plural = if *flows == 1 { "" } else { "s" };
    let counts = format!(
        "{} {flow}{plural}, {} refused, {} turned away, {} there, {} back",
        count_text(*flows),
        count_text(*refused),
        count_text(*turned_away),
        bytes_text(*bytes_there),
        bytes_text(*bytes_back),
    );
    let summary = lateness.series("link.lateness").summary;
    let named = [("p50", summary.p50_ns), ("p99", summary.p99_ns), ("max", summary.max_ns)];
    let figures: Vec<String> =
        named.iter().filter_map(|(name, value)| Some(format!("{name} {}", duration_text((*value)?)))).collect();
    if figures.is_empty() { counts } else { format!("{counts}; delivered late by {}", figures.join(", ")) }
}

/// Whether the link was not what its profile says: too late on average, which lengthens every round trip twice, or often later
/// than the profile itself varies.
fn warning(late: &Summary, profile: &LinkProfile) -> Option<String> {
    let rtt_ns = profile.rtt_mean_ns;
    let allowed_ns = (rtt_ns as f64 * LATE_SHARE) as u64;
    let spread_ns = profile.rtt_p95_ns.saturating_sub(rtt_ns).max(allowed_ns);
    let longer_ns = late.mean_ns.map(|mean_ns| mean_ns.saturating_mul(2)).filter(|longer_ns| *longer_ns > allowed_ns);
    let often_ns = late.p99_ns.filter(|p99_ns| *p99_ns > spread_ns);
    let what = match (longer_ns, often_ns) {
        (Some(longer_ns), _) => {
            let [longer, rtt] = [longer_ns, rtt_ns].map(duration_text);
            format!("its lateness made round trips longer by {longer} on average, those of the profile take {rtt}")
        }
        (None, Some(p99_ns)) => {
            let [p99, spread] = [p99_ns, spread_ns].map(duration_text);
            format!("its lateness was above {p99} one time in a hundred, the profile itself varies by {spread}")
        }
        (None, None) => return None,
    };
    Some(format!("warning: {what}; leave it more of a processor, or give it precedence: `chrt --rr 1 offloadctl …`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topo::built_in;

    #[test]
    fn a_link_that_is_late_warns_of_what_that_does() {
        let late = |mean_us: u64, p99_us: u64| {
            let summary =
                Summary { mean_ns: Some(mean_us * 1_000), p99_ns: Some(p99_us * 1_000), ..Summary::default() };
            warning(&summary, &built_in("local-dc").unwrap().link())
        };
        // A mean of 1.2 ms with a p95 of 2.8 ms: a tenth is 120 us for both ways, and it varies by 1.6 ms.
        assert_eq!(late(59, 1_500), None);
        let long = late(75, 1_500).unwrap();
        assert!(long.contains("longer by 150 µs on average, those of the profile take 1.20 ms"), "{long}");
        let often = late(59, 1_700).unwrap();
        assert!(often.contains("above 1.70 ms one time in a hundred, the profile itself varies by 1.60 ms"), "{often}");
        assert_eq!(warning(&Summary::default(), &built_in("local-dc").unwrap().link()), None);
    }

    #[test]
    fn a_far_end_is_a_host_and_a_port_that_can_be_sent_to() {
        let whole = |text: &str| host_and_port(text).map_err(|failure| failure.exit());
        assert_eq!(whole("[::1]:17"), Ok(("::1".to_owned(), 17)));
        assert_eq!(whole("[fe80::1%eth0]:17"), Ok(("fe80::1%eth0".to_owned(), 17)));
        assert_eq!(whole("server:17"), Ok(("server".to_owned(), 17)));
        for text in ["", ":17", "server", "server:", "server:0", "127.0.0.1:0", "[::1]:0", "[::1", "::1", "[::1:17"] {
            assert_eq!(whole(text), Err(Exit::Usage), "{text}");
        }
    }

    #[test]
    fn of_a_names_addresses_the_one_of_the_listeners_family_is_taken() {
        let [v6, v4, other] = ["[::1]:17", "127.0.0.1:17", "127.0.0.2:17"].map(|text| text.parse().unwrap());
        let [to_v4, to_v6] = ["127.0.0.1:0", "[::]:0"].map(|text| text.parse().unwrap());
        assert_eq!(nearest(&[v6, v4, other], to_v4), Some(v4));
        assert_eq!(nearest(&[v4, v6], to_v6), Some(v6));
        assert_eq!(nearest(&[v6], to_v4), Some(v6));
        assert_eq!(nearest(&[], to_v4), None);
    }

    #[test]
    fn a_link_that_leads_to_itself_is_refused_however_it_is_written() {
        let circles = [
            ("127.0.0.1:17", "127.0.0.1:17"),
            ("127.0.0.1:17", "[::ffff:127.0.0.1]:17"),
            ("127.0.0.1:17", "0.0.0.0:17"),
            ("[::1]:17", "[::]:17"),
            ("0.0.0.0:17", "127.0.0.1:17"),
            ("0.0.0.0:17", "127.3.4.5:17"),
            ("[::]:17", "[::1]:17"),
            ("[::]:17", "127.0.0.1:17"),
        ];
        for (listen, to) in circles {
            assert!(refuse_circle(listen.parse().unwrap(), to.parse().unwrap()).is_err(), "{listen} to {to}");
        }
        let links = [
            ("127.0.0.1:17", "127.0.0.1:18"),
            ("127.0.0.1:0", "127.0.0.1:18"),
            ("127.0.0.1:17", "127.0.0.2:17"),
            ("0.0.0.0:17", "192.0.2.77:17"),
            ("0.0.0.0:17", "[::1]:17"),
            ("[::]:17", "192.0.2.77:17"),
        ];
        for (listen, to) in links {
            assert!(refuse_circle(listen.parse().unwrap(), to.parse().unwrap()).is_ok(), "{listen} to {to}");
        }
    }
}
