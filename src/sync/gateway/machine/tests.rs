//! The rules of the gateway, one by one.

use super::*;
use crate::model::WallTime;
use crate::sync::checksum::StateSum;
use crate::sync::message::{Digest, FullState, TaskState};
use crate::sync::record::Status;

fn at(ms: u64) -> Moment {
    let nanos = 1_790_000_000_000_000_000 + i128::from(ms) * 1_000_000;
    Moment { at: Stamp::from_nanos(ms * 1_000_000), wall: WallTime::from_unix_nanos(nanos) }
}

fn settings() -> Settings {
    Settings {
        detector: "missed:3/margin=200ms".parse().unwrap(),
        retain_completed: Duration::from_secs(86_400),
        retain_left: Duration::from_secs(86_400),
        retain_unreachable: Duration::from_secs(10 * 86_400),
        most_tasks: 100,
        most_nodes: 10,
        history: 50,
    }
}

fn machine() -> Machine {
    Machine::new(settings(), Snapshot::new(), at(0))
}

fn beat(node: &str, epoch: u64, seq: u64) -> Heartbeat {
    let (t1, last, digest, usage) = (None, None, None, None);
    Heartbeat { node_id: node.to_owned(), epoch, seq, next_interval_ms: 1_000, t1, last, digest, usage }
}

#[test]
fn nobody_is_judged_by_a_time_in_which_the_gateway_itself_was_away() {
    let mut machine = machine();
    for node in ["one", "two"] {
        machine.heartbeat(at(0), &beat(node, 1, 1)).unwrap();
    }
    machine.excuse(at(60_000));
    machine.poll(at(60_000));
    let state = |machine: &Machine, node: &str| machine.node(at(0), node).unwrap().state;
    assert_eq!(state(&machine, "one"), NodeState::Alive);
    // What one sent meanwhile is heard now; of the other nothing waits, and it is judged as ever.
    machine.heartbeat(at(60_001), &beat("one", 1, 60)).unwrap();
    machine.poll(at(63_199));
    assert_eq!(state(&machine, "two"), NodeState::Alive);
    machine.poll(at(63_200));
    assert_eq!((state(&machine, "one"), state(&machine, "two")), (NodeState::Alive, NodeState::Unreachable));
}

fn report(node: &str, task: &str, status: Status, version: u64) -> StatusReport {
    StatusReport {
        task_id: task.to_owned(),
        status,
        node_id: node.to_owned(),
        timestamp: at(0).wall,
        version: Some(version),
        epoch: Some(1),
        payload: None,
        trace: None,
    }
}

fn state(node: &str, epoch: u64, tasks: &[(&str, Status, u64)]) -> FullState {
    let mut sum = StateSum::default();
    let tasks: Vec<TaskState> = tasks
        .iter()
        .map(|(id, status, version)| {
            sum.add(id, *status, *version);
            TaskState {
                task_id: (*id).to_owned(),
                status: *status,
                version: *version,
                timestamp: at(0).wall,
                payload: None,
            }
        })
        .collect();
    let version = tasks.iter().map(|task| task.version).max().unwrap_or(0);
    FullState {
        id: 1,
        node_id: node.to_owned(),
        epoch,
        version,
        checksum: sum.to_string(),
        after: None,
        until: None,
        tasks,
    }
}

fn state_of(machine: &Machine, node: &str) -> NodeState {
    machine.node(at(0), node).unwrap().state
}

/// Everything that was written, as the store would give it back.
fn snapshot(machine: &Machine) -> Snapshot {
    Snapshot {
        revision: machine.revision,
        tasks: machine.tasks.values().cloned().collect(),
        nodes: machine.nodes.values().filter_map(|node| node.record.clone()).collect(),
        history: machine.history.iter().cloned().collect(),
        ..Snapshot::new()
    }
}

