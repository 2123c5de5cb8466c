//! Tasks that pass from one node to another: a scheduler starts them anew where somebody is heard.
//!
//! Separate because two agents then speak of one task, which nothing else in this world makes them do. The scheduler does as it
//! should: it moves what is on a node that is durably unreachable, and lets that node come back once the gateway knows where
//! its tasks are.

use rand::RngExt as _;

use super::System;
use offloadctl::sync::record::{NodeState, Status};

impl System {
    /// Starts a task of a lost node on this one; false if there is none.
    pub(super) fn move_task_to(&mut self, to: usize) -> bool {
        let is_lost = |at: &usize| {
            let node = &self.nodes[*at];
            node.agent.is_none() && !node.truth.is_empty() && self.witness.state(*at) == Some(NodeState::Unreachable)
        };
        let lost: Vec<usize> = (0..self.nodes.len()).filter(is_lost).collect();
        if lost.is_empty() {
            return false;
        }
        let from = lost[self.random.random_range(0..lost.len())];
        let Some((task, _)) = self.nodes[from].truth.pop_first() else { return false };
        self.nodes[from].moved.push((task.clone(), to));
        self.moves += 1;
        self.nodes[to].truth.insert(task.clone(), Status::Running);
        self.observe(to, &task, Some(Status::Running));
        true
    }

    /// Whether the gateway knows of every task that was moved away from a node where it is now.
    pub(super) fn has_moved(&mut self, at: usize) -> bool {
        let owner = |id: &str| self.far_end.machine().and_then(|machine| machine.task(id)).map(|task| task.node_id);
        let open = |(task, to): &(String, usize)| owner(task).as_ref() != Some(&self.nodes[*to].id);
        !self.nodes[at].moved.iter().any(open)
    }
}
