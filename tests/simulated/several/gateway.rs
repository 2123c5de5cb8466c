//! A gateway of the world: the real machine and the real desk, and a shell that may be cut off from its store.

use std::sync::Arc;

use offloadctl::model::{Stamp, WallTime};
use offloadctl::sync::gateway::desk::{Desk, Flight};
use offloadctl::sync::gateway::due::Slip;
use offloadctl::sync::gateway::machine::{Machine, Moment, Settings};
use offloadctl::sync::gateway::refusal::{Code, Refusal};
use offloadctl::sync::message::{Heartbeat, Outcome, StatusReport};
use offloadctl::sync::store::Snapshot;
use rand::{Rng as _, RngExt as _};
use rand_chacha::ChaCha8Rng;

use super::etcd::Etcd;

/// A lease, and how long a store may be silent before it counts as away, in milliseconds.
pub const LEASE: u64 = 3_000;
const PATIENCE: u64 = 3_000;

/// Transactions at a time.
const MOST_FLIGHTS: usize = 4;

/// A gateway that runs.
pub struct Gateway {
    pub me: String,
    pub machine: Machine,
    desk: Desk,
    told: u64,
    /// How long it hears of what happened later than it did, in milliseconds.
    lag: u64,
    lease: u64,
    kept_at: u64,
    heard_at: u64,
    /// Transactions, and when they arrive.
    flights: Vec<(u64, Flight)>,
    is_away: bool,
    waiting: Vec<(usize, String, u64, Arc<Slip>)>,
}

/// A report that was answered with `stored` or `duplicate`.
pub struct Acknowledged {
    pub agent: usize,
    pub task_id: String,
    pub version: u64,
    /// The number of its change, where it was stored by this very report.
    pub number: Option<u64>,
}

/// A moment of the world.
pub fn moment(ms: u64) -> Moment {
    let beginning = 1_767_225_600_000_000_000_i128;
    Moment {
        at: Stamp::from_nanos(1_000_000_000 + ms * 1_000_000),
        wall: WallTime::from_unix_nanos(beginning + i128::from(ms) * 1_000_000),
    }
}

impl Gateway {
    /// One that starts now.
    pub fn start(me: String, settings: Settings, etcd: &mut Etcd, now: u64, lag: u64) -> Self {
        let loaded = etcd.load(now);
        let told = loaded.revision;
        let mut machine = Machine::new(settings, Snapshot::new(), moment(now));
        machine.share(&me, loaded, moment(now));
        let lease = etcd.grant(now + LEASE);
        let (desk, flights, waiting) = (Desk::default(), Vec::new(), Vec::new());
        Self { me, machine, desk, told, lag, lease, kept_at: now, heard_at: now, flights, is_away: false, waiting }
    }

    /// Takes a report, unless the store is away.
    pub fn report(&mut self, agent: usize, report: StatusReport, now: u64) {
        if self.is_away {
            return;
        }
        let slip = Slip::new(1, 0);
        self.waiting.push((agent, report.task_id.clone(), report.version.unwrap_or(0), Arc::clone(&slip)));
        self.desk.reports(&slip, [(0, report)], moment(now).at);
    }

    pub fn heartbeat(&mut self, heartbeat: &Heartbeat, now: u64) {
        self.machine.heartbeat(moment(now), heartbeat).expect("a heartbeat of the only agent of its node");
    }

    /// Whatever there is to do, with the store or without it; who is answered.
    pub fn step(&mut self, etcd: &mut Etcd, now: u64, is_cut: bool, random: &mut ChaCha8Rng) -> Vec<Acknowledged> {
        let moment = moment(now);
        if !is_cut {
            self.hear(etcd, now);
            self.keep_lease(etcd, now);
        }
        if !self.is_away && now.saturating_sub(self.heard_at) >= PATIENCE {
            self.is_away = true;
            let refusal = Refusal::new(Code::StoreUnavailable, "away");
            self.desk.give_up(&mut self.machine, moment, &refusal);
        }
        if !self.is_away && self.machine.next_deadline().is_some_and(|deadline| deadline <= moment.at) {
            self.machine.poll(moment);
        }
        self.fly(etcd, now, is_cut, random);
        self.answers()
    }

    fn hear(&mut self, etcd: &Etcd, now: u64) {
        let (told, events) = etcd.told(self.told, now.saturating_sub(self.lag));
        self.told = told;
        for event in events {
            self.desk.tell(&mut self.machine, moment(now), event);
        }
        self.heard_at = now;
        if self.is_away {
            self.is_away = false;
            self.machine.excuse(moment(now));
            self.machine.wish_again(moment(now));
        }
    }

    fn keep_lease(&mut self, etcd: &mut Etcd, now: u64) {
        if now < self.kept_at + LEASE / 3 {
            return;
        }
        if !etcd.keep(self.lease, now + LEASE) {
            self.lease = etcd.grant(now + LEASE);
        }
        self.kept_at = now;
    }

    /// Sends what there is. An answer that is lost is sent again, and one that is given up may still be on its way.
    fn fly(&mut self, etcd: &mut Etcd, now: u64, is_cut: bool, random: &mut ChaCha8Rng) {
        for (at, flight) in std::mem::take(&mut self.flights) {
            if at > now {
                self.flights.push((at, flight));
            } else if is_cut {
                if !self.is_away {
                    self.flights.push((now + 50, flight));
                }
            } else {
                let is_taken = etcd.write(now, &flight.proposals, (&self.me, self.lease));
                if !is_taken || random.random_bool(0.05) {
                    self.flights.push((now + 50 + random.next_u64() % 100, flight));
                }
            }
        }
        while !self.is_away
            && self.flights.len() < MOST_FLIGHTS
            && let Some(flight) = self.desk.next(&mut self.machine, moment(now))
        {
            self.flights.push((now + 1 + random.next_u64() % 40, flight));
        }
    }

    fn answers(&mut self) -> Vec<Acknowledged> {
        let mut answered = Vec::new();
        self.waiting.retain(|(agent, task_id, version, slip)| {
            let Some(answers) = slip.take() else { return true };
            for answer in answers.into_iter().flatten() {
                let (agent, task_id, version) = (*agent, task_id.clone(), *version);
                match answer.outcome {
                    Outcome::Stored => {
                        answered.push(Acknowledged { agent, task_id, version, number: Some(answer.revision) });
                    }
                    Outcome::Duplicate => answered.push(Acknowledged { agent, task_id, version, number: None }),
                    Outcome::Stale => {}
                }
            }
            false
        });
        answered
    }
}
