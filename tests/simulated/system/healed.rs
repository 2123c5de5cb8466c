//! Whether what the gateway shows is true, which it has to be some time after all has healed.
//!
//! Separate from the witness, which watches while it happens.

use std::time::Duration;

use super::check::{SLACK_NS, Violation};
use super::{Node, System, moment};
use offloadctl::sync::gateway::machine::TaskView;
use offloadctl::sync::record::{NodeState, Status};

impl System {
    /// Whether what the gateway shows is true, some time after all has healed.
    pub(super) fn check_healed(&self) -> Result<(), Violation> {
        let machine = self.far_end.machine();
        let shown_task = |id: &str| machine.and_then(|machine| machine.task(id)).map(|task| task.status);
        for (at, node) in self.nodes.iter().enumerate() {
            let seen = self.witness.nodes[at];
            let untrue = |what: &str, shown: String, truth: &str| {
                Err(Violation::Untrue { what: what.to_owned(), shown, truth: truth.to_owned() })
            };
            if seen.died.is_some() {
                let bound = self.witness.patience_ns + SLACK_NS;
                if matches!(seen.state, Some(NodeState::Alive | NodeState::Suspect)) {
                    let bound = Duration::from_nanos(bound);
                    return Err(Violation::Late { node: node.id.clone(), after: None, bound });
                }
                continue;
            }
            if node.agent.is_none() || seen.state != Some(NodeState::Alive) {
                return untrue(&node.id, format!("{:?}", seen.state), "alive, with its agent");
            }
            for (id, status) in &node.truth {
                if shown_task(id) != Some(*status) {
                    return untrue(id, format!("{:?}", shown_task(id)), status.name());
                }
            }
        }
        self.check_kept_tasks()?;
        self.check_counts()?;
        self.witness.check_kept(self.now)?;
        // The machine is a commit ahead of what the witness knows to be forgotten.
        let is_told =
            |id: &String| shown_task(id) == Some(Status::Completed) || self.witness.may_be_forgotten(self.now, id);
        let untrue = self.witness.ended.keys().find(|id| !is_told(id));
        match untrue {
            Some(id) => Err(Violation::Untrue {
                what: id.clone(),
                shown: format!("{:?}", shown_task(id)),
                truth: "completed".to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Whether a node that lives is said to have a task which it has not.
    fn check_kept_tasks(&self) -> Result<(), Violation> {
        let Some(machine) = self.far_end.machine() else { return Ok(()) };
        for node in self.nodes.iter().filter(|node| node.agent.is_some()) {
            let all = machine.tasks(None, usize::MAX, Some(&node.id)).items.into_iter();
            let open = |task: &TaskView| !task.status.is_final() && task.status != Status::Unknown;
            if let Some(task) = all.filter(open).find(|task| !node.truth.contains_key(&task.task_id)) {
                let (what, shown) = (task.task_id, task.status.name().to_owned());
                return Err(Violation::Untrue { what, shown, truth: "not there any more".to_owned() });
            }
        }
        Ok(())
    }

    /// Whether the gateway's counts, which it keeps as it goes, are those of what it shows.
    pub(super) fn check_counts(&self) -> Result<(), Violation> {
        let Some(machine) = self.far_end.machine() else { return Ok(()) };
        let counted = machine.counts();
        let (tasks, nodes) =
            (machine.tasks(None, usize::MAX, None).items, machine.nodes(moment(self.now, 0), None, usize::MAX).items);
        let mut shown = counted.clone();
        shown.tasks.iter_mut().for_each(|(of, n)| *n = tasks.iter().filter(|task| task.status == *of).count());
        shown.nodes.iter_mut().for_each(|(of, n)| *n = nodes.iter().filter(|node| node.state == *of).count());
        let of_node = |node: &Node| {
            let by_scan: Vec<&str> =
                tasks.iter().filter(|task| task.node_id == node.id).map(|task| task.task_id.as_str()).collect();
            let by_index = machine.tasks(None, usize::MAX, Some(&node.id)).items;
            by_index.iter().map(|task| task.task_id.as_str()).collect::<Vec<_>>() == by_scan
        };
        if counted == shown && self.nodes.iter().all(of_node) {
            return Ok(());
        }
        Err(Violation::Miscounted { counted: format!("{counted:?}"), shown: format!("{shown:?}") })
    }
}
