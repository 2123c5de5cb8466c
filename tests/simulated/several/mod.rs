//! Several gateways over one store with etcd's semantics: cuts, deaths and takeovers, for many seeds.
//!
//! The machines and desks are those of the program. What must never happen is checked against what the store and the agents know
//! themselves: nothing acknowledged is lost, an older version never follows a newer one, only owners accuse, nobody who is heard
//! is called dead, all who died are found, and every subscriber gets every change once, in order, from whichever gateways it asks.

mod etcd;
mod gateway;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use offloadctl::sync::gateway::machine::Settings;
use offloadctl::sync::message::{Heartbeat, StatusReport};
use offloadctl::sync::record::{Change, NodeState, Status};
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use etcd::Etcd;
use gateway::{Acknowledged, Gateway, LEASE, moment};

/// A step of the world, the time of trouble and that of healing, in milliseconds.
const STEP: u64 = 20;
const TROUBLE: u64 = 60_000;
const END: u64 = TROUBLE + 30_000;

/// What an agent promises, in milliseconds; three and the margin are its detection.
const INTERVAL: u64 = 1_000;
const DETECTION: u64 = 3 * 1_024 + 200;

/// How long an agent may be without a gateway while one is there.
const MOVES_WITHIN: u64 = 400;

/// What watch, transactions and their answers take together.
const SLACK: u64 = 1_000;

const GATEWAYS: usize = 3;
const AGENTS: usize = 5;

/// What goes wrong beside the deaths of gateways and agents.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// Gateways are cut off from the store.
    pub cuts: bool,
}

struct Agent {
    epoch: u64,
    seq: u64,
    at: usize,
    next_beat: u64,
    /// When it reaches a gateway again.
    moves_at: Option<u64>,
    alive_since: Option<u64>,
    /// The version of each of its tasks, and what was acknowledged of it.
    tasks: BTreeMap<String, (u64, u64)>,
}

struct Subscriber {
    after: u64,
    at: usize,
    told: Vec<u64>,
}

struct World {
    random: ChaCha8Rng,
    trouble: Trouble,
    etcd: Etcd,
    gateways: Vec<Option<Gateway>>,
    /// Until when each is cut off, or dead.
    cut_until: Vec<u64>,
    dead_until: Vec<u64>,
    agents: Vec<Agent>,
    subscribers: Vec<Subscriber>,
    acknowledged: Vec<Acknowledged>,
    /// Lives of agents: from, until.
    lives: Vec<(usize, u64, u64)>,
    /// When gateways died.
    deaths: Vec<u64>,
    born: u64,
}

/// What a world came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    stored: u64,
    takeovers: u64,
    accusations: u64,
    changes: u64,
}

fn settings() -> Settings {
    Settings {
        detector: "missed:3/margin=200ms".parse().unwrap(),
        retain_completed: Duration::from_secs(20),
        retain_left: Duration::from_secs(3_600),
        retain_unreachable: Duration::from_secs(3_600),
        most_tasks: 10_000,
        most_nodes: 1_000,
        history: 100_000,
    }
}

fn node_of(agent: usize) -> String {
    format!("node-{agent}")
}

