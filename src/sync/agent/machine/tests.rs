//! The rules of the agent, one by one.

mod clock;
mod several;
mod world;

use super::*;
use crate::detect::Bounds;
use crate::sync::message::{Answer, ErrorBody, FromAgent, Outcome, Receipt};
use crate::sync::record::Status::{self, Completed, Failed, Running, Unknown};
use world::{START_MS, World, batch, beat, moment, refusal, said, seen, settings, state, stored};

#[test]
fn a_connection_begins_with_everything_and_a_heartbeat() {
    let (world, actions) = World::connected(settings(), vec![seen("a", Running), seen("b", Completed)]);
    let state = state(&actions);
    let told: Vec<(&str, Status)> = state.tasks.iter().map(|task| (task.task_id.as_str(), task.status)).collect();
    assert_eq!(told, [("a", Running), ("b", Completed)]);
    assert_eq!((state.epoch, state.version), (START_MS * 1_000, 2));
    let beat = beat(&actions);
    assert_eq!((beat.seq, beat.next_interval_ms, &beat.digest), (1, 1_000, &None));
    assert!(!world.machine.is_settled());
}

#[test]
fn nothing_is_told_to_be_everything_before_every_source_has_spoken() {
    let mut world = World::new(Settings { sources: 2, ..settings() });
    world.input(Input::Tick);
    world.input(Input::Known(0, vec![seen("a", Running)]));
    let actions = world.input(Input::Connected);
    assert_eq!(actions.len(), 1, "a heartbeat alone: {actions:?}");
    assert_eq!(beat(&actions).digest, None);
    let late = world.input(Input::Known(1, vec![seen("b", Running)]));
    let late = if late.is_empty() { world.after(5) } else { late };
    assert_eq!(state(&late).tasks.len(), 2);
}

#[test]
fn the_first_change_waits_for_company_and_no_longer() {
    let mut world = World::settled(vec![]);
    assert_eq!(world.change("a", Running), []);
    world.ms += 3;
    assert_eq!(world.change("b", Running), []);
    assert_eq!(world.machine.next_deadline(), Some(moment(5).at));
    let actions = world.after(2);
    assert_eq!(said(batch(&actions)), [("a", Running, 1), ("b", Running, 2)]);
}

#[test]
fn the_latest_state_wins_and_one_frame_is_on_its_way_at_a_time() {
    let mut world = World::settled(vec![]);
    world.change("a", Running);
    let first = world.after(5);
    assert_eq!(world.change("a", Unknown), []);
    assert_eq!(world.change("a", Running), []);
    assert_eq!(world.after(50), []);
    let second = world.accept(&first);
    assert_eq!(said(batch(&second)), [("a", Running, 3)]);
    world.accept(&second);
    assert!(world.machine.is_settled());
}

#[test]
fn an_agent_that_was_stopped_does_not_take_its_own_absence_for_a_silence_of_the_gateway() {
    let mut world = World::settled(vec![]);
    world.change("a", Running);
    let sent = world.after(5);
    assert_eq!(said(batch(&sent)).len(), 1);
    // Stopped for a minute. What was answered meanwhile is read one after the other.
    let actions = world.after(60_000);
    assert!(matches!(actions[..], [Action::Send(FromAgent::Heartbeat(_))]), "{actions:?}");
    assert_eq!(world.accept(&sent), []);
    // Who does not answer from here on is silent as ever.
    let actions: Vec<Action> = (0..22).flat_map(|_| world.after(500)).collect();
    assert!(actions.iter().any(|action| matches!(action, Action::Warn(Warning::Silent(_)))), "{actions:?}");
}

#[test]
fn an_agent_whose_machine_has_slept_is_heard_at_once() {
    let mut world = World::settled(vec![]);
    world.ms += 100;
    assert_eq!(world.input(Input::Tick), []);
    assert_eq!(beat(&world.input(Input::Woke)).seq, 2);
    world.input(Input::Disconnected);
    let mut waiting = world.input(Input::Woke);
    assert_eq!(waiting.pop(), Some(Action::Connect));
}

