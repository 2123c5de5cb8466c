//! Conclusions about hosts that nobody has: one that can do everything, and one for each thing that may be missing.

use super::*;
use crate::model::Summary;
use crate::probe::host::{ClockFigures, Floor};

/// What an interface without a card of its own stamps.
fn software(ways: Ways) -> AdapterStamps {
    AdapterStamps { software: ways, hardware: Ways::default(), card: CardState::Absent }
}

/// Interfaces that were all looked at.
fn seen(looked_at: Vec<Adapter>) -> Adapters {
    Adapters { looked_at, ..Adapters::default() }
}

/// A host on which everything works.
fn good() -> Facts {
    let both = Ways { send: true, receive: true };
    let summary = |us: u64| Summary {
        p50_ns: Some(us * 1_000),
        p95_ns: Some(us * 1_500),
        p99_ns: Some(us * 2_000),
        max_ns: Some(us * 9_000),
        ..Summary::default()
    };
    Facts {
        clock_source: Some("tsc".to_owned()),
        clock_sources: vec!["tsc".to_owned(), "hpet".to_owned()],
        clock_cost: Some(ClockFigures { read_ns: 25.0, step_ns: Some(20) }),
        timer_slack_ns: Some(50_000),
        wakeup: Ok(summary(60)),
        floor: Ok(Floor { user_ns: Some(70_000), kernel_ns: Some(33_000), network_ns: Some(7_000) }),
        adapters: Ok(seen(vec![Adapter { name: "eth0".to_owned(), stamps: Ok(software(both)) }])),
        icmp_datagram: Ok(()),
        icmp_raw: Ok(()),
        capabilities: Some(vec!["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_ADMIN"]),
        netem: Ok(()),
        cpu_count: Some(4),
        steal_ratio: Some(0.0),
        file_limit: Some((1_024, 1 << 20)),
        runs: Ok("/var/lib/runs".to_owned()),
        ..Facts::default()
    }
}

/// The verdict on one thing, and whether that is a problem.
fn verdict(facts: &Facts, what: &str) -> (Verdict, bool) {
    let checks = evaluate(facts);
    let check = checks.iter().find(|check| check.what == what).unwrap();
    let finding = findings(&checks).into_iter().find(|finding| finding.id == what).unwrap();
    assert!(check.verdict == Verdict::Yes || check.reason.is_some(), "{check:?}");
    (check.verdict, finding.severity == Severity::Problem)
}

#[test]
fn a_good_host_is_fine_in_everything() {
    let facts = good();
    let checks = evaluate(&facts);
    let lame: Vec<&Check> = checks.iter().filter(|check| check.verdict != Verdict::Yes).collect();
    assert!(lame.is_empty(), "{lame:?}");
    let scalars = scalars(&facts, &checks);
    assert!(scalars.iter().filter(|scalar| scalar.name == ABLE).all(|scalar| scalar.value == Some(1.0)));
    assert_eq!(checks[3].figure, "p50 user 70.0 µs, kernel 33.0 µs, network 7.00 µs");
}

#[test]
fn what_a_default_command_cannot_do_without_is_a_problem() {
    let none = Facts { clock_cost: None, ..good() };
    assert_eq!(verdict(&none, "clock"), (Verdict::No, true));
    let still = Facts { clock_cost: Some(ClockFigures { read_ns: 1.0, step_ns: None }), ..good() };
    assert_eq!(verdict(&still, "clock"), (Verdict::No, true));
    let late = Summary { p95_ns: Some(11_000_000), ..Summary::default() };
    assert_eq!(verdict(&Facts { wakeup: Ok(late), ..good() }, "timer_wakeup"), (Verdict::No, true));
    assert_eq!(verdict(&Facts { wakeup: Ok(Summary::default()), ..good() }, "timer_wakeup"), (Verdict::No, true));
    assert_eq!(verdict(&Facts { floor: Ok(Floor::default()), ..good() }, "loopback"), (Verdict::No, true));
    assert_eq!(verdict(&Facts { file_limit: Some((20, 20)), ..good() }, "open_files"), (Verdict::No, true));
    assert_eq!(verdict(&Facts { runs: Err("full".to_owned()), ..good() }, "stored_runs"), (Verdict::No, true));
}

