//! `probe api` against servers of programmed delays: each phase lands in its own series, and nowhere else.

use std::time::Duration;

use offloadctl::model::{Run, Series};

use crate::certificate::Authority;
use crate::lateness::{Lateness, beside};
use crate::measure::read;
use crate::support::program::Scene;
use crate::web::{Manner, Web};

/// How far above what was programmed a median may be on an idle machine: a debug build takes its time for a TLS handshake.
const SLACK: Duration = Duration::from_millis(25);

/// A phase for which nothing was programmed takes less than this.
const NOTHING: Duration = Duration::from_millis(25);

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap()
}

/// Runs `offloadctl probe api` with these arguments in a folder, and reads its document.
#[track_caller]
pub fn api(scene: &Scene, arguments: &str) -> Run {
    read(&scene.run(&format!("probe api {arguments} --json --no-save")))
}

/// The series of a name and path.
#[track_caller]
pub fn of<'a>(run: &'a Run, name: &str, path: &str) -> &'a Series {
    let found = run.series.iter().find(|s| s.name == name && s.labels.value("path") == Some(path));
    found.unwrap_or_else(|| panic!("there is no {name} of {path}: {:?}", names(run)))
}

fn names(run: &Run) -> Vec<String> {
    run.series.iter().map(Series::full_name).collect()
}

#[track_caller]
fn expect((run, lateness): &(Run, Lateness), name: &str, path: &str, programmed: Duration) {
    let summary = &of(run, name, path).summary;
    let (min, p50) = (summary.min_ns.unwrap(), summary.p50_ns.unwrap());
    let slack = programmed + lateness.above(if programmed.is_zero() { NOTHING } else { SLACK });
    assert!(min >= nanos(programmed), "{name}: {min} ns is less than {programmed:?}");
    assert!(p50 <= nanos(slack), "{name}: {p50} ns is more than {slack:?}");
}

/// The far end begins to wait when it has sent the first byte, which this process may read late. What is missing here then
/// stands in the phase before: both together are never less than programmed.
#[track_caller]
fn expect_transfer((run, lateness): &(Run, Lateness), path: &str, head: Duration, body: Duration) {
    let (first, rest) = (&of(run, "api.ttfb", path).summary, &of(run, "api.transfer", path).summary);
    let late = first.max_ns.unwrap() - nanos(head);
    let (min, p50) = (rest.min_ns.unwrap(), rest.p50_ns.unwrap());
    assert!(min + late >= nanos(body), "{min} ns is less than {body:?}, and no first byte was later than {late} ns");
    let slack = body + lateness.above(if body.is_zero() { NOTHING } else { SLACK });
    assert!(p50 <= nanos(slack), "{p50} ns is more than {slack:?}");
}

/// The far end begins to wait when it has the connection, which this process may learn late. What is missing here then stands in
/// the phase before, likewise.
#[track_caller]
fn expect_hello((run, lateness): &(Run, Lateness), path: &str, programmed: Duration) {
    let (tcp, tls) = (&of(run, "api.tcp", path).summary, &of(run, "api.tls", path).summary);
    let (late, min, p50) = (tcp.max_ns.unwrap(), tls.min_ns.unwrap(), tls.p50_ns.unwrap());
    let least = nanos(programmed);
    assert!(min + late >= least, "{min} ns is less than {programmed:?}, and no connection was later than {late} ns");
    let slack = programmed + lateness.above(SLACK);
    assert!(p50 <= nanos(slack), "{p50} ns is more than {slack:?}");
}

#[track_caller]
fn expect_absent(run: &Run, name: &str) {
    assert!(!run.series.iter().any(|series| series.name == name), "there is {name}");
}

#[test]
fn each_phase_lands_in_its_own_series() {
    let authority = Authority::new("tests");
    let scene = Scene::new();
    scene.write("ca.pem", &authority.pem);
    let (hello, head, body) = (Duration::from_millis(60), Duration::from_millis(90), Duration::from_millis(120));
    for (offered, http) in [(&["h2", "http/1.1"][..], "2"), (&["http/1.1"], "1.1")] {
        let tls = Some(authority.identity(&["127.0.0.1"]).server(offered));
        let web = Web::start(Manner { tls, hello, head, body, ..Manner::default() });
        let line = format!("{}/x --ca-file ca.pem --count 20 --timeout 5s", web.url());
        let cold = beside(|| api(&scene, &format!("{line} --rate 20/s")));
        expect_hello(&cold, "/x", hello);
        expect(&cold, "api.ttfb", "/x", head);
        expect_transfer(&cold, "/x", head, body);
        expect(&cold, "api.tcp", "/x", Duration::ZERO);
        expect(&cold, "api.total", "/x", hello + head + body);
        expect(&cold, "api.request.service", "/x", hello + head + body);
        // An address needs no lookup: the phase is absent and not zero.
        expect_absent(&cold.0, "api.dns");
        let labels = &of(&cold.0, "api.request", "/x").labels;
        assert_eq!((labels.value("http"), labels.value("connection")), (Some(http), Some("cold")));
        assert_eq!(labels.value("address"), Some(web.address().to_string().as_str()));

        let before = web.connections();
        let reused = beside(|| api(&scene, &format!("{line} --concurrency 2 --reuse")));
        expect(&reused, "api.ttfb", "/x", head);
        expect_transfer(&reused, "/x", head, body);
        expect(&reused, "api.total", "/x", head + body);
        ["api.dns", "api.tcp", "api.tls"].iter().for_each(|name| expect_absent(&reused.0, name));
        let labels = &of(&reused.0, "api.request", "/x").labels;
        assert_eq!((labels.value("http"), labels.value("connection")), (Some(http), Some("reused")));
        // One to discover, two questions about the server, and the two that are kept.
        assert_eq!(web.connections() - before, 5, "connections were not kept");
    }
}

