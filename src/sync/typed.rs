//! What agents and gateway say to each other, between the words of [`message`](super::message) and the messages of the gRPC
//! interface.
//!
//! Separate because both sides translate, and nothing may be lost on the way: what an agent says in one form is stored as if it had
//! been said in the other. Pure.

use std::collections::BTreeMap;

use super::message::{
    Answer, Answers, Batch, Digest, ErrorBody, ErrorText, Exchange, Heartbeat, Outcome, Pulse, Receipt, StatusReport,
    Usage,
};
use super::payload::Payload;
use super::record::Status;
use crate::model::WallTime;
use crate::wire::node;

/// Nanoseconds of a millisecond.
const MILLI: i128 = 1_000_000;

/// A heartbeat as a message.
#[must_use]
pub fn heartbeat_to(beat: &Heartbeat) -> node::HeartbeatRequest {
    node::HeartbeatRequest {
        node_id: beat.node_id.clone(),
        term: beat.epoch,
        seq: beat.seq,
        next_interval_ms: beat.next_interval_ms,
        t1: beat.t1,
        last: beat.last.map(|Exchange { t1, t2, t3, t4 }| node::Exchange { t1, t2, t3, t4 }),
        digest: beat.digest.clone().map(|Digest { version, checksum }| node::Digest { version, checksum }),
        usage: beat.usage.map(|Usage { cpu_ratio, memory_ratio, disk_ratio }| node::Usage {
            cpu_ratio,
            memory_ratio,
            disk_ratio,
        }),
    }
}

/// A message as the heartbeat that it is.
#[must_use]
pub fn heartbeat_of(beat: node::HeartbeatRequest) -> Heartbeat {
    Heartbeat {
        node_id: beat.node_id,
        epoch: beat.term,
        seq: beat.seq,
        next_interval_ms: beat.next_interval_ms,
        t1: beat.t1,
        last: beat.last.map(|node::Exchange { t1, t2, t3, t4 }| Exchange { t1, t2, t3, t4 }),
        digest: beat.digest.map(|node::Digest { version, checksum }| Digest { version, checksum }),
        usage: beat.usage.map(|node::Usage { cpu_ratio, memory_ratio, disk_ratio }| {
            // JSON has no other numbers, and what is none is not known.
            let finite = |share: Option<f64>| share.filter(|share| share.is_finite());
            Usage { cpu_ratio: finite(cpu_ratio), memory_ratio: finite(memory_ratio), disk_ratio: finite(disk_ratio) }
        }),
    }
}

/// The answer to a heartbeat as a message.
#[must_use]
pub const fn pulse_to(pulse: &Pulse) -> node::HeartbeatResponse {
    node::HeartbeatResponse { seq: pulse.seq, t1: pulse.t1, t2: pulse.t2, t3: pulse.t3, resync: pulse.resync }
}

/// A message as the answer to a heartbeat that it is.
#[must_use]
pub const fn pulse_of(pulse: &node::HeartbeatResponse) -> Pulse {
    Pulse { seq: pulse.seq, t1: pulse.t1, t2: pulse.t2, t3: pulse.t3, resync: pulse.resync }
}

/// A batch as a message; `None` of one that a message cannot hold: of several nodes or epochs, with stamps of a trace, or with two
/// reports on one task.
#[must_use]
pub fn reports_to(batch: &Batch) -> Option<node::StatusReport> {
    let first = batch.reports.first()?;
    let (node_id, term) = (first.node_id.clone(), first.epoch);
    let newest = batch.reports.iter().map(|report| report.timestamp.unix_nanos()).max()?;
    let mut containers = BTreeMap::new();
    for report in &batch.reports {
        if report.trace.is_some() || report.node_id != node_id || report.epoch != term {
            return None;
        }
        let container = node::ContainerStatus {
            status: status_to(report.status) as i32,
            cpu: None,
            memory: None,
            version: report.version,
            changed_ns: Some(i64::try_from(report.timestamp.unix_nanos()).ok()?),
            payload: report.payload.as_ref().map(|payload| payload.text().to_owned()),
        };
        if containers.insert(report.task_id.clone(), container).is_some() {
            return None;
        }
    }
    let timestamp = i64::try_from(newest.div_euclid(MILLI)).ok()?;
    Some(node::StatusReport { node_id, containers, timestamp, term, id: batch.id })
}

/// The names of a message's containers, in the order of their reports and receipts.
#[must_use]
pub fn names(report: &node::StatusReport) -> Vec<String> {
    report.containers.keys().cloned().collect()
}

