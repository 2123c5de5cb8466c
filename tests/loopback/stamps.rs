//! The kernel's stamps: what they leave out of a round trip, what they cannot leave out, and what is said without them.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use offloadctl::echo::{Earlier, Embedded, FRAME_LENGTH, Frame};
use offloadctl::model::{Clock, Measured, Scalar, Series, WallStamp};
use offloadctl::probe::rtt::Channel;

use crate::far_end::{FarEnd, Manner};
use crate::lateness::beside;
use crate::measure::{library, probe, series};

const BOTH: [Channel; 2] = [Channel::Echo, Channel::Udp];

/// The part of an exchange, of this channel.
#[track_caller]
fn part<'a>(all: &'a [Series], name: &str, channel: &str) -> &'a Series {
    let found = all.iter().find(|series| series.name == name && series.labels.value("channel") == Some(channel));
    found.unwrap_or_else(|| panic!("there is no {name} of {channel}"))
}

fn p50(series: &Series) -> u64 {
    series.summary.p50_ns.unwrap_or_else(|| panic!("{} has no p50", series.full_name()))
}

/// Nearly all: the kernel begins to stamp a moment after it was asked.
#[track_caller]
fn nearly_all(series: &Series, count: u64) {
    assert_eq!(series.counts.attempt_count, count, "{}", series.full_name());
    assert!(series.counts.ok_count * 10 >= count * 9, "{}: {:?}", series.full_name(), series.failure_kinds);
}

#[test]
fn network_is_within_kernel_and_kernel_within_user() {
    let echo = Embedded::start().unwrap();
    // So slowly that answers of a busy machine do not wait together in the stream: those have one stamp.
    let measured = library(&format!("far={}", echo.address()), &BOTH, 20, 60);
    for (name, channel) in [("rtt.echo", "echo"), ("rtt.echo_udp", "echo_udp")] {
        let user = series(&measured.series, &format!("{name}.service"));
        let kernel = series(&measured.series, &format!("{name}.kernel"));
        let network = part(&measured.series, "rtt.network", channel);
        let wakeup = part(&measured.series, "rtt.wakeup", channel);
        for stamped in [kernel, network, wakeup] {
            nearly_all(stamped, 60);
        }
        assert_eq!((kernel.clock, network.clock, wakeup.clock), (Clock::Kernel, Clock::Kernel, Clock::User));
        assert!(p50(network) < p50(kernel), "{name}: {} ns, {} ns", p50(network), p50(kernel));
        assert!(p50(kernel) < p50(user), "{name}: {} ns, {} ns", p50(kernel), p50(user));
        assert!(wakeup.summary.min_ns.unwrap() > 0);
        part(&measured.series, "rtt.floor.network", channel);
    }
    // On a busy machine some answers wait together in the stream; that they have one stamp is another test's question.
    let others = measured.findings.iter().filter(|finding| finding.id != "stamped_selection");
    assert_eq!(others.count(), 0, "{:?}", measured.findings);
}

#[test]
fn the_last_exchange_is_told_by_one_that_is_not_counted() {
    let echo = Embedded::start().unwrap();
    // The kernel begins to stamp a moment after it was asked, which the warm-up leaves out; the last of it is so far ahead of
    // the first that is recorded that a busy machine does not make it one of those.
    let run = probe(&format!("far={} --channel echo,udp --rate 5/s --count 15 --warmup 400ms", echo.address()));
    for channel in ["echo", "echo_udp"] {
        let network = part(&run.series, "rtt.network", channel);
        assert_eq!(network.counts.attempt_count, 15);
        assert_eq!(network.failure_kinds.get("no_far_stamps"), None, "{:?}", network.failure_kinds);
    }
}