#[test]
fn in_the_clear_there_is_no_tls_and_http_two_needs_to_be_asked_for() {
    let head = Duration::from_millis(50);
    let scene = Scene::new();
    for (speaks_two, option, http) in [(false, "auto", "1.1"), (true, "2", "2")] {
        let web = Web::start(Manner { head, speaks_two, ..Manner::default() });
        for reuse in ["", "--reuse"] {
            let arguments = format!(
                "http://localhost:{}/y {reuse} --http {option} -4 --count 20 --rate 50/s",
                web.address().port()
            );
            let measured = beside(|| api(&scene, &arguments));
            expect(&measured, "api.ttfb", "/y", head);
            expect_transfer(&measured, "/y", head, Duration::ZERO);
            let run = &measured.0;
            expect_absent(run, "api.tls");
            if reuse.is_empty() {
                // A name is looked up for each connection.
                expect(&measured, "api.dns", "/y", Duration::ZERO);
                assert_eq!(of(run, "api.dns", "/y").counts.ok_count, 20);
            }
            assert_eq!(of(run, "api.request", "/y").labels.value("http"), Some(http));
            let scalars: Vec<_> = run.scalars.iter().map(|scalar| (scalar.name.as_str(), scalar.value)).collect();
            let [("api.throughput", Some(per_second)), ("api.status", Some(20.0)), ..] = scalars[..] else {
                panic!("{scalars:?}");
            };
            // The plan is 50 a second at most; the last answer comes a little after its start.
            assert!(per_second > 1.0 && per_second < 60.0, "{per_second}");
        }
    }
}

#[test]
fn several_paths_are_measured_beside_each_other() {
    let web = Web::start(Manner::default());
    let run = api(&Scene::new(), &format!("{} --path /a --path /b?x=1 --count 30 --rate 100/s", web.url()));
    for path in ["/a", "/b?x=1"] {
        assert_eq!(of(&run, "api.request", path).counts.ok_count, 30);
    }
    assert!(run.findings.iter().any(|finding| finding.id == "phases_only"), "{:?}", run.findings);
    assert_eq!(run.findings.iter().filter(|finding| finding.id == "time_split").count(), 2);
}

#[test]
fn a_kubernetes_is_split_by_its_own_account() {
    let (queue, head, etcd) = (Duration::from_millis(20), Duration::from_millis(30), Duration::from_millis(50));
    let web = Web::start(Manner { is_kubernetes: true, queue, head, etcd, ..Manner::default() });
    let arguments =
        format!("{} --path /api/v1/namespaces/default --path /api/v1/namespaces --count 30 --rate 20/s", web.url());
    let run = api(&Scene::new(), &arguments);
    let text = |id: &str, of: &str| {
        let found = run.findings.iter().find(|finding| finding.id == id && finding.text.contains(of));
        found.unwrap_or_else(|| panic!("no {id} of {of}: {:#?}", run.findings)).text.clone()
    };
    let split = text("time_split", "/api/v1/namespaces/default takes");
    assert!(split.contains("in the mean: etcd 4") || split.contains("in the mean: etcd 5"), "{split}");
    assert!(split.contains("confidence in the server's parts: high"), "{split}");
    let list = text("time_split", "/api/v1/namespaces takes");
    assert!(
        list.contains("API server work 5") || list.contains("API server work 4") || list.contains("API server work 6"),
        "{list}"
    );
    assert!(list.contains("API server queue 3") || list.contains("API server queue 4"), "{list}");
    assert!(text("list_source", "LIST namespaces").contains("watch cache (Kubernetes v1.33.2)"));
    let cost = run.scalars.iter().find(|scalar| scalar.name == "api.quorum_read_cost").unwrap().value.unwrap();
    assert!((40e6..=75e6).contains(&cost), "{cost}");
    let mean = |scope: &str| {
        let found =
            run.scalars.iter().find(|s| s.name == "api.server.request_mean" && s.labels.value("scope") == Some(scope));
        found.unwrap().value.unwrap()
    };
    assert!(mean("cluster") >= 50e6 && mean("cluster") <= 75e6, "{}", mean("cluster"));
    assert!(mean("resource") >= 75e6 && mean("resource") <= 100e6, "{}", mean("resource"));
}

#[test]
fn requests_of_others_and_closed_metrics_are_told() {
    let scene = Scene::new();
    let busy = Web::start(Manner { is_kubernetes: true, others: 9, ..Manner::default() });
    let run = api(&scene, &format!("{} --count 25 --rate 100/s", busy.url()));
    let split = run.findings.iter().find(|finding| finding.id == "time_split").unwrap();
    assert!(split.text.contains("confidence in the server's parts: low"), "{}", split.text);
    assert!(split.evidence.iter().any(|text| text.contains("90 % of the requests")), "{:?}", split.evidence);

    let closed = Web::start(Manner { is_kubernetes: true, metrics_status: Some(403), ..Manner::default() });
    let run = api(&scene, &format!("{} --count 25 --rate 100/s", closed.url()));
    let reason = run.findings.iter().find(|finding| finding.id == "phases_only").unwrap();
    assert!(reason.text.contains("`/metrics` answered 403"), "{}", reason.text);
    assert!(reason.advice.is_some());
    assert!(!run.scalars.iter().any(|scalar| scalar.name.starts_with("api.server")), "{:?}", run.scalars);
}
