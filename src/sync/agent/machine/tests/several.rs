//! An agent with three gateways that come and go, with many seeds.

use super::world::{moment, settings};
use super::*;

/// One step of the back-off, in milliseconds.
const STEP_MS: u64 = 200;

/// An agent of three gateways of which some are there.
struct Several {
    machine: Machine,
    ms: u64,
    is_there: [bool; 3],
    /// The waits before each attempt, in milliseconds.
    waits: Vec<u64>,
}

impl Several {
    fn new(seed: u64, is_there: [bool; 3]) -> Self {
        let settings = Settings { servers: 3, ..settings() };
        let mut machine = Machine::new(settings, moment(0), seed);
        machine.handle(moment(0), Input::Known(0, Vec::new()));
        Self { machine, ms: 0, is_there, waits: Vec::new() }
    }

    /// Lets it try until it is connected, so often at most; says to whom.
    fn connect(&mut self, most: usize) -> Option<usize> {
        for _ in 0..most {
            if matches!(self.machine.link, Link::Waiting { .. }) {
                let due = self.machine.next_deadline().unwrap().as_nanos().div_ceil(1_000_000).max(self.ms);
                self.waits.push(due - self.ms);
                self.ms = due;
                assert_eq!(self.machine.handle(moment(self.ms), Input::Tick), [Action::Connect]);
            }
            let server = self.machine.attempt().server;
            if self.is_there[server] {
                self.machine.handle(moment(self.ms), Input::Connected);
                let pulse = Pulse { seq: 1, t1: None, t2: 1, t3: 2, resync: false };
                self.machine.handle(moment(self.ms), Input::Frame(FromGateway::Pulse(pulse)));
                return Some(server);
            }
            self.machine.handle(moment(self.ms), Input::Disconnected);
        }
        None
    }

    fn lose(&mut self, server: usize) {
        self.is_there[server] = false;
        self.machine.handle(moment(self.ms), Input::Disconnected);
        self.waits.clear();
    }
}

#[test]
fn one_of_three_that_is_dead_costs_one_step() {
    for seed in 0..200 {
        let mut several = Several::new(seed, [true, false, true]);
        assert!(several.connect(2).is_some_and(|server| server != 1));
        assert!(several.waits.iter().all(|wait| *wait <= STEP_MS), "{:?}", several.waits);
    }
}

#[test]
fn a_gateway_that_goes_away_costs_one_step_and_another_is_tried_first() {
    for seed in 0..200 {
        let mut several = Several::new(seed, [true; 3]);
        let first = several.connect(1).unwrap();
        several.lose(first);
        assert_ne!(several.connect(1), Some(first));
        assert!(several.waits.len() == 1 && several.waits[0] <= STEP_MS, "{:?}", several.waits);
    }
}

#[test]
fn while_all_are_dead_the_wait_grows_by_rounds_and_whoever_is_back_is_found_within_one() {
    let mut longest = 0;
    for seed in 0..100 {
        let mut several = Several::new(seed, [false; 3]);
        assert_eq!(several.connect(60), None);
        // Within a round, each wait is one step; between rounds, it grows. The first attempt had none.
        let between = several.waits.iter().enumerate().filter(|(at, wait)| at % 3 == 2 && **wait > STEP_MS);
        assert!(between.count() > 10, "{:?}", several.waits);
        let within = several.waits.iter().enumerate().filter(|(at, _)| at % 3 != 2);
        assert!(within.clone().all(|(_, wait)| *wait <= STEP_MS), "{:?}", several.waits);
        longest = longest.max(*several.waits.iter().max().unwrap());
        several.is_there[seed as usize % 3] = true;
        assert_eq!(several.connect(3), Some(seed as usize % 3));
    }
    assert!(longest > 25_000 && longest <= 30_000, "{longest}");
}

#[test]
fn gateways_that_take_a_connection_and_nothing_more_are_no_reason_to_hurry() {
    let mut several = Several::new(3, [false; 3]);
    several.connect(1);
    for _ in 0..60 {
        let due = several.machine.next_deadline().unwrap().as_nanos().div_ceil(1_000_000).max(several.ms);
        several.waits.push(due - several.ms);
        several.ms = due;
        several.machine.handle(moment(due), Input::Tick);
        several.machine.handle(moment(due), Input::Connected);
        several.machine.handle(moment(due), Input::Disconnected);
    }
    assert!(several.waits.iter().any(|wait| *wait > 10_000), "{:?}", several.waits);
}

#[test]
fn another_list_is_taken_with_the_next_connection() {
    let mut several = Several::new(5, [true; 3]);
    several.connect(1).unwrap();
    several.machine.handle(moment(several.ms), Input::SetServers(1));
    let actions = several.machine.handle(moment(several.ms), Input::Reconnect);
    assert_eq!((actions, several.machine.attempt().server), (vec![Action::Close, Action::Connect], 0));
}
