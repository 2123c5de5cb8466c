//! Exact texts of every format on the same hand-made runs.
//!
//! Separate because they show each format as its reader meets it; a change of a word is seen in the snapshot.

use std::path::Path;

use serde_json::{Value, json};

use super::sample::{delays, examined, heartbeats, live_heartbeats, run, series, stamped, topologies};
use super::{Format, Report, report_document, run_document};
use crate::model::{
    Advice, Counts, Finding, GateDecision, GateReport, GateResult, Labels, Outage, Run, Scalar, Series, Severity,
    Validity, Warning,
};

fn shown(format: Format, run: &Run, width: u16) -> String {
    format.reporter().render(&Report { runs: std::slice::from_ref(run), gate: None, width })
}

fn table(run: &Run) -> String {
    shown(Format::Table, run, 120)
}

#[test]
fn three_topologies_at_120_columns() {
    insta::assert_snapshot!(table(&topologies()));
}

#[test]
fn three_topologies_at_80_columns() {
    insta::assert_snapshot!(shown(Format::Table, &topologies(), 80));
}

#[test]
fn three_topologies_at_160_columns() {
    insta::assert_snapshot!(shown(Format::Table, &topologies(), 160));
}

#[test]
fn three_topologies_as_markdown() {
    insta::assert_snapshot!(shown(Format::Markdown, &topologies(), 120));
}

#[test]
fn three_topologies_as_csv() {
    insta::assert_snapshot!(shown(Format::Csv, &topologies(), 120).replace("\r\n", "\n"));
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for (width, run) in [80, 100, 120, 160, 200]
        .into_iter()
        .flat_map(|width| [topologies(), heartbeats(), live_heartbeats()].map(|run| (width, run)))
    {
        let text = shown(Format::Table, &run, width);
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= usize::from(width), "{widest} of {width} of {}", run.command);
    }
}

#[test]
fn heartbeats_at_160_columns() {
    insta::assert_snapshot!(shown(Format::Table, &heartbeats(), 160));
}

#[test]
fn heartbeats_at_80_columns() {
    insta::assert_snapshot!(shown(Format::Table, &heartbeats(), 80));
}

#[test]
fn heartbeats_as_markdown() {
    insta::assert_snapshot!(shown(Format::Markdown, &heartbeats(), 120));
}

#[test]
fn live_heartbeats_at_160_columns() {
    insta::assert_snapshot!(shown(Format::Table, &live_heartbeats(), 160));
}

#[test]
fn live_heartbeats_at_80_columns() {
    insta::assert_snapshot!(shown(Format::Table, &live_heartbeats(), 80));
}

#[test]
fn an_examined_host() {
    insta::assert_snapshot!(table(&examined()));
}

#[test]
fn an_examined_host_at_60_columns() {
    insta::assert_snapshot!(shown(Format::Table, &examined(), 60));
}

#[test]
fn total_silence() {
    let mut silent = run(vec![series("rtt.echo", "edge", &[], 100)]);
    silent.series[0].outages = vec![Outage { start_ns: 0, length_ns: 1_980_000_000, unanswered_count: 100 }];
    silent.series[0].outage_count = 1;
    insta::assert_snapshot!(table(&silent));
}

#[test]
fn an_invalid_run_says_so_first() {
    let reasons = vec!["rtt.echo{target=dc}: starts slipped by 7.10 ms (p95), 2.00 ms are allowed".to_owned()];
    let validity = Validity { valid: false, reasons };
    let invalid = Run { validity, ..run(vec![series("rtt.echo", "dc", &delays(1_200_000, 300, 1), 0)]) };
    insta::assert_snapshot!(table(&invalid));
    assert!(shown(Format::Markdown, &invalid, 120).starts_with("> **INVALID: rtt.echo"));
}

