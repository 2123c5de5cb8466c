//! The kernel's stamps over a link between two namespaces, by every channel and both families, beside `ping`.

use crate::host::{may_administer, path_of, turn};
use crate::namespace::{FAR_V4, FAR_V6, Pair};
use crate::network::average_ns;
use crate::program::{call, probe, series};
use crate::server::Server;

#[test]
fn every_channel_is_stamped_over_both_families_and_the_network_is_faster_than_ping() {
    if !may_administer("stamps::every_channel_is_stamped_over_both_families_and_the_network_is_faster_than_ping") {
        return;
    }
    let _turn = turn();
    let pair = Pair::new();
    let echo = Server::echo_inside(&pair.far.prefix());
    let ping = path_of("ping", "iputils-ping");
    for (family, far) in [("-4", FAR_V4), ("-6", FAR_V6)] {
        let words = [ping.to_str().unwrap(), "-q", "-c", "100", "-i", "0.01", far].map(str::to_owned);
        let said = call(&pair.near.inside(&words)).stdout;
        let theirs = average_ns(&said).unwrap_or_else(|| panic!("ping said: {said}"));
        let target = format!("far=far.test:{}", echo.port);
        let rule = format!("far.test:{}:[{FAR_V6}],{FAR_V4}", echo.port);
        let load =
            ["--channel", "icmp,echo,udp", "--rate", "100/s", "--count", "200", "--warmup", "200ms", "--no-save"];
        let arguments = [&[target.as_str(), "--resolve", &rule, family], &load[..]].concat();
        let run = call(&pair.near.inside(&probe(&arguments))).run(0);
        for name in ["rtt.icmp", "rtt.echo", "rtt.echo_udp"] {
            let kernel = series(&run, &format!("{name}.kernel"), "far");
            let user = series(&run, &format!("{name}.service"), "far");
            assert!(kernel.counts.ok_count >= 190, "{family} {name}: {:?}", kernel.failure_kinds);
            assert!(kernel.summary.p50_ns < user.summary.p50_ns, "{family} {name}");
        }
        let of = |channel: &str| {
            let mut all = run.series.iter().filter(|series| series.name == "rtt.network");
            all.find(|series| series.labels.value("channel") == Some(channel)).unwrap().summary.p50_ns.unwrap()
        };
        for channel in ["echo", "echo_udp"] {
            assert!((of(channel) as f64) < theirs, "{family} {channel}: {} ns, ping says {theirs} ns", of(channel));
        }
    }
}
