//! The stamps that one change collects on its way from the agent to a subscriber.
//!
//! Separate from the reports that carry them, because only a change that is traced has any: the container's label
//! `offloadctl.trace` names it, an agent with `"trace": true` and a gateway with `--trace` add their stamps. All are nanoseconds of
//! the monotonic clock of the host that took them, which the token of its kernel names. Pure but for that token.

use serde::{Deserialize, Serialize};

use crate::sys::host::kernel_token;

/// Traces that an agent or a gateway keeps at a time; a further one takes the place of the oldest.
pub const MOST_OPEN: usize = 100;

/// Longest id of a trace, in bytes.
pub const LONGEST_ID: usize = 64;

/// What [`kernel_token`] is asked with: the same of every part of one trace.
const SESSION: u64 = 0x0074_7261_6365;

/// The stamps of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentTrace {
    /// The id of the trace.
    pub id: String,
    /// Whose clock it is; absent where the kernel does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<u64>,
    /// The source has read the event, or the list that shows the change.
    pub read_ns: u64,
    /// The agent has taken it from the source.
    pub taken_ns: u64,
    /// The frame with the report is handed to the socket.
    pub sent_ns: u64,
}

/// The stamps of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayTrace {
    /// Whose clock it is; absent where the kernel does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<u64>,
    /// The frame with the report is read.
    pub received_ns: u64,
    /// The report is decided, and handed to the store.
    pub decided_ns: u64,
    /// The store has made it durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable_ns: Option<u64>,
    /// It is handed to the subscriber's socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_ns: Option<u64>,
}

/// Everything that a subscriber learns of a traced change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Of the agent.
    pub agent: AgentTrace,
    /// Of the gateway.
    pub gateway: GatewayTrace,
}

/// What tells the clock of this host from that of another one: a number that every reader of JSON keeps.
#[must_use]
pub fn own_clock() -> Option<u64> {
    kernel_token(SESSION).map(|token| token >> 11)
}

/// Whether a text can be the id of a trace: it travels as a label, in names and in JSON.
#[must_use]
pub fn is_id(text: &str) -> bool {
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_short_and_plain() {
        assert!(is_id("0123abcd-7"));
        for wrong in ["", "a b", "\"", "ü", &"x".repeat(LONGEST_ID + 1)] {
            assert!(!is_id(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_clock_is_a_number_that_every_reader_keeps() {
        assert!(own_clock().is_none_or(|clock| clock < 1 << 53));
    }
}