#[test]
fn an_incomplete_run_with_everything_that_can_go_wrong() {
    let mut part = run(vec![series("rtt.tcp", "edge", &delays(25_400_000, 500, 2), 12), Series::default()]);
    let spec = json!({"load": {"arrival": {"loop": "closed", "concurrency": 1}}});
    part = Run { complete: false, seed: None, elapsed_ns: 12_345_678_901, spec, ..part };
    part.series.truncate(1);
    part.series[0].counts = Counts {
        attempt_count: 521,
        ok_count: 500,
        lost_count: 12,
        refused_count: 4,
        failed_count: 5,
        skipped_count: 1_200,
    };
    part.series[0].failure_kinds = [("reset".to_owned(), 3), ("truncated".to_owned(), 2)].into();
    let outage = |start_ns, length_ns| Outage { start_ns, length_ns, unanswered_count: 4 };
    part.series[0].outages = [5, 17, 20, 22].map(|s| outage(s * 1_000_000_000, 80_000_000 + s)).to_vec();
    part.series[0].outage_count = 4;
    part.scalars = vec![Scalar::new("rtt.tcp.retransmit_ratio", &Labels::new(), "ratio", 0.004)];
    let advice = Advice::new(
        "raise the missed-heartbeat count above the longest outage",
        "offloadctl bench heartbeat --missed 5".to_owned(),
    );
    let finding = Finding::new("lossy_link", Severity::Problem, "the link loses answers in bursts");
    part.findings = vec![finding.with_evidence(vec!["4 outages in 12.3 s".into()]).with_advice(advice)];
    part.warnings = vec![Warning::new("virtualised", "this host is virtualised; its clock may jump by a millisecond")];
    insta::assert_snapshot!(table(&part));
}

#[test]
fn many_scalars_have_a_table_of_their_own() {
    let scalar = |name: &str, batch: &str, value: Option<f64>, unit: &str| {
        Scalar::new(name, &Labels::new().with("batch", batch).with("clients", "64"), unit, value)
    };
    let mut part = run(vec![series("etcd.put", "", &delays(5_000_000, 1_000, 1), 0)]);
    part.scalars = vec![
        scalar("etcd.put.throughput", "1", Some(12_345.6), "per_s"),
        scalar("etcd.put.keys", "1", Some(12_345.6), "per_s"),
        scalar("etcd.put.throughput", "10", Some(4_321.0), "per_s"),
        scalar("etcd.put.keys", "10", None, "per_s"),
    ];
    insta::assert_snapshot!(format!("{}\n{}", table(&part), shown(Format::Markdown, &part, 120)));
}

#[test]
fn where_a_round_trip_goes_stands_beside_it() {
    insta::assert_snapshot!(shown(Format::Table, &stamped(), 120));
}

#[test]
fn where_a_round_trip_goes_at_80_columns_and_as_markdown() {
    insta::assert_snapshot!(format!(
        "{}\n{}",
        shown(Format::Table, &stamped(), 80),
        shown(Format::Markdown, &stamped(), 120)
    ));
}

#[test]
fn two_attempts_carry_no_quantile() {
    insta::assert_snapshot!(table(&run(vec![series("rtt.echo", "dc", &[1_200_000, 1_300_000], 0)])));
}

#[test]
fn no_series_at_all() {
    insta::assert_snapshot!(table(&run(vec![])));
}

#[test]
fn merged_runs_and_their_labels() {
    let merged_from = ["a", "b", "c"].map(str::to_owned).to_vec();
    let mut merged = Run { merged_from, seed: None, ..run(vec![series("api.dns", "", &delays(800_000, 250, 3), 0)]) };
    merged.command = "probe api".into();
    merged.labels = [("site".to_owned(), "berlin".to_owned())].into();
    merged.self_cost = Default::default();
    merged.series[0].labels = Labels::new().with("address", "10.0.0.1");
    merged.series[0].summary.ipdv_mean_ns = None;
    insta::assert_snapshot!(table(&merged));
}

