//! What a GitHub workflow shows beside the change: one annotation a verdict, in the words of its runner.
//!
//! Separate from markdown, which is the summary of the job: the command that prints these writes that too where the runner asks.

use super::text::clean;
use super::{Report, Reporter, comparison, verdict};
use crate::model::{GateDecision, Verdict};

/// Workflow commands: `::error title=…::…`.
pub struct Github;

impl Reporter for Github {
    fn render(&self, report: &Report) -> String {
        let gates = report.gate.into_iter().flat_map(|gate| gate.results.iter().zip(verdict::results(gate)));
        let gates = gates.map(|(result, (_, text))| {
            let (level, title) = match result.decision {
                GateDecision::Pass => ("notice", "gate passed"),
                GateDecision::Fail => ("error", "gate failed"),
                GateDecision::Inconclusive => ("warning", "gate inconclusive"),
            };
            annotation(level, title, &text)
        });
        let compared = report.comparisons.into_iter().flat_map(|comparisons| {
            let told = comparisons.all.iter().filter_map(|one| {
                let (level, title) = match one.verdict {
                    Verdict::Regression => ("error", "regression"),
                    Verdict::NotEnoughData => ("warning", "not enough data"),
                    Verdict::Improvement => ("notice", "improvement"),
                    Verdict::NoRegression => return None,
                };
                Some(annotation(level, title, &comparison::sentence(one)))
            });
            let answer = annotation("notice", "comparison", &comparison::answer(comparisons));
            told.chain([answer]).collect::<Vec<_>>()
        });
        let runs = report.pages.iter().filter_map(|page| {
            let run = page.run;
            match (run.validity.valid, report.comparisons.is_some()) {
                (false, _) => Some(annotation("warning", "invalid run", &run.validity.reasons.join("; "))),
                (true, false) => Some(annotation("notice", &run.command, run.answer.as_deref().unwrap_or("measured"))),
                (true, true) => None,
            }
        });
        gates.chain(compared).chain(runs).collect()
    }
}

/// Per cent signs and line ends are escaped as the runner reads them; in a title colons and commas too.
fn annotation(level: &str, title: &str, text: &str) -> String {
    let data = |text: &str| clean(text).replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let title = data(title).replace(':', "%3A").replace(',', "%2C");
    format!("::{level} title={title}::{}\n", data(text))
}
