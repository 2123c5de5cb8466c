//! What happened beside what each source told of it: pure pairing of acts and sights.
//!
//! Separate from whoever acts and whoever watches, so that every way in which a source can err is tried by hand.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Stamp;
use crate::source::watch::{Act, Sight};

/// An act of ours that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    /// The container.
    pub container: String,
    /// What was done to it.
    pub act: Act,
    /// When it was called for.
    pub called: Stamp,
    /// When the call returned.
    pub returned: Stamp,
}

/// What a source told, in the order of its arrival.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// Every sight.
    pub sights: &'a [Sight],
    /// The acts that it tells of at all.
    pub tells: &'a [Act],
}

/// Which occurrence of which act.
type Key<'a> = (&'a str, Act, usize);

/// What one source told of one kind of act.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// From the call to the sight, for each act that it told; `None` for one that it missed.
    pub since_act: Vec<Option<u64>>,
    /// From the first source's sight to its own; `None` for one that it missed.
    pub behind: Vec<Option<u64>>,
    /// From its own time to the sight.
    pub receipt: Vec<u64>,
    /// From the kernel's stamp to the sight.
    pub lag: Vec<u64>,
    /// Acts that it never told.
    pub missed: u64,
    /// Acts that it told again.
    pub duplicated: u64,
    /// Acts that it told after a later one.
    pub reordered: u64,
    /// Acts that followed from a later one.
    pub collapsed: u64,
}

/// What one source told, act by act.
pub type Tallies = BTreeMap<Act, Tally>;

/// Pairs what happened with what each source told, in the order of its sights. Without truths, what any source told happened.
#[must_use]
pub fn correlate(truths: Option<&[Truth]>, sources: &[Told]) -> Vec<Tallies> {
    let known: BTreeSet<&str> = truths.unwrap_or_default().iter().map(|truth| truth.container.as_str()).collect();
    let concerns = |sight: &&Sight| truths.is_none() || known.contains(sight.container.as_str());
    let mut all: Vec<(BTreeMap<Key, &Sight>, Tallies)> =
        sources.iter().map(|source| distinct(source.sights.iter().filter(concerns), truths.is_some())).collect();
    let kernel = kernel_stamps(&all);
    let firsts = firsts(&all);
    let called: BTreeMap<Key, Stamp> = truths
        .unwrap_or_default()
        .iter()
        .map(|truth| ((truth.container.as_str(), truth.act, 0), truth.called))
        .collect();
    let happened: Vec<Key> = match truths {
        Some(_) => called.keys().copied().collect(),
        None => firsts.keys().copied().collect(),
    };
    for ((told, tallies), source) in all.iter_mut().zip(sources) {
        let is_told = |key: &&Key| source.tells.contains(&key.1) || told.contains_key(*key);
        for key in happened.iter().filter(is_told) {
            let tally = tallies.entry(key.1).or_default();
            let sight = told.get(key);
            if let Some(called) = called.get(key) {
                tally.since_act.push(sight.map(|sight| sight.seen.nanos_since(*called)));
            }
            // What no source told is behind nobody.
            tally.behind.extend(firsts.get(key).map(|first| sight.map(|sight| sight.seen.nanos_since(*first))));
            let Some(sight) = sight else {
                tally.missed += 1;
                continue;
            };
            tally.receipt.extend(sight.stamped.map(|stamped| sight.seen.nanos_since(stamped)));
            tally.lag.extend(kernel.get(key).map(|stamp| sight.seen.nanos_since(*stamp)));
            tally.collapsed += u64::from(sight.implied);
        }
    }
    all.into_iter().map(|(_, tallies)| tallies).collect()
}

