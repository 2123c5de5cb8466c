//! What was refused was not served: no gate is green because answers were fast refusals, nor because hardly any was asked for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use offloadctl::model::Run;

use crate::api::of;
use crate::odd::serve;
use crate::support::program::Scene;

/// A server that refuses the first of so many requests at once, and serves the others in this time.
fn refusing(refused: u64, of: u64, service: Duration, refusal: &'static str) -> String {
    let count = AtomicU64::new(0);
    let address = serve("127.0.0.1:0", None, move |mut caller| {
        while caller.head().is_some() {
            let status = match count.fetch_add(1, Ordering::Relaxed) % of {
                number if number < refused => refusal,
                _ => {
                    std::thread::sleep(service);
                    "200 OK"
                }
            };
            caller.say(&format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    format!("http://{address}/")
}

#[test]
fn fast_refusals_make_no_gate_green() {
    let url = refusing(7, 10, Duration::from_millis(200), "429 Too Many Requests");
    let line = format!("probe api {url} --count 100 --rate 50/s --json --no-save");
    let scene = Scene::new();
    for (gate, code) in [
        ("api.request.p50>50ms", 1),
        ("api.request.error_ratio>50%", 1),
        ("api.request.error_ratio>90%", 0),
        ("api.status{code=429}>0", 1),
        ("api.status{code=500}>0", 0),
    ] {
        let ended = scene.run(&format!("{line} --fail-if {gate}"));
        let run = Run::parse(&ended.stdout).unwrap();
        let spoilt = if run.validity.valid { code } else { 4 };
        assert!([Some(code), Some(spoilt)].contains(&ended.code), "{gate}: {:?} {}", ended.code, ended.stderr);
        let series = of(&run, "api.request", "/");
        // One was asked before the run, so that seventy are refused, one more or less.
        assert!((68..=72).contains(&series.counts.error_count), "{:?}", series.counts);
        assert_eq!(series.summary.p50_ns, None, "the median lies among the refusals");
        // What was served took its time, and no refusal is among it.
        assert!(series.summary.min_ns.is_some_and(|least| least >= 200_000_000), "{:?}", series.summary);
    }
}

#[test]
fn a_server_that_serves_nothing_is_bad_with_a_gate_and_without() {
    for refusal in ["503 Service Unavailable", "500 Internal Server Error"] {
        let url = refusing(1, 1, Duration::ZERO, refusal);
        for gate in ["", "--fail-if api.request.p50>50ms"] {
            let ended = Scene::new().run(&format!("probe api {url} --count 40 --rate 100/s --no-save {gate}"));
            assert_eq!(ended.code, Some(1), "{refusal} {gate}: {}", ended.stderr);
        }
    }
}

#[test]
fn a_run_of_hardly_any_start_is_invalid_with_a_gate_and_without() {
    let url = refusing(0, 1, Duration::from_millis(50), "");
    let line = format!("probe api {url} --rate 10000/s --duration 1s --max-in-flight 2 --no-save");
    for gate in ["", "--fail-if api.request.p50>10s"] {
        let ended = Scene::new().run(&format!("{line} {gate}"));
        assert_eq!(ended.code, Some(4), "{gate}: {}", ended.stderr);
        assert!(ended.stdout.starts_with("INVALID: "), "{}", ended.stdout);
    }
}

#[test]
fn a_gate_that_can_be_judged_never_is_refused_before_measuring() {
    let scene = Scene::new();
    for gate in ["api.nothing.p50>1s", "api.status{colour=red}>0", "api.request.error_ratio>2", "api.request.p50>1"] {
        let ended = scene.run(&format!("probe api http://127.0.0.1:1/ --duration 10m --fail-if {gate}"));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{gate}: {}", ended.stderr);
    }
}
