//! Servers that are no echo, as targets: they are measured from outside and never fed what they do not understand.

use crate::host::{may_ping, turn};
use crate::program::{call, expect_all_answered, findings, has_series, probe, series};
use crate::server::{REDIS_QUESTION, Server};

/// Length of the one message that asks whether the far end is an echo.
const PING_LENGTH: u64 = offloadctl::echo::FRAME_LENGTH as u64;

#[test]
fn foreign_servers_are_measured_by_handshake_and_asked_once() {
    let _turn = turn();
    let (nginx, redis) = (Server::nginx(), Server::redis());
    let before = redis.redis_figure("total_net_input_bytes");
    let connections_before = redis.redis_figure("total_connections_received");
    let web = format!("web=127.0.0.1:{}", nginx.port);
    let cache = format!("cache=127.0.0.1:{}", redis.port);
    let run = call(&probe(&[&web, &cache, "--duration", "3s", "--no-save"])).run(0);

    for target in ["web", "cache"] {
        expect_all_answered(series(&run, "rtt.tcp_connect", target), 30);
        if may_ping() {
            expect_all_answered(series(&run, "rtt.icmp", target), 30);
        }
        let kernel = series(&run, "rtt.tcp_connect.kernel", target).summary.p50_ns.unwrap();
        let service = series(&run, "rtt.tcp_connect.service", target).summary.p50_ns.unwrap();
        assert!(kernel > 0 && kernel <= service, "{target}: the kernel says {kernel} ns, we say {service} ns");
        let said = findings(&run, "not_an_echo");
        assert!(said.iter().any(|text| text.starts_with(&format!("{target} "))), "{said:?}");
    }
    assert!(!has_series(&run, "rtt.echo"));
    let requests = nginx.read("access.log");
    assert!(requests.lines().count() <= 1, "nginx was asked more than once:\n{requests}");
    let question = REDIS_QUESTION.len() as u64;
    let fed = redis.redis_figure("total_net_input_bytes") - before - 2 * question;
    assert!(fed <= PING_LENGTH, "redis was fed {fed} bytes");
    let connections = redis.redis_figure("total_connections_received") - connections_before;
    assert!(connections >= 30, "the handshakes went elsewhere: redis saw {connections}");
}

#[test]
fn an_echo_demanded_of_nginx_is_a_failure_that_says_why() {
    let _turn = turn();
    let nginx = Server::nginx();
    let web = format!("web=127.0.0.1:{}", nginx.port);
    let run = call(&probe(&[&web, "--channel", "echo", "--duration", "1s", "--no-save"])).run(1);

    let echo = series(&run, "rtt.echo", "web");
    assert_eq!((echo.counts.attempt_count, echo.counts.failed_count), (10, 10), "{:?}", echo.failure_kinds);
    assert_eq!(echo.failure_kinds.get("not_an_echo"), Some(&10), "{:?}", echo.failure_kinds);
    assert_eq!(findings(&run, "not_an_echo").len(), 1);
    assert!(nginx.read("access.log").lines().count() <= 1);
}