/// A message as its reports, each of which may be wrong by itself; the sentence says why.
pub fn reports_of(message: node::StatusReport) -> impl Iterator<Item = Result<StatusReport, String>> {
    let node::StatusReport { node_id, containers, timestamp, term, .. } = message;
    let told = i128::from(timestamp) * MILLI;
    containers.into_iter().map(move |(task_id, container)| {
        let status = status_of(container.status).ok_or_else(|| format!("`status` {} is none", container.status))?;
        let changed = container.changed_ns.map_or(told, i128::from);
        let payload = payload_of(&container)?;
        Ok(StatusReport {
            task_id,
            status,
            node_id: node_id.clone(),
            timestamp: WallTime::from_unix_nanos(changed),
            version: container.version,
            epoch: term,
            payload,
            trace: None,
        })
    })
}

/// Answers as a message: one receipt for each of these containers.
#[must_use]
pub fn answers_to(answers: Answers, names: Vec<String>) -> node::ReportResponse {
    let receipts =
        names.into_iter().zip(answers.answers).filter_map(|(name, answer)| Some((name, receipt_to(answer)?)));
    node::ReportResponse { id: answers.id, receipts: receipts.collect() }
}

/// A message as the answers to these containers, in their order; `None` where it says nothing of one of them.
#[must_use]
pub fn answers_of(mut response: node::ReportResponse, names: &[String]) -> Option<Answers> {
    let answers = names.iter().map(|name| response.receipts.remove(name).map(receipt_of));
    Some(Answers { id: response.id, answers: answers.collect::<Option<_>>()? })
}

/// A refusal as a receipt.
fn refused(error: ErrorText) -> node::Receipt {
    node::Receipt {
        refused: error.code,
        message: error.message,
        known_term: error.known_epoch,
        hint: error.hint.unwrap_or_default(),
        key: error.key.unwrap_or_default(),
        ..node::Receipt::default()
    }
}

fn receipt_to(answer: Answer) -> Option<node::Receipt> {
    Some(match answer {
        Answer::Refused(body) => refused(body.error),
        Answer::Receipt(receipt) => node::Receipt {
            outcome: match receipt.outcome {
                Outcome::Stored => node::Outcome::Stored,
                Outcome::Duplicate => node::Outcome::Duplicate,
                Outcome::Stale => node::Outcome::Stale,
            } as i32,
            revision: receipt.revision,
            version: receipt.version,
            known_term: receipt.known_epoch,
            ..node::Receipt::default()
        },
        // A gateway says nothing that it does not understand itself.
        Answer::Odd(_) => return None,
    })
}

fn receipt_of(receipt: node::Receipt) -> Answer {
    let given = |text: String| (!text.is_empty()).then_some(text);
    let outcome = match node::Outcome::try_from(receipt.outcome) {
        _ if !receipt.refused.is_empty() => {
            return Answer::Refused(ErrorBody {
                error: ErrorText {
                    code: receipt.refused,
                    message: receipt.message,
                    hint: given(receipt.hint),
                    key: given(receipt.key),
                    known_epoch: receipt.known_term,
                },
            });
        }
        Ok(node::Outcome::Stored) => Outcome::Stored,
        Ok(node::Outcome::Duplicate) => Outcome::Duplicate,
        Ok(node::Outcome::Stale) => Outcome::Stale,
        // A later gateway may say more than we know.
        Ok(node::Outcome::Unspecified) | Err(_) => return Answer::Odd(receipt.outcome.into()),
    };
    let (revision, version, known_epoch) = (receipt.revision, receipt.version, receipt.known_term);
    Answer::Receipt(Receipt { outcome, revision, version, known_epoch })
}

const fn status_to(status: Status) -> node::Status {
    match status {
        Status::Pending => node::Status::Pending,
        Status::Running => node::Status::Running,
        Status::Completed => node::Status::Completed,
        Status::Failed => node::Status::Failed,
        Status::Unknown => node::Status::Unknown,
    }
}

fn status_of(number: i32) -> Option<Status> {
    Some(match node::Status::try_from(number).ok()? {
        node::Status::Unspecified => return None,
        node::Status::Pending => Status::Pending,
        node::Status::Running => Status::Running,
        node::Status::Completed => Status::Completed,
        node::Status::Failed => Status::Failed,
        node::Status::Unknown => Status::Unknown,
    })
}

