//! Full disks: the error says so, and what was acknowledged before is there when there is room again.

use super::disk::Fault;
use super::*;

#[test]
fn a_disk_that_fills_up_at_any_moment_is_told_and_loses_nothing() {
    let (start, all) = (founded(), batches());
    let whole = start.copy(None);
    let mut store = open(&whole).unwrap();
    let opened = whole.operations();
    all.iter().for_each(|batch| store.commit(batch).unwrap());
    let last_write = whole.last_write();
    assert!(last_write > opened + 50, "only {} operations", last_write - opened);
    for after in opened..last_write {
        let disk = start.copy(Some(Fault::Full(after)));
        let mut store = open(&disk).unwrap();
        let acknowledged = all.iter().take_while(|batch| store.commit(batch).is_ok()).count();
        assert!(acknowledged < all.len(), "full after {after}");
        let again = store.commit(&all[acknowledged]);
        assert!(matches!(again, Err(StoreError::Reopen { .. })), "full after {after}: {again:?}");
        assert!(matches!(store.load(), Err(StoreError::Reopen { .. })), "full after {after}");
        drop(store);
        let found = open(&disk.copy(None)).unwrap().load().unwrap();
        let fits = [acknowledged, acknowledged + 1].map(|count| found == expected(&all[..count], &found.lineage));
        assert!(fits.contains(&true), "full after {after}: {acknowledged} acknowledged, {} found", found.revision);
    }
}

#[test]
fn the_first_error_of_a_full_disk_says_that_it_is_full() {
    let start = founded();
    let probe = start.copy(None);
    let store = open(&probe).unwrap();
    let disk = start.copy(Some(Fault::Full(probe.operations())));
    drop(store);
    let refused = open(&disk).unwrap().commit(&batches()[0]);
    assert!(matches!(refused, Err(StoreError::Full { .. })), "{refused:?}");
}

#[test]
fn a_store_on_a_full_disk_opens_or_says_why_not() {
    let start = founded();
    for after in 0..8 {
        match open(&start.copy(Some(Fault::Full(after)))) {
            Ok(_) | Err(StoreError::Full { .. }) => {}
            Err(error) => panic!("full after {after}: {error:?}"),
        }
    }
}
