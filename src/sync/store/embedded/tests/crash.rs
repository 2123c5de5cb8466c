//! Power cuts: nothing that was acknowledged is lost, and what was not is there whole or not at all.

use super::disk::Fault;
use super::*;

/// Runs the batches until the disk fails, and says how many were acknowledged.
fn run(disk: &Disk, batches: &[Vec<Change>]) -> usize {
    match open(disk) {
        Ok(mut store) => batches.iter().take_while(|batch| store.commit(batch).is_ok()).count(),
        Err(_) => 0,
    }
}

/// Opens what a power cut left, and holds it against what was acknowledged before.
#[track_caller]
fn expect_all_acknowledged(left: &Disk, acknowledged: usize, place: &str) {
    let mut store = open(left).unwrap_or_else(|error| panic!("{place}: {error}"));
    let found = store.load().unwrap_or_else(|error| panic!("{place}: {error}"));
    let all = batches();
    let possible = [acknowledged, (acknowledged + 1).min(all.len())];
    let fits = possible.iter().any(|count| found == expected(&all[..*count], &found.lineage));
    assert!(fits, "{place}: {acknowledged} batches were acknowledged, revision {} was found", found.revision);
    // It goes on from there.
    let rest: Vec<Change> = (found.revision + 1..found.revision + 4).map(change).collect();
    store.commit(&rest).unwrap_or_else(|error| panic!("{place}: {error}"));
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_that_was_acknowledged() {
    let (start, all) = (founded(), batches());
    let whole = start.copy(None);
    assert_eq!(run(&whole, &all), all.len());
    let moments = whole.operations();
    assert!(moments > 80, "only {moments} operations");
    for after in 0..=moments {
        let disk = start.copy(Some(Fault::PowerCut(after)));
        let acknowledged = run(&disk, &all);
        let left = disk.after_power_cut(after);
        expect_all_acknowledged(&left, acknowledged, &format!("cut after {after}"));
    }
}

#[test]
fn a_second_power_cut_during_the_repair_loses_nothing_either() {
    let (start, all) = (founded(), batches());
    let whole = start.copy(None);
    run(&whole, &all);
    for after in (5..whole.operations()).step_by(13) {
        let disk = start.copy(Some(Fault::PowerCut(after)));
        let acknowledged = run(&disk, &all);
        let left = disk.after_power_cut(after);
        for again in 0..12 {
            let repaired = left.copy(Some(Fault::PowerCut(again)));
            drop(open(&repaired));
            let place = format!("cut after {after} and again after {again}");
            expect_all_acknowledged(&repaired.after_power_cut(again), acknowledged, &place);
        }
    }
}

#[test]
fn nothing_is_acknowledged_before_it_is_flushed() {
    let disk = founded();
    let mut store = open(&disk).unwrap();
    for batch in batches() {
        let before = disk.flushes();
        store.commit(&batch).unwrap();
        assert!(
            disk.flushes() > before,
            "a commit of {} changes flushed {} times",
            batch.len(),
            disk.flushes() - before
        );
    }
}

/// The ruler, tried on a known length: if flushes are not what keeps the changes, this ring must notice.
#[test]
fn a_disk_that_lies_about_its_flushes_loses_what_was_acknowledged() {
    let (start, all) = (founded(), batches());
    let disk = start.copy(Some(Fault::Lying));
    assert_eq!(run(&disk, &all), all.len());
    let is_kept = |seed| {
        let found = open(&disk.after_power_cut(seed)).and_then(|mut store| store.load());
        found.is_ok_and(|found| found == expected(&all, &found.lineage))
    };
    assert!(!(0..5).any(is_kept));
}