#[test]
fn what_could_not_be_tried_is_a_problem_with_the_error_as_its_reason() {
    let full = || "too many open files".to_owned();
    let facts = Facts { wakeup: Err(full()), floor: Err(full()), file_limit: Some((14, 14)), ..good() };
    for what in ["timer_wakeup", "loopback", "open_files"] {
        assert_eq!(verdict(&facts, what), (Verdict::No, true), "{what}");
    }
    let checks = evaluate(&facts);
    let wakeup = checks.iter().find(|check| check.what == "timer_wakeup").unwrap();
    assert_eq!((wakeup.figure.as_str(), wakeup.reason.clone()), ("not tried", Some(full())));
    assert!(wakeup.remedy.as_ref().unwrap().0.contains("ulimit"));
}

#[test]
fn without_an_exchange_nothing_is_said_of_the_kernels_stamps() {
    for floor in [Ok(Floor::default()), Err("too many open files".to_owned())] {
        let facts = Facts { floor, unstamped: Some("the kernel stamped no exchange".to_owned()), ..good() };
        let check = evaluate(&facts).into_iter().find(|check| check.what == "kernel_stamps").unwrap();
        assert_eq!((check.verdict, check.figure.as_str()), (Verdict::Limited, "not tried"));
        let (remedy, _) = check.remedy.unwrap();
        assert!(!remedy.contains("SO_TIMESTAMPING") && remedy.contains("loopback"), "{remedy}");
    }
}

