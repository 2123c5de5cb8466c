//! The kernel's tracepoints beside what was really done: plain processes in control groups of our own.

use std::collections::BTreeMap;
use std::time::Duration;

use offloadctl::model::Stamp;
use offloadctl::source::ebpf;
use offloadctl::source::watch::{Act, Told};
use offloadctl::sys::clock;
use offloadctl::sys::own_group::OwnGroups;
use tokio::sync::mpsc;

use crate::host::{may_administer, turn};

/// Starts, and the pause between two: fifty in a second for two seconds.
const COUNT: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// What is granted a machine that does something else besides; idle, it is below a millisecond.
const LAG_P99: Duration = Duration::from_millis(20);

/// Watches on a thread of its own what happens until nothing does for a moment.
fn watch(until: std::sync::mpsc::Receiver<()>) -> (std::sync::mpsc::Receiver<()>, std::thread::JoinHandle<Vec<Told>>) {
    let (ready, is_ready) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let (teller, mut told) = mpsc::channel(1024);
            let opened = ebpf::open().unwrap_or_else(|error| panic!("{error:?}"));
            let mut watching = tokio::task::JoinSet::new();
            watching.spawn(opened.watch(teller));
            let mut all = Vec::new();
            loop {
                match tokio::time::timeout(Duration::from_millis(200), told.recv()).await {
                    Ok(Some(Told::Watching)) => ready.send(()).unwrap(),
                    Ok(Some(news)) => all.push(news),
                    Ok(None) => panic!("it stopped: {all:?}"),
                    Err(_) if until.try_recv().is_ok() => break,
                    Err(_) => {}
                }
            }
            all
        })
    });
    (is_ready, thread)
}

#[test]
fn every_life_of_a_process_in_a_group_is_seen_at_once() {
    if !may_administer("ebpf::every_life_of_a_process_in_a_group_is_seen_at_once") {
        return;
    }
    let _turn = turn();
    let (enough, until) = std::sync::mpsc::channel();
    let (is_ready, thread) = watch(until);
    is_ready.recv().unwrap();
    let (groups, _) = OwnGroups::make().unwrap();
    let mut calls: BTreeMap<(String, Act), (Stamp, Stamp)> = BTreeMap::new();
    let mut living = Vec::new();
    let due = clock::now();
    for number in 0..COUNT {
        std::thread::sleep((due + PAUSE * number as u32).since(clock::now()));
        let name = format!("test-{}-{number}", std::process::id());
        let mut call = |act, name: &str, began| calls.insert((name.to_owned(), act), (began, clock::now()));
        let began = clock::now();
        let mut group = groups.create(&name).unwrap();
        call(Act::Create, &name, began);
        let began = clock::now();
        group.start().unwrap();
        call(Act::Start, &name, began);
        living.push((name, group));
        if living.len() > 10 {
            let (name, mut group) = living.remove(0);
            let began = clock::now();
            group.end().unwrap();
            call(Act::Exit, &name, began);
            let began = clock::now();
            group.remove().unwrap();
            call(Act::Destroy, &name, began);
        }
    }
    enough.send(()).unwrap();
    let all = thread.join().unwrap();
    let mut lags = Vec::new();
    for told in all {
        let sight = match told {
            Told::Saw(sight) => sight,
            Told::Odd(_) => continue,
            other => panic!("{other:?}"),
        };
        let Some((began, ended)) = calls.remove(&(sight.container.clone(), sight.act)) else {
            assert!(!sight.container.starts_with("test-"), "twice: {sight:?}");
            continue;
        };
        let stamped = sight.stamped.unwrap();
        assert!(sight.kernel && began <= stamped && stamped <= sight.seen, "{sight:?} after {began:?}");
        assert!(stamped <= ended, "{sight:?} before {ended:?}");
        lags.push(sight.seen.since(stamped));
    }
    assert!(calls.is_empty(), "missed: {calls:?}");
    lags.sort();
    let at = |share: usize| lags[(lags.len() - 1) * share / 100];
    assert!(at(99) <= LAG_P99, "lag p50 {:?} p99 {:?} max {:?}", at(50), at(99), at(100));
}