#[test]
fn more_targets_than_fit_are_drawn_below_and_then_listed() {
    let targets: Vec<Series> =
        (0..10).map(|at| series("rtt.echo", &format!("edge-{at}"), &delays(1_000_000 << at, 200, at), 0)).collect();
    insta::assert_snapshot!(table(&run(targets)));
}

#[test]
fn of_very_many_targets_all_stand_together_and_the_worst_below() {
    let of = |at: u64| {
        let target = format!("edge-{at}");
        let response = delays(1_000_000 + at * 10_000, 200, at);
        [
            series("rtt.echo", &target, &response, at % 7 / 6),
            series("rtt.echo.slip", &target, &delays(9_000, 200, at), 0),
        ]
    };
    insta::assert_snapshot!(table(&run((0..300).flat_map(of).collect())));
}

#[test]
fn names_cannot_break_out_of_their_cell() {
    let odd = run(vec![series("rtt.echo", "a|b, \"c\" <d>\u{1b}[31m\nnext", &[5_000; 20], 0)]);
    insta::assert_snapshot!([Format::Table, Format::Markdown, Format::Csv].map(|f| shown(f, &odd, 120)).join("----\n"));
}

fn gate() -> GateReport {
    let result = |expression: &str, decision, value, low, high, reason: &str| GateResult {
        expression: expression.into(),
        run_id: "a".into(),
        series: "rtt.echo{target=hybrid}".into(),
        unit: if expression.contains("loss") { "ratio" } else { "ns" }.into(),
        decision,
        value,
        low,
        high,
        reason: reason.into(),
    };
    GateReport {
        decision: GateDecision::Fail,
        results: vec![
            result(
                "rtt.echo.p95 > 10ms",
                GateDecision::Fail,
                Some(47.1e6),
                Some(45.2e6),
                Some(49e6),
                "the whole 95 % interval violates the limit",
            ),
            result("rtt.echo.p999 > 1s", GateDecision::Inconclusive, Some(9e7), Some(8e7), None, "too few answers"),
            result("rtt.echo.loss_ratio > 1%", GateDecision::Pass, Some(0.0), Some(0.0), Some(0.00123), "satisfied"),
        ],
    }
}

#[test]
fn a_gate_stands_at_the_end() {
    let (runs, gate) = ([run(vec![])], gate());
    let report = Report { runs: &runs, gate: Some(&gate), width: 80 };
    let texts = [Format::Table, Format::Markdown].map(|format| format.reporter().render(&report));
    insta::assert_snapshot!(texts.join("----\n"));
}

#[test]
fn json_documents_are_whole() {
    let (runs, gate) = ([topologies()], gate());
    assert_eq!(Run::parse(&run_document(&runs[0])).unwrap(), runs[0]);
    let with =
        |gate| serde_json::from_str::<Value>(&report_document(&Report { runs: &runs, gate, width: 80 })).unwrap();
    let document = with(Some(&gate));
    assert_eq!(document["schema"], "offloadctl.report/1");
    assert_eq!(document["runs"][0]["schema"], "offloadctl.run/1");
    assert_eq!(document["comparisons"], json!([]));
    assert_eq!(document["gate"]["results"][0]["decision"], "fail");
    assert_eq!(with(None)["gate"], Value::Null);
}

#[test]
fn a_format_is_named_or_read_from_a_suffix() {
    for (name, file, format) in [
        ("table", "a.txt", Format::Table),
        ("json", "a.json", Format::Json),
        ("markdown", "b/a.md", Format::Markdown),
        ("csv", "a.b.csv", Format::Csv),
    ] {
        assert_eq!(name.parse(), Ok(format));
        assert_eq!(Format::from_suffix(Path::new(file)), Ok(format));
    }
    assert!("yaml".parse::<Format>().unwrap_err().to_string().contains("table, json, markdown and csv"));
    assert!(Format::from_suffix(Path::new("a")).is_err());
}
