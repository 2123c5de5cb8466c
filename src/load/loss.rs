//! Which targets were lost or served nothing, and which attempts were given up: a pure look at what a load left.

use crate::model::{Series, Warning};

/// One sentence for each target and channel among these series that served nothing, or whose unanswered share is beyond
/// `max_loss_ratio`.
#[must_use]
pub fn lost_targets(series: &[Series], max_loss_ratio: f64) -> Vec<String> {
    let beyond = |ratio: f64| ratio > max_loss_ratio || ratio >= 1.0;
    series
        .iter()
        .filter(|series| {
            let counts = &series.counts;
            let is_nothing_served = counts.attempt_count > 0 && counts.ok_count == 0;
            series.is_response() && (is_nothing_served || counts.loss_ratio().is_some_and(beyond))
        })
        .map(|series| {
            let counts = &series.counts;
            format!(
                "{}: {} of {} attempts were not served ({} answered with an error, {} lost, {} refused, {} failed)",
                series.full_name(),
                counts.unanswered_count() + counts.error_count,
                counts.attempt_count,
                counts.error_count,
                counts.lost_count,
                counts.refused_count,
                counts.failed_count
            )
        })
        .collect()
}

/// That so many attempts were in flight when the user stopped the load; nothing if there were none.
#[must_use]
pub fn abandoned(count: u64) -> Option<Warning> {
    let text = format!("{count} attempts were in flight at the interruption and are not counted");
    (count > 0).then(|| Warning::new("abandoned", text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Counts;

    fn lost(ok_count: u64, lost_count: u64, max_loss_ratio: f64) -> usize {
        let counts = Counts { attempt_count: ok_count + lost_count, ok_count, lost_count, ..Counts::default() };
        lost_targets(&[Series { counts, ..Series::default() }], max_loss_ratio).len()
    }

    #[test]
    fn total_loss_is_never_fine_and_no_attempt_is_no_loss() {
        assert_eq!(lost(0, 10, 1.0), 1);
        assert_eq!(lost(1, 9, 1.0), 0);
        assert_eq!(lost(0, 0, 0.0), 0);
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        assert_eq!(lost(90, 10, 0.1), 0);
        assert_eq!(lost(89, 11, 0.1), 1);
    }
}