#[test]
fn three_missed_make_a_node_unreachable_and_its_tasks_unknown_and_the_next_heartbeat_brings_both_back() {
    let mut machine = machine();
    machine.heartbeat(at(0), &beat("n", 1, 1)).unwrap();
    machine.report(at(0), report("n", "t", Status::Running, 1)).unwrap();
    machine.report(at(0), report("n", "over", Status::Completed, 2)).unwrap();
    machine.heartbeat(at(1_000), &beat("n", 1, 2)).unwrap();
    machine.poll(at(4_199));
    assert_eq!(state_of(&machine, "n"), NodeState::Alive);
    assert_eq!(machine.next_deadline(), Some(at(4_200).at));
    machine.poll(at(4_200));
    assert_eq!(state_of(&machine, "n"), NodeState::Unreachable);
    let task = machine.task("t").unwrap();
    assert_eq!((task.status, task.last_status), (Status::Unknown, Some(Status::Running)));
    assert_eq!(machine.task("over").unwrap().status, Status::Completed);
    machine.heartbeat(at(9_000), &beat("n", 1, 3)).unwrap();
    assert_eq!(state_of(&machine, "n"), NodeState::Alive);
    assert_eq!(machine.task("t").unwrap().status, Status::Running);
    // Alive, two tasks, unreachable, alive: heartbeats themselves are not written.
    assert_eq!(machine.take_unwritten().len(), 5);
    assert!(machine.take_unwritten().is_empty());
}

#[test]
fn a_closed_connection_makes_a_node_suspect_and_only_the_detector_makes_it_unreachable() {
    let mut machine = machine();
    machine.connect("n").unwrap();
    machine.heartbeat(at(0), &beat("n", 1, 1)).unwrap();
    machine.disconnect(at(10), "n");
    assert_eq!(state_of(&machine, "n"), NodeState::Suspect);
    machine.poll(at(3_199));
    assert_eq!(state_of(&machine, "n"), NodeState::Suspect);
    machine.poll(at(3_200));
    assert_eq!(state_of(&machine, "n"), NodeState::Unreachable);
}

#[test]
fn after_a_restart_all_timers_begin_anew() {
    let mut before = machine();
    before.heartbeat(at(0), &beat("n", 1, 1)).unwrap();
    let mut after = Machine::new(settings(), snapshot(&before), at(60_000));
    after.poll(at(63_199));
    assert_eq!(state_of(&after, "n"), NodeState::Alive);
    // 1,000 ms were written as 1,024.
    after.poll(at(60_000 + 3 * 1_024 + 200));
    assert_eq!(state_of(&after, "n"), NodeState::Unreachable);
}

#[test]
fn an_agent_that_slowed_down_as_it_said_is_not_accused_even_after_a_restart() {
    let mut machine = machine();
    machine.heartbeat(at(0), &beat("n", 1, 1)).unwrap();
    machine.heartbeat(at(1_000), &Heartbeat { next_interval_ms: 30_000, ..beat("n", 1, 2) }).unwrap();
    machine.poll(at(90_000));
    assert_eq!(state_of(&machine, "n"), NodeState::Alive);
    let mut after = Machine::new(settings(), snapshot(&machine), at(90_000));
    after.poll(at(180_000));
    assert_eq!(state_of(&after, "n"), NodeState::Alive);
    // And one that became faster is watched at its new pace at once.
    machine.heartbeat(at(91_000), &beat("n", 1, 3)).unwrap();
    machine.poll(at(94_200));
    assert_eq!(state_of(&machine, "n"), NodeState::Unreachable);
}

#[test]
fn versions_grow_repetitions_change_nothing_and_contradictions_are_refused() {
    let mut machine = machine();
    let mut outcome = |status, version| {
        let told = machine.report(at(0), report("n", "t", status, version));
        told.map(|receipt| (receipt.outcome, receipt.revision, receipt.version)).map_err(|refusal| refusal.code)
    };
    assert_eq!(outcome(Status::Running, 5), Ok((Outcome::Stored, 1, 5)));
    assert_eq!(outcome(Status::Running, 5), Ok((Outcome::Duplicate, 1, 5)));
    assert_eq!(outcome(Status::Pending, 4), Ok((Outcome::Stale, 1, 5)));
    assert_eq!(outcome(Status::Failed, 5), Err(Code::VersionConflict));
    assert_eq!(outcome(Status::Failed, 6), Ok((Outcome::Stored, 2, 6)));
    assert_eq!(machine.take_unwritten().len(), 2);
}

