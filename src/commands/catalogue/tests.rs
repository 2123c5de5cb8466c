//! Exact texts of every format on hand-made runs of every command.
//!
//! Separate because they show each report as its reader meets it; a change of a word is seen in the snapshot.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::sample::{all, delays, run, series, stamped, topologies};
use super::*;
use crate::model::{
    Advice, Counts, Finding, GateDecision, GateReport, GateResult, Labels, Metric, Outage, Scalar, Severity, Validity,
    Warning,
};
use crate::report::{Format, Report, report_document, run_document};

fn shown(format: Format, run: &Run, width: u16) -> String {
    format.reporter().render(&Report { pages: &pages(std::slice::from_ref(run)), width, ..Report::default() })
}

fn table(run: &Run) -> String {
    shown(Format::Table, run, 120)
}

/// What a sample is called.
fn name_of(run: &Run) -> String {
    let is = |way: bool, word: &'static str| if way { word } else { "" };
    let mode = is(run.spec["mode"] == "live", "-live").to_owned() + is(run.spec["cache"].is_object(), "-cache");
    run.command.replace(' ', "-") + &mode
}

/// The report of every command, at 80 and at 100 columns.
#[test]
fn every_report_at_80_and_100_columns() {
    for run in all() {
        let name = name_of(&run);
        let both = [80, 100].map(|width| shown(Format::Table, &run, width));
        for (text, width) in both.iter().zip([80, 100]) {
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= width, "{name}: {widest} of {width}");
            assert!(text.lines().count() <= if width == 100 { 45 } else { 55 }, "{name} is long:\n{text}");
        }
        insta::assert_snapshot!(format!("report-{name}"), both.join("════\n"));
    }
}

#[test]
fn every_report_as_markdown() {
    for run in all() {
        let name = name_of(&run);
        insta::assert_snapshot!(format!("markdown-{name}"), shown(Format::Markdown, &run, 100));
    }
}

#[test]
fn every_detail_has_every_series_and_scalar() {
    for run in all() {
        let report =
            Report { pages: &pages(std::slice::from_ref(&run)), width: 160, detail: true, ..Report::default() };
        let text = Format::Table.reporter().render(&report);
        for name in run.series.iter().map(Series::full_name).chain(run.scalars.iter().map(|s| s.name.clone())) {
            assert!(text.contains(&name), "{name} in {text}");
        }
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 160, "{}: {widest}", run.command);
    }
}

#[test]
fn three_topologies_as_csv() {
    insta::assert_snapshot!(shown(Format::Csv, &topologies(), 120).replace("\r\n", "\n"));
}

#[test]
fn where_a_round_trip_goes() {
    let runs = [stamped()];
    let report = Report { pages: &pages(&runs), width: 120, detail: true, ..Report::default() };
    let text = Format::Table.reporter().render(&report);
    let (_, split) = text.split_once("where the round trip goes").unwrap();
    insta::assert_snapshot!(split.split_once("all series").unwrap().0);
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
        attempt_count: 528,
        ok_count: 500,
        error_count: 7,
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
    let report = Report { pages: &pages(&runs), gate: Some(&gate), width: 80, ..Report::default() };
    let texts = [Format::Table, Format::Markdown].map(|format| format.reporter().render(&report));
    insta::assert_snapshot!(texts.join("----\n"));
}

#[test]
fn json_documents_are_whole() {
    let (runs, gate) = ([topologies()], gate());
    assert_eq!(Run::parse(&run_document(&runs[0])).unwrap(), runs[0]);
    let with = |gate| {
        serde_json::from_str::<Value>(&report_document(&Report {
            pages: &pages(&runs),
            gate,
            width: 80,
            ..Report::default()
        }))
        .unwrap()
    };
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
        ("html", "a.html", Format::Html),
        ("junit", "a.xml", Format::Junit),
        ("openmetrics", "a.prom", Format::OpenMetrics),
    ] {
        assert_eq!(name.parse(), Ok(format));
        assert_eq!(Format::from_suffix(Path::new(file)), Ok(format));
    }
    assert!("yaml".parse::<Format>().unwrap_err().to_string().contains("table, json, markdown, csv"));
    assert!(Format::from_suffix(Path::new("a")).is_err());
}

/// The reference page's tables of all commands: every series, then every scalar.
fn reference() -> String {
    let mut text = String::new();
    for (title, is_scalar) in [("Series", false), ("Scalars", true)] {
        let unit = if is_scalar { " unit |" } else { "" };
        let rule = if is_scalar { "---|" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(text, "## {title}\n\n| name | labels |{unit} what it is |\n|---|---|{rule}---|\n");
        for metric in distinct().filter(|metric| (metric.role == Role::Scalar) == is_scalar) {
            let unit = if is_scalar { format!(" {} |", metric.unit) } else { String::new() };
            let _ = writeln!(text, "| `{}` | {} |{unit} {} |", metric.name, metric.labels.join(", "), metric.about);
        }
        text.push('\n');
    }
    text
}

/// What several commands measure stands once.
fn distinct() -> impl Iterator<Item = &'static Metric> {
    let mut known: Vec<&str> = Vec::new();
    ALL.into_iter().flat_map(Measurement::metrics).filter(move |metric| {
        let is_new = !known.contains(&metric.name);
        known.push(metric.name);
        is_new
    })
}

#[test]
fn the_reference_page_holds_the_catalogue() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/series.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once("<!-- catalogue -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end of the catalogue -->\n").unwrap();
    let new = format!("{before}<!-- catalogue -->\n{}<!-- end of the catalogue -->\n{after}", reference());
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(path, &new).unwrap();
    }
    assert!(page == new, "write it anew: UPDATE_REFERENCE=1 cargo test the_reference_page");
}

#[test]
fn a_name_means_one_thing() {
    let mut known: std::collections::BTreeMap<&str, &str> = Default::default();
    for metric in ALL.into_iter().flat_map(Measurement::metrics) {
        let about = *known.entry(metric.name).or_insert(metric.about);
        assert_eq!(about, metric.about, "{}", metric.name);
        assert!(!metric.about.ends_with('.'), "{}", metric.name);
    }
}
