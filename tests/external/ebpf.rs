//! The kernel's tracepoints beside what was really done: plain processes in control groups of our own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use offloadctl::model::{Labels, Stamp};
use offloadctl::source::ebpf;
use offloadctl::source::watch::{Act, Sight, Told};
use offloadctl::sys::clock;
use offloadctl::sys::own_group::OwnGroups;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::docker::Engine;
use crate::host::{let_pass, may_administer, path_of, turn, wait_until};
use crate::program::{OFFLOADCTL, call};

/// Starts, and the pause between two: fifty in a second for two seconds.
const COUNT: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// What is granted a machine that does something else besides; idle, it is below a millisecond.
const LAG_P99: Duration = Duration::from_millis(200);

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

fn timed(calls: &mut Calls, name: &str, act: Act, done: impl FnOnce()) {
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
        timed(&mut calls, &name, Act::Create, || group = Some(groups.create(&name).unwrap()));
        let mut group = group.unwrap();
        timed(&mut calls, &name, Act::Start, || group.start().unwrap());
        living.push((name, group));
        if living.len() > 10 {
            let (name, mut group) = living.remove(0);
            timed(&mut calls, &name, Act::Exit, || group.end().unwrap());
            timed(&mut calls, &name, Act::Destroy, || group.remove().unwrap());
        }
    }
    let mut lags = Vec::new();
    for sight in watcher.end().into_iter().filter(|sight| sight.container.starts_with("test-")) {
        let known = calls.remove(&(sight.container.clone(), sight.act));
        let (began, ended) = known.unwrap_or_else(|| panic!("twice: {sight:?}"));
        let stamped = sight.stamped.unwrap();
        assert!(sight.kernel && began <= stamped && stamped <= sight.seen, "{sight:?} after {began:?}");
        // The call returns when the child's descriptors are closed, which the kernel does shortly before it tells of the start.
        assert!(stamped <= ended || sight.act == Act::Start, "{sight:?} before {ended:?}");
        lags.push(sight.seen.since(stamped));
    }
    assert!(calls.is_empty(), "missed: {calls:?}");
    lags.sort();
    let at = |share: usize| lags[(lags.len() - 1) * share / 100];
    assert!(at(99) <= LAG_P99, "lag p50 {:?} p99 {:?} max {:?}", at(50), at(99), at(100));
}

#[test]
fn what_the_ring_has_no_room_for_is_counted() {
    if !may_administer("ebpf::what_the_ring_has_no_room_for_is_counted") {
        return;
    }
    let _turn = turn();
    let opened = ebpf::open().unwrap();
    let (groups, _) = OwnGroups::make().unwrap();
    // A kilobyte each, twice.
    const FLOOD: u64 = 2_000;
    for _ in 0..FLOOD {
        groups.create("flood").unwrap().remove().unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (seen, lost) = runtime.block_on(async {
        let (teller, mut told) = mpsc::channel(1024);
        let mut watching = JoinSet::new();
        watching.spawn(opened.watch(teller));
        let (mut seen, mut lost) = (0, 0);
        while let Ok(Some(news)) = tokio::time::timeout(Duration::from_millis(500), told.recv()).await {
            match news {
                Told::Saw(sight) => seen += u64::from(sight.container == "flood"),
                Told::Lost(count) => lost += count,
                _ => {}
            }
        }
        (seen, lost)
    });
    assert!(lost > 0 && seen > 0 && seen < 2 * FLOOD && seen + lost >= 2 * FLOOD, "{seen} seen, {lost} lost");
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

/// The command on plain processes.
fn events(arguments: &[&str]) -> Vec<String> {
    let fixed = [OFFLOADCTL, "probe", "events", "--source", "ebpf", "--act", "cgroup", "--json", "--no-save"];
    fixed.iter().chain(arguments).map(|word| (*word).to_owned()).collect()
}

/// Programs on raw tracepoints that are in the kernel, by their names.
fn in_the_kernel() -> usize {
    let done = Command::new(path_of("bpftool", "bpftool")).args(["prog", "list"]).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    let ours = ["on_exec", "on_exit", "on_mkdir", "on_rmdir", "on_attach", "on_victim"];
    text.lines().filter(|line| ours.iter().any(|name| line.contains(&format!("name {name} ")))).count()
}

/// Folders of ours in the unified tree.
fn folders() -> usize {
    let tree = offloadctl::sys::group_tree::unified().unwrap();
    let entries = fs::read_dir(tree).unwrap().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("offloadctl-")).count()
}

#[test]
fn the_command_misses_nothing_and_what_a_killed_one_left_is_gone() {
    if !may_administer("ebpf::the_command_misses_nothing_and_what_a_killed_one_left_is_gone") {
        return;
    }
    let _turn = turn();
    // The kernel frees programs some moments after the last descriptor.
    wait_until("nothing is there of earlier tests", || (in_the_kernel(), folders()) == (0, 0));
    let words = events(&["--count", "100", "--rate", "5/s"]);
    let mut killed =
        Command::new(&words[0]).args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("it acts", || in_the_kernel() == 6 && folders() == 1);
    let_pass(Duration::from_millis(500));
    killed.kill().unwrap();
    killed.wait().unwrap();
    wait_until("nothing is attached", || in_the_kernel() == 0);
    assert_eq!(folders(), 1, "the kernel keeps groups");

    let run = call(&events(&["--count", "40", "--rate", "50/s", "--alive", "100ms"])).run(0);
    let left: Vec<_> = run.warnings.iter().filter(|warning| warning.id == "leftover").collect();
    assert_eq!(left.len(), 1, "{:?}", run.warnings);
    let ebpf = Labels::new().with("source", "ebpf");
    assert_eq!([run.value("events.missed", &ebpf), run.value("events.duplicated", &ebpf)], [Some(0.0); 2]);
    for event in ["create", "start", "exit", "destroy"] {
        let lag = run.series.iter().find(|one| one.name == "events.lag" && one.label("event") == event).unwrap();
        assert_eq!(lag.counts.ok_count, 40, "{event}");
    }
    wait_until("nothing is left", || (in_the_kernel(), folders()) == (0, 0));
}

#[test]
fn without_privilege_the_missing_capability_is_named() {
    if !may_administer("ebpf::without_privilege_the_missing_capability_is_named") {
        return;
    }
    let _turn = turn();
    let setpriv = path_of("setpriv", "util-linux");
    let without = |capabilities: &str| {
        let bounds = [format!("--bounding-set={capabilities}"), format!("--inh-caps={capabilities}")];
        let words = [vec![setpriv.to_str().unwrap().to_owned()], bounds.to_vec(), events(&["--count", "1"])].concat();
        let ended = call(&words);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{}", ended.stderr);
        ended.stderr
    };
    let all = without("-all");
    assert!(all.contains("CAP_BPF and CAP_PERFMON") || all.contains("control group"), "{all}");
    let one = without("-sys_admin,-perfmon");
    assert!(one.contains("lacks CAP_PERFMON") && one.contains("--cap-add PERFMON"), "{one}");
}