#[test]
fn a_task_passes_to_another_node_only_when_its_own_is_not_heard_or_it_is_over() {
    let mut machine = machine();
    machine.heartbeat(at(0), &beat("a", 1, 1)).unwrap();
    machine.report(at(0), report("a", "t", Status::Running, 1)).unwrap();
    let refused = machine.report(at(0), report("b", "t", Status::Running, 9)).unwrap_err();
    assert_eq!(refused.code, Code::OwnedElsewhere);
    machine.poll(at(5_000));
    machine.heartbeat(at(5_000), &beat("b", 1, 1)).unwrap();
    assert_eq!(machine.report(at(5_000), report("b", "t", Status::Running, 1)).unwrap().outcome, Outcome::Stored);
    // The old node comes back and still believes that the task is its own.
    machine.heartbeat(at(6_000), &beat("a", 1, 2)).unwrap();
    let answers = machine.state(at(6_000), state("a", 1, &[("t", Status::Running, 1)])).unwrap();
    assert_eq!(answers[0].as_ref().unwrap_err().code, Code::OwnedElsewhere);
    assert_eq!(machine.task("t").unwrap().node_id, "b");
}

#[test]
fn a_whole_state_ends_what_it_does_not_hold_and_both_sides_agree_afterwards() {
    let mut machine = machine();
    machine.state(at(0), state("n", 1, &[("a", Status::Running, 1), ("b", Status::Running, 2)])).unwrap();
    let next = state("n", 1, &[("b", Status::Running, 2), ("c", Status::Pending, 3)]);
    let digest = Some(Digest { version: 3, checksum: next.checksum.clone() });
    let differs = machine.heartbeat(at(1), &Heartbeat { digest: digest.clone(), ..beat("n", 1, 1) }).unwrap();
    assert!(differs);
    let answers = machine.state(at(2), next).unwrap();
    let outcomes: Vec<Outcome> = answers.into_iter().map(|answer| answer.unwrap().outcome).collect();
    assert_eq!(outcomes, [Outcome::Duplicate, Outcome::Stored]);
    assert_eq!(machine.task("a").unwrap().status, Status::Unknown);
    // That is written once, also if a restart has forgotten who told it.
    let mut after = Machine::new(settings(), snapshot(&machine), at(2));
    after.state(at(3), state("n", 1, &[("b", Status::Running, 2), ("c", Status::Pending, 3)])).unwrap();
    assert_eq!(after.revision(), machine.revision());
    assert!(!machine.heartbeat(at(3), &Heartbeat { digest, ..beat("n", 1, 2) }).unwrap());
}

#[test]
fn a_part_of_a_state_speaks_of_its_own_names_and_the_rest_may_never_come() {
    let mut machine = machine();
    let all = ["a", "b", "c", "d"].map(|id| (id, Status::Running, 1));
    machine.state(at(0), state("n", 1, &all)).unwrap();
    let part = |after: Option<&str>, until: Option<&str>, tasks: &[(&str, Status, u64)]| FullState {
        after: after.map(str::to_owned),
        until: until.map(str::to_owned),
        ..state("n", 2, tasks)
    };
    let statuses = |machine: &Machine| ["a", "b", "c", "d"].map(|id| machine.task(id).unwrap().status);
    let (running, unknown) = (Status::Running, Status::Unknown);
    machine.state(at(1), part(None, Some("b"), &[("b", running, 1)])).unwrap();
    assert_eq!(statuses(&machine), [unknown, running, running, running]);
    machine.state(at(2), part(Some("b"), Some("c"), &[])).unwrap();
    assert_eq!(statuses(&machine), [unknown, running, unknown, running]);
    let told = machine.state(at(3), part(Some("c"), None, &[("d", running, 1), ("e", running, 2)])).unwrap();
    assert!(told.iter().all(Result::is_ok));
    let mut sum = StateSum::default();
    [("b", 1), ("d", 1), ("e", 2)].into_iter().for_each(|(id, version)| sum.add(id, running, version));
    let digest = Some(Digest { version: 2, checksum: sum.to_string() });
    assert!(!machine.heartbeat(at(4), &Heartbeat { digest, ..beat("n", 2, 1) }).unwrap(), "both know the same");
    let wrong = [part(Some("b"), Some("b"), &[]), part(Some("c"), Some("b"), &[]), part(Some(""), None, &[])];
    let outside = [part(Some("b"), None, &[("b", running, 3)]), part(None, Some("b"), &[("c", running, 3)])];
    for part in wrong.into_iter().chain(outside) {
        assert_eq!(machine.state(at(5), part.clone()).unwrap_err().code, Code::InvalidReport, "{part:?}");
    }
}

