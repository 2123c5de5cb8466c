//! What a message must be to mean anything: names, numbers and times within their bounds.
//!
//! Separate because these limits protect the machine whatever way a message came in.

use crate::model::WallTime;
use crate::sync::gateway::refusal::{Code, Refusal};
use crate::sync::message::{
    FullState, HIGHEST_NUMBER, Heartbeat, LONGEST_ID, Leave, MOST_REPORTS, StatusReport, is_visible,
};

/// Longest payload in bytes: a status with some figures, not a log.
const LONGEST_PAYLOAD: usize = 16 * 1024;

/// How far ahead of ours the clock of a node may be.
const FURTHEST_AHEAD_S: i64 = 86_400;

/// The first moment that is believed: 2000-01-01.
pub const EARLIEST_S: i64 = 946_684_800;

/// Promised intervals: an hour is far beyond every monitor, ten milliseconds below every need.
const INTERVAL_MS: std::ops::RangeInclusive<u64> = 10..=3_600_000;

/// Checks a report.
pub fn report(report: &StatusReport, now: WallTime) -> Result<(), Refusal> {
    id("task_id", &report.task_id)?;
    id("node_id", &report.node_id)?;
    timestamp(report.timestamp, now)?;
    number("epoch", report.epoch.unwrap_or(0))?;
    number("version", report.version.unwrap_or(0))?;
    match &report.payload {
        Some(payload) if payload.text().len() > LONGEST_PAYLOAD => {
            Err(invalid(format!("`payload` has {} bytes, at most {LONGEST_PAYLOAD} are kept", payload.text().len())))
        }
        _ => Ok(()),
    }
}

/// Checks what a whole state says of itself; its tasks are checked one by one.
pub fn state(state: &FullState) -> Result<(), Refusal> {
    id("node_id", &state.node_id)?;
    number("epoch", state.epoch)?;
    number("version", state.version)?;
    span(state)?;
    match state.tasks.len() {
        0..=MOST_TASKS => Ok(()),
        more => Err(invalid(format!("{more} tasks in one state, at most {MOST_TASKS} are taken"))),
    }
}

/// Checks the names between which a part of a state says everything.
fn span(state: &FullState) -> Result<(), Refusal> {
    let (after, until) = (state.after.as_deref(), state.until.as_deref());
    after.map_or(Ok(()), |after| id("after", after))?;
    until.map_or(Ok(()), |until| id("until", until))?;
    if after.zip(until).is_some_and(|(after, until)| after >= until) {
        return Err(invalid("`until` is not behind `after`".to_owned()));
    }
    let is_within = |id: &str| after.is_none_or(|after| id > after) && until.is_none_or(|until| id <= until);
    match state.tasks.iter().find(|task| !is_within(&task.task_id)) {
        Some(_) => Err(invalid("a task of the state is not behind `after` and up to `until`".to_owned())),
        None => Ok(()),
    }
}

/// Most tasks of one whole state.
const MOST_TASKS: usize = 10 * MOST_REPORTS;

/// Checks a heartbeat.
pub fn heartbeat(heartbeat: &Heartbeat) -> Result<(), Refusal> {
    id("node_id", &heartbeat.node_id)?;
    number("epoch", heartbeat.epoch)?;
    number("seq", heartbeat.seq)?;
    if !INTERVAL_MS.contains(&heartbeat.next_interval_ms) {
        let (low, high) = (INTERVAL_MS.start(), INTERVAL_MS.end());
        return Err(invalid(format!("`next_interval_ms` is {}, not {low} to {high}", heartbeat.next_interval_ms)));
    }
    Ok(())
}

/// Checks a goodbye.
pub fn leave(leave: &Leave) -> Result<(), Refusal> {
    id("node_id", &leave.node_id)?;
    number("epoch", leave.epoch)
}

/// Checks a name.
pub fn id(key: &str, id: &str) -> Result<(), Refusal> {
    if id.is_empty() || id.len() > LONGEST_ID {
        return Err(invalid(format!("`{key}` has {} bytes, not 1 to {LONGEST_ID}", id.len())));
    }
    if !is_visible(id) {
        return Err(invalid(format!("`{key}` has white space, control characters or invisible ones in it")));
    }
    Ok(())
}

fn number(key: &str, number: u64) -> Result<(), Refusal> {
    if number > HIGHEST_NUMBER {
        return Err(invalid(format!("`{key}` is {number}, above {HIGHEST_NUMBER}")));
    }
    Ok(())
}

fn timestamp(timestamp: WallTime, now: WallTime) -> Result<(), Refusal> {
    let seconds = timestamp.unix_seconds();
    if seconds < EARLIEST_S {
        return misdated(format!("`timestamp` {timestamp} is before the year 2000: is the clock of the node set?"));
    }
    if seconds > now.unix_seconds() + FURTHEST_AHEAD_S {
        return misdated(format!("`timestamp` {timestamp} is more than a day ahead of the gateway, where it is {now}"));
    }
    Ok(())
}

/// One of two clocks is wrong, and will be right one day: the same report with another timestamp may be taken then.
fn misdated(message: String) -> Result<(), Refusal> {
    Err(Refusal { key: Some("timestamp"), ..invalid(message) })
}

fn invalid(message: String) -> Refusal {
    Refusal::new(Code::InvalidReport, message)
}
