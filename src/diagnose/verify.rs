//! Whether a change brought what was predicted: an earlier diagnosis against this one.
//!
//! Separate from the ranking, which looks forward. Pure.

use crate::model::figure::duration;
use crate::model::{Finding, Labels, Prediction, Run, Scalar, Severity};

/// A finding for each prediction of the earlier run: whether it held, and what the change gained.
#[must_use]
pub fn findings(before: &Run, scalars: &[Scalar]) -> Vec<Finding> {
    let predicted = |finding: &Finding| {
        let predicted = finding.advice.as_ref()?.predicted.clone()?;
        Some(verdict(&finding.id, &predicted, value(&before.scalars, &predicted.name), value(scalars, &predicted.name)))
    };
    before.findings.iter().filter_map(predicted).collect()
}

fn verdict(rule: &str, predicted: &Prediction, was: Option<f64>, is: Option<f64>) -> Finding {
    let Prediction { name, low, high, .. } = predicted;
    let told = |value: f64| duration(value.max(0.0).round() as u64);
    let range = format!("predicted {} to {}", told(*low), told(*high));
    let Some(is) = is else {
        let text = format!("`{rule}` predicted `{name}`, which was not measured this time");
        return Finding::new("prediction_open", Severity::Notice, text).with_evidence(vec![range]);
    };
    let gained = was.map(|was| format!("; it was {}", told(was))).unwrap_or_default();
    // Better than predicted is no failure of the advice.
    let (id, severity, word) = match is {
        is if is < *low => ("prediction_held", Severity::Info, "better than predicted"),
        is if is <= *high => ("prediction_held", Severity::Info, "as predicted"),
        _ => ("prediction_failed", Severity::Notice, "not as predicted"),
    };
    let text = format!("{rule}: {name} is {}, {word}{gained}", told(is));
    Finding::new(id, severity, text).with_evidence(vec![range])
}

/// The value that a name with labels stands for, as a gate writes it.
#[must_use]
pub fn value(scalars: &[Scalar], name: &str) -> Option<f64> {
    let (name, labels) = match name.split_once('{') {
        Some((name, labels)) => (name, labels.trim_end_matches('}')),
        None => (name, ""),
    };
    let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    let labels = pairs.fold(Labels::new(), |labels, (key, value)| labels.with(key, value));
    let mut all = scalars.iter();
    all.find(|scalar| scalar.name == name && scalar.labels == labels).and_then(|scalar| scalar.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predicted() -> Prediction {
        let name = "trace.mean{hop=total}".to_owned();
        Prediction { name, unit: "ns".to_owned(), value: 5e6, low: 4e6, high: 8e6 }
    }

    #[test]
    fn a_prediction_holds_within_its_interval_and_what_is_better_holds_too() {
        let of = |is: Option<f64>| verdict("slow_store", &predicted(), Some(60e6), is);
        assert_eq!(of(Some(5e6)).id, "prediction_held");
        assert!(of(Some(5e6)).text.contains("as predicted; it was 60.0 ms"), "{}", of(Some(5e6)).text);
        assert_eq!(of(Some(1e6)).id, "prediction_held");
        assert_eq!(of(Some(9e6)).id, "prediction_failed");
        assert_eq!(of(None).id, "prediction_open");
    }

    #[test]
    fn a_value_is_found_by_its_name_and_labels() {
        let labels = Labels::new().with("hop", "total");
        let scalars = [Scalar::new("trace.mean", &labels, "ns", 7.0), Scalar::new("x", &Labels::new(), "ns", 8.0)];
        assert_eq!((value(&scalars, "trace.mean{hop=total}"), value(&scalars, "x")), (Some(7.0), Some(8.0)));
        assert_eq!(value(&scalars, "trace.mean{hop=wire}"), None);
    }
}
