//! The published schemas, and what they have against a document.

use std::fs;
use std::path::Path;

use jsonschema::Registry;
use offloadctl::model::Run;
use offloadctl::{bench, diagnose, probe, trace};
use serde_json::Value;

/// The schema of a run document.
pub const RUN: &str = "docs/reference/run.schema.json";

fn read(relative: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(relative);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Parses a text as JSON and checks it against one of the published schemas.
///
/// # Panics
/// When the text is not one JSON document, or the schema has something against it.
#[track_caller]
pub fn valid(schema: &str, text: &str) -> Value {
    let document: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON: {error}\n{text}"));
    let run = read(RUN);
    let name = run["$id"].as_str().unwrap_or_else(|| panic!("{RUN} has no $id")).to_owned();
    let registry = Registry::new().add(name, run).and_then(|registry| registry.prepare());
    let registry = registry.unwrap_or_else(|error| panic!("{RUN}: {error}"));
    let options = jsonschema::options().should_validate_formats(true).with_registry(&registry);
    let validator = options.build(&read(schema)).unwrap_or_else(|error| panic!("{schema}: {error}"));
    let faults: Vec<String> =
        validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert_eq!(faults, [""; 0], "{schema}");
    document
}

/// Fails where something was measured that the command does not declare: a name, a label of it, or another unit.
///
/// # Panics
/// When it is so, or the command is none that measures.
#[allow(clippy::allow_attributes, dead_code, reason = "not every ring has documents of every command")]
#[track_caller]
pub fn declared(run: &Run) {
    let all = [
        bench::cri::MEASUREMENT,
        bench::etcd::MEASUREMENT,
        match run.spec["mode"].as_str() {
            Some("simulated") => bench::heartbeat::OF_SIMULATION,
            _ => bench::heartbeat::MEASUREMENT,
        },
        bench::protocol::MEASUREMENT,
        diagnose::MEASUREMENT,
        probe::api::MEASUREMENT,
        probe::events::MEASUREMENT,
        probe::host::MEASUREMENT,
        probe::rtt::MEASUREMENT,
        trace::MEASUREMENT,
    ];
    let command = &run.command;
    let own = all.into_iter().find(|one| one.command == command);
    let own = own.unwrap_or_else(|| panic!("`{command}` declares nothing"));
    let is_declared = |name: &str, labels: &mut dyn Iterator<Item = (&str, &str)>, unit: Option<&str>| {
        let (metric, _) = own.find(name).unwrap_or_else(|| panic!("{command}: `{name}` is not declared"));
        assert!(unit.is_none_or(|unit| unit == metric.unit), "{command}: `{name}` is in {unit:?}");
        for (label, _) in labels {
            assert!(metric.labels.contains(&label), "{command}: `{name}` has no label `{label}`");
        }
    };
    run.series.iter().for_each(|one| is_declared(&one.name, &mut one.labels.iter(), None));
    run.scalars.iter().for_each(|one| is_declared(&one.name, &mut one.labels.iter(), Some(&one.unit)));
}
