//! The formats that other programs read, on hand-made runs, gates and comparisons.
//!
//! Separate from the tests of what people read, because here the reader is a browser, a pipeline or a scraper.

use super::sample::{all, run, series, topologies};
use super::*;
use crate::model::{Comparison, Comparisons, GateDecision, GateReport, GateResult, Labels, Scalar, Validity, Verdict};
use crate::report::{Format, Report};

fn comparisons() -> Comparisons {
    let one = |statistic: &str, shift: f64, verdict| Comparison {
        series: "rtt.echo".to_owned(),
        labels: Labels::new().with("target", "a <b> & \"c\""),
        statistic: statistic.to_owned(),
        unit: if statistic.ends_with("ratio") { "ratio" } else { "ns" }.to_owned(),
        baseline: Some(if statistic.ends_with("ratio") { 0.0 } else { 2e6 }),
        current: Some(if statistic.ends_with("ratio") { 0.0 } else { 2e6 * (1.0 + shift) }),
        shift_ratio: Some(shift),
        low_ratio: Some(shift - 0.02),
        high_ratio: (shift < 1.0).then_some(shift + 0.02),
        verdict,
        reason: String::new(),
        runs_needed: (verdict == Verdict::NotEnoughData).then_some(7),
    };
    Comparisons {
        baseline_runs: vec!["a".to_owned(), "b".to_owned()],
        current_runs: vec!["c".to_owned()],
        tolerance_ratio: 0.05,
        remarks: vec!["the kernel differs: 6.1 against 6.18".to_owned()],
        unmatched: vec!["rtt.icmp{target=x} is in the baseline only".to_owned()],
        all: vec![
            one("p50", 0.12, Verdict::Regression),
            one("p95", 0.06, Verdict::NotEnoughData),
            one("p99", -0.2, Verdict::Improvement),
            one("loss_ratio", 0.0, Verdict::NoRegression),
        ],
    }
}

fn gate() -> GateReport {
    let result = |decision, text: &str| GateResult {
        expression: text.to_owned(),
        run_id: "a".to_owned(),
        series: "rtt.echo{target=dc}".to_owned(),
        unit: "ns".to_owned(),
        decision,
        value: Some(2e6),
        low: Some(1.9e6),
        high: Some(2.1e6),
        reason: "100 % sure: <it> & \"that\"".to_owned(),
    };
    GateReport::of(vec![
        result(GateDecision::Fail, "rtt.echo.p50 > 1ms"),
        result(GateDecision::Inconclusive, "rtt.echo.p50 > 2ms"),
        result(GateDecision::Pass, "rtt.echo.p50 > 3ms"),
    ])
}

fn shown(format: Format, runs: &[Run], is_judged: bool) -> String {
    let (gate, comparisons) = (gate(), comparisons());
    let judged = is_judged.then_some((&gate, &comparisons));
    let (gate, comparisons) = judged.unzip();
    format.reporter().render(&Report { pages: &pages(runs), gate, comparisons, width: 100, ..Report::default() })
}

#[test]
fn a_comparison_says_what_got_worse_first() {
    let texts = [Format::Table, Format::Markdown].map(|format| shown(format, &[run(vec![])], true));
    insta::assert_snapshot!(texts.join("----\n"));
}

#[test]
fn a_pipeline_gets_test_cases_and_annotations() {
    let invalid = Run { validity: Validity { valid: false, reasons: vec!["it slipped".to_owned()] }, ..run(vec![]) };
    let texts = [Format::Junit, Format::Github].map(|format| shown(format, std::slice::from_ref(&invalid), true));
    insta::assert_snapshot!(texts.join("----\n"));
}

#[test]
fn a_scraper_gets_base_units_and_cumulative_buckets() {
    let scalars = vec![
        Scalar::new("rtt.clock.offset", &Labels::new().with("target", "a\"b"), "ns", 1.5e6),
        Scalar::new("api.throughput", &Labels::new(), "per_s", 12.0),
        Scalar::new("api.share", &Labels::new(), "ratio", None),
    ];
    let one = Run { scalars, ..run(vec![series("rtt.echo", "dc", &[900_000, 1_100_000, 6_000_000_000], 1)]) };
    insta::assert_snapshot!(shown(Format::OpenMetrics, &[one], false));
}

#[test]
fn a_page_is_one_file_that_a_browser_takes_as_text() {
    for run in all() {
        let name = run.command.clone();
        let page = shown(Format::Html, std::slice::from_ref(&run), false);
        let answer = answer(&run).unwrap();
        let escaped = answer.replace('&', "&amp;").replace('>', "&gt;").replace('<', "&lt;").replace('\'', "&#39;");
        assert!(page.contains(&escaped), "{name}: {answer}");
        assert!(page.len() < 300_000, "{name}: {} bytes", page.len());
        for (open, close) in
            [("<svg", "</svg>"), ("<table", "</table>"), ("<figure", "</figure>"), ("<details", "</details>")]
        {
            assert_eq!(page.matches(open).count(), page.matches(close).count(), "{name}: {open}");
        }
        for outside in ["src=", "href=\"http", "@import", "url("] {
            assert!(!page.contains(outside), "{name}: {outside}");
        }
    }
    let mut odd = topologies();
    odd.labels = [("who".to_owned(), "<script>alert(1)</script>".to_owned())].into();
    let page = shown(Format::Html, &[odd], true);
    assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("target=a &lt;b&gt; &amp; &quot;c&quot;"));
    assert_eq!(page.matches("<script>").count(), 1, "our own only");
}
