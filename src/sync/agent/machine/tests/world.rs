//! An agent with a clock that the test moves, and a gateway that says what the test wants.

use std::time::Duration;

use super::super::*;
use crate::model::WallTime;
use crate::sync::message::{Answer, Batch, FromAgent, FullState, Heartbeat, Outcome, Receipt, StatusReport};
use crate::sync::record::Status;

pub const START_MS: u64 = 1_700_000_000_000;

/// A machine with a clock that the test moves.
pub struct World {
    pub machine: Machine,
    pub ms: u64,
}

pub fn settings() -> Settings {
    Settings {
        node_id: "edge".to_owned(),
        rhythm: Rhythm::Fixed(Duration::from_millis(1_000)),
        phase: Duration::ZERO,
        coalescing: Duration::from_millis(5),
        answer_within: Duration::from_secs(10),
        backoff: BackoffBounds { first: Duration::from_millis(200), longest: Duration::from_secs(30) },
        most_tasks: 10,
        most_frame_bytes: MOST_BYTES,
        sources: 1,
        servers: 1,
    }
}

pub fn moment(ms: u64) -> Moment {
    let wall = WallTime::from_unix_nanos(i128::from(START_MS + ms) * 1_000_000);
    Moment { at: Stamp::from_nanos(ms * 1_000_000), wall }
}

pub fn seen(id: &str, status: Status) -> Seen {
    Seen { task_id: id.to_owned(), status, timestamp: moment(0).wall, payload: None }
}

pub fn refusal(code: &str, known_epoch: Option<u64>) -> ErrorText {
    ErrorText { code: code.to_owned(), message: "no".to_owned(), hint: None, key: None, known_epoch }
}

pub fn stored(version: u64) -> Answer {
    Answer::Receipt(Receipt { outcome: Outcome::Stored, revision: 1, version, known_epoch: None })
}

impl World {
    pub fn new(settings: Settings) -> Self {
        Self { machine: Machine::new(settings, moment(0), 7), ms: 0 }
    }

    /// An agent that is connected and knows these tasks; its whole state is not answered yet.
    pub fn connected(settings: Settings, tasks: Vec<Seen>) -> (Self, Vec<Action>) {
        let mut world = Self::new(settings);
        assert_eq!(world.input(Input::Tick), [Action::Connect]);
        world.input(Input::Known(0, tasks));
        let actions = world.input(Input::Connected);
        (world, actions)
    }

    /// The same, and the gateway has taken everything.
    pub fn settled(tasks: Vec<Seen>) -> Self {
        let (mut world, actions) = Self::connected(settings(), tasks);
        world.accept(&actions);
        assert!(world.machine.is_settled());
        world
    }

    pub fn input(&mut self, input: Input) -> Vec<Action> {
        self.machine.handle(moment(self.ms), input)
    }

    pub fn after(&mut self, ms: u64) -> Vec<Action> {
        self.ms += ms;
        self.input(Input::Tick)
    }

    pub fn change(&mut self, id: &str, status: Status) -> Vec<Action> {
        self.input(Input::Observed(0, vec![seen(id, status)]))
    }

    pub fn error(&mut self, code: &str, known_epoch: Option<u64>) -> Vec<Action> {
        self.input(Input::Frame(FromGateway::Error(refusal(code, known_epoch))))
    }

    pub fn answer(&mut self, id: u64, answers: Vec<Answer>) -> Vec<Action> {
        self.input(Input::Frame(FromGateway::Answers(Answers { id, answers })))
    }

    pub fn pulse(&mut self, seq: u64, resync: bool) -> Vec<Action> {
        self.input(Input::Frame(FromGateway::Pulse(Pulse { seq, t1: None, t2: 1, t3: 2, resync })))
    }

    /// Answers everything that was sent as a gateway does that takes it.
    pub fn accept(&mut self, actions: &[Action]) -> Vec<Action> {
        let mut after = Vec::new();
        for action in actions {
            after.extend(match action {
                Action::Send(FromAgent::State(state)) => {
                    let answers = state.tasks.iter().map(|task| stored(task.version)).collect();
                    self.answer(state.id, answers)
                }
                Action::Send(FromAgent::Reports(batch)) => {
                    let answers = batch.reports.iter().map(|report| stored(report.version.unwrap())).collect();
                    self.answer(batch.id, answers)
                }
                Action::Send(FromAgent::Heartbeat(beat)) => self.pulse(beat.seq, false),
                _ => Vec::new(),
            });
        }
        after
    }
}

pub fn state(actions: &[Action]) -> &FullState {
    let state = actions.iter().find_map(|action| match action {
        Action::Send(FromAgent::State(state)) => Some(state),
        _ => None,
    });
    state.unwrap_or_else(|| panic!("no whole state: {actions:?}"))
}

pub fn batch(actions: &[Action]) -> &Batch {
    let batch = actions.iter().find_map(|action| match action {
        Action::Send(FromAgent::Reports(batch)) => Some(batch),
        _ => None,
    });
    batch.unwrap_or_else(|| panic!("no reports: {actions:?}"))
}

pub fn beat(actions: &[Action]) -> &Heartbeat {
    let beat = actions.iter().find_map(|action| match action {
        Action::Send(FromAgent::Heartbeat(beat)) => Some(beat),
        _ => None,
    });
    beat.unwrap_or_else(|| panic!("no heartbeat: {actions:?}"))
}

pub fn said(batch: &Batch) -> Vec<(&str, Status, u64)> {
    let said = |report: &StatusReport| report.version.unwrap();
    batch.reports.iter().map(|report| (report.task_id.as_str(), report.status, said(report))).collect()
}
