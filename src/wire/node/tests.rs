//! Every message, field, number, type and enum value of the Rust side held against the published file.
//!
//! Both sides are read as text: what a macro makes of an attribute cannot be asked for its number.

use std::collections::{BTreeMap, BTreeSet};

use super::PUBLISHED;

/// A field or a value: its number and its type as the published file writes it; no type for the values of an enum.
type Entries = BTreeMap<String, (u32, String)>;

/// Everything with a name of its own.
type Interface = BTreeMap<String, Entries>;

/// The messages and enums of the published file.
fn published(text: &str) -> Interface {
    let mut interface = Interface::new();
    let mut open: Vec<String> = Vec::new();
    for line in text.lines().map(|line| line.split("//").next().unwrap().trim()) {
        let words: Vec<&str> = line.trim_end_matches([';', '{']).split_whitespace().collect();
        match (line, words.as_slice()) {
            ("}", _) => _ = open.pop(),
            (_, ["message" | "enum", name]) => {
                open.push((*name).to_owned());
                interface.insert((*name).to_owned(), Entries::new());
            }
            // The fields of a oneof are those of its message.
            (_, ["oneof", _]) => open.push(open.last().unwrap().clone()),
            (_, ["service", _]) => open.push(String::new()),
            (_, [kind @ .., name, "=", number]) => {
                let Some(entries) = open.last().and_then(|name| interface.get_mut(name)) else { continue };
                entries.insert((*name).to_owned(), (number.parse().unwrap(), kind.join(" ")));
            }
            _ => {}
        }
    }
    interface
}

/// The same of the Rust side, in the words of the published file.
fn written(text: &str) -> Interface {
    let mut interface = Interface::new();
    let (mut name, mut attribute) = (String::new(), None);
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        let words: Vec<&str> = line.trim_end_matches(['{', ',']).split_whitespace().collect();
        match words.as_slice() {
            ["pub", "struct" | "enum", of] => {
                // What is one of several is the field of its message.
                name = match *of {
                    "FromNode" => "NodeFrame",
                    "ToNode" => "GatewayFrame",
                    of => of,
                }
                .to_owned();
                interface.entry(name.clone()).or_default();
            }
            _ if line.starts_with("#[prost(oneof") => attribute = Some(None),
            _ if line.starts_with("#[prost(") => attribute = Some(Some(line.to_owned())),
            ["pub", field, kind @ ..] if attribute.is_some() => {
                if let Some(Some(prost)) = attribute.take() {
                    let field = field.trim_end_matches(':').to_owned();
                    interface.get_mut(&name).unwrap().insert(field, (tag(&prost), kind_of(&prost, &kind.join(" "))));
                }
            }
            [variant, "=", number] => {
                let value = format!("{}_{}", name.to_uppercase(), variant.to_uppercase());
                interface.get_mut(&name).unwrap().insert(value, (number.parse().unwrap(), String::new()));
            }
            [variant] if variant.ends_with(')') => {
                if let Some(Some(prost)) = attribute.take() {
                    let (field, inner) = variant.trim_end_matches(')').split_once('(').unwrap();
                    let kind = kind_of(&prost, inner);
                    interface.get_mut(&name).unwrap().insert(field.to_lowercase(), (tag(&prost), kind));
                }
            }
            _ => {}
        }
    }
    interface
}

fn tag(prost: &str) -> u32 {
    prost.split("tag = \"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
}

/// The type in the words of the published file, from the attribute and the Rust type.
fn kind_of(prost: &str, rust: &str) -> String {
    let inside = prost.trim_start_matches("#[prost(");
    let optional = if inside.contains(", optional") { "optional " } else { "" };
    let last = |text: &str| text.trim_end_matches('>').rsplit(['<', ' ']).next().unwrap().to_owned();
    match inside.split([',', ' ']).next().unwrap() {
        // A message always may be absent.
        "message" => last(rust),
        "enumeration" => inside.split('"').nth(1).unwrap().to_owned(),
        "btree_map" => format!("map<string, {}>", last(rust)),
        scalar => format!("{optional}{scalar}"),
    }
}

#[test]
fn every_number_and_type_is_that_of_the_published_file() {
    let (published, written) = (published(PUBLISHED), written(include_str!("../node.rs")));
    assert_eq!(published.keys().collect::<Vec<_>>(), written.keys().collect::<Vec<_>>());
    for (name, entries) in &published {
        assert_eq!(entries, &written[name], "{name}");
        let numbers: BTreeSet<u32> = entries.values().map(|(number, _)| *number).collect();
        assert_eq!(numbers.len(), entries.len(), "a number of {name} stands twice");
    }
    assert!(published.len() == 13 && published["StatusReport"].len() == 5, "{published:?}");
}

#[test]
fn a_number_that_differs_is_seen() {
    let right = published(PUBLISHED);
    for (from, to) in
        [("int64 timestamp = 3", "int64 timestamp = 7"), ("STALE = 3", "STALE = 4"), ("string json", "bytes json")]
    {
        assert_ne!(published(&PUBLISHED.replace(from, to)), right, "{from}");
    }
}