impl World {
    fn new(seed: u64, trouble: Trouble) -> Self {
        let mut world = Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            trouble,
            etcd: Etcd::default(),
            gateways: (0..GATEWAYS).map(|_| None).collect(),
            cut_until: vec![0; GATEWAYS],
            dead_until: vec![0; GATEWAYS],
            agents: Vec::new(),
            subscribers: (0..2).map(|at| Subscriber { after: 0, at, told: Vec::new() }).collect(),
            acknowledged: Vec::new(),
            lives: Vec::new(),
            deaths: Vec::new(),
            born: 0,
        };
        (0..GATEWAYS).for_each(|at| world.start(at, 0));
        for agent in 0..AGENTS {
            world.agents.push(Agent {
                epoch: 1,
                seq: 0,
                at: agent % GATEWAYS,
                next_beat: 100 * agent as u64,
                moves_at: Some(0),
                alive_since: Some(0),
                tasks: BTreeMap::new(),
            });
        }
        world
    }

    fn start(&mut self, at: usize, now: u64) {
        self.born += 1;
        let (me, lag) = (format!("gateway-{at}-{}", self.born), self.random.next_u64() % 60);
        self.gateways[at] = Some(Gateway::start(me, settings(), &mut self.etcd, now, lag));
    }

    fn chance(&mut self, per_minute: f64) -> bool {
        self.random.random_bool(per_minute * STEP as f64 / 60_000.0)
    }

    fn step(&mut self, now: u64) {
        self.etcd.tick(now);
        for at in 0..GATEWAYS {
            self.trouble_gateway(at, now);
            let is_cut = self.cut_until[at] > now;
            if let Some(gateway) = &mut self.gateways[at] {
                let answered = gateway.step(&mut self.etcd, now, is_cut, &mut self.random);
                for known in &answered {
                    let task = self.agents[known.agent].tasks.get_mut(&known.task_id);
                    let task = task.expect("only what was reported is answered");
                    task.1 = task.1.max(known.version);
                }
                self.acknowledged.extend(answered);
            }
        }
        (0..AGENTS).for_each(|agent| self.step_agent(agent, now));
        for at in 0..self.subscribers.len() {
            if self.chance(20.0) {
                self.subscribers[at].at = self.random.random_range(0..GATEWAYS);
            }
            self.read(at);
        }
    }

    fn trouble_gateway(&mut self, at: usize, now: u64) {
        let is_trouble = now < TROUBLE;
        if self.gateways[at].is_none() {
            if now >= self.dead_until[at] || !is_trouble {
                self.start(at, now);
            }
            return;
        }
        let others = self.gateways.iter().flatten().count() - 1;
        if is_trouble && others > 0 && self.chance(3.0) {
            self.gateways[at] = None;
            self.dead_until[at] = now + 1_000 + self.random.next_u64() % 15_000;
            self.deaths.push(now);
            for agent in self.agents.iter_mut().filter(|agent| agent.at == at && agent.alive_since.is_some()) {
                agent.moves_at = Some(now + 50 + self.random.next_u64() % (MOVES_WITHIN - 50));
            }
        } else if is_trouble && self.trouble.cuts && self.chance(3.0) {
            self.cut_until[at] = now + 200 + self.random.next_u64() % 12_000;
        } else if !is_trouble {
            self.cut_until[at] = 0;
        }
    }

    fn step_agent(&mut self, number: usize, now: u64) {
        let is_trouble = now < TROUBLE;
        if is_trouble && self.chance(1.5) {
            self.end_or_begin(number, now);
        }
        // Now and then an agent moves by itself, as behind a balancer.
        if self.agents[number].alive_since.is_some() && is_trouble && self.chance(3.0) {
            self.leave_gateway(number, now);
            self.agents[number].moves_at = Some(now + 50);
        }
        if self.agents[number].alive_since.is_none() {
            return;
        }
        if self.agents[number].moves_at.is_some_and(|at| at <= now) && !self.connect(number) {
            return;
        }
        if self.agents[number].moves_at.is_some() {
            return;
        }
        if now >= self.agents[number].next_beat {
            self.beat(number, now);
        }
        if is_trouble && self.chance(60.0) {
            let task_id = format!("task-{number}-{}", self.random.random_range(0..3));
            self.agents[number].tasks.entry(task_id).or_default().0 += 1;
        }
        if now.is_multiple_of(500) {
            self.report_all(number, now);
        }
    }

    fn end_or_begin(&mut self, number: usize, now: u64) {
        match self.agents[number].alive_since {
            Some(since) => {
                self.leave_gateway(number, now);
                self.agents[number].alive_since = None;
                self.lives.push((number, since, now));
            }
            None => {
                let agent = &mut self.agents[number];
                (agent.alive_since, agent.moves_at, agent.epoch, agent.seq) =
                    (Some(now), Some(now), agent.epoch + 1, 0);
                agent.tasks.values_mut().for_each(|(version, _)| *version += 1);
                agent.next_beat = now;
            }
        }
    }

    fn leave_gateway(&mut self, number: usize, now: u64) {
        let at = self.agents[number].at;
        if self.agents[number].moves_at.is_none()
            && let Some(gateway) = &mut self.gateways[at]
        {
            gateway.machine.disconnect(moment(now), &node_of(number));
        }
    }

    fn connect(&mut self, number: usize) -> bool {
        let living: Vec<usize> = (0..GATEWAYS).filter(|at| self.gateways[*at].is_some()).collect();
        let at = living[self.random.random_range(0..living.len())];
        self.agents[number].at = at;
        self.agents[number].moves_at = None;
        let gateway = self.gateways[at].as_mut().expect("it lives");
        gateway.machine.connect(&node_of(number)).is_ok()
    }

    fn beat(&mut self, number: usize, now: u64) {
        let agent = &mut self.agents[number];
        agent.seq += 1;
        agent.next_beat = now + INTERVAL;
        let heartbeat = Heartbeat {
            node_id: node_of(number),
            epoch: agent.epoch,
            seq: agent.seq,
            next_interval_ms: INTERVAL,
            t1: None,
            last: None,
            digest: None,
            usage: None,
        };
        if let Some(gateway) = &mut self.gateways[agent.at] {
            gateway.heartbeat(&heartbeat, now);
        }
    }

    /// Reports what is not acknowledged, mostly to its own gateway and now and then to any.
    fn report_all(&mut self, number: usize, now: u64) {
        let open: Vec<(String, u64)> = self.agents[number]
            .tasks
            .iter()
            .filter(|(_, (version, known))| known < version)
            .map(|(id, (version, _))| (id.clone(), *version))
            .collect();
        for (task_id, version) in open {
            let is_stray = self.random.random_bool(0.2);
            let at = if is_stray { self.random.random_range(0..GATEWAYS) } else { self.agents[number].at };
            let report = StatusReport {
                task_id,
                status: if version % 7 == 0 { Status::Completed } else { Status::Running },
                node_id: node_of(number),
                timestamp: moment(version).wall,
                version: Some(version),
                epoch: Some(self.agents[number].epoch),
                payload: None,
                trace: None,
            };
            if let Some(gateway) = &mut self.gateways[at] {
                gateway.report(number, report, now);
            }
        }
    }

    fn read(&mut self, number: usize) {
        let subscriber = &mut self.subscribers[number];
        let Some(gateway) = &self.gateways[subscriber.at] else { return };
        let machine = &gateway.machine;
        let changes = machine.changes(subscriber.after, machine.revision(), 64).expect("nothing is ever left out");
        subscriber.told.extend(changes.iter().map(Change::revision));
        subscriber.after = changes.last().map_or(subscriber.after, Change::revision);
    }

    fn run(mut self) -> Result<Outcome, String> {
        for now in (0..END).step_by(STEP as usize) {
            self.step(now);
            if let Some(violation) = self.etcd.violations.first() {
                return Err(format!("after {now} ms: {violation}"));
            }
        }
        self.check()
    }

    fn check(&self) -> Result<Outcome, String> {
        let changes = self.etcd.changes();
        let by_number: BTreeMap<u64, &Change> = changes.iter().map(|change| (change.revision(), change)).collect();
        for Acknowledged { task_id, version, number, .. } in &self.acknowledged {
            let is_kept = |change: &Change| matches!(change, Change::Task(task) if task.task_id == *task_id && task.version == *version);
            let is_there = match number {
                Some(number) => by_number.get(number).is_some_and(|change| is_kept(change)),
                None => changes.iter().any(is_kept),
            };
            if !is_there {
                return Err(format!("{task_id} of version {version} was acknowledged at {number:?} and is lost"));
            }
        }
        let all: Vec<u64> = changes.iter().map(Change::revision).collect();
        if !all.is_sorted_by(|a, b| a < b) {
            return Err("numbers do not rise".to_owned());
        }
        if let Some(subscriber) = self.subscribers.iter().find(|subscriber| subscriber.told != all) {
            return Err(format!("a subscriber was told {} of {} changes", subscriber.told.len(), all.len()));
        }
        self.check_present()?;
        if !self.trouble.cuts {
            self.check_accusations()?;
        }
        let stored = self.acknowledged.iter().filter(|known| known.number.is_some()).count() as u64;
        let (accusations, changes) = (self.etcd.accusations.len() as u64, all.len() as u64);
        Ok(Outcome { stored, takeovers: self.deaths.len() as u64, accusations, changes })
    }

    /// When all has healed, all gateways say the same: what the agents said last, and who of them is there.
    fn check_present(&self) -> Result<(), String> {
        for record in self.etcd.records() {
            let shown: Vec<Option<u64>> = self
                .gateways
                .iter()
                .flatten()
                .map(|gateway| match &record {
                    Change::Task(task) => gateway.machine.task(&task.task_id).map(|task| task.revision),
                    Change::Node(node) => gateway.machine.node(moment(END), &node.node_id).map(|node| node.revision),
                    _ => None,
                })
                .collect();
            if shown != vec![Some(record.revision()); GATEWAYS] {
                return Err(format!("{record:?} is shown as {shown:?}"));
            }
            let Change::Node(node) = &record else { continue };
            let agent = self.agents.iter().enumerate().find(|(number, _)| node_of(*number) == node.node_id);
            let is_alive = agent.is_some_and(|(_, agent)| agent.alive_since.is_some());
            if is_alive != (node.state == NodeState::Alive) {
                return Err(format!("{} is {:?} at the end, and alive: {is_alive}", node.node_id, node.state));
            }
        }
        for agent in &self.agents {
            if let Some((id, task)) =
                agent.tasks.iter().find(|(_, (version, known))| agent.alive_since.is_some() && known < version)
            {
                return Err(format!("{id} of version {} was never taken, {} was", task.0, task.1));
            }
        }
        Ok(())
    }

    /// Nobody is called dead who lives and has a gateway within a moment, and who died is found within the formula's time.
    fn check_accusations(&self) -> Result<(), String> {
        let mut lives = self.lives.clone();
        let living = self.agents.iter().enumerate();
        lives.extend(living.filter_map(|(number, agent)| Some((number, agent.alive_since?, u64::MAX))));
        for (at, node_id, by) in &self.etcd.accusations {
            let is_alive = |(number, since, until): &(usize, u64, u64)| {
                node_of(*number) == *node_id && since + DETECTION < *at && *at < *until
            };
            if lives.iter().any(is_alive) {
                return Err(format!("{by} called {node_id} dead after {at} ms, which lives"));
            }
        }
        let accused: BTreeSet<(&str, u64)> =
            self.etcd.accusations.iter().map(|(at, node, _)| (node.as_str(), *at)).collect();
        for (number, since, until) in lives.iter().filter(|(_, _, until)| *until < END) {
            let (node_id, limit) = (node_of(*number), self.found_by(*until));
            let has_returned =
                lives.iter().any(|(other, again, _)| other == number && (*until..=limit).contains(again));
            let was_heard = until - since > 2 * INTERVAL;
            let is_found = accused.range((node_id.as_str(), *until)..=(node_id.as_str(), limit)).next().is_some();
            if was_heard && !has_returned && !is_found && limit < END {
                return Err(format!("{node_id} died after {until} ms and was not found by {limit} ms"));
            }
        }
        Ok(())
    }
}

