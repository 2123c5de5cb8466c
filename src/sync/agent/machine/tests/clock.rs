//! An agent whose time of day is wrong, and is set.

use super::world::{World, batch, moment, refusal, seen, state};
use super::*;
use crate::model::WallTime;

/// The same moment by a clock that is so many seconds ahead.
fn by_clock(ms: u64, ahead_s: i64) -> Moment {
    let right = moment(ms);
    let wall = WallTime::from_unix_nanos(right.wall.unix_nanos() + i128::from(ahead_s) * 1_000_000_000);
    Moment { wall, ..right }
}

fn misdated() -> Answer {
    let error = ErrorText { key: Some("timestamp".to_owned()), ..refusal("invalid_report", None) };
    Answer::Refused(ErrorBody { error })
}

fn answers(id: u64, answers: Vec<Answer>) -> Input {
    Input::Frame(FromGateway::Answers(Answers { id, answers }))
}

#[test]
fn what_is_refused_for_its_time_is_dated_anew_and_sent_again_until_it_is_taken() {
    let (mut world, actions) = World::connected(settings(), vec![seen("a", Running), seen("b", Completed)]);
    let refused = world.answer(state(&actions).id, vec![misdated(), misdated()]);
    assert!(matches!(refused[..], [Action::Warn(Warning::WrongClock(_))]), "{refused:?}");
    let mut again = world.after(2_000);
    assert_eq!(said(batch(&again)), [("a", Running, 1), ("b", Completed, 2)]);
    assert!(batch(&again).reports.iter().all(|report| report.timestamp == moment(0).wall));
    let id = batch(&again).id;
    world.answer(id, vec![misdated(), stored(2)]);
    // It is never more than two seconds away, however often it was refused.
    for _ in 0..10 {
        again = world.after(2_000);
        assert_eq!(said(batch(&again)), [("a", Running, 1)]);
        let id = batch(&again).id;
        world.answer(id, vec![misdated()]);
    }
    again = world.after(2_000);
    world.accept(&again);
    assert!(world.machine.is_settled());
    assert_eq!(world.machine.tasks(), 1);
}

#[test]
fn a_clock_that_is_set_lets_everything_be_tried_at_once() {
    let (mut world, actions) = World::connected(settings(), vec![seen("a", Running)]);
    world.answer(state(&actions).id, vec![misdated()]);
    let again = world.machine.handle(by_clock(1, 86_400), Input::Tick);
    assert_eq!(said(batch(&again)), [("a", Running, 1)]);
    // So is a connection.
    let mut world = World::new(settings());
    world.input(Input::Tick);
    world.input(Input::Disconnected);
    assert_eq!(world.machine.handle(by_clock(1, 86_400), Input::Tick), [Action::Connect]);
}

#[test]
fn what_a_clock_that_was_ahead_told_is_told_anew_when_it_is_set_back() {
    let mut world = World::settled(vec![seen("a", Running)]);
    let told = world.machine.handle(by_clock(1, -3_600), Input::Tick);
    assert_eq!(said(batch(&told)), [("a", Running, 2)]);
    assert_eq!(batch(&told).reports[0].timestamp, by_clock(1, -3_600).wall);
    world.machine.handle(by_clock(10, -3_600), answers(batch(&told).id, vec![stored(2)]));
    // A clock that is slewed was not set.
    assert_eq!(world.machine.handle(by_clock(20, -3_600), Input::Tick), []);
}
