//! Each rule on a system that is fine and on one with its fault.

use std::collections::BTreeSet;
use std::time::Duration;

use super::facts::{ApiServer, Detection, Facts, Heard, Host, Link, Member, Way};
use super::rank::findings;
use super::rules::{ALL, page};
use crate::model::Severity;

const MS: f64 = 1e6;

/// A system that is fine, as measured on one.
fn fine() -> Facts {
    let hops = [("event", 0.3), ("agent", 6.0), ("wire", 0.4), ("gateway", 0.2), ("store", 1.5), ("publish", 0.2)];
    let hops = hops.into_iter().chain([("subscriber", 0.4), ("unexplained", 0.1)]);
    let hops: Vec<(String, f64)> = hops.map(|(hop, ms)| (hop.to_owned(), ms * MS)).collect();
    let way = Way {
        source: "script".to_owned(),
        store: Some("embedded".to_owned()),
        total_ns: hops.iter().map(|(_, ns)| ns).sum(),
        p95: hops.iter().map(|(hop, ns)| (hop.clone(), ns * 2.0)).collect(),
        hops,
        unexplained_ratio: 0.01,
        made: 60,
        arrived: 60,
    };
    let link = |name: &str| Link {
        name: name.to_owned(),
        series: "rtt.echo".to_owned(),
        attempts: 40,
        lost: 0,
        p50_ns: Some(1_200_000),
    };
    let phases = [("tcp", 0.1), ("tls", 0.4), ("ttfb", 3.0), ("transfer", 0.1), ("total", 3.6)];
    let server = ApiServer {
        name: "api".to_owned(),
        phases: phases.into_iter().map(|(phase, ms)| (phase.to_owned(), ms * MS)).collect(),
    };
    let p99 = Some((1.0 * MS, Some(2.0 * MS)));
    let name = "http://127.0.0.1:2379".to_owned();
    let member = Member { name, fsync_p99: p99, fsyncs: 500.0, commit_p99: p99, is_since_start: false };
    Facts {
        way: Some(way),
        links: vec![link("dc"), link("cloud")],
        events: vec![Heard { source: "docker".to_owned(), acts: 40, missed: 0 }],
        servers: vec![server],
        members: vec![member],
        detection: Detection::usual("missed:3".parse().unwrap()),
        host: Host { clock_steps: 0, slip_p95_ns: Some(200_000), load: Some(0.3) },
    }
}

/// The same with a hop that takes so much longer.
fn with(hop: &str, ms: f64) -> Facts {
    let mut facts = fine();
    let way = facts.way.as_mut().unwrap();
    for one in way.hops.iter_mut().chain(&mut way.p95).filter(|(name, _)| name == hop) {
        one.1 += ms * MS;
    }
    way.total_ns += ms * MS;
    way.unexplained_ratio = way.hops.iter().find(|(name, _)| name == "unexplained").unwrap().1 / way.total_ns;
    facts
}

/// A system with one fault, and the rule that must name it.
fn planted() -> Vec<(&'static str, Facts)> {
    let mut polled = with("event", 1_000.0);
    polled.way.as_mut().unwrap().source = "poll=2s".to_owned();
    let mut contained = with("event", 0.0);
    contained.way.as_mut().unwrap().hops.insert(0, ("kernel".to_owned(), 900.0 * MS));
    let mut late = fine();
    late.detection.interval = Duration::from_secs(60);
    let mut lossy = fine();
    lossy.links[1].lost = 6;
    let mut deaf = fine();
    deaf.events[0].missed = 3;
    let mut far = fine();
    far.links[0].p50_ns = Some(180_000_000);
    let mut cold = fine();
    cold.servers[0]
        .phases
        .iter_mut()
        .filter(|(phase, _)| phase == "tls" || phase == "total")
        .for_each(|one| one.1 += 20.0 * MS);
    let mut slow_disk = fine();
    slow_disk.members[0].fsync_p99 = Some((16.0 * MS, Some(32.0 * MS)));
    let mut slow_commit = fine();
    slow_commit.members[0].commit_p99 = Some((32.0 * MS, None));
    let mut busy = with("agent", 10.0);
    busy.host = Host { clock_steps: 0, slip_p95_ns: Some(40_000_000), load: Some(4.0) };
    let mut stepped = fine();
    stepped.host.clock_steps = 1;
    vec![
        ("slow_store", with("store", 40.0)),
        ("agent_holds", with("agent", 100.0)),
        ("slow_wire", with("wire", 60.0)),
        ("slow_wire", with("subscriber", 60.0)),
        ("unexplained", with("unexplained", 50.0)),
        ("polled_runtime", polled),
        ("slow_runtime", contained),
        ("late_detection", late),
        ("lossy_link", lossy),
        ("lost_events", deaf),
        ("far_link", far),
        ("connections_not_kept", cold),
        ("etcd_disk", slow_disk),
        ("etcd_disk", slow_commit),
        ("busy_host", busy),
        ("clock_steps", stepped),
    ]
}

