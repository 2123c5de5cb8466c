//! What is going to happen, in the order of its moments and otherwise as it was planned.

use std::collections::BTreeMap;

use offloadctl::sync::message::{FromAgent, FromGateway};

/// Something that will happen.
#[derive(Clone, Debug)]
pub enum Plan {
    /// A frame of an agent arrives on a connection.
    ToGateway(u64, FromAgent),
    /// A frame of the gateway arrives at an agent on a connection.
    ToAgent(usize, u64, FromGateway),
    /// An attempt to connect ends.
    Dialed(usize, u64),
    /// The gateway notices that a connection is gone.
    HungUp(u64),
    /// An agent notices that.
    Dropped(usize, u64),
    /// An agent's deadline.
    Tick(usize),
    /// The gateway's deadline.
    Poll,
    /// The store has written a batch, unless the gateway was set back since.
    Committed(u64),
    /// Something happens to a task of a node.
    Work(usize),
    /// The next word of a source arrives, which tells this start of the agent.
    Sense(usize, usize, u64),
    /// A source lists everything, likewise.
    List(usize, usize, u64),
    /// Something goes wrong.
    Trouble,
    /// The gateway comes back.
    Restart,
    /// An agent comes back.
    Start(usize),
    /// The subscriber reads on.
    Pull,
}

impl Plan {
    /// The agent that has to move for it.
    pub const fn agent(&self) -> Option<usize> {
        match self {
            Self::ToAgent(at, ..) | Self::Dialed(at, _) | Self::Dropped(at, _) | Self::Tick(at) => Some(*at),
            Self::Sense(at, ..) => Some(*at),
            _ => None,
        }
    }
}

/// Plans by moment.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    plans: BTreeMap<(u64, u64), Plan>,
    pushed: u64,
}

impl Queue {
    /// Plans something.
    pub fn push(&mut self, at: u64, plan: Plan) {
        self.pushed += 1;
        self.plans.insert((at, self.pushed), plan);
    }

    /// Takes the next, if it is not after `until`.
    pub fn pop(&mut self, until: u64) -> Option<(u64, Plan)> {
        let entry = self.plans.first_entry().filter(|entry| entry.key().0 <= until)?;
        let ((at, _), plan) = entry.remove_entry();
        Some((at, plan))
    }
}