/// The first sight of each act, and what was told twice or out of order. An act of our own happens once to a container; others
/// may be started again, which is told from a repetition by the source's own time.
fn distinct<'a>(sights: impl Iterator<Item = &'a Sight>, is_once: bool) -> (BTreeMap<Key<'a>, &'a Sight>, Tallies) {
    let (mut told, mut tallies) = (BTreeMap::new(), Tallies::new());
    let mut latest: BTreeMap<&str, &Sight> = BTreeMap::new();
    let mut occurrences: BTreeMap<(&str, Act), Vec<&Sight>> = BTreeMap::new();
    for sight in sights {
        let earlier = occurrences.entry((&sight.container, sight.act)).or_default();
        let is_again = |before: &&&Sight| is_once || before.stamped.is_some() && before.stamped == sight.stamped;
        if earlier.iter().any(|before| is_again(&before)) {
            tallies.entry(sight.act).or_default().duplicated += 1;
            continue;
        }
        told.insert((sight.container.as_str(), sight.act, earlier.len()), sight);
        earlier.push(sight);
        match latest.get(sight.container.as_str()) {
            Some(before) if is_before(sight, before) => tallies.entry(sight.act).or_default().reordered += 1,
            _ => drop(latest.insert(&sight.container, sight)),
        }
    }
    (told, tallies)
}

/// Whether this happened before that, which was told earlier: by the source's own time; where it has none, or the same of both,
/// by what cannot be otherwise.
fn is_before(this: &Sight, that: &Sight) -> bool {
    match (this.stamped, that.stamped) {
        (Some(this), Some(that)) if this != that => this < that,
        _ => this.act == Act::Create || that.act == Act::Destroy,
    }
}

/// When the first of all sources knew of each act.
fn firsts<'a>(all: &[(BTreeMap<Key<'a>, &'a Sight>, Tallies)]) -> BTreeMap<Key<'a>, Stamp> {
    let mut firsts: BTreeMap<Key, Stamp> = BTreeMap::new();
    for (key, sight) in all.iter().flat_map(|(told, _)| told) {
        let first = firsts.entry(*key).or_insert(sight.seen);
        *first = (*first).min(sight.seen);
    }
    firsts
}