#[test]
fn answers_that_come_as_one_have_one_stamp_and_the_rest_is_told_to_be_a_selection() {
    // The greeting and the first attempt are a pair, and so on: 31 attempts end with a whole one.
    let far = FarEnd::start(Manner::InPairs);
    let measured = library(&format!("far={}", far.address()), &[Channel::Echo], 200, 31);
    let kernel = series(&measured.series, "rtt.echo.kernel");
    assert_eq!((kernel.counts.attempt_count, kernel.counts.ok_count), (31, 16), "{:?}", kernel.failure_kinds);
    assert_eq!(kernel.failure_kinds.get("no_receive_stamp"), Some(&15));
    let said = measured.findings.iter().find(|finding| finding.id == "stamped_selection").unwrap();
    assert!(said.text.contains("48.4 % of the answered exchanges of far rtt.echo"), "{}", said.text);
}

/// The delay of both directions, where it is known.
fn one_way(measured: &Measured) -> Vec<(&str, Option<&str>, u64)> {
    let ways = measured.series.iter().filter(|series| series.name.starts_with("rtt.oneway."));
    ways.map(|way| (&way.name["rtt.oneway.".len()..], way.labels.value("clock_bound"), way.counts.ok_count)).collect()
}

#[test]
fn one_host_knows_each_direction_and_a_far_end_that_does_not_say_so_is_not_taken_for_one() {
    let echo = Embedded::start().unwrap();
    for channel in BOTH {
        let measured = library(&format!("far={}", echo.address()), &[channel], 500, 100);
        let network = measured.series.iter().find(|series| series.name == "rtt.network").unwrap();
        let ok = network.counts.ok_count;
        assert_eq!(one_way(&measured), [("forward", Some("one_host"), ok), ("backward", Some("one_host"), ok)]);
        for way in measured.series.iter().filter(|series| series.name.starts_with("rtt.oneway.")) {
            assert!(way.summary.max_ns.unwrap() <= network.summary.max_ns.unwrap());
        }
    }
    let far = FarEnd::start(Manner::Delay(Duration::ZERO));
    assert_eq!(one_way(&library(&format!("far={}", far.address()), &BOTH, 50, 20)), []);
}

/// A process that forwards each datagram to the far end that `to` names for it by its number, half of the delay later, and
/// its answer back likewise, as `change` leaves it.
fn relay_as(
    to: impl Fn(u64) -> SocketAddr + Send + 'static,
    delay: Duration,
    change: impl Fn(u64, Frame) -> Frame + Send + 'static,
) -> SocketAddr {
    let [near, far] = [0; 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let address = near.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut frame = [0; FRAME_LENGTH];
        for number in 0.. {
            let (length, peer) = near.recv_from(&mut frame).unwrap();
            std::thread::sleep(delay / 2);
            far.send_to(&frame[..length], to(number)).unwrap();
            let length = far.recv(&mut frame).unwrap();
            let answer = change(number, Frame::decode(&frame[..length]).unwrap());
            std::thread::sleep(delay / 2);
            near.send_to(&answer.encode(), peer).unwrap();
        }
    });
    address
}

/// A process that forwards each datagram to the far end at once, and its answer back likewise, but each tenth so much later.
fn relay_with_late_answers(to: SocketAddr, late: Duration) -> SocketAddr {
    let [near, far] = [0; 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let address = near.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut frame = [0; FRAME_LENGTH];
        for number in 0.. {
            let (length, peer) = near.recv_from(&mut frame).unwrap();
            far.send_to(&frame[..length], to).unwrap();
            let length = far.recv(&mut frame).unwrap();
            let (answer, near) = (frame[..length].to_vec(), near.try_clone().unwrap());
            let send = move || _ = near.send_to(&answer, peer).unwrap();
            match number % 10 {
                9 => drop(std::thread::spawn(move || (std::thread::sleep(late), send()))),
                _ => send(),
            }
        }
    });
    address
}

/// The answer of a host whose clock is so far ahead of ours.
fn of_clock_ahead(pong: Frame, ahead: Duration) -> Frame {
    let ahead_ns = u64::try_from(ahead.as_nanos()).unwrap();
    let at = |stamp: WallStamp| WallStamp::from_nanos(stamp.as_nanos() + ahead_ns);
    let told = |known: Earlier| Earlier { received: at(known.received), sent: at(known.sent), ..known };
    Frame { earlier: pong.earlier.map(told), is_same_host: false, ..pong }
}

