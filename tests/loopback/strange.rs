//! Far ends that are no echo, or a broken one: counted for what they do, and left alone once they proved foreign.

use std::time::Duration;

use offloadctl::model::Run;

use crate::far_end::{FarEnd, Manner};
use crate::measure::{probe, series};

/// Peak memory that a run of one target stays under.
const MEMORY_LIMIT: u64 = 64 << 20;

#[track_caller]
fn is_not_an_echo(run: &Run) {
    let finding = run.findings.iter().find(|finding| finding.id == "not_an_echo");
    assert!(finding.is_some_and(|finding| finding.text.starts_with("far is not an echo: ")), "{:?}", run.findings);
}

#[test]
fn garbage_is_no_answer_and_ends_the_conversation() {
    for words in [b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), b"x", &[0; 200], b"OFLE\x02 another version"] {
        let far = FarEnd::start(Manner::Answer(words));
        let run = probe(&format!("far={} --channel echo --rate 50/s --count 50", far.address()));
        let echo = series(&run.series, "rtt.echo");
        assert_eq!((echo.counts.ok_count, echo.counts.failed_count), (0, 50), "{words:?}");
        assert_eq!(echo.failure_kinds.get("not_an_echo"), Some(&50), "{:?}", echo.failure_kinds);
        is_not_an_echo(&run);
        // On a busy machine some are sent before the first answer is read.
        assert!(far.frames() <= 10, "{} frames were sent to a peer that is no echo", far.frames());
        assert_eq!(far.connections(), 1);
    }
}

#[test]
fn a_peer_that_speaks_first_is_no_echo() {
    let far = FarEnd::start(Manner::Greet(b"220 mail.example.com ESMTP\r\n"));
    let run = probe(&format!("far={} --channel echo --rate 50/s --count 20", far.address()));
    assert_eq!(series(&run.series, "rtt.echo").counts.ok_count, 0);
    is_not_an_echo(&run);
    assert_eq!(far.connections(), 1);
}

#[test]
fn a_peer_that_closes_at_once_is_no_echo() {
    let far = FarEnd::start(Manner::Close);
    let run = probe(&format!("far={} --channel echo --rate 50/s --count 50", far.address()));
    let echo = series(&run.series, "rtt.echo");
    assert_eq!((echo.counts.ok_count, echo.counts.failed_count), (0, 50), "{:?}", echo.failure_kinds);
    is_not_an_echo(&run);
    assert_eq!(far.connections(), 1, "it is not connected to again");
}

#[test]
fn an_echo_that_closes_is_connected_to_again_and_the_loss_is_counted() {
    let far = FarEnd::start(Manner::CloseAfter(10));
    let run = probe(&format!("far={} --channel echo --rate 50/s --count 100", far.address()));
    let echo = series(&run.series, "rtt.echo");
    assert_eq!(echo.counts.attempt_count, 100);
    // Each connection but the last answers ten, of which the first is the greeting. A new one is tried 200 ms after.
    let (ok, connections) = (echo.counts.ok_count, far.connections() as u64);
    assert!(
        connections > 2 && (9 * (connections - 1)..=9 * connections).contains(&ok),
        "{connections}: {:?}",
        echo.counts
    );
    assert!(run.findings.iter().all(|finding| finding.id != "not_an_echo"), "{:?}", run.findings);
}

#[test]
fn a_far_end_that_accepts_and_closes_is_not_stormed() {
    let far = FarEnd::start(Manner::DieAfter(10));
    let run = probe(&format!("far={} --channel echo --rate 50/s --count 150", far.address()));
    let echo = series(&run.series, "rtt.echo");
    assert_eq!((echo.counts.attempt_count, echo.outage_count), (150, 1), "{:?}", echo.counts);
    // Three seconds with pauses of 0.2, 0.4, 0.8 and 1.6 s between them.
    assert!((2..=6).contains(&far.connections()), "{} connections", far.connections());
}

#[test]
fn without_a_named_channel_a_foreign_port_gets_one_question_at_most() {
    let far = FarEnd::start(Manner::Answer(b"-ERR unknown command\r\n"));
    let run = probe(&format!("far={} --rate 50/s --count 20", far.address()));
    is_not_an_echo(&run);
    assert!(run.series.iter().all(|series| series.floor || !series.name.starts_with("rtt.echo")));
    assert_eq!(series(&run.series, "rtt.tcp_connect").counts.ok_count, 20);
    assert_eq!(far.frames(), 1);
}

#[test]
fn datagrams_that_are_no_pong_are_no_answer() {
    let far = FarEnd::start(Manner::Answer(b"garbage"));
    let run = probe(&format!("far={} --channel connect,udp --rate 100/s --count 50 --timeout 200ms", far.address()));
    let udp = series(&run.series, "rtt.echo_udp");
    assert_eq!((udp.counts.ok_count, udp.counts.lost_count), (0, 50));
}

#[test]
fn a_half_open_peer_costs_what_the_limits_say() {
    let far = FarEnd::start(Manner::Deaf);
    let load = "--rate 5000/s --duration 2s --timeout 500ms --max-in-flight 200";
    let run = probe(&format!("far={} --channel echo {load}", far.address()));
    let counts = series(&run.series, "rtt.echo").counts;
    assert_eq!((counts.ok_count, counts.lost_count), (0, counts.attempt_count));
    assert_eq!(counts.attempt_count + counts.skipped_count, 10_000);
    // 200 at a time, each for half a second: 800 in two seconds, and a full window more where starts bunch.
    assert!((200..=1_000).contains(&counts.attempt_count), "{counts:?}");
    assert!(!run.validity.valid, "most starts were skipped");
    assert!(run.self_cost.memory_peak_bytes < Some(MEMORY_LIMIT), "{:?}", run.self_cost);
}

#[test]
fn a_half_open_peer_that_is_asked_without_a_cap_costs_bounded_memory() {
    let far = FarEnd::start(Manner::Deaf);
    let load = "--rate 20000/s --duration 3s --timeout 2s --max-in-flight 1000000";
    let run = probe(&format!("far={} --channel echo {load}", far.address()));
    let counts = series(&run.series, "rtt.echo").counts;
    assert_eq!(counts.ok_count, 0);
    assert_eq!(counts.attempt_count + counts.skipped_count, 60_000);
    // 40,000 attempts wait at a time, each with its future and its timer; the outbox for the peer is capped.
    assert!(run.self_cost.memory_peak_bytes < Some(2 * MEMORY_LIMIT), "{:?}", run.self_cost);
}

#[test]
fn an_echo_that_goes_silent_is_lost_and_not_foreign() {
    let far = FarEnd::start(Manner::Stall { frame: 20, length: Duration::from_secs(2) });
    let run = probe(&format!("far={} --channel echo --rate 50/s --count 50 --timeout 200ms", far.address()));
    let echo = series(&run.series, "rtt.echo");
    assert_eq!(echo.counts.ok_count + echo.counts.lost_count, 50, "{:?}", echo.failure_kinds);
    assert!((10..=20).contains(&echo.counts.ok_count), "{:?}", echo.counts);
    assert_eq!(echo.outage_count, 1, "{:?}", echo.outages);
}
