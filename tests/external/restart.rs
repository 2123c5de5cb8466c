//! Servers that die in the middle and come back: the outage is counted on schedule, listed, and survived.

use std::time::Duration;

use offloadctl::model::{Outage, Series, Stamp};
use offloadctl::sys::clock;

use crate::host::{let_pass, turn, wait_until};
use crate::program::{Call, probe, series};
use crate::server::{Server, established};

/// Gap between planned starts at 20/s.
const GAP: Duration = Duration::from_millis(50);

/// How long the server stays away.
const AWAY: Duration = Duration::from_secs(1);

/// Time that a busy machine may take to start a program or to notice that a server is back.
const SLACK: Duration = Duration::from_millis(700);

#[test]
fn a_restarted_redis_is_one_outage_of_refusals() {
    let _turn = turn();
    let mut redis = Server::redis();
    let target = format!("cache=127.0.0.1:{}", redis.port);
    let common = [target.as_str(), "--channel", "connect", "--rate", "20/s", "--duration", "4s", "--no-save"];
    let began = clock::now();
    let lenient = Call::start(&probe(&common));
    let strict = Call::start(&probe(&[&common[..], &["--max-loss", "1%"]].concat()));
    // Each question is a connection too.
    let (before, mut asked) = (redis.redis_figure("total_connections_received"), 0);
    wait_until("both have made handshakes", || {
        asked += 1;
        redis.redis_figure("total_connections_received") > before + asked + 40
    });
    let down = clock::now();
    redis.kill();
    let_pass(AWAY);
    redis.start_again();
    let up = clock::now();

    let (lenient, strict) = (lenient.end(), strict.end());
    assert!(strict.stderr.contains("rtt.tcp_connect"), "{}", strict.stderr);
    for run in [lenient.run(0), strict.run(1)] {
        let connect = series(&run, "rtt.tcp_connect", "cache");
        let counts = &connect.counts;
        // The handshake under way when the server died may break in another way than the rest.
        assert!(counts.refused_count >= 15 && counts.lost_count + counts.failed_count <= 1, "{counts:?}");
        expect_outage(connect, [began, down, up], Duration::ZERO);
    }
}

#[test]
fn an_echo_channel_recovers_from_a_killed_far_end() {
    let _turn = turn();
    let mut echo = Server::echo();
    let target = format!("dc=127.0.0.1:{}", echo.port);
    let before = established(echo.port);
    let began = clock::now();
    let arguments = [target.as_str(), "--channel", "echo", "--rate", "20/s", "--duration", "4s", "--no-save"];
    let running = Call::start(&probe(&arguments));
    wait_until("the channel is connected", || established(echo.port) > before);
    let_pass(AWAY);
    let down = clock::now();
    echo.kill();
    let_pass(AWAY);
    echo.start_again();
    let up = clock::now();

    let run = running.end().run(0);
    let channel = series(&run, "rtt.echo", "dc");
    assert!(channel.counts.ok_count >= 40, "{:?}", channel.counts);
    assert_eq!(channel.counts.lost_count, 0, "{:?} {:?}", channel.counts, channel.failure_kinds);
    // It looks for the far end every 200 ms.
    expect_outage(channel, [began, down, up], Duration::from_millis(200));
}

/// The series has one outage that began when the server went `down`, and ended at most `notice` after it was `up`.
#[track_caller]
fn expect_outage(series: &Series, [began, down, up]: [Stamp; 3], notice: Duration) {
    let counts = &series.counts;
    assert_eq!((counts.attempt_count, counts.skipped_count), (80, 0));
    let ends = counts.ok_count + counts.lost_count + counts.refused_count + counts.failed_count;
    assert_eq!(ends, counts.attempt_count);
    let [Outage { start_ns, length_ns, unanswered_count }] = series.outages[..] else {
        panic!("one outage was made, these were found: {:?}", series.outages)
    };
    assert_eq!(series.outage_count, 1);
    assert_eq!(unanswered_count, counts.unanswered_count());
    let (start, length) = (Duration::from_nanos(start_ns), Duration::from_nanos(length_ns));
    let latest = down.since(began) + GAP;
    assert!(start <= latest && start + SLACK >= latest, "it began after {start:?}, the server died after {latest:?}");
    assert!(length + 2 * GAP >= AWAY, "it lasted {length:?}, the server was away for {AWAY:?}");
    let longest = up.since(down) + notice + 2 * GAP + SLACK;
    assert!(length <= longest, "it lasted {length:?}, the server was away for {:?}", up.since(down));
}

/// The example of CONTRIBUTING.md, a measurement made of the public pieces alone, on a real server.
#[test]
fn the_example_measures_a_real_redis() {
    let redis = Server::redis();
    let asked = redis.redis_figure("total_commands_processed");
    let build = ["build", "--locked", "--quiet", "--example", "redis"];
    let built = std::process::Command::new(env!("CARGO")).args(build).current_dir(env!("CARGO_MANIFEST_DIR")).status();
    assert!(built.unwrap().success());
    // Beside the tests lie the examples.
    let tests = std::env::current_exe().unwrap();
    let example = tests.parent().unwrap().parent().unwrap().join("examples/redis");
    let words = [example.display().to_string(), format!("127.0.0.1:{}", redis.port)];
    let ended = Call::start(&words).end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("Redis answers a PING in "), "{}", ended.stdout);
    assert!(redis.redis_figure("total_commands_processed") >= asked + 900, "{}", ended.stdout);
}
