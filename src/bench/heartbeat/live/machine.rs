//! When each cell settles, is counted, is faulted and is over, and which of its nodes were noticed.
//!
//! Pure: what happens is told with its moment, and what is to be done comes back. Separate so that the shell around it only
//! starts, signals and reads.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::Stamp;
use crate::sync::record::NodeState;

/// How long all agents of a cell may take until they are alive, beside their interval.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long after the latest possible moment a node may still be noticed; then it counts as lost.
const GRACE: Duration = Duration::from_secs(5);

/// What is planned for one cell.
#[derive(Clone, Debug)]
pub struct CellPlan {
    /// The names of its nodes.
    pub nodes: Vec<String>,
    /// Span between two heartbeats.
    pub interval: Duration,
    /// How long it is only watched.
    pub settling: Duration,
    /// The longest silence before a node is noticed.
    pub silence: Duration,
}

/// Something to be done with the cell of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Bytes are counted from here on.
    BeginCount(usize),
    /// Count the bytes, then bring the fault about and say when.
    Fault(usize),
    /// Nothing more is expected of it.
    End(usize),
    /// Its agents did not come.
    GiveUp(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting { until: Stamp },
    Settling { count_from: Stamp, fault_at: Stamp },
    Counting { fault_at: Stamp },
    Faulted { until: Stamp },
    Over,
}

/// One cell and what became of its nodes.
#[derive(Clone, Debug)]
pub struct Cell {
    plan: CellPlan,
    phase: Phase,
    is_alive: Vec<bool>,
    noticed: Vec<Option<Stamp>>,
    /// When the fault was brought about.
    pub faulted_at: Option<Stamp>,
    /// Nodes that were called unreachable before that, while all had settled.
    pub mistake_count: u64,
    /// Connections that closed meanwhile.
    pub closed_count: u64,
}

/// All cells of a run.
#[derive(Clone, Debug)]
pub struct Machine {
    cells: Vec<Cell>,
    places: HashMap<String, (usize, usize)>,
}

impl Machine {
    /// Cells whose agents start now.
    #[must_use]
    pub fn new(plans: Vec<CellPlan>, now: Stamp) -> Self {
        let mut places = HashMap::new();
        for (cell, plan) in plans.iter().enumerate() {
            places.extend(plan.nodes.iter().enumerate().map(|(node, name)| (name.clone(), (cell, node))));
        }
        let cells = plans.into_iter().map(|plan| Cell::new(plan, now)).collect();
        Self { cells, places }
    }

    /// The cells, in the order of their plans.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Takes word of a node; true if it brought a cell forward by one node.
    pub fn hear(&mut self, at: Stamp, node_id: &str, state: NodeState) -> bool {
        let Some(&(cell, node)) = self.places.get(node_id) else { return false };
        let brought_forward = self.cells[cell].hear(at, node, state);
        // All at once: a cell that was faulted among the handshakes of the others would be measured with them.
        if self.cells.iter().all(Cell::is_ready) {
            self.cells.iter_mut().for_each(|cell| cell.settle(at));
        }
        brought_forward
    }

    /// The fault of a cell was brought about at this moment.
    pub fn faulted(&mut self, cell: usize, at: Stamp) {
        let cell = &mut self.cells[cell];
        cell.faulted_at = Some(at);
        cell.phase = Phase::Faulted { until: at + cell.plan.silence + GRACE };
    }

    /// What is due now. A fault is due until it was brought about.
    pub fn due(&mut self, now: Stamp) -> Vec<Act> {
        self.cells.iter_mut().enumerate().filter_map(|(at, cell)| cell.due(at, now)).collect()
    }

    /// When something is due next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Stamp> {
        let next = |cell: &Cell| match cell.phase {
            Phase::Connecting { until } | Phase::Faulted { until } => Some(until),
            Phase::Settling { count_from, .. } => Some(count_from),
            Phase::Counting { fault_at } => Some(fault_at),
            Phase::Over => None,
        };
        self.cells.iter().filter_map(next).min()
    }

    /// Whether no agents are awaited any more.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        !self.cells.iter().any(|cell| matches!(cell.phase, Phase::Connecting { .. }))
    }

    /// Whether nothing more is expected.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.cells.iter().all(|cell| cell.phase == Phase::Over)
    }
}

impl Cell {
    fn new(plan: CellPlan, now: Stamp) -> Self {
        let count = plan.nodes.len();
        Self {
            phase: Phase::Connecting { until: now + PATIENCE + plan.interval },
            plan,
            is_alive: vec![false; count],
            noticed: vec![None; count],
            faulted_at: None,
            mistake_count: 0,
            closed_count: 0,
        }
    }

    /// How many of its nodes are alive at present.
    #[must_use]
    pub fn alive_count(&self) -> usize {
        self.is_alive.iter().filter(|is_alive| **is_alive).count()
    }

    /// From the fault to word of it, of each node; `None` of one that was not noticed.
    pub fn detections(&self) -> impl Iterator<Item = Option<u64>> {
        let since = |at: &Option<Stamp>| at.zip(self.faulted_at).map(|(at, fault)| at.nanos_since(fault));
        self.noticed.iter().map(since)
    }