#[test]
fn only_what_a_missing_capability_is_for_is_said_to_be_missing() {
    let reason = |all: &[&'static str]| {
        let facts = Facts { capabilities: Some(all.to_vec()), ..good() };
        evaluate(&facts).into_iter().find(|check| check.what == "privileges").unwrap().reason.unwrap_or_default()
    };
    let able_to_ping = reason(&["CAP_NET_RAW"]);
    assert!(!able_to_ping.contains("raw sockets") && !able_to_ping.contains("CAP_NET_RAW"), "{able_to_ping}");
    assert_eq!(able_to_ping.matches("without").count(), 2, "{able_to_ping}");
    let unable_to_ping = reason(&["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]);
    assert!(unable_to_ping.starts_with("without CAP_NET_RAW there are no raw sockets"), "{unable_to_ping}");
    assert_eq!(unable_to_ping.matches("without").count(), 1, "{unable_to_ping}");
}

#[test]
fn links_by_the_kernel_take_root_only_for_whoever_is_not() {
    let remedy = |capabilities: Option<Vec<&'static str>>| {
        let facts = Facts { netem: Err("denied".to_owned()), capabilities, ..good() };
        evaluate(&facts).into_iter().find(|check| check.what == "kernel_links").unwrap().remedy.unwrap().0
    };
    for ordinary in [Some(vec![]), Some(vec!["CAP_NET_ADMIN"]), None] {
        let remedy = remedy(ordinary);
        assert!(remedy.contains("as root") && remedy.contains("`unshare --user --map-root-user`"), "{remedy}");
    }
    let privileged = remedy(good().capabilities);
    assert!(privileged.starts_with("it takes iproute2, and a kernel with netem"), "{privileged}");
}

#[test]
fn what_is_only_worse_or_only_missing_is_none() {
    let slow = Facts { clock_cost: Some(ClockFigures { read_ns: 900.0, step_ns: Some(300) }), ..good() };
    assert_eq!(verdict(&slow, "clock"), (Verdict::Limited, false));
    let slack = Facts { timer_slack_ns: Some(1_000_000), ..good() };
    assert_eq!(verdict(&slack, "timer_slack"), (Verdict::Limited, false));
    let late = Summary { p95_ns: Some(2_000_000), ..Summary::default() };
    assert_eq!(verdict(&Facts { wakeup: Ok(late), ..good() }, "timer_wakeup"), (Verdict::Limited, false));
    let denied = || Err("denied".to_owned());
    let mute = Facts { icmp_datagram: denied(), icmp_raw: denied(), netem: denied(), ..good() };
    assert_eq!(verdict(&mute, "icmp"), (Verdict::No, false));
    assert_eq!(verdict(&mute, "kernel_links"), (Verdict::No, false));
    assert_eq!(verdict(&Facts { icmp_datagram: denied(), ..good() }, "icmp"), (Verdict::Yes, false));
    let plain = Facts { capabilities: Some(vec![]), ..good() };
    assert_eq!(verdict(&plain, "privileges"), (Verdict::Limited, false));
    let unstamped = Floor { user_ns: Some(70_000), ..Floor::default() };
    assert_eq!(verdict(&Facts { floor: Ok(unstamped), ..good() }, "kernel_stamps"), (Verdict::No, false));
    for busy in [
        Facts { steal_ratio: Some(0.05), ..good() },
        Facts { cpu_quota: Some(0.5), ..good() },
        Facts { cpu_count: Some(1), ..good() },
        Facts { cpu_governor: Some("powersave".to_owned()), ..good() },
    ] {
        assert_eq!(verdict(&busy, "processor"), (Verdict::Limited, false));
    }
    assert_eq!(verdict(&Facts { file_limit: Some((64, 1_024)), ..good() }, "open_files"), (Verdict::Limited, false));
}

#[test]
fn adapters_are_told_apart_by_their_names() {
    let one_way = software(Ways { send: false, receive: true });
    let adapter = |name: &str, stamps| Adapter { name: name.to_owned(), stamps };
    let adapters = vec![
        adapter("eth0", Ok(one_way)),
        adapter("wlan0", Ok(software(Ways::default()))),
        adapter("tun0", Err("not supported".to_owned())),
    ];
    let facts = Facts { adapters: Ok(seen(adapters)), ..good() };
    assert_eq!(verdict(&facts, "stamps_eth0"), (Verdict::Limited, false));
    assert_eq!(verdict(&facts, "stamps_wlan0"), (Verdict::No, false));
    assert_eq!(verdict(&facts, "stamps_tun0"), (Verdict::Limited, false));
}

#[test]
fn interfaces_that_were_not_looked_at_are_told_of() {
    let of = |further_count, down_count| {
        let adapters = Adapters { further_count, down_count, ..good().adapters.unwrap() };
        let facts = Facts { adapters: Ok(adapters), ..good() };
        evaluate(&facts).into_iter().find(|check| check.what == "interfaces").unwrap()
    };
    let all = of(0, 2);
    assert_eq!((all.verdict, all.figure.as_str()), (Verdict::Yes, "1 up, 2 down"));
    let some = of(5, 0);
    assert_eq!((some.verdict, some.figure.as_str()), (Verdict::Limited, "6 up, 0 down"));
    assert!(some.reason.unwrap().starts_with("5 further"));
}

#[test]
fn a_card_that_could_stamp_is_told_of_with_the_command_that_tells_it_to() {
    let both = Ways { send: true, receive: true };
    let sent = Ways { send: true, receive: false };
    let of = |hardware, card| {
        let stamps = AdapterStamps { software: both, hardware, card };
        let facts =
            Facts { adapters: Ok(seen(vec![Adapter { name: "eth7".to_owned(), stamps: Ok(stamps) }])), ..good() };
        evaluate(&facts).into_iter().find(|check| check.what == "stamps_eth7").unwrap()
    };
    let off = of(both, CardState::Off);
    assert_eq!((off.verdict, off.is_needed), (Verdict::Limited, false));
    assert_eq!(off.figure, "software both ways, hardware both ways, not switched on");
    assert!(off.remedy.unwrap().0.contains("`hwstamp_ctl -i eth7 -t 1 -r 1`"));
    let on = of(both, CardState::On);
    assert_eq!((on.verdict, on.figure.as_str()), (Verdict::Yes, "software both ways, hardware both ways, switched on"));
    let protocol = of(sent, CardState::TimeProtocolOnly);
    assert_eq!(protocol.verdict, Verdict::Yes);
    assert_eq!(protocol.figure, "software both ways, hardware sent only, and received of a time protocol");
}