/// The payload with the shares as keys of it, where it is an object or absent and has no such keys itself.
fn payload_of(container: &node::ContainerStatus) -> Result<Option<Payload>, String> {
    let wrong = |error| format!("`payload`: {error}");
    let payload = container.payload.as_deref().map(Payload::parse).transpose().map_err(wrong)?;
    let mut text = payload.as_ref().map_or("{}", Payload::text).to_owned();
    // Of what is no object, and of what has the key already, nothing is changed.
    let Ok(known) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text) else {
        return Ok(payload);
    };
    let mut is_new = false;
    for (key, share) in [("cpu", container.cpu), ("memory", container.memory)] {
        let Some(share) = share else { continue };
        if !(0.0..=1.0).contains(&share) {
            return Err(format!("`{key}` is {share}, not 0 to 1"));
        }
        if !known.contains_key(key) {
            let comma = if text.len() > 2 { "," } else { "" };
            text.insert_str(text.len() - 1, &format!("{comma}\"{key}\":{share}"));
            is_new = true;
        }
    }
    if is_new { Payload::parse(&text).map(Some).map_err(wrong) } else { Ok(payload) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        let report = |task: &str, status| StatusReport {
            task_id: task.to_owned(),
            status,
            node_id: "n".to_owned(),
            timestamp: WallTime::from_unix_nanos(1_767_323_045_123_456_789),
            version: Some(7),
            epoch: Some(9),
            payload: Some(Payload::parse(r#"{"b":1.50}"#).unwrap()),
            trace: None,
        };
        Batch { id: 3, reports: vec![report("z", Status::Failed), report("a", Status::Running)] }
    }

    #[test]
    fn reports_come_out_as_they_went_in() {
        let batch = batch();
        let message = reports_to(&batch).unwrap();
        assert_eq!((message.id, names(&message)), (3, vec!["a".to_owned(), "z".to_owned()]));
        let mut reports: Vec<StatusReport> = reports_of(message).map(Result::unwrap).collect();
        reports.reverse();
        assert_eq!(reports, batch.reports);
    }

    #[test]
    fn what_a_message_cannot_hold_stays_json() {
        let with = |change: fn(&mut StatusReport)| {
            let mut batch = batch();
            change(&mut batch.reports[1]);
            reports_to(&batch)
        };
        assert_eq!(with(|report| report.node_id = "m".to_owned()), None);
        assert_eq!(with(|report| report.epoch = None), None);
        assert_eq!(with(|report| report.task_id = "z".to_owned()), None);
        assert_eq!(reports_to(&Batch { id: 1, reports: Vec::new() }), None);
    }

    #[test]
    fn shares_become_keys_of_a_payload_that_can_have_them() {
        let of = |payload: Option<&str>, cpu| {
            let payload = payload.map(str::to_owned);
            let container = node::ContainerStatus { cpu, memory: Some(0.5), payload, ..Default::default() };
            payload_of(&container).map(|payload| payload.map(|payload| payload.text().to_owned()))
        };
        let text = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(of(None, Some(0.25)), text(r#"{"cpu":0.25,"memory":0.5}"#));
        assert_eq!(of(Some(r#"{"a": 1.50}"#), None), text(r#"{"a":1.50,"memory":0.5}"#));
        assert_eq!(of(Some(r#"{"cpu":"x","memory":1}"#), Some(0.1)), text(r#"{"cpu":"x","memory":1}"#));
        assert_eq!(of(Some("[1]"), Some(0.1)), text("[1]"));
        for wrong in [f64::NAN, f64::INFINITY, -0.1, 1.1] {
            assert!(of(None, Some(wrong)).unwrap_err().contains("not 0 to 1"), "{wrong}");
        }
        assert!(of(Some("{"), None).unwrap_err().contains("payload"));
    }

    #[test]
    fn answers_come_out_in_the_order_that_is_asked_for() {
        let receipt = Receipt { outcome: Outcome::Stale, revision: 4, version: 5, known_epoch: Some(6) };
        let error = ErrorText {
            code: "invalid_report".to_owned(),
            message: "no".to_owned(),
            hint: Some("so".to_owned()),
            key: Some("timestamp".to_owned()),
            known_epoch: None,
        };
        let answers = Answers { id: 8, answers: vec![Answer::Receipt(receipt), Answer::Refused(ErrorBody { error })] };
        let names = ["z".to_owned(), "a".to_owned()];
        let message = answers_to(answers.clone(), names.to_vec());
        assert_eq!(answers_of(message.clone(), &names), Some(answers));
        assert_eq!(answers_of(message, &["y".to_owned()]), None);
    }
}
