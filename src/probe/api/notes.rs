//! What a run noticed beside its times: status codes, redirects, where attempts ended, credentials, connections. Pure.
//!
//! Separate from the split of the time because these are facts and no interpretation.

use std::collections::BTreeMap;

use super::phases::Phase;
use crate::model::{Advice, Finding, Labels, Scalar, Severity};

/// What one path's attempts showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Path and query.
    pub path: String,
    /// Recorded answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Where the first redirect led.
    pub location: Option<String>,
    /// Recorded attempts without an answer in time.
    pub lost_count: u64,
    /// Recorded attempts that failed.
    pub failed_count: u64,
    /// Attempts that ended without an answer, by phase; those of the warm-up are among them.
    pub broken: Vec<(Phase, u64)>,
    /// Kept connections that were opened again, or for the first time in an open loop.
    pub opened_count: u64,
    /// How TLS failed last.
    pub tls_text: Option<String>,
    /// Whether connections are kept.
    pub is_kept: bool,
    /// Interim answers (1xx); those of the warm-up are among them.
    pub interim_count: u64,
    /// Answers that TLS cut off, or may have; those of the warm-up are among them.
    pub cut_count: u64,
}

/// The scalars of the status codes: one for each path and code.
#[must_use]
pub fn status_scalars(facts: &Facts) -> Vec<Scalar> {
    let scalar = |(code, count): (&u16, &u64)| {
        let labels = Labels::new().with("code", &code.to_string()).with("path", &facts.path);
        Scalar::new("api.status", &labels, "count", *count as f64)
    };
    facts.statuses.iter().map(scalar).collect()
}

/// Everything worth saying about a path.
#[must_use]
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut all: Vec<Finding> = STATUSES.iter().filter_map(|kind| status_finding(facts, kind)).collect();
    all.extend(redirect(facts));
    all.extend(ended_in(facts));
    all.extend(not_kept(facts));
    all.extend(interim(facts));
    all.extend(cut(facts));
    all.extend(facts.tls_text.as_ref().map(|text| {
        let text = format!("{}: a TLS handshake failed: {text}", facts.path);
        Finding::new("tls_failed", Severity::Problem, text)
    }));
    all
}

/// A kind of answer that is no success.
struct StatusKind {
    id: &'static str,
    severity: Severity,
    codes: std::ops::RangeInclusive<u16>,
    what: &'static str,
    advice: &'static str,
}

const STATUSES: [StatusKind; 5] = [
    StatusKind {
        id: "unauthorized",
        severity: Severity::Problem,
        codes: 401..=401,
        what: "not logged in",
        advice: "give a token with --token-file, or a certificate; a token may have expired in the middle",
    },
    StatusKind {
        id: "forbidden",
        severity: Severity::Notice,
        codes: 403..=403,
        what: "forbidden to this user; it is an answer, and its time is that of a refusal",
        advice: "ask for a path that this user may read, or log in as another",
    },
    StatusKind {
        id: "not_found",
        severity: Severity::Notice,
        codes: 404..=404,
        what: "no such thing; it is an answer, and its time is that of a refusal",
        advice: "give another --path",
    },
    StatusKind {
        id: "throttled",
        severity: Severity::Problem,
        codes: 429..=429,
        what: "too many requests: the server sends clients away",
        advice: "lower --rate or --concurrency; on a Kubernetes look at API priority and fairness",
    },
    StatusKind {
        id: "server_errors",
        severity: Severity::Problem,
        codes: 500..=599,
        what: "an error of the server",
        advice: "look at the server's log",
    },
];

fn status_finding(facts: &Facts, kind: &StatusKind) -> Option<Finding> {
    let all: u64 = facts.statuses.values().sum();
    let hits: Vec<String> =
        facts.statuses.range(kind.codes.clone()).map(|(code, count)| format!("{count} of {all} are {code}")).collect();
    let text = format!("{} was answered with {}: {}", facts.path, kind.codes.start(), kind.what);
    let text = if kind.codes.start() == kind.codes.end() {
        text
    } else {
        format!("{} was answered with {}", facts.path, kind.what)
    };
    (!hits.is_empty()).then(|| {
        Finding::new(kind.id, kind.severity, text).with_evidence(hits).with_advice(Advice::new(kind.advice, None))
    })
}

fn redirect(facts: &Facts) -> Option<Finding> {
    let count: u64 = facts.statuses.range(300..400).map(|(_, count)| count).sum();
    let to = facts.location.as_deref().map_or_else(
        || "nowhere named".to_owned(),
        |location| {
            // From outside: as much as fits on a line.
            format!("`{}`", location.chars().filter(|c| !c.is_control()).take(200).collect::<String>())
        },
    );
    let text = format!("{} is a redirect to {to}, which is not followed: the redirect itself was measured", facts.path);
    (count > 0).then(|| {
        Finding::new("redirected", Severity::Notice, text).with_advice(Advice::new("ask for its target", None))
    })
}

