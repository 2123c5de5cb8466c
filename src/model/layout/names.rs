//! What tells the series of a run apart, and what all of them share.
//!
//! Separate because what all rows share belongs above a table, once, and what tells them apart must never be cut.

use serde_json::Value;

use crate::model::figure::limit;
use crate::model::{Labels, Series};

/// The labels of some series: shared, and each one's own.
#[derive(Clone, Debug, Default)]
pub struct Names {
    shared: Labels,
    differing: Vec<String>,
}

impl Names {
    /// Of these series.
    #[must_use]
    pub fn of(all: &[&Series]) -> Self {
        let Some(first) = all.first() else { return Self::default() };
        let is_shared =
            |(name, value): &(&str, &str)| all.iter().all(|series| series.labels.value(name) == Some(*value));
        let shared = first.labels.iter().filter(is_shared);
        let shared = shared.fold(Labels::new(), |labels, (name, value)| labels.with(name, value));
        let mut differing: Vec<String> = Vec::new();
        for (name, _) in all.iter().flat_map(|series| series.labels.iter()) {
            if shared.value(name).is_none() && !differing.iter().any(|known| known == name) {
                differing.push(name.to_owned());
            }
        }
        Self { shared, differing }
    }

    /// What all of them have.
    #[must_use]
    pub const fn shared(&self) -> &Labels {
        &self.shared
    }

    /// The labels that tell them apart.
    #[must_use]
    pub fn differing(&self) -> &[String] {
        &self.differing
    }

    /// What tells this one apart: the values alone of labels whose values speak for themselves, `name value` of others.
    #[must_use]
    pub fn tell(&self, series: &Series) -> String {
        let speaks = |name: &str| {
            matches!(
                name,
                "target" | "path" | "setting" | "detector" | "interval" | "fault" | "consistency" | "workload"
            )
        };
        let word = |name: &String| {
            let value = series.labels.value(name)?;
            Some(match name.as_str() {
                name if speaks(name) => value.to_owned(),
                "clients" if value == "1" => "1 client".to_owned(),
                "clients" => format!("{value} clients"),
                "value_size" => format!("{value} B"),
                name => format!("{} {value}", name.replace('_', " ")),
            })
        };
        self.differing.iter().filter_map(word).collect::<Vec<_>>().join(", ")
    }
}

/// `15 s at 20/s`, `500 at 20/s`, `10 s, 16 in flight`: the load in a spec, where there is one.
#[must_use]
pub fn load_text(spec: &Value) -> Option<String> {
    let load = spec.get("load")?;
    let length = match (load.pointer("/length/duration_ns"), load.pointer("/length/count")) {
        (Some(ns), _) => limit(ns.as_u64()?),
        (_, Some(count)) => format!("{} attempts", count.as_u64()?),
        _ => return None,
    };
    let arrival = load.get("arrival")?;
    let how = match arrival.get("loop")?.as_str()? {
        "open" => {
            let is_poisson = arrival.get("spacing").and_then(Value::as_str) == Some("poisson");
            let spacing = if is_poisson { ", Poisson" } else { "" };
            format!(" at {}{spacing}", arrival.get("rate")?.as_str()?)
        }
        _ => format!(", {} in flight", arrival.get("concurrency")?.as_u64()?),
    };
    Some(format!("{length}{how}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_all_share_is_told_from_what_tells_them_apart() {
        let series = |clients: &str, target: &str| Series {
            labels: Labels::new().with("clients", clients).with("target", target).with("batch", "1"),
            ..Series::default()
        };
        let (a, b) = (series("1", "dc"), series("16", "dc"));
        let names = Names::of(&[&a, &b]);
        assert_eq!(names.shared(), &Labels::new().with("batch", "1").with("target", "dc"));
        assert_eq!((names.tell(&a), names.tell(&b)), ("1 client".to_owned(), "16 clients".to_owned()));
    }

    #[test]
    fn a_load_is_told_in_a_few_words() {
        let load = |length, arrival| load_text(&json!({"load": {"length": length, "arrival": arrival}}));
        let open = json!({"loop": "open", "rate": "20/s", "spacing": "poisson"});
        assert_eq!(load(json!({"duration_ns": 15e9 as u64}), open).as_deref(), Some("15 s at 20/s, Poisson"));
        let closed = json!({"loop": "closed", "concurrency": 16});
        assert_eq!(load(json!({"count": 500}), closed).as_deref(), Some("500 attempts, 16 in flight"));
        assert_eq!(load_text(&json!({})), None);
    }
}
