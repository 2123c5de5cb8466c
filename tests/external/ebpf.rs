//! The kernel's tracepoints beside what was really done: plain processes in control groups of our own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use offloadctl::model::Stamp;
use offloadctl::source::ebpf;
use offloadctl::source::watch::{Act, Sight, Told};
use offloadctl::sys::clock;
use offloadctl::sys::own_group::OwnGroups;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::docker::Engine;
use crate::host::{may_administer, turn};

/// Starts, and the pause between two: fifty in a second for two seconds.
const COUNT: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// What is granted a machine that does something else besides; idle, it is below a millisecond.
const LAG_P99: Duration = Duration::from_millis(20);

/// A watcher on a thread of its own.
struct Watcher {
    enough: Sender<()>,
    thread: JoinHandle<Vec<Told>>,
}

impl Watcher {
    /// Begins, and waits until it sees everything.
    fn start() -> Self {
        let ((enough, until), (ready, is_ready)) = (channel(), channel());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(watch(&ready, &until))
        });
        is_ready.recv().unwrap();
        Self { enough, thread }
    }

    /// Everything that it saw until nothing happened any more.
    fn end(self) -> Vec<Sight> {
        self.enough.send(()).unwrap();
        let all = self.thread.join().unwrap();
        let sight = |told| match told {
            Told::Saw(sight) => Some(sight),
            Told::Odd(_) => None,
            other => panic!("{other:?}"),
        };
        all.into_iter().filter_map(sight).collect()
    }
}

async fn watch(ready: &Sender<()>, until: &Receiver<()>) -> Vec<Told> {
    let (teller, mut told) = mpsc::channel(1024);
    let mut watching = JoinSet::new();
    watching.spawn(ebpf::open().unwrap_or_else(|error| panic!("{error:?}")).watch(teller));
    let mut all = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_millis(200), told.recv()).await {
            Ok(Some(Told::Watching)) => ready.send(()).unwrap(),
            Ok(Some(news)) => all.push(news),
            Ok(None) => panic!("it stopped: {all:?}"),
            Err(_) if until.try_recv().is_ok() => return all,
            Err(_) => {}
        }
    }
}

/// What was seen of a container.
fn acts_of(sights: &[Sight], container: &str) -> Vec<Act> {
    sights.iter().filter(|sight| sight.container == container).map(|sight| sight.act).collect()
}

/// Each act with its call and its return.
type Calls = BTreeMap<(String, Act), (Stamp, Stamp)>;

fn call(calls: &mut Calls, name: &str, act: Act, done: impl FnOnce()) {
    let began = clock::now();
    done();
    calls.insert((name.to_owned(), act), (began, clock::now()));
}

#[test]
fn every_life_of_a_process_in_a_group_is_seen_at_once() {
    if !may_administer("ebpf::every_life_of_a_process_in_a_group_is_seen_at_once") {
        return;
    }
    let _turn = turn();
    let watcher = Watcher::start();
    let (groups, _) = OwnGroups::make().unwrap();
    let (mut calls, mut living) = (Calls::new(), Vec::new());
    let due = clock::now();
    for number in 0..COUNT {
        std::thread::sleep((due + PAUSE * number as u32).since(clock::now()));
        let name = format!("test-{}-{number}", std::process::id());
        let mut group = None;
        call(&mut calls, &name, Act::Create, || group = Some(groups.create(&name).unwrap()));
        let mut group = group.unwrap();
        call(&mut calls, &name, Act::Start, || group.start().unwrap());
        living.push((name, group));
        if living.len() > 10 {
            let (name, mut group) = living.remove(0);
            call(&mut calls, &name, Act::Exit, || group.end().unwrap());
            call(&mut calls, &name, Act::Destroy, || group.remove().unwrap());
        }
    }
    let mut lags = Vec::new();
    for sight in watcher.end().into_iter().filter(|sight| sight.container.starts_with("test-")) {
        let known = calls.remove(&(sight.container.clone(), sight.act));
        let (began, ended) = known.unwrap_or_else(|| panic!("twice: {sight:?}"));
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

#[test]
fn a_group_that_is_only_in_the_tree_of_a_controller_is_seen() {
    let tree = Path::new("/sys/fs/cgroup/pids");
    if !may_administer("ebpf::a_group_that_is_only_in_the_tree_of_a_controller_is_seen") || !tree.is_dir() {
        return;
    }
    let _turn = turn();
    let watcher = Watcher::start();
    let id = format!("{:064x}", std::process::id());
    let (holder, group) = (tree.join("docker"), tree.join("docker").join(&id));
    let had_holder = holder.is_dir();
    fs::create_dir_all(&group).unwrap();
    let line = format!("echo $$ >{}/cgroup.procs; exec sleep 0.1", group.display());
    assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
    fs::remove_dir(&group).unwrap();
    if !had_holder {
        fs::remove_dir(&holder).unwrap();
    }
    assert_eq!(acts_of(&watcher.end(), &id), [Act::Create, Act::Start, Act::Exit, Act::Destroy]);
}

#[test]
fn a_container_of_docker_starts_once_and_dies_of_its_limit() {
    if !may_administer("ebpf::a_container_of_docker_starts_once_and_dies_of_its_limit") {
        return;
    }
    let _turn = turn();
    let engine = Engine::start();
    let before = engine.run("before", &["sleep", "100"]);
    let watcher = Watcher::start();
    let began = clock::now();
    let id = engine.run("seen", &["sleep", "100"]);
    let started = clock::now();
    engine.docker(&["exec", "seen", "true"]);
    engine.docker(&["rm", "-f", "seen"]);
    engine.docker(&["rm", "-f", "before"]);
    let hungry = ["run", "--network", "none", "--memory", "16m", "local/busybox:1", "tail", "/dev/zero"];
    let victim = engine.try_docker(&hungry);
    let sights = watcher.end();
    assert_eq!(acts_of(&sights, &id), [Act::Create, Act::Start, Act::Exit, Act::Destroy]);
    assert_eq!(acts_of(&sights, &before), [Act::Exit, Act::Destroy]);
    let start = sights.iter().find(|sight| sight.container == id && sight.act == Act::Start).unwrap();
    assert!(began <= start.seen && start.stamped.unwrap() <= started, "{start:?}");
    assert!(!victim, "it had more memory than its limit");
    let oom = sights.iter().find(|sight| sight.act == Act::Oom).unwrap_or_else(|| panic!("{sights:?}"));
    assert_eq!(acts_of(&sights, &oom.container), [Act::Create, Act::Start, Act::Oom, Act::Exit, Act::Destroy]);
}