#[test]
fn an_answer_that_nobody_understands_hides_no_other() {
    let mut world = World::settled(vec![]);
    world.change("a", Running);
    world.change("b", Completed);
    let sent = world.after(5);
    let odd = serde_json::from_str(r#"{"outcome":"postponed","revision":1,"version":1}"#).unwrap();
    let actions = world.answer(batch(&sent).id, vec![odd, stored(2)]);
    assert!(
        matches!(&actions[..], [Action::Warn(Warning::TaskRefused { task_id, .. })] if task_id == "a"),
        "{actions:?}"
    );
    assert_eq!(world.machine.tasks(), 1, "the end of the other was taken");
}

#[test]
fn what_a_source_repeats_is_no_change() {
    let mut world = World::settled(vec![seen("a", Running)]);
    assert_eq!(world.change("a", Running), []);
    assert_eq!(world.input(Input::Known(0, vec![seen("a", Running)])), []);
    assert!(world.machine.is_settled());
}

#[test]
fn an_end_is_kept_until_it_is_acknowledged_and_then_forgotten() {
    let mut world = World::settled(vec![seen("a", Running)]);
    world.change("a", Failed);
    let lost = world.after(5);
    assert_eq!(said(batch(&lost)), [("a", Failed, 2)]);
    world.input(Input::Disconnected);
    let until = world.machine.next_deadline().unwrap();
    world.ms = until.as_nanos().div_ceil(1_000_000);
    assert_eq!(world.input(Input::Tick), [Action::Connect]);
    let again = world.input(Input::Connected);
    assert_eq!(state(&again).tasks[0].status, Failed);
    assert_eq!(world.machine.tasks(), 1);
    world.accept(&again);
    assert_eq!(world.machine.tasks(), 0);
}

#[test]
fn a_task_that_its_source_no_longer_knows_becomes_unknown() {
    let mut world = World::settled(vec![seen("a", Running), seen("b", Running)]);
    world.input(Input::Vanished("a".to_owned()));
    let actions = world.after(5);
    assert_eq!(said(batch(&actions)), [("a", Unknown, 3)]);
    world.accept(&actions);
    world.input(Input::Known(0, vec![]));
    let actions = world.after(5);
    assert_eq!(said(batch(&actions)), [("b", Unknown, 4)]);
    world.accept(&actions);
    assert_eq!(world.machine.tasks(), 0);
    assert_eq!(world.change("b", Running), []);
    assert_eq!(said(batch(&world.after(5))), [("b", Running, 5)]);
}

#[test]
fn a_quiet_heartbeat_carries_the_checksum_of_what_the_gateway_has_taken() {
    let mut world = World::settled(vec![seen("a", Running), seen("b", Running), seen("c", Completed)]);
    let checksum = |of: &[(&str, u64)]| {
        let mut sum = crate::sync::checksum::StateSum::zero();
        of.iter().for_each(|(id, version)| sum.add(id, Running, *version));
        sum.to_string()
    };
    let quiet = world.after(1_000);
    assert_eq!(beat(&quiet).digest.as_ref().unwrap().checksum, checksum(&[("a", 1), ("b", 2)]));
    world.accept(&quiet);
    world.change("a", Completed);
    world.ms += 995;
    let busy = world.after(5);
    assert_eq!(beat(&busy).digest, None, "reports are on their way");
    world.accept(&busy);
    assert_eq!(beat(&world.after(1_000)).digest.as_ref().unwrap().checksum, checksum(&[("b", 2)]));
}

#[test]
fn a_disagreement_leads_to_a_whole_state_and_lasting_ones_to_rarer_digests() {
    let mut world = World::settled(vec![seen("a", Running)]);
    let mut without = 0;
    let mut gaps = Vec::new();
    for _ in 0..150 {
        let actions = world.after(1_000);
        let beat = beat(&actions);
        if beat.digest.is_none() {
            without += 1;
            world.accept(&actions);
            continue;
        }
        gaps.push(without);
        without = 0;
        let seq = beat.seq;
        let resync = world.pulse(seq, true);
        assert_eq!(state(&resync).tasks.len(), 1);
        world.accept(&resync);
    }
    assert_eq!(gaps, [0, 0, 1, 3, 7, 15, 31, 63]);
    let mut quiet = || {
        let actions = world.after(1_000);
        world.accept(&actions);
        beat(&actions).digest.is_some()
    };
    assert!((0..65).any(|_| quiet()));
    assert!(beat(&world.after(1_000)).digest.is_some(), "once they agree, every heartbeat compares again");
}

#[test]
fn a_task_of_another_node_is_left_out_of_the_checksum() {
    let (mut world, actions) = World::connected(settings(), vec![seen("a", Running), seen("b", Running)]);
    let id = state(&actions).id;
    let error = refusal("owned_elsewhere", None);
    let warned = world.answer(id, vec![stored(1), Answer::Refused(ErrorBody { error })]);
    assert!(matches!(&warned[0], Action::Warn(Warning::TaskRefused { task_id, .. }) if task_id == "b"));
    world.pulse(1, false);
    let mut sum = crate::sync::checksum::StateSum::zero();
    sum.add("a", Running, 1);
    assert_eq!(beat(&world.after(1_000)).digest.as_ref().unwrap().checksum, sum.to_string());
}

#[test]
fn stale_and_conflicting_reports_are_sent_again_under_a_higher_version() {
    let (mut world, actions) = World::connected(settings(), vec![seen("a", Running), seen("b", Running)]);
    let stale = Answer::Receipt(Receipt { outcome: Outcome::Stale, revision: 9, version: 41, known_epoch: None });
    let conflict = Answer::Refused(ErrorBody { error: refusal("version_conflict", None) });
    let again = world.answer(state(&actions).id, vec![stale, conflict]);
    assert_eq!(said(batch(&again)), [("a", Running, 42), ("b", Running, 43)]);
    world.accept(&again);
    assert!(world.machine.is_settled());
}

#[test]
fn a_record_of_a_later_epoch_raises_ours() {
    let (mut world, actions) = World::connected(settings(), vec![seen("a", Running)]);
    let before = world.machine.epoch();
    // In one step, however far ahead it is: counting up to it would never end.
    let known_epoch = Some(before + 1_000_000_000_000);
    let stale = Answer::Receipt(Receipt { outcome: Outcome::Stale, revision: 9, version: 0, known_epoch });
    let told = world.answer(state(&actions).id, vec![stale]);
    assert_eq!(beat(&told).epoch, world.machine.epoch());
    assert_eq!(world.machine.epoch(), before + 1_000_000_000_001);
    assert!(told.contains(&Action::Warn(Warning::EpochAhead(world.machine.epoch()))), "{told:?}");
    assert_eq!(world.after(199), []);
    let later = world.after(1);
    assert_eq!(state(&later).epoch, world.machine.epoch());
}

#[test]
fn an_epoch_that_nobody_can_begin_after_is_told_and_not_tried_again_and_again() {
    let (mut world, actions) = World::connected(settings(), vec![seen("a", Running)]);
    let (before, known_epoch) = (world.machine.epoch(), Some(HIGHEST_NUMBER));
    let stale = Answer::Receipt(Receipt { outcome: Outcome::Stale, revision: 9, version: 0, known_epoch });
    let told = world.answer(state(&actions).id, vec![stale]);
    assert_eq!(told, [Action::Warn(Warning::LastEpoch(HIGHEST_NUMBER))]);
    assert_eq!(world.machine.epoch(), before);
    let sent: usize = (0..90).map(|_| world.after(100).len()).sum();
    assert_eq!(sent, 9, "heartbeats and nothing else");
    let (mut refused, _) = World::connected(settings(), vec![]);
    let told = refused.error("old_epoch", known_epoch);
    assert_eq!(told, [Action::Warn(Warning::LastEpoch(HIGHEST_NUMBER)), Action::Close]);
}

#[test]
fn an_end_that_another_node_told_later_is_told_and_left_alone() {
    let mut world = World::settled(vec![seen("a", Running)]);
    world.change("a", Completed);
    let id = batch(&world.after(5)).id;
    let stale = Receipt { outcome: Outcome::Stale, revision: 9, version: 1, known_epoch: None };
    let told = world.answer(id, vec![Answer::Receipt(stale)]);
    assert!(matches!(&told[..], [Action::Warn(Warning::TaskRefused { task_id, .. })] if task_id == "a"), "{told:?}");
    assert!(world.machine.is_settled() && world.machine.tasks() == 0);
}

#[test]
fn an_old_epoch_is_raised_before_it_was_accepted_and_ends_the_agent_afterwards() {
    let (mut world, actions) = World::connected(settings(), vec![seen("a", Running)]);
    let known = world.machine.epoch() + 5_000_000;
    let again = world.error("old_epoch", Some(known));
    assert_eq!((state(&again).epoch, beat(&again).epoch, beat(&again).seq), (known + 1, known + 1, 1));
    assert_eq!(world.error("old_epoch", Some(known)), [], "the answer to the heartbeat before");
    assert_ne!(state(&actions).id, state(&again).id);
    world.accept(&again);
    let ended = world.error("old_epoch", Some(known + 2));
    assert!(matches!(ended[..], [Action::Close, Action::End(End::Superseded(_))]), "{ended:?}");
    assert_eq!(world.machine.next_deadline(), None);
}

#[test]
fn an_agent_that_is_superseded_ends() {
    let mut world = World::settled(vec![]);
    let ended = world.error("superseded", None);
    assert!(matches!(ended[..], [Action::Close, Action::End(End::Superseded(_))]), "{ended:?}");
    assert_eq!(world.change("a", Running), []);
}

#[test]
fn a_refusal_for_now_is_tried_again_later_and_less_and_less_often() {
    let mut world = World::settled(vec![]);
    world.change("a", Running);
    let mut waits = Vec::new();
    let mut actions = world.after(5);
    for _ in 0..8 {
        let Action::Send(FromAgent::Reports(sent)) = &actions[0] else { panic!("{actions:?}") };
        let busy = Answer::Refused(ErrorBody { error: refusal("too_many", None) });
        assert_eq!(world.answer(sent.id, vec![busy]), []);
        let from = world.ms;
        loop {
            let due = world.machine.next_deadline().unwrap().as_nanos().div_ceil(1_000_000);
            world.ms = due;
            actions = world.input(Input::Tick);
            let beats: Vec<Action> =
                actions.extract_if(.., |action| matches!(action, Action::Send(FromAgent::Heartbeat(_)))).collect();
            world.accept(&beats);
            if !actions.is_empty() {
                break;
            }
        }
        waits.push(world.ms - from);
    }
    assert!(waits.iter().all(|wait| *wait >= 200) && waits.iter().max() > Some(&2_000), "{waits:?}");
}

#[test]
fn a_whole_state_that_was_refused_is_told_again() {
    let (mut world, _) = World::connected(settings(), vec![seen("a", Running)]);
    let warned = world.error("rate_limited", None);
    assert!(matches!(warned[..], [Action::Warn(Warning::Refused(_))]), "{warned:?}");
    assert_eq!(state(&world.after(300)).tasks.len(), 1);
}

#[test]
fn a_gateway_that_does_not_answer_is_left_for_a_new_connection() {
    let mut world = World::settled(vec![]);
    for _ in 0..10 {
        assert_eq!(world.after(1_000).len(), 1);
    }
    let actions = world.after(1_000);
    assert!(matches!(actions[..], [Action::Warn(Warning::Silent(_)), Action::Close]), "{actions:?}");
    let until = world.machine.next_deadline().unwrap();
    assert!(until <= moment(world.ms + 200).at);
}

#[test]
fn answers_later_than_the_next_heartbeat_are_answers() {
    let mut world = World::settled(vec![]);
    for seq in 2..40 {
        assert!(matches!(world.after(1_000)[..], [Action::Send(FromAgent::Heartbeat(_))]));
        if seq > 4 {
            world.pulse(seq - 2, false);
        }
    }
}

#[test]
fn attempts_to_connect_come_less_and_less_often_until_one_is_good() {
    let mut world = World::new(settings());
    let mut longest = 0;
    for _ in 0..40 {
        let until = world.machine.next_deadline().unwrap();
        let wait = until.as_nanos().div_ceil(1_000_000) - world.ms;
        longest = longest.max(wait);
        assert!(wait <= 30_000);
        assert_eq!(world.after(wait), [Action::Connect]);
        assert_eq!(world.machine.next_deadline(), None);
        // One that is closed before anything was taken is no good one.
        world.input(Input::Connected);
        world.input(Input::Disconnected);
    }
    assert!(longest > 20_000, "{longest}");
    world.ms = world.machine.next_deadline().unwrap().as_nanos().div_ceil(1_000_000);
    world.input(Input::Tick);
    world.input(Input::Connected);
    world.pulse(41, false);
    world.input(Input::Disconnected);
    assert!(world.machine.next_deadline().unwrap() <= moment(world.ms + 200).at);
}

#[test]
fn a_goodbye_takes_what_is_new_along() {
    let mut world = World::settled(vec![seen("a", Running)]);
    world.change("a", Completed);
    let actions = world.input(Input::Leave);
    let [Action::Send(FromAgent::Reports(_)), Action::Send(FromAgent::Leave(leave))] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(leave.node_id, "edge");
    assert_eq!(world.input(Input::Disconnected), [Action::End(End::Left)]);
    let mut busy = World::settled(vec![]);
    busy.change("a", Running);
    busy.after(5);
    busy.change("a", Completed);
    assert_eq!(said(batch(&busy.input(Input::Leave))), [("a", Completed, 2)]);
    let mut unheard = World::new(settings());
    assert_eq!(unheard.input(Input::Leave), [Action::End(End::LeftUnheard)]);
}

#[test]
fn a_goodbye_takes_all_that_is_new_along_and_not_only_what_fits_into_one_frame() {
    let (mut world, actions) = World::connected(Settings { most_tasks: 2_000, ..settings() }, vec![]);
    world.accept(&actions);
    let all = (0..1_201).map(|n| seen(&format!("task-{n}"), Running)).collect();
    world.input(Input::Observed(0, all));
    let actions = world.input(Input::Leave);
    let sizes = |action: &Action| match action {
        Action::Send(FromAgent::Reports(batch)) => batch.reports.len(),
        _ => 0,
    };
    assert_eq!(actions.iter().map(sizes).collect::<Vec<_>>(), [500, 500, 201, 0]);
    assert!(matches!(actions.last(), Some(Action::Send(FromAgent::Leave(_)))));
}

#[test]
fn a_goodbye_that_nobody_takes_is_given_up() {
    let mut world = World::settled(vec![]);
    world.input(Input::Leave);
    assert_eq!(world.after(1_999), []);
    assert_eq!(world.after(1), [Action::Close, Action::End(End::Left)]);
}

#[test]
fn too_many_tasks_drop_the_oldest_end_first_and_then_refuse() {
    let mut world = World::new(settings());
    for n in 0..10 {
        world.change(&format!("t{n}"), if n < 2 { Completed } else { Running });
    }
    assert!(matches!(
        world.change("new", Running)[..],
        [Action::Warn(Warning::TooMany(Lost { dropped: 1, refused: 0 }))]
    ));
    assert_eq!(world.change("newer", Running), [], "said once");
    assert!(matches!(
        world.change("last", Running)[..],
        [Action::Warn(Warning::TooMany(Lost { dropped: 2, refused: 1 }))]
    ));
    assert_eq!(world.machine.tasks(), 10);
    assert_eq!(world.change("t5", Failed), [], "a known one is always taken");
}

#[test]
fn a_state_beyond_one_frame_goes_in_parts_that_leave_no_name_out() {
    let tasks = (0..5_000).map(|n| seen(&format!("task-{n}"), Running)).collect();
    let (mut world, mut actions) = World::connected(Settings { most_tasks: 10_000, ..settings() }, tasks);
    let (mut told, mut behind, mut parts) = (0, None, 0);
    while !world.machine.is_settled() {
        let part = state(&actions).clone();
        assert_eq!(part.after, behind, "each begins where the one before ended");
        assert!(part.tasks.iter().all(|task| part.after.as_ref().is_none_or(|after| task.task_id > *after)));
        (told, behind, parts) = (told + part.tasks.len(), part.until.clone(), parts + 1);
        if parts == 2 {
            // Refused for now: this part comes again, and not all of them.
            assert!(world.error("rate_limited", None).iter().any(|action| matches!(action, Action::Warn(_))));
            let again = world.after(200);
            assert_eq!(state(&again).tasks, part.tasks);
            actions = again;
        }
        actions = world.accept(&actions);
    }
    assert!((told, behind) == (5_000, None) && parts > 2, "{told} in {parts}");
    let mut sum = crate::sync::checksum::StateSum::zero();
    (0..5_000).for_each(|n| sum.add(&format!("task-{n}"), Running, n + 1));
    assert_eq!(beat(&world.after(1_000)).digest.as_ref().unwrap().checksum, sum.to_string());
}

#[test]
fn what_changes_between_two_parts_is_told_once_whichever_side_of_the_seam_it_is_on() {
    let tasks = ["a", "b", "c"].map(|id| seen(id, Running)).to_vec();
    let small = Settings { most_frame_bytes: 1, ..settings() };
    let (mut world, actions) = World::connected(small, tasks);
    assert_eq!((state(&actions).after.as_deref(), state(&actions).until.as_deref()), (None, Some("a")));
    world.change("a", Completed);
    world.change("c", Failed);
    world.input(Input::Vanished("b".to_owned()));
    let second = world.accept(&actions);
    assert_eq!(state(&second).tasks.iter().map(|task| task.task_id.as_str()).collect::<Vec<_>>(), ["c"]);
    assert_eq!((state(&second).after.as_deref(), state(&second).until.as_deref()), (Some("a"), None));
    let last = world.accept(&second);
    assert_eq!(said(batch(&last)), [("a", Completed, 4)]);
    world.accept(&last);
    assert!(world.machine.is_settled() && world.machine.tasks() == 0);
}

#[test]
fn settings_that_change_keep_the_tasks() {
    let mut world = World::settled(vec![seen("a", Running)]);
    world.input(Input::SetRhythm(Rhythm::Adaptive(Bounds {
        shortest: Duration::from_secs(2),
        longest: Duration::from_secs(4),
    })));
    assert_eq!(beat(&world.after(1_000)).next_interval_ms, 2_000);
    assert_eq!(world.input(Input::Reconnect), [Action::Close, Action::Connect]);
    assert_eq!(state(&world.input(Input::Connected)).tasks.len(), 1);
}