#[test]
fn who_is_stale_because_of_its_epoch_is_told_which_one_is_known() {
    let mut machine = machine();
    machine.report(at(0), StatusReport { epoch: Some(9), ..report("n", "t", Status::Running, 1) }).unwrap();
    let told = machine.report(at(1), report("n", "t", Status::Failed, 5)).unwrap();
    assert_eq!((told.outcome, told.version, told.known_epoch), (Outcome::Stale, 1, Some(9)));
    let older = StatusReport { epoch: Some(9), version: Some(0), ..report("n", "t", Status::Failed, 0) };
    assert_eq!(machine.report(at(1), older).unwrap().known_epoch, None);
}

#[test]
fn an_older_agent_is_told_of_the_later_one() {
    let mut machine = machine();
    machine.heartbeat(at(0), &beat("n", 7, 1)).unwrap();
    let refused = machine.heartbeat(at(1), &beat("n", 6, 99)).unwrap_err();
    assert_eq!((refused.code, refused.known_epoch), (Code::OldEpoch, Some(7)));
    assert!(machine.state(at(1), state("n", 6, &[])).is_err());
    assert!(machine.leave(at(1), &Leave { node_id: "n".to_owned(), epoch: 6 }).is_err());
}

#[test]
fn a_node_that_flaps_has_to_prove_itself() {
    let mut machine = machine();
    let mut now = 0;
    let mut seq = 0;
    let mut proof = Vec::new();
    for _ in 0..4 {
        let mut needed = 0;
        while machine.node(at(now), "n").is_none_or(|node| node.state != NodeState::Alive) {
            (now, seq, needed) = (now + 1_000, seq + 1, needed + 1);
            machine.heartbeat(at(now), &beat("n", 1, seq)).unwrap();
            machine.poll(at(now));
        }
        proof.push(needed);
        now += 5_000;
        machine.poll(at(now));
    }
    assert_eq!(proof, [1, 1, 2, 4]);
}

#[test]
fn who_left_is_not_lost_and_is_forgotten_after_its_time_as_tasks_are_that_are_over() {
    let mut machine = machine();
    machine.heartbeat(at(0), &beat("n", 1, 1)).unwrap();
    machine.report(at(0), report("n", "t", Status::Completed, 1)).unwrap();
    machine.report(at(0), report("n", "open", Status::Running, 2)).unwrap();
    machine.leave(at(500), &Leave { node_id: "n".to_owned(), epoch: 1 }).unwrap();
    machine.poll(at(100_000));
    assert_eq!(state_of(&machine, "n"), NodeState::Left);
    let day = 86_400_000;
    machine.poll(at(day));
    assert!(machine.task("t").is_none() && machine.node(at(0), "n").is_some());
    machine.poll(at(day + 500));
    assert!(machine.node(at(0), "n").is_none() && machine.task("open").is_none());
    assert!(matches!(machine.history.back(), Some(Change::NodeForgotten { .. })));
}

#[test]
fn a_node_that_nobody_hears_of_is_forgotten_after_its_longer_time() {
    let mut machine = machine();
    machine.heartbeat(at(0), &beat("n", 1, 1)).unwrap();
    machine.report(at(0), report("n", "open", Status::Running, 1)).unwrap();
    machine.poll(at(3_200));
    assert_eq!(state_of(&machine, "n"), NodeState::Unreachable);
    let end = 3_200 + 10 * 86_400_000;
    machine.poll(at(end - 1));
    assert!(machine.node(at(0), "n").is_some() && machine.next_deadline() == Some(at(end).at));
    machine.poll(at(end));
    assert!(machine.node(at(0), "n").is_none() && machine.task("open").is_none());
    assert_eq!(machine.next_deadline(), None);
}

