//! What goes into an agent's machine and what comes out of it: plain data.
//!
//! Separate so that the machine's file holds nothing but its rules.

use std::time::Duration;

use super::backoff::Bounds;
use super::beat::Rhythm;
use super::ledger::{Lost, Seen};
use crate::sync::message::{ErrorText, FromAgent, FromGateway};

/// What an agent was told to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which node it speaks for.
    pub node_id: String,
    /// How often it sends a heartbeat.
    pub rhythm: Rhythm,
    /// How far its heartbeats are shifted against those of others.
    pub phase: Duration,
    /// How long the first change waits for company.
    pub coalescing: Duration,
    /// How long an answer may take before the connection is taken for dead.
    pub answer_within: Duration,
    /// Gateways that it may connect to, at least one.
    pub servers: usize,
    /// Waits between attempts to connect.
    pub backoff: Bounds,
    /// Tasks that it keeps at most.
    pub most_tasks: usize,
    /// Bytes of tasks in one frame, about and at most.
    pub most_frame_bytes: usize,
    /// Sources whose first word is waited for before the gateway is told everything.
    pub sources: usize,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The connection that was asked for is there.
    Connected,
    /// It could not be made, or it has ended.
    Disconnected,
    /// The gateway said something on the present connection.
    Frame(FromGateway),
    /// A source knows exactly these tasks.
    Known(usize, Vec<Seen>),
    /// A source has seen these change.
    Observed(usize, Vec<Seen>),
    /// A source no longer knows a task.
    Vanished(String),
    /// Another interval from now on.
    SetRhythm(Rhythm),
    /// There are so many gateways from now on.
    SetServers(usize),
    /// The connection is to be made anew, because its settings have changed.
    Reconnect,
    /// The node leaves.
    Leave,
    /// The machine has slept: who was there may be gone.
    Woke,
    /// A deadline has passed.
    Tick,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Connect to the gateway of [`Machine::attempt`](super::Machine::attempt); answered by `Connected` or `Disconnected`.
    Connect,
    /// Send a frame on the connection.
    Send(FromAgent),
    /// Drop the connection or the attempt; not answered.
    Close,
    /// Tell a person.
    Warn(Warning),
    /// Nothing more will happen.
    End(End),
}

/// What a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The gateway does not take what we send.
    Refused(ErrorText),
    /// It will never take the report on this task.
    TaskRefused {
        /// Which task.
        task_id: String,
        /// Why.
        message: String,
    },
    /// It does not take reports of such a time: our clock is wrong, or its own.
    WrongClock(String),
    /// It knows an agent of this node that began later than our clock says it is: ours goes on behind that one.
    EpochAhead(u64),
    /// It knows one that nobody can begin after.
    LastEpoch(u64),
    /// It does not answer.
    Silent(Duration),
    /// There are more tasks than are kept.
    TooMany(Lost),
}

/// Why an agent ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The gateway was told that the node leaves.
    Left,
    /// The node leaves, and the gateway could not be told.
    LeftUnheard,
    /// Another agent speaks for this node.
    Superseded(ErrorText),
}
