//! An agent whose node is watched by several sources: each hears of everything late, in its own order of a few hundred
//! milliseconds, and misses some of it until its next list. What they say is joined by the machine that agents use.
//!
//! Separate because the rest of the world only knows what is true. A runtime lists what is over for some seconds.

use std::collections::{BTreeMap, VecDeque};

use rand::RngExt as _;

use super::queue::Plan;
use super::{Input, Seen, System, Violation, moment, seen};
use offloadctl::model::WallTime;
use offloadctl::source::joined::Join;
use offloadctl::source::{Event, Sighting, TaskState};
use offloadctl::sync::record::Status;

/// Share of what happens that a source misses.
const MISSED: f64 = 0.1;

/// How late a source hears of something at most, and its next list after something that it missed.
const LATE_NS: u64 = 300_000_000;
const LIST_NS: u64 = 3_000_000_000;

/// How long what is over is listed.
const LISTED_NS: u64 = 5_000_000_000;

/// The sources of a node.
#[derive(Default)]
pub struct Senses {
    join: Join,
    /// Which start of the agent they tell; what they told an earlier one is nothing to it.
    pub generation: u64,
    /// What each has said and is on its way: none overtakes another of its source, also where the agent stands still.
    words: Vec<VecDeque<Event>>,
    /// What is over, and since when.
    over: Vec<(u64, Sighting)>,
    /// How far each task is, as the agent was told.
    told: BTreeMap<String, u8>,
    /// Words that were news to nobody.
    pub confirmed: u64,
}

impl System {
    /// What is true of a task changes: it stands elsewhere now, or is not there any more.
    pub(super) fn observe(&mut self, at: usize, id: &str, status: Option<Status>) {
        let wall = moment(self.now, self.nodes[at].ahead_ns).wall;
        if self.spec.sources == 1 {
            if status == Some(Status::Completed) {
                self.witness.ended(at, id);
            }
            let input = match status {
                Some(status) => Input::Observed(0, vec![seen(id, status, wall)]),
                None => Input::Vanished(id.to_owned()),
            };
            return self.tell_agent(at, input);
        }
        let sighting = status.map(|status| sighting(id, status, wall));
        if let Some(over) = sighting.clone().filter(|_| status == Some(Status::Completed)) {
            self.nodes[at].senses.over.push((self.now, over));
        }
        let event = sighting.map_or_else(|| Event::Vanished(id.to_owned()), |one| Event::Changed(vec![one]));
        for source in 0..self.spec.sources {
            if self.random.random::<f64>() < MISSED {
                let (wait, generation) = (self.random.random_range(0..LIST_NS), self.nodes[at].senses.generation);
                self.queue.push(self.now + wait, Plan::List(at, source, generation));
            } else {
                self.say(at, source, event.clone());
            }
        }
    }

    /// An agent begins: all of its sources tell it what there is, one perhaps that it cannot see yet.
    pub(super) fn look_around(&mut self, at: usize) {
        let senses = &mut self.nodes[at].senses;
        senses.generation += 1;
        (senses.join, senses.told) = (Join::new(self.spec.sources), BTreeMap::new());
        senses.words = vec![VecDeque::new(); self.spec.sources];
        let generation = senses.generation;
        for source in 0..self.spec.sources {
            if self.random.random::<f64>() < MISSED {
                self.say(at, source, Event::Trouble("nobody there".to_owned()));
                let wait = self.random.random_range(0..LIST_NS);
                self.queue.push(self.now + wait, Plan::List(at, source, generation));
            } else {
                self.list(at, source, generation);
            }
        }
    }

    /// A source lists everything as it is now.
    pub(super) fn list(&mut self, at: usize, source: usize, generation: u64) {
        let (now, node) = (self.now, &mut self.nodes[at]);
        if generation != node.senses.generation {
            return;
        }
        let wall = moment(now, node.ahead_ns).wall;
        node.senses.over.retain(|(since, _)| now < since + LISTED_NS);
        let open = node.truth.iter().map(|(id, status)| sighting(id, *status, wall));
        let all = open.chain(node.senses.over.iter().map(|(_, over)| over.clone())).collect();
        self.say(at, source, Event::Known(all));
    }

    fn say(&mut self, at: usize, source: usize, event: Event) {
        let wait = self.random.random_range(1_000_000..LATE_NS);
        let senses = &mut self.nodes[at].senses;
        senses.words[source].push_back(event);
        self.queue.push(self.now + wait, Plan::Sense(at, source, senses.generation));
    }

    /// The word of a source arrives; the agent is told what is news of it.
    pub(super) fn sense(&mut self, at: usize, source: usize, generation: u64) -> Result<(), Violation> {
        let node = &mut self.nodes[at];
        if generation != node.senses.generation || node.agent.is_none() {
            return Ok(());
        }
        let Some(event) = node.senses.words[source].pop_front() else { return Ok(()) };
        let news = node.senses.join.take(source, event);
        node.senses.confirmed += u64::from(news.is_empty());
        for event in news {
            let input = match event {
                Event::Known(all) => Input::Known(0, self.heard(at, all, true)?),
                Event::Changed(some) => Input::Observed(0, self.heard(at, some, false)?),
                Event::Vanished(id) => {
                    self.nodes[at].senses.told.remove(&id);
                    Input::Vanished(id)
                }
                Event::Trouble(_) | Event::Odd(_) => continue,
            };
            self.tell_agent(at, input);
        }
        Ok(())
    }

    /// What the agent is told; nothing goes back in this world, and a change that is no step further was told twice.
    fn heard(&mut self, at: usize, all: Vec<Sighting>, is_list: bool) -> Result<Vec<Seen>, Violation> {
        if is_list {
            let is_named = |id: &String| all.iter().any(|one| one.task_id == *id);
            self.nodes[at].senses.told.retain(|id, _| is_named(id));
        }
        let mut told = Vec::new();
        for Sighting { task_id, state, at: wall, .. } in all {
            let (rank, status) = match state {
                TaskState::Pending => (1, Status::Pending),
                TaskState::Running => (2, Status::Running),
                TaskState::Unknown | TaskState::Ended { .. } => (3, Status::Completed),
            };
            let before = self.nodes[at].senses.told.insert(task_id.clone(), rank).unwrap_or(0);
            if rank < before || rank == before && !is_list {
                let (shown, truth) = (format!("{status:?} after step {before}"), "each step once".to_owned());
                return Err(Violation::Untrue { what: task_id, shown, truth });
            }
            if status == Status::Completed {
                self.witness.ended(at, &task_id);
            }
            told.push(seen(&task_id, status, wall));
        }
        Ok(told)
    }
}

fn sighting(id: &str, status: Status, at: WallTime) -> Sighting {
    let state = match status {
        Status::Pending => TaskState::Pending,
        Status::Running => TaskState::Running,
        _ => TaskState::Ended { is_success: true },
    };
    Sighting { task_id: id.to_owned(), state, at, payload: None, mark: None }
}