#[test]
fn a_node_that_left_and_whose_connection_stays_open_is_forgotten_once_it_is_closed() {
    let mut machine = machine();
    machine.connect("n").unwrap();
    machine.heartbeat(at(0), &beat("n", 1, 1)).unwrap();
    machine.leave(at(0), &Leave { node_id: "n".to_owned(), epoch: 1 }).unwrap();
    machine.poll(at(86_400_000));
    assert_eq!(state_of(&machine, "n"), NodeState::Left);
    machine.disconnect(at(86_400_001), "n");
    machine.poll(at(86_400_000 + 60_000));
    assert!(machine.node(at(0), "n").is_none());
}

#[test]
fn a_restart_does_not_begin_the_time_anew_that_something_is_kept() {
    let mut before = machine();
    before.heartbeat(at(0), &beat("n", 1, 1)).unwrap();
    before.report(at(0), report("n", "t", Status::Completed, 1)).unwrap();
    before.leave(at(0), &Leave { node_id: "n".to_owned(), epoch: 1 }).unwrap();
    let mut after = Machine::new(settings(), snapshot(&before), at(86_399_000));
    after.poll(at(86_399_999));
    assert!(after.task("t").is_some() && after.node(at(0), "n").is_some());
    after.poll(at(86_400_000));
    assert!(after.task("t").is_none() && after.node(at(0), "n").is_none());
    // A record of before the stamp was kept, or of a clock that was ahead, is kept from the restart on.
    let mut old = snapshot(&before);
    old.tasks.iter_mut().for_each(|task| task.over_at = None);
    old.nodes.iter_mut().for_each(|node| node.changed_at = at(400 * 86_400_000).wall);
    let mut after = Machine::new(settings(), old, at(86_400_000));
    after.poll(at(2 * 86_400_000 - 1));
    assert!(after.task("t").is_some() && after.node(at(0), "n").is_some());
    after.poll(at(2 * 86_400_000));
    assert!(after.task("t").is_none() && after.node(at(0), "n").is_none());
}

#[test]
fn a_clock_that_is_ahead_at_a_start_makes_nobody_forget_what_it_would_keep_once_it_is_set() {
    let mut before = machine();
    before.report(at(0), report("n", "t", Status::Completed, 1)).unwrap();
    before.leave(at(0), &Leave { node_id: "n".to_owned(), epoch: 1 }).unwrap();
    let ahead = |ms: u64| Moment { at: at(ms).at, wall: at(ms + 2 * 86_400_000).wall };
    let mut after = Machine::new(settings(), snapshot(&before), ahead(0));
    after.poll(ahead(59_999));
    assert!(after.task("t").is_some() && after.node(at(0), "n").is_some());
    // Set meanwhile.
    after.poll(at(60_000));
    assert!(after.task("t").is_some() && after.node(at(0), "n").is_some());
    after.poll(at(86_399_999));
    assert!(after.task("t").is_some() && after.node(at(0), "n").is_some());
    after.poll(at(86_400_000));
    assert!(after.task("t").is_none() && after.node(at(0), "n").is_none());
    // One that stays ahead is believed in the end.
    let mut after = Machine::new(settings(), snapshot(&before), ahead(0));
    after.poll(ahead(60_000));
    assert!(after.task("t").is_none() && after.node(at(0), "n").is_none());
}

#[test]
fn subscribers_get_every_change_in_order_or_are_told_of_the_gap() {
    let mut machine = machine();
    for version in 1..=70 {
        machine.report(at(0), report("n", "t", Status::Running, version)).unwrap();
        machine.take_unwritten();
    }
    let revisions = |after, until| -> Result<Vec<u64>, u64> {
        Ok(machine.changes(after, until, 3)?.iter().map(Change::revision).collect())
    };
    assert_eq!(revisions(30, 70), Ok(vec![31, 32, 33]));
    assert_eq!(revisions(68, 69), Ok(vec![69]));
    assert_eq!(revisions(70, 70), Ok(vec![]));
    assert_eq!(revisions(0, 70), Err(21));
    assert_eq!(revisions(20, 70), Ok(vec![21, 22, 23]));
}