#[test]
fn a_system_that_is_fine_has_nothing_to_change() {
    let found = findings(&fine());
    let [one] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!((one.id.as_str(), one.severity), ("total_fine", Severity::Info));
    assert!(one.text.contains("a change takes 9.10 ms, and its largest part is agent (6.00 ms)"), "{}", one.text);
}

#[test]
fn each_planted_fault_is_named_first_by_its_rule_and_every_rule_can_be_triggered() {
    let mut triggered = BTreeSet::new();
    for (rule, facts) in planted() {
        let found = findings(&facts);
        let first =
            found.iter().find(|finding| finding.id != "total_fine").unwrap_or_else(|| panic!("{rule}: nothing"));
        assert_eq!(first.id, rule, "{found:#?}");
        let advice = first.advice.as_ref().unwrap();
        assert!(!first.evidence.is_empty() && advice.verify.is_some(), "{rule}");
        if let Some(predicted) = &advice.predicted {
            assert!(predicted.low <= predicted.value && predicted.value <= predicted.high, "{rule}: {predicted:?}");
        }
        triggered.insert(rule);
    }
    let all: BTreeSet<&str> = ALL.iter().map(|rule| rule.id).collect();
    assert_eq!(triggered, all, "a rule that nothing triggers says nothing");
}

#[test]
fn a_prediction_names_the_way_without_the_slow_part() {
    let found = findings(&with("store", 40.0));
    let predicted = found[0].advice.as_ref().unwrap().predicted.clone().unwrap();
    assert_eq!(predicted.name, "trace.mean{hop=total}");
    // 49.1 ms less 41.5 of the store, and up to 10 ms of a healthy one.
    assert!((predicted.low / MS - 7.6).abs() < 0.01 && (predicted.high / MS - 17.6).abs() < 0.01, "{predicted:?}");
}

#[test]
fn a_shorter_interval_is_predicted_by_the_formula() {
    let mut facts = fine();
    facts.detection.interval = Duration::from_secs(60);
    let found = findings(&facts);
    let advice = found[0].advice.clone().unwrap();
    assert_eq!((advice.old.as_deref(), advice.new.as_deref()), (Some("1m"), Some("10s")));
    let predicted = advice.predicted.unwrap();
    assert_eq!((predicted.value, predicted.low, predicted.high), (25e9, 20e9, 30e9));
}

#[test]
fn what_costs_more_comes_first_and_two_that_pull_against_each_other_say_so() {
    let mut facts = with("store", 40.0);
    facts.detection.interval = Duration::from_secs(60);
    facts.links[1].lost = 10;
    let found = findings(&facts);
    let ids: Vec<&str> = found.iter().map(|finding| finding.id.as_str()).collect();
    assert_eq!(ids, ["late_detection", "lossy_link", "slow_store"]);
    let lossy = &found[1];
    assert!(lossy.evidence.iter().any(|text| text.contains("pulls against that of `late_detection`")), "{lossy:#?}");
}

#[test]
fn without_a_trace_the_rest_is_judged_all_the_same() {
    let facts = Facts { way: None, links: Vec::new(), servers: Vec::new(), members: Vec::new(), ..fine() };
    assert_eq!(findings(&facts), []);
    let slow = Facts {
        way: None,
        members: vec![Member { fsync_p99: Some((20.0 * MS, None)), ..fine().members[0].clone() }],
        ..fine()
    };
    assert_eq!(findings(&slow)[0].id, "etcd_disk");
}

/// The part of the guide that is made of the rules; `UPDATE_REFERENCE=1` writes it.
#[test]
fn the_guides_page_is_made_of_the_rules() {
    const BEGIN: &str = "<!-- the rules, made from src/diagnose/rules -->\n";
    const END: &str = "<!-- end of the rules -->";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide/diagnose.md");
    let guide = std::fs::read_to_string(path).unwrap();
    let (before, rest) = guide.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let made = format!("{before}{BEGIN}\n{}\n{END}{after}", page());
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(path, made).unwrap();
    } else {
        assert!(guide == made, "docs/guide/diagnose.md is not what the rules make: run with UPDATE_REFERENCE=1");
    }
}