fn scalar(all: &[Scalar], name: &str, channel: &str) -> f64 {
    let ours = |scalar: &&Scalar| scalar.name == name && scalar.labels.value("channel") == Some(channel);
    all.iter().find(ours).unwrap_or_else(|| panic!("there is no {name}")).value.unwrap()
}

#[test]
fn the_delay_of_a_link_is_in_network_and_in_kernel() {
    let (echo, delay) = (Embedded::start().unwrap(), Duration::from_millis(6));
    let far = echo.address();
    let target = format!("far={}", relay_as(move |_| far, delay, |_, pong| pong));
    let (measured, lateness) = beside(|| library(&target, &[Channel::Udp], 50, 50));
    let network = part(&measured.series, "rtt.network", "echo_udp");
    nearly_all(network, 50);
    let least = u64::try_from(delay.as_nanos()).unwrap();
    assert!(network.summary.min_ns.unwrap() >= least, "{:?}", network.summary);
    assert!(series(&measured.series, "rtt.echo_udp.kernel").summary.min_ns.unwrap() >= least);
    let most = delay + lateness.above(Duration::from_millis(10));
    assert!(u128::from(p50(network)) < most.as_nanos(), "{:?}, beside {lateness:?}", network.summary);
}

#[test]
fn answers_that_are_overtaken_by_many_are_in_every_part_of_the_round_trip() {
    let (echo, late) = (Embedded::start().unwrap(), Duration::from_millis(150));
    let target = format!("far={}", relay_with_late_answers(echo.address(), late));
    // Thirty quick ones pass each of them, with which the far end tells its stamps of it.
    let measured = library(&target, &[Channel::Udp], 200, 400);
    assert_eq!(series(&measured.series, "rtt.echo_udp").counts.ok_count, 400);
    let network = part(&measured.series, "rtt.network", "echo_udp");
    for series in [series(&measured.series, "rtt.echo_udp.kernel"), network] {
        nearly_all(series, 400);
        let p95 = series.summary.p95_ns.unwrap();
        assert!(p95 >= u64::try_from(late.as_nanos()).unwrap(), "{}: {p95} ns", series.full_name());
    }
}

#[test]
fn the_dwell_of_the_far_end_is_in_kernel_and_its_network_is_not_made_up() {
    // It speaks the protocol and tells no stamps, as an echo of an earlier version.
    let far = FarEnd::start(Manner::Delay(Duration::from_millis(5)));
    let measured = library(&format!("far={}", far.address()), &BOTH, 50, 30);
    for name in ["rtt.echo.kernel", "rtt.echo_udp.kernel"] {
        let kernel = series(&measured.series, name);
        nearly_all(kernel, 30);
        assert!(kernel.summary.min_ns.unwrap() >= 5_000_000, "{:?}", kernel.summary);
    }
    assert!(measured.series.iter().all(|series| series.name != "rtt.network"));
    let said: Vec<_> = measured.findings.iter().filter(|finding| finding.id == "no_network_time").collect();
    assert!(matches!(said[..], [finding] if finding.text.contains("far rtt.echo, far rtt.echo_udp")), "{said:?}");
}

#[test]
fn an_outage_counts_no_stamps_and_the_next_connection_goes_on() {
    let far = FarEnd::start(Manner::CloseAfter(10));
    let measured = library(&format!("far={}", far.address()), &[Channel::Echo], 50, 60);
    let (user, kernel) = (series(&measured.series, "rtt.echo"), series(&measured.series, "rtt.echo.kernel"));
    assert!(user.counts.failed_count > 0, "{:?}", user.counts);
    assert_eq!(kernel.counts.attempt_count, user.counts.ok_count);
    assert!(kernel.counts.ok_count * 10 >= user.counts.ok_count * 9, "{:?}", kernel.failure_kinds);
}