    /// Whether it was waited long enough for every node.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.phase == Phase::Over && self.faulted_at.is_some()
    }

    /// The time over which bytes were counted: whole intervals before the fault.
    #[must_use]
    pub fn counted(&self) -> Duration {
        let interval = self.plan.interval;
        // The first half interval after the last connection is left out: whole states are still on their way.
        let fitting = self.plan.settling.saturating_sub(interval / 2).as_nanos() / interval.as_nanos().max(1);
        interval * u32::try_from(fitting).unwrap_or(1).max(1)
    }

    /// Whether its agents are awaited, and all there.
    fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Connecting { .. }) && self.alive_count() == self.is_alive.len()
    }

    fn settle(&mut self, at: Stamp) {
        let fault_at = at + self.plan.settling;
        let count_from = at + self.plan.settling.saturating_sub(self.counted());
        self.phase = Phase::Settling { count_from, fault_at };
    }

    fn hear(&mut self, at: Stamp, node: usize, state: NodeState) -> bool {
        let was_alive = std::mem::replace(&mut self.is_alive[node], state == NodeState::Alive);
        if self.faulted_at.is_some() {
            let is_news = state == NodeState::Unreachable && self.noticed[node].is_none();
            if is_news {
                self.noticed[node] = Some(at);
            }
            return is_news;
        }
        if !matches!(self.phase, Phase::Connecting { .. }) {
            self.mistake_count += u64::from(state == NodeState::Unreachable);
            self.closed_count += u64::from(state == NodeState::Suspect);
        }
        state == NodeState::Alive && !was_alive
    }

    fn due(&mut self, at: usize, now: Stamp) -> Option<Act> {
        match self.phase {
            Phase::Connecting { until } if until <= now => {
                self.phase = Phase::Over;
                Some(Act::GiveUp(at))
            }
            Phase::Settling { count_from, fault_at } if count_from <= now => {
                self.phase = Phase::Counting { fault_at };
                Some(Act::BeginCount(at))
            }
            Phase::Counting { fault_at } if fault_at <= now => Some(Act::Fault(at)),
            Phase::Faulted { until } if until <= now || self.noticed.iter().all(Option::is_some) => {
                self.phase = Phase::Over;
                Some(Act::End(at))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Stamp {
        Stamp::from_nanos(ms * 1_000_000)
    }

    fn plan(nodes: &[&str]) -> CellPlan {
        CellPlan {
            nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
            interval: Duration::from_secs(1),
            settling: Duration::from_millis(1500),
            silence: Duration::from_millis(3200),
        }
    }

    fn machine() -> Machine {
        Machine::new(vec![plan(&["a", "b"])], at(0))
    }

    fn settled() -> Machine {
        let mut machine = machine();
        assert!(machine.hear(at(10), "a", NodeState::Alive) && !machine.is_connected());
        assert!(machine.hear(at(20), "b", NodeState::Alive) && machine.is_connected());
        machine
    }

    #[test]
    fn a_cell_settles_is_counted_faulted_and_over() {
        let mut machine = settled();
        assert_eq!((machine.due(at(519)), machine.next_deadline()), (vec![], Some(at(520))));
        assert_eq!(machine.due(at(520)), [Act::BeginCount(0)]);
        assert_eq!(machine.cells()[0].counted(), Duration::from_secs(1));
        assert_eq!(machine.due(at(1520)), [Act::Fault(0)]);
        machine.faulted(0, at(1521));
        assert!(!machine.hear(at(1522), "a", NodeState::Suspect));
        assert!(machine.hear(at(4000), "a", NodeState::Unreachable) && machine.due(at(4000)).is_empty());
        assert!(machine.hear(at(4500), "b", NodeState::Unreachable));
        assert_eq!(machine.due(at(4500)), [Act::End(0)]);
        let found: Vec<Option<u64>> = machine.cells()[0].detections().collect();
        assert_eq!(found, [Some(2_479_000_000), Some(2_979_000_000)]);
        assert!(machine.is_over() && machine.cells()[0].is_whole() && machine.next_deadline().is_none());
    }

    #[test]
    fn a_cell_waits_for_the_agents_of_all_others() {
        let mut machine = Machine::new(vec![plan(&["a"]), plan(&["b"])], at(0));
        machine.hear(at(10), "a", NodeState::Alive);
        assert_eq!((machine.due(at(5_000)), machine.is_connected()), (vec![], false));
        machine.hear(at(6_000), "b", NodeState::Alive);
        assert_eq!(machine.due(at(6_500)), [Act::BeginCount(0), Act::BeginCount(1)]);
    }

    #[test]
    fn a_node_that_is_never_noticed_is_waited_for_and_lost() {
        let mut machine = settled();
        machine.due(at(520));
        machine.faulted(0, at(1520));
        machine.hear(at(4000), "b", NodeState::Unreachable);
        // A node that comes back and goes again was noticed when it went first.
        machine.hear(at(4100), "b", NodeState::Alive);
        assert!(!machine.hear(at(4200), "b", NodeState::Unreachable));
        assert_eq!((machine.due(at(9719)), machine.due(at(9720))), (vec![], vec![Act::End(0)]));
        assert_eq!(machine.cells()[0].detections().collect::<Vec<_>>(), [None, Some(2_480_000_000)]);
    }

    #[test]
    fn what_happens_before_the_fault_is_a_mistake_and_strangers_are_nobody() {
        let mut machine = settled();
        for state in [NodeState::Suspect, NodeState::Unreachable] {
            machine.hear(at(100), "a", state);
            assert!(!machine.hear(at(100), "stranger", state));
        }
        let cell = &machine.cells()[0];
        assert_eq!((cell.mistake_count, cell.closed_count, cell.alive_count()), (1, 1, 1));
        assert!(cell.detections().all(|found| found.is_none()));
    }

    #[test]
    fn agents_that_do_not_come_are_given_up() {
        let mut machine = machine();
        machine.hear(at(10), "a", NodeState::Alive);
        assert_eq!(machine.due(at(30_999)), []);
        assert_eq!((machine.due(at(31_000)), machine.is_over()), (vec![Act::GiveUp(0)], true));
        assert!(!machine.cells()[0].is_whole());
    }
}