impl World {
    /// When a death is noticed at the latest: its gateway, and each that took it over, may have died as well.
    fn found_by(&self, died: u64) -> u64 {
        let noticed = |since: u64| since + LEASE + DETECTION + SLACK;
        let since = died.saturating_sub(SLACK);
        self.deaths
            .iter()
            .filter(|death| **death >= since)
            .fold(noticed(died), |limit, death| if *death <= limit { limit.max(noticed(*death)) } else { limit })
    }
}

/// What so many worlds came to; one that finds a violation ends all with its seed.
pub fn all(seeds: std::ops::Range<u64>, trouble: Trouble) -> Outcome {
    let middle = seeds.start.midpoint(seeds.end);
    let some = |seeds: std::ops::Range<u64>| {
        let mut sum = Outcome::default();
        for seed in seeds {
            let outcome =
                World::new(seed, trouble).run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
            sum.stored += outcome.stored;
            sum.takeovers += outcome.takeovers;
            sum.accusations += outcome.accusations;
            sum.changes += outcome.changes;
        }
        sum
    };
    std::thread::scope(|scope| {
        let halves = [seeds.start..middle, middle..seeds.end].map(|half| scope.spawn(|| some(half)));
        let [a, b] = halves.map(|half| half.join().unwrap());
        Outcome {
            stored: a.stored + b.stored,
            takeovers: a.takeovers + b.takeovers,
            accusations: a.accusations + b.accusations,
            changes: a.changes + b.changes,
        }
    })
}

#[test]
fn through_deaths_and_takeovers_nothing_is_lost_and_nobody_who_lives_is_called_dead() {
    let outcome = all(0..250, Trouble { cuts: false });
    // Worlds in which nothing happened prove nothing.
    assert!(outcome.takeovers > 1_000 && outcome.stored > 10_000 && outcome.accusations > 250, "{outcome:?}");
}

#[test]
fn through_cuts_from_the_store_nothing_is_lost_and_only_owners_accuse() {
    let outcome = all(0..250, Trouble { cuts: true });
    assert!(outcome.takeovers > 1_000 && outcome.stored > 10_000 && outcome.accusations > 250, "{outcome:?}");
}

/// What a gateway that was cut off wrote late said that a node was alive which had died meanwhile, and nobody watched it.
#[test]
fn a_node_that_is_alive_by_late_word_is_watched_again() {
    for seed in [334, 1538] {
        let outcome = World::new(seed, Trouble { cuts: true }).run();
        assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
    }
}

#[test]
fn one_seed_is_one_outcome() {
    let trouble = Trouble { cuts: true };
    assert_eq!(World::new(7, trouble).run(), World::new(7, trouble).run());
}