#[test]
fn what_the_store_refused_is_forgotten() {
    let mut machine = machine();
    machine.report(at(0), report("n", "t", Status::Running, 1)).unwrap();
    let durable = snapshot(&machine);
    machine.take_unwritten();
    machine.report(at(0), report("n", "t", Status::Completed, 2)).unwrap();
    machine.restore(durable, at(1));
    assert_eq!(machine.task("t").unwrap().status, Status::Running);
    assert!(machine.take_unwritten().is_empty());
    assert_eq!(machine.report(at(0), report("n", "t", Status::Completed, 2)).unwrap().revision, 2);
}

#[test]
fn what_means_nothing_is_refused_and_changes_nothing() {
    let mut machine = machine();
    let good = || report("n", "t", Status::Running, 1);
    let bad = [
        StatusReport { task_id: String::new(), ..good() },
        StatusReport { task_id: "x".repeat(254), ..good() },
        StatusReport { node_id: "a b".to_owned(), ..good() },
        StatusReport { timestamp: WallTime::from_unix_nanos(0), ..good() },
        StatusReport { timestamp: at(2 * 86_400_000).wall, ..good() },
        StatusReport { version: Some(u64::MAX), ..good() },
        StatusReport { epoch: Some(1 << 53), ..good() },
    ];
    for report in bad {
        assert_eq!(machine.report(at(0), report.clone()).unwrap_err().code, Code::InvalidReport, "{report:?}");
    }
    for next_interval_ms in [0, 9, 3_600_001] {
        assert!(machine.heartbeat(at(0), &Heartbeat { next_interval_ms, ..beat("n", 1, 1) }).is_err());
    }
    assert!(machine.leave(at(0), &Leave { node_id: "n".to_owned(), epoch: 1 << 53 }).is_err());
    assert_eq!(machine.revision(), 0);
    for n in 0..100 {
        machine.report(at(0), report("n", &n.to_string(), Status::Running, 1)).unwrap();
    }
    assert_eq!(machine.report(at(0), good()).unwrap_err().code, Code::TooMany);
}

#[test]
fn lists_are_paged_by_name() {
    let mut machine = machine();
    for id in ["c", "a", "b", "d"] {
        machine.report(at(0), report(if id < "c" { "x" } else { "y" }, id, Status::Running, 1)).unwrap();
    }
    let names = |view: View<TaskView>| (view.items.into_iter().map(|t| t.task_id).collect::<Vec<_>>(), view.next_after);
    assert_eq!(names(machine.tasks(None, 3, None)), (vec!["a".into(), "b".into(), "c".into()], Some("c".into())));
    assert_eq!(names(machine.tasks(Some("c"), 3, None)), (vec!["d".into()], None));
    assert_eq!(names(machine.tasks(None, 3, Some("y"))), (vec!["c".into(), "d".into()], None));
}

#[test]
fn one_node_cannot_use_up_what_all_have() {
    let settings = Settings { most_tasks: 1_000_000, ..settings() };
    let mut machine = Machine::new(settings, Snapshot::new(), at(0));
    let mut add =
        |node: &str, n: u32| machine.report(at(0), report(node, &format!("{node}-{n}"), Status::Completed, 1));
    assert!((0..20_000).all(|n| add("greedy", n).is_ok()));
    assert_eq!(add("greedy", 20_000).unwrap_err().code, Code::TooMany);
    assert!(add("greedy", 7).is_ok() && add("other", 1).is_ok());
    machine.poll(at(86_400_000));
    // In portions, so that the store's queue holds them.
    assert!(machine.next_deadline().is_some_and(|next| next <= at(86_400_000).at));
    (0..2).for_each(|_| machine.poll(at(86_400_000)));
    assert_eq!(machine.tasks(None, 1, None).items, []);
    assert!(machine.report(at(0), report("greedy", "again", Status::Running, 1)).is_ok());
}
