//! What goes wrong, when, and how it ends.
//!
//! Separate because the rest of the world only has to bear it.

use rand::RngExt as _;

use super::queue::Plan;
use super::{System, moment, nanos};

/// How far a clock steps at most: a day either way.
const STEP_NS: i128 = 86_400_000_000_000;

impl System {
    /// Plans the next trouble: one in two intervals or so.
    pub(super) fn plan_trouble(&mut self) {
        let wait = self.random.random_range(0..4 * nanos(self.spec.interval));
        self.queue.push(self.now + wait, Plan::Trouble);
    }

    pub(super) fn trouble(&mut self) {
        if !self.has_trouble {
            return;
        }
        self.plan_trouble();
        let at = self.random.random_range(0..self.nodes.len());
        let (troubles, choice) = (self.spec.troubles, self.random.random_range(0..6));
        match choice {
            0 if troubles.agents => self.kill_agent(at),
            1 if troubles.agents => {
                let step = self.random.random_range(-1.0..1.0_f64) * STEP_NS as f64;
                self.nodes[at].ahead_ns = step as i128;
            }
            2 if troubles.silence => {
                self.witness.hushed(at);
                self.nodes[at].frozen_until = self.now + self.some_intervals();
            }
            3 if troubles.silence => {
                self.witness.hushed(at);
                self.nodes[at].cut_until = self.now + self.some_intervals();
            }
            4 if troubles.gateway => {
                let (has_written, away) = (self.random.random(), self.some_intervals() / 4);
                self.far_end.kill(has_written);
                self.witness.set_back(self.now + away);
                self.queue.push(self.now + away, Plan::Restart);
            }
            5 if troubles.gateway => {
                let has_written = self.random.random();
                self.far_end.fail_store(moment(self.now, 0), has_written);
                self.witness.set_back(self.now);
            }
            _ => {}
        }
    }

    /// An agent dies. Half of them come back, some with a clock that went back meanwhile.
    fn kill_agent(&mut self, at: usize) {
        if self.nodes[at].agent.take().is_none() {
            return;
        }
        self.nodes[at].planned = None;
        self.hang_up(at);
        self.witness.died(self.now, at);
        if self.random.random() {
            let away = self.some_intervals();
            self.queue.push(self.now + away, Plan::Start(at));
        }
    }

    /// The trouble is over: links are whole, everybody moves, the gateway is there.
    pub(super) fn heal(&mut self) {
        self.has_trouble = false;
        self.spec.link = super::LinkSpec { loss: super::Loss::Never, duplicate: 0.0, ..self.spec.link.clone() };
        for node in &mut self.nodes {
            node.cut_until = node.cut_until.min(self.now);
            node.frozen_until = node.frozen_until.min(self.now + nanos(self.spec.interval));
        }
    }

    /// From a moment to six intervals.
    fn some_intervals(&mut self) -> u64 {
        self.random.random_range(0..6 * nanos(self.spec.interval))
    }
}