#[test]
fn both_ends_of_one_host_have_one_clock() {
    let echo = Embedded::start().unwrap();
    let measured = library(&format!("far={}", echo.address()), &BOTH, 500, 500);
    for channel in ["echo", "echo_udp"] {
        let scalar = |name: &str| scalar(&measured.scalars, name, channel);
        let (offset, bound) = (scalar("rtt.clock_offset"), scalar("rtt.clock_offset_bound"));
        assert!(offset.abs() <= bound, "{channel}: {offset} ns, at most {bound} ns");
        assert!(bound < 1e6, "{channel}: {bound} ns");
        let (low, high) = (scalar("rtt.clock_drift_low"), scalar("rtt.clock_drift_high"));
        assert!(low <= scalar("rtt.clock_drift") && scalar("rtt.clock_drift") <= high, "{low} to {high} ppm");
        let network = part(&measured.series, "rtt.network", channel);
        for direction in ["rtt.network.forward", "rtt.network.backward"] {
            assert_eq!(part(&measured.series, direction, channel).counts.ok_count, network.counts.ok_count);
        }
    }
}

#[test]
fn a_clock_bound_that_the_stamps_contradict_is_told_and_one_that_holds_is_not() {
    let (echo, ahead) = (Embedded::start().unwrap(), Duration::from_millis(80));
    let far = echo.address();
    let address = relay_as(move |_| far, Duration::ZERO, move |_, pong| of_clock_ahead(pong, ahead));
    for (bound, is_contradicted) in [("1ms", true), ("1s", false)] {
        let load = "--rate 100/s --count 60 --warmup 200ms";
        let run = probe(&format!("far={address} --channel udp --clock-bound {bound} {load}"));
        let (offset, wrong_by) = ("rtt.clock_offset", "rtt.clock_offset_bound");
        let [offset, wrong_by] = [offset, wrong_by].map(|name| scalar(&run.scalars, name, "echo_udp"));
        assert!((offset - 80e6).abs() <= wrong_by, "{offset} ns, at most {wrong_by} ns wrong");
        assert_eq!(part(&run.series, "rtt.oneway.forward", "echo_udp").labels.value("clock_bound"), Some(bound));
        let said: Vec<_> = run.findings.iter().filter(|finding| finding.id == "clock_bound_contradicted").collect();
        let least_ms = (offset - wrong_by) / 1e6;
        let text = format!("far rtt.echo_udp: the far clock is at least {least_ms:.3} ms from ours, more than the 1ms");
        match said[..] {
            [finding] => assert!(is_contradicted && finding.text.starts_with(&text), "{}", finding.text),
            _ => assert!(!is_contradicted && said.is_empty(), "of {bound}: {said:?}"),
        }
    }
}

#[test]
fn another_far_end_behind_the_same_address_has_another_clock() {
    // As an echo that dies and is replaced by one on another host: by datagrams nothing else is seen of it.
    let (old, new) = (Embedded::start().unwrap(), Embedded::start().unwrap());
    let (at, ahead) = ([old.address(), new.address()], Duration::from_millis(80));
    // The new one is slower, so that the fastest exchange of all is the old one's.
    let address = relay_as(
        move |number| at[usize::from(number >= 50)],
        Duration::ZERO,
        move |number, pong| match number {
            0..50 => of_clock_ahead(pong, Duration::ZERO),
            _ => {
                std::thread::sleep(Duration::from_millis(1));
                of_clock_ahead(pong, ahead)
            }
        },
    );
    let measured = library(&format!("far={address}"), &[Channel::Udp], 200, 100);
    let [offset, bound] =
        ["rtt.clock_offset", "rtt.clock_offset_bound"].map(|name| scalar(&measured.scalars, name, "echo_udp"));
    assert!((offset - 80e6).abs() <= bound, "{offset} ns, at most {bound} ns wrong");
    for direction in ["rtt.network.forward", "rtt.network.backward"] {
        let most = part(&measured.series, direction, "echo_udp").summary.max_ns.unwrap();
        assert!(most < 60_000_000, "{direction} has the difference of the two clocks in it: {most} ns");
    }
}