/// In which phase the attempts were that brought no answer.
fn ended_in(facts: &Facts) -> Option<Finding> {
    if facts.lost_count + facts.failed_count == 0 {
        return None;
    }
    let (worst, _) = facts.broken.iter().max_by_key(|(_, count)| *count)?;
    let what = match worst {
        Phase::Dns => "the name was being looked up",
        Phase::Tcp => "the connection was being made",
        Phase::Tls => "the TLS handshake was under way",
        Phase::Ttfb => "the request had been sent or was being sent, and no whole head of an answer came",
        Phase::Transfer => "the answer had begun and did not end",
    };
    let text = format!("{}: most attempts without an answer ended while {what}", facts.path);
    let evidence = facts.broken.iter().map(|(phase, count)| format!("{count} in {}", phase.series()));
    Some(Finding::new("ended_in_phase", Severity::Problem, text).with_evidence(evidence.collect()))
}

/// A server that closes connections now and then is usual; one that closes most of them is not.
fn not_kept(facts: &Facts) -> Option<Finding> {
    let answers: u64 = facts.statuses.values().sum();
    let text = format!(
        "{}: {} connections had to be opened for {answers} answers; the requests that waited for one show it as slip",
        facts.path, facts.opened_count
    );
    let is_often = facts.is_kept && facts.opened_count > 10 && facts.opened_count * 20 > answers;
    is_often.then(|| Finding::new("connections_not_kept", Severity::Notice, text))
}

/// Interim answers are no answers: they are told, and not timed.
fn interim(facts: &Facts) -> Option<Finding> {
    let text = format!(
        "{}: {} interim answers (1xx) came before final ones; the first byte is that of the final answer",
        facts.path, facts.interim_count
    );
    (facts.interim_count > 0).then(|| Finding::new("interim_answers", Severity::Info, text))
}

fn cut(facts: &Facts) -> Option<Finding> {
    let text = format!(
        "{}: {} answers ended with their connection, and TLS did not say that it was their end (no close_notify): they may have been cut off",
        facts.path, facts.cut_count
    );
    let advice = "look at the server, or at what stands before it: it closes connections without ending TLS";
    (facts.cut_count > 0)
        .then(|| Finding::new("tls_cut", Severity::Problem, text).with_advice(Advice::new(advice, None)))
}

/// What was noticed about the credentials: how often they changed, and what went wrong with the latest renewal.
#[must_use]
pub fn credentials(renewal_count: u64, trouble: Option<String>) -> Vec<Finding> {
    let renewed = (renewal_count > 0).then(|| {
        let text = format!("the credentials were renewed {renewal_count} times while the run went on");
        Finding::new("credentials_renewed", Severity::Info, text)
    });
    let trouble = trouble.map(|trouble| {
        let text = format!("new credentials could not be had: {trouble}");
        Finding::new("credentials_not_renewed", Severity::Problem, text)
    });
    renewed.into_iter().chain(trouble).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(facts: &Facts) -> Vec<String> {
        findings(facts).into_iter().map(|finding| finding.id).collect()
    }

    fn facts(statuses: &[(u16, u64)]) -> Facts {
        Facts { path: "/p".to_owned(), statuses: statuses.iter().copied().collect(), ..Facts::default() }
    }

    #[test]
    fn each_kind_of_answer_is_reported_and_success_is_not() {
        assert_eq!(ids(&facts(&[(200, 10)])), [""; 0]);
        let all = facts(&[(200, 1), (301, 1), (401, 1), (403, 2), (404, 1), (429, 1), (500, 1), (503, 1)]);
        assert_eq!(ids(&all), ["unauthorized", "forbidden", "not_found", "throttled", "server_errors", "redirected"]);
        let errors = &findings(&all)[4];
        assert_eq!(errors.evidence, ["1 of 9 are 500", "1 of 9 are 503"]);
        assert_eq!(status_scalars(&all)[3].value, Some(2.0));
    }

    #[test]
    fn a_redirect_names_its_target() {
        let moved = Facts { location: Some("https://b/\u{1b}[31m".to_owned()), ..facts(&[(302, 3)]) };
        assert!(findings(&moved)[0].text.contains("redirect to `https://b/[31m`"), "{:?}", findings(&moved));
    }

    #[test]
    fn the_phase_of_most_losses_is_named() {
        let broken = vec![(Phase::Tls, 1), (Phase::Ttfb, 5)];
        let lost = Facts { lost_count: 6, broken, ..facts(&[]) };
        let found = &findings(&lost)[0];
        assert!(found.text.contains("no whole head of an answer came"), "{}", found.text);
        assert_eq!(found.evidence, ["1 in api.tls", "5 in api.ttfb"]);
        assert_eq!(ids(&Facts { lost_count: 0, ..lost }), [""; 0]);
    }

    #[test]
    fn connections_that_are_seldom_kept_are_told() {
        let often = Facts { is_kept: true, opened_count: 50, ..facts(&[(200, 100)]) };
        assert_eq!(ids(&often), ["connections_not_kept"]);
        assert_eq!(ids(&Facts { opened_count: 2, ..often }), [""; 0]);
    }
}
