//! The published schemas against what the program writes, and against documents that must be refused.

use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::Registry;
use offloadctl::model::{GateDecision, GateReport, GateResult, Run};
use serde_json::{Value, json};

use crate::sample;

/// Set to write `fixtures/run` anew from the hand-made runs.
const WRITE: &str = "OFFLOADCTL_WRITE_FIXTURES";

const RUN: &str = "docs/reference/run.schema.json";
const REPORT: &str = "docs/reference/report.schema.json";

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a schema has against a document, each with its place; nothing where the document is fine.
fn faults(schema: &Value, document: &Value) -> Vec<String> {
    let run = read(&path(RUN));
    let name = run["$id"].as_str().unwrap_or_else(|| panic!("{RUN} has no $id")).to_owned();
    let registry = Registry::new().add(name, run).and_then(|registry| registry.prepare());
    let registry = registry.unwrap_or_else(|error| panic!("{RUN}: {error}"));
    let options = jsonschema::options().should_validate_formats(true).with_registry(&registry);
    let validator = options.build(schema).unwrap_or_else(|error| panic!("the schema itself is broken: {error}"));
    validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn value(run: &Run) -> Value {
    serde_json::to_value(run).unwrap_or_else(|error| panic!("a run does not serialise: {error}"))
}

/// The schema with every object closed: what is not described is refused.
fn closed(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(map) => {
            let is_object = map.contains_key("properties") && map.get("type") == Some(&json!("object"));
            for entry in map.values_mut() {
                *entry = closed(entry.take());
            }
            if is_object {
                map.insert("additionalProperties".to_owned(), json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = closed(item.take())),
        _ => {}
    }
    schema
}

fn fixtures() -> Vec<PathBuf> {
    let entries = fs::read_dir(path("fixtures/run")).unwrap_or_else(|error| panic!("fixtures/run: {error}"));
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    files.filter(|file| file.extension().is_some_and(|suffix| suffix == "json")).collect()
}

#[test]
fn every_run_fits_its_schema() {
    let schema = read(&path(RUN));
    for (name, run) in sample::all() {
        assert_eq!(faults(&schema, &value(&run)), [""; 0], "{name}");
    }
}

#[test]
fn every_key_that_we_write_is_described() {
    let schema = closed(read(&path(RUN)));
    for (name, run) in sample::all() {
        assert_eq!(faults(&schema, &value(&run)), [""; 0], "{name}");
    }
    let mut stranger = value(&sample::complete());
    stranger["series"][0]["summary"]["p42_ns"] = json!(1);
    assert_eq!(faults(&schema, &stranger).len(), 1);
}

#[test]
fn every_key_that_we_write_is_required() {
    let schema = read(&path(RUN));
    let whole = value(&sample::complete());
    for place in ["", "/validity", "/environment", "/self_cost", "/warnings/0", "/scalars/0", "/findings/0"] {
        refuses_each_absence(&schema, &whole, place);
    }
    for place in ["", "/summary", "/histogram", "/reference", "/timeline/0", "/outages/0"] {
        refuses_each_absence(&schema, &whole, &format!("/series/0{place}"));
    }
    refuses_each_absence(&schema, &whole, "/findings/0/advice");
}

fn refuses_each_absence(schema: &Value, whole: &Value, place: &str) {
    let object = whole.pointer(place).and_then(Value::as_object).unwrap_or_else(|| panic!("no object at `{place}`"));
    for key in object.keys() {
        let mut document = whole.clone();
        if let Some(object) = document.pointer_mut(place).and_then(Value::as_object_mut) {
            object.remove(key);
        }
        assert!(!faults(schema, &document).is_empty(), "`{place}` without `{key}` is accepted");
    }
}

#[test]
fn a_broken_run_is_refused_where_it_is_broken() {
    let schema = read(&path(RUN));
    let cases = [
        ("/schema", json!("offloadctl.run/9")),
        ("/spec", json!("probe rtt")),
        ("/started_at", json!("yesterday")),
        ("/started_at", json!("2026-02-30T00:00:00Z")),
        ("/elapsed_ns", json!(1.5)),
        ("/elapsed_ns", json!("2s")),
        ("/complete", json!(null)),
        ("/validity", json!("fine")),
        ("/validity/valid", json!("perhaps")),
        ("/seed", json!(-1)),
        ("/labels/site", json!(1)),
        ("/environment/cpu_count", json!(-2)),
        ("/series", json!({})),
        ("/series/0/lost_count", json!(-1)),
        ("/series/0/unit", json!("ms")),
        ("/series/0/clock", json!("wall")),
        ("/series/0/labels/target", json!(null)),
        ("/series/0/summary/p99_ns", json!(1.5)),
        ("/series/0/summary/beyond_timeout", json!(["p42"])),
        ("/series/0/histogram/encoding", json!("plain")),
        ("/series/0/timeline/0/ok_count", json!(null)),
        ("/series/0/outages/0/length_ns", json!(-1)),
        ("/scalars/0/value", json!("many")),
        ("/findings/0/severity", json!("fatal")),
        ("/findings/0/advice", json!({ "text": "a", "verify": 7 })),
        ("/warnings/0/text", json!(null)),
    ];
    for (place, wrong) in cases {
        let mut document = value(&sample::complete());
        *document.pointer_mut(place).unwrap_or_else(|| panic!("nothing at `{place}`")) = wrong.clone();
        let found = faults(&schema, &document);
        assert!(
            !found.is_empty() && found.iter().all(|fault| fault.starts_with(place)),
            "{place} = {wrong}: {found:?}"
        );
    }
}

#[test]
fn a_key_of_a_later_version_is_accepted() {
    let mut document = value(&sample::complete());
    document["later"] = json!(1);
    document["series"][0]["later"] = json!({});
    assert_eq!(faults(&read(&path(RUN)), &document), [""; 0]);
}

#[test]
fn a_report_is_its_runs_and_its_gate() {
    let schema = read(&path(REPORT));
    let result = GateResult {
        expression: "rtt.echo.p99<5ms".to_owned(),
        run_id: sample::complete().id,
        series: "rtt.echo{target=dc}".to_owned(),
        unit: "ns".to_owned(),
        decision: GateDecision::Inconclusive,
        value: Some(2_190_000.0),
        low: Some(2_150_000.0),
        high: None,
        reason: "the interval reaches beyond the timeout".to_owned(),
    };
    let gate = GateReport { decision: GateDecision::Inconclusive, results: vec![result] };
    let runs: Vec<Value> = sample::all().iter().map(|(_, run)| value(run)).collect();
    let report = json!({ "schema": "offloadctl.report/1", "runs": runs, "comparisons": [], "gate": gate });
    assert_eq!(faults(&schema, &report), [""; 0]);
    assert_eq!(faults(&closed(schema.clone()), &report), [""; 0]);
    let cases = [
        ("/runs/1/series/0/ok_count", json!(-1)),
        ("/comparisons", json!(null)),
        ("/gate/decision", json!("maybe")),
        ("/gate/results/0/value", json!("2 ms")),
        ("/schema", json!("offloadctl.run/1")),
    ];
    for (place, wrong) in cases {
        let mut document = report.clone();
        *document.pointer_mut(place).unwrap_or_else(|| panic!("nothing at `{place}`")) = wrong;
        assert!(!faults(&schema, &document).is_empty(), "{place}");
    }
    let mut ungated = report;
    ungated["gate"] = json!(null);
    assert_eq!(faults(&schema, &ungated), [""; 0]);
}

#[test]
fn every_fixture_fits_the_schema_and_is_read() {
    let schema = read(&path(RUN));
    let files = fixtures();
    assert!(files.len() >= sample::all().len(), "fixtures/run holds {} documents", files.len());
    for file in files {
        let document = read(&file);
        assert_eq!(faults(&schema, &document), [""; 0], "{}", file.display());
        let run = Run::parse(&document.to_string()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(value(&run), document, "{} changes when it is read and written", file.display());
    }
}

/// What was kept before roles were written down is read with the roles that its names tell.
#[test]
fn an_older_document_is_read_with_its_roles() {
    for (_, run) in sample::all() {
        let mut older = value(&run);
        older.as_object_mut().unwrap().remove("answer");
        for series in older["series"].as_array_mut().unwrap() {
            series.as_object_mut().unwrap().remove("role");
        }
        assert_eq!(Run::parse(&older.to_string()).unwrap(), run);
    }
}

/// Writes the fixtures where [`WRITE`] is set; otherwise the hand-made runs must survive the way through a file.
#[test]
fn hand_made_runs_survive_the_file() {
    for (name, run) in sample::all() {
        let text = serde_json::to_string_pretty(&run).unwrap();
        assert_eq!(Run::parse(&text).unwrap(), run, "{name}");
        if std::env::var_os(WRITE).is_some() {
            fs::write(path(&format!("fixtures/run/{name}.json")), text + "\n").unwrap();
        }
    }
}