/// The kernel's stamp of each act, where a source has one.
fn kernel_stamps<'a>(all: &[(BTreeMap<Key<'a>, &'a Sight>, Tallies)]) -> BTreeMap<Key<'a>, Stamp> {
    let sights = all.iter().flat_map(|(told, _)| told).filter(|(_, sight)| sight.kernel);
    sights.filter_map(|(key, sight)| Some((*key, sight.stamped?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: u64) -> Stamp {
        Stamp::from_nanos(ns)
    }

    fn sight(container: &str, act: Act, seen: u64) -> Sight {
        let container = container.to_owned();
        Sight { container, act, seen: at(seen), stamped: None, kernel: false, implied: false, exit_code: None }
    }

    fn stamped(container: &str, act: Act, seen: u64, stamp: u64) -> Sight {
        Sight { stamped: Some(at(stamp)), ..sight(container, act, seen) }
    }

    /// Pairs what sources told that tell of everything.
    fn paired(truths: Option<&[Truth]>, sources: &[Vec<Sight>]) -> Vec<Tallies> {
        let told: Vec<Told> = sources.iter().map(|sights| Told { sights, tells: &Act::ALL }).collect();
        correlate(truths, &told)
    }

    #[test]
    fn what_a_source_does_not_tell_of_it_cannot_miss() {
        let truths = [truth("a", Act::Create, 1), truth("a", Act::Start, 2)];
        let told = Told { sights: &[sight("a", Act::Start, 3)], tells: &[Act::Start, Act::Exit] };
        let all = correlate(Some(&truths), &[told]);
        assert_eq!((all[0].get(&Act::Create), all[0][&Act::Start].missed), (None, 0));
    }

    fn truth(container: &str, act: Act, called: u64) -> Truth {
        Truth { container: container.to_owned(), act, called: at(called), returned: at(called + 50) }
    }

    #[test]
    fn every_act_has_its_time_since_the_call_and_what_was_never_told_is_missed() {
        let truths = [truth("a", Act::Start, 100), truth("a", Act::Exit, 900), truth("b", Act::Start, 200)];
        let events = vec![sight("a", Act::Start, 140), sight("b", Act::Start, 250), sight("a", Act::Exit, 910)];
        let lists = vec![sight("b", Act::Start, 1_000), sight("stranger", Act::Start, 1_000)];
        let all = paired(Some(&truths), &[events, lists]);
        assert_eq!(all[0][&Act::Start].since_act, [Some(40), Some(50)]);
        assert_eq!((all[0][&Act::Start].missed, all[0][&Act::Exit].missed), (0, 0));
        assert_eq!(all[1][&Act::Start].since_act, [None, Some(800)]);
        assert_eq!((all[1][&Act::Start].missed, all[1][&Act::Exit].missed), (1, 1));
        assert_eq!(all[0][&Act::Start].behind, [Some(0), Some(0)]);
        assert_eq!(all[1][&Act::Start].behind, [None, Some(750)]);
    }

    #[test]
    fn two_events_with_one_stamp_are_in_order_and_none_is_a_repetition() {
        let events = vec![stamped("a", Act::Start, 10, 5), stamped("a", Act::Exit, 11, 5)];
        let all = paired(Some(&[truth("a", Act::Start, 1), truth("a", Act::Exit, 2)]), &[events]);
        for act in [Act::Start, Act::Exit] {
            let Tally { missed, duplicated, reordered, .. } = all[0][&act];
            assert_eq!((missed, duplicated, reordered), (0, 0, 0), "{act}");
        }
        assert_eq!((&all[0][&Act::Start].receipt, &all[0][&Act::Exit].receipt), (&vec![5], &vec![6]));
    }

    #[test]
    fn what_is_told_twice_or_after_a_later_act_is_counted() {
        let truths = [truth("a", Act::Create, 1), truth("a", Act::Start, 2)];
        let told = vec![
            stamped("a", Act::Start, 10, 7),
            stamped("a", Act::Create, 11, 6),
            stamped("a", Act::Start, 12, 7),
            stamped("a", Act::Start, 13, 8),
        ];
        let all = paired(Some(&truths), &[told]);
        assert_eq!((all[0][&Act::Create].reordered, all[0][&Act::Start].duplicated), (1, 2));
        let unstamped = vec![sight("a", Act::Start, 10), sight("a", Act::Create, 11)];
        assert_eq!(paired(Some(&truths), &[unstamped])[0][&Act::Create].reordered, 1);
    }

    #[test]
    fn a_start_that_follows_from_its_exit_is_seen_and_collapsed() {
        let truths = [truth("a", Act::Start, 100), truth("a", Act::Exit, 200)];
        let lists = vec![Sight { implied: true, ..sight("a", Act::Start, 500) }, sight("a", Act::Exit, 500)];
        let start = &paired(Some(&truths), &[lists])[0][&Act::Start];
        assert_eq!((start.since_act.as_slice(), start.collapsed, start.missed), (&[Some(400)][..], 1, 0));
    }

    #[test]
    fn the_lag_is_from_the_kernels_stamp_to_every_source() {
        let kernel = vec![Sight { kernel: true, ..stamped("a", Act::Exit, 30, 20) }];
        let events = vec![stamped("a", Act::Exit, 70, 40)];
        let all = paired(Some(&[truth("a", Act::Exit, 10)]), &[kernel, events]);
        assert_eq!((&all[0][&Act::Exit].lag, &all[1][&Act::Exit].lag), (&vec![10], &vec![50]));
    }

    #[test]
    fn without_truths_everything_that_any_source_told_happened() {
        let events = vec![
            stamped("a", Act::Start, 10, 9),
            stamped("a", Act::Exit, 20, 19),
            stamped("a", Act::Start, 30, 29),
            stamped("a", Act::Start, 31, 29),
        ];
        let lists = vec![sight("a", Act::Start, 40)];
        let all = paired(None, &[events, lists]);
        assert_eq!((all[0][&Act::Start].missed, all[0][&Act::Start].duplicated), (0, 1));
        assert_eq!((all[1][&Act::Start].missed, all[1][&Act::Exit].missed), (1, 1));
        assert_eq!((all[0][&Act::Start].reordered, all[0][&Act::Exit].reordered), (0, 0), "it was started again");
        assert!(all[0][&Act::Start].since_act.is_empty());
    }
}
