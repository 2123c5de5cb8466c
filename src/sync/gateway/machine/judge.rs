//! Is a report newer than what is known, the same, older, or at odds with it?
//!
//! Separate because it is the whole of the version rule, and short. The order is that of `(epoch, version)`: a later start of
//! the agent is newer whatever its versions. Without a version the gateway counts: another status is the next version, the
//! same status is a repetition. The timestamp is not content: a repetition may have been written again.

use crate::sync::message::StatusReport;
use crate::sync::record::TaskRecord;

/// What is to be done with a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is the newest, with this epoch and version.
    Store {
        /// Start of the agent.
        epoch: u64,
        /// Number within it.
        version: u64,
    },
    /// It says what is known.
    Duplicate,
    /// Something newer is known.
    Stale,
    /// It says something else under the same version.
    Conflict,
}

/// Compares a report with the record of its task.
pub fn judge(known: Option<&TaskRecord>, report: &StatusReport) -> Judgement {
    let Some(known) = known else {
        return Judgement::Store { epoch: report.epoch.unwrap_or(0), version: report.version.unwrap_or(1) };
    };
    let epoch = report.epoch.unwrap_or(known.epoch);
    if known.node_id != report.node_id {
        // The epochs of two agents cannot be compared; whether the other may have the task was decided before. An end is
        // only undone by what began after it: a node that was away may still tell of its part.
        if known.status.is_final() && report.timestamp <= known.timestamp {
            return Judgement::Stale;
        }
        return Judgement::Store {
            epoch: report.epoch.unwrap_or(0),
            version: report.version.unwrap_or(known.version + 1),
        };
    }
    if epoch != known.epoch {
        let version = report.version.unwrap_or(1);
        return if epoch > known.epoch { Judgement::Store { epoch, version } } else { Judgement::Stale };
    }
    let Some(version) = report.version else {
        let next = Judgement::Store { epoch, version: known.version + 1 };
        return if report.status == known.status { Judgement::Duplicate } else { next };
    };
    match version.cmp(&known.version) {
        std::cmp::Ordering::Less => Judgement::Stale,
        std::cmp::Ordering::Greater => Judgement::Store { epoch, version },
        std::cmp::Ordering::Equal if report.status == known.status && report.payload == known.payload => {
            Judgement::Duplicate
        }
        std::cmp::Ordering::Equal => Judgement::Conflict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WallTime;
    use crate::sync::payload::Payload;
    use crate::sync::record::Status::{Completed, Running};

    fn known(epoch: u64, version: u64) -> TaskRecord {
        let timestamp = WallTime::from_unix_nanos(0);
        let (task_id, node_id) = ("t".to_owned(), "n".to_owned());
        TaskRecord {
            task_id,
            node_id,
            status: Running,
            epoch,
            version,
            timestamp,
            payload: None,
            over_at: None,
            revision: 1,
        }
    }

    fn report(epoch: Option<u64>, version: Option<u64>) -> StatusReport {
        let timestamp = WallTime::from_unix_nanos(1);
        let (task_id, node_id) = ("t".to_owned(), "n".to_owned());
        StatusReport { task_id, node_id, status: Running, timestamp, version, epoch, payload: None, trace: None }
    }

    #[test]
    fn the_order_is_that_of_epoch_and_version() {
        let cases = [
            (Some(1), Some(9), Judgement::Stale),
            (Some(2), Some(4), Judgement::Stale),
            (Some(2), Some(5), Judgement::Duplicate),
            (Some(2), Some(6), Judgement::Store { epoch: 2, version: 6 }),
            (Some(3), Some(1), Judgement::Store { epoch: 3, version: 1 }),
            (Some(3), None, Judgement::Store { epoch: 3, version: 1 }),
            (None, Some(6), Judgement::Store { epoch: 2, version: 6 }),
            (None, None, Judgement::Duplicate),
        ];
        for (epoch, version, expected) in cases {
            assert_eq!(judge(Some(&known(2, 5)), &report(epoch, version)), expected, "{epoch:?} {version:?}");
        }
        assert_eq!(judge(None, &report(None, None)), Judgement::Store { epoch: 0, version: 1 });
    }

    #[test]
    fn other_content_under_the_same_version_is_at_odds_and_the_timestamp_is_no_content() {
        let changed = StatusReport { status: Completed, ..report(Some(2), Some(5)) };
        assert_eq!(judge(Some(&known(2, 5)), &changed), Judgement::Conflict);
        let payload = StatusReport { payload: Payload::parse("{}").ok(), ..report(Some(2), Some(5)) };
        assert_eq!(judge(Some(&known(2, 5)), &payload), Judgement::Conflict);
        assert_eq!(judge(Some(&known(2, 5)), &report(Some(2), Some(5))), Judgement::Duplicate);
    }

    #[test]
    fn a_node_that_was_away_does_not_undo_the_end_that_another_reported() {
        let ended = TaskRecord { status: Completed, timestamp: WallTime::from_unix_nanos(5), ..known(9, 9) };
        let late = StatusReport { node_id: "other".to_owned(), ..report(Some(1), Some(3)) };
        assert_eq!(judge(Some(&ended), &late), Judgement::Stale);
        let again = StatusReport { timestamp: WallTime::from_unix_nanos(6), ..late };
        assert_eq!(judge(Some(&ended), &again), Judgement::Store { epoch: 1, version: 3 });
    }

    #[test]
    fn without_a_version_another_status_is_the_next_one() {
        let changed = StatusReport { status: Completed, ..report(None, None) };
        assert_eq!(judge(Some(&known(2, 5)), &changed), Judgement::Store { epoch: 2, version: 6 });
    }
}
