//! From the stamps of one change to the spans that each part of its way took.
//!
//! Separate because it is pure. Each hop lies between two stamps of the part that owns it; what lies between the stamps of two parts
//! belongs to nobody, and neither does the time of a part that took no stamps: both are what is not explained.

use crate::model::{Stamp, words};
use crate::sync::trace::{AgentTrace, GatewayTrace};

/// A part of the way of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// From the call to the stamp of the kernel: the process executes its program.
    Kernel,
    /// From there to the runtime's own time of its event.
    Runtime,
    /// From there to the moment when the agent's source has read of it.
    Event,
    /// From the agent's taking of it to the frame that is handed to the socket.
    Agent,
    /// From there to the frame that the gateway has read.
    Wire,
    /// From there to the change that is handed to the store.
    Gateway,
    /// From there to the end of the store's commit.
    Store,
    /// From there to the change that is handed to the subscriber's socket.
    Publish,
    /// From there to the subscriber who has read it.
    Subscriber,
}

words!(Hop {
    Kernel = "kernel",
    Runtime = "runtime",
    Event = "event",
    Agent = "agent",
    Wire = "wire",
    Gateway = "gateway",
    Store = "store",
    Publish = "publish",
    Subscriber = "subscriber",
});

impl Hop {
    /// All of them, in the order of the way.
    pub const ALL: [Self; 9] = [
        Self::Kernel,
        Self::Runtime,
        Self::Event,
        Self::Agent,
        Self::Wire,
        Self::Gateway,
        Self::Store,
        Self::Publish,
        Self::Subscriber,
    ];

    /// What happens in it, in a few words.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Kernel => "starts the process",
            Self::Runtime => "notes the start",
            Self::Event => "agent hears of it",
            Self::Agent => "decides, sends",
            Self::Wire => "TLS and network",
            Self::Gateway => "validates, decides",
            Self::Store => "makes it durable",
            Self::Publish => "wakes the stream",
            Self::Subscriber => "TLS and network",
        }
    }
}

/// What one change collected on its way, all on the clock of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// The call that brought it about begins.
    pub called: Stamp,
    /// The kernel's stamp of the process that executes its program.
    pub kernel: Option<Stamp>,
    /// The runtime's own time of its event.
    pub runtime: Option<Stamp>,
    /// Those of the agent.
    pub agent: Option<AgentTrace>,
    /// Those of the gateway.
    pub gateway: Option<GatewayTrace>,
    /// The subscriber has read it.
    pub seen: Stamp,
}

/// The spans of one change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// Those that both ends of were stamped, in the order of the way, in nanoseconds.
    pub hops: Vec<(Hop, u64)>,
    /// From the call to the subscriber.
    pub total: u64,
    /// What of it no hop claims.
    pub unexplained: u64,
}

impl Stamps {
    /// The spans between them.
    #[must_use]
    pub fn spans(&self) -> Spans {
        let (called, seen) = (self.called.as_nanos(), self.seen.as_nanos());
        let read = self.agent.as_ref().map(|agent| agent.read_ns);
        // A stamp that came by another clock may lie a little outside of its neighbours: it then divides nothing.
        let end = read.unwrap_or(seen);
        let within =
            |stamp: Option<Stamp>, from: u64| stamp.map(Stamp::as_nanos).filter(|at| (from..=end).contains(at));
        let kernel = within(self.kernel, called);
        let runtime = within(self.runtime, kernel.unwrap_or(called));
        let agent = self.agent.as_ref();
        let gateway = self.gateway.as_ref();
        let durable = gateway.and_then(|gateway| gateway.durable_ns);
        let told = gateway.and_then(|gateway| gateway.told_ns);
        let ends = [
            (Hop::Kernel, Some(called), kernel),
            (Hop::Runtime, kernel.or(Some(called)), runtime),
            (Hop::Event, runtime.or(kernel).or(Some(called)), read),
            (Hop::Agent, agent.map(|agent| agent.taken_ns), agent.map(|agent| agent.sent_ns)),
            (Hop::Wire, agent.map(|agent| agent.sent_ns), gateway.map(|gateway| gateway.received_ns)),
            (Hop::Gateway, gateway.map(|gateway| gateway.received_ns), gateway.map(|gateway| gateway.decided_ns)),
            (Hop::Store, gateway.map(|gateway| gateway.decided_ns), durable),
            (Hop::Publish, durable, told),
            (Hop::Subscriber, told, Some(seen)),
        ];
        let span = |(hop, from, to): (Hop, Option<u64>, Option<u64>)| Some((hop, to?.checked_sub(from?)?));
        let hops: Vec<(Hop, u64)> = ends.into_iter().filter_map(span).collect();
        let total = seen.saturating_sub(called);
        let explained = hops.iter().fold(0_u64, |sum, (_, ns)| sum.saturating_add(*ns));
        Spans { hops, total, unexplained: total.saturating_sub(explained) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: u64) -> Stamp {
        Stamp::from_nanos(ns)
    }

    fn whole() -> Stamps {
        let agent = AgentTrace { id: "a".to_owned(), clock: None, read_ns: 160, taken_ns: 165, sent_ns: 210 };
        let (durable_ns, told_ns) = (Some(800), Some(850));
        let gateway = GatewayTrace { clock: None, received_ns: 300, decided_ns: 310, durable_ns, told_ns };
        let (kernel, runtime) = (Some(at(130)), Some(at(150)));
        Stamps { called: at(100), kernel, runtime, agent: Some(agent), gateway: Some(gateway), seen: at(900) }
    }

    fn told(stamps: &Stamps) -> (Vec<(&'static str, u64)>, u64) {
        let spans = stamps.spans();
        assert_eq!(spans.hops.iter().map(|(_, ns)| ns).sum::<u64>() + spans.unexplained, spans.total);
        (spans.hops.iter().map(|(hop, ns)| (hop.name(), *ns)).collect(), spans.unexplained)
    }

    #[test]
    fn every_part_has_its_own_span_and_what_lies_between_two_belongs_to_nobody() {
        let hops = vec![
            ("kernel", 30),
            ("runtime", 20),
            ("event", 10),
            ("agent", 45),
            ("wire", 90),
            ("gateway", 10),
            ("store", 490),
            ("publish", 50),
            ("subscriber", 50),
        ];
        // Five nanoseconds between the source that read and the agent that took.
        assert_eq!(told(&whole()), (hops, 5));
    }

    #[test]
    fn a_part_that_took_no_stamps_is_not_explained() {
        let (hops, unexplained) = told(&Stamps { gateway: None, ..whole() });
        assert_eq!(hops, [("kernel", 30), ("runtime", 20), ("event", 10), ("agent", 45)]);
        assert_eq!(unexplained, 5 + 690);
        let (hops, unexplained) = told(&Stamps { agent: None, ..whole() });
        assert_eq!(hops[..3], [("kernel", 30), ("runtime", 20), ("gateway", 10)]);
        assert_eq!(unexplained, 150);
    }

    #[test]
    fn without_a_kernel_or_a_runtime_that_stamps_their_time_is_in_the_next_hop() {
        let (hops, _) = told(&Stamps { kernel: None, ..whole() });
        assert_eq!(hops[..2], [("runtime", 50), ("event", 10)]);
        let (hops, _) = told(&Stamps { kernel: None, runtime: None, ..whole() });
        assert_eq!(hops[0], ("event", 60));
    }

    #[test]
    fn a_stamp_of_another_clock_that_lies_outside_divides_nothing() {
        let (hops, _) = told(&Stamps { runtime: Some(at(170)), ..whole() });
        assert_eq!(hops[..2], [("kernel", 30), ("event", 30)]);
        let (hops, _) = told(&Stamps { runtime: Some(at(120)), ..whole() });
        assert_eq!(hops[..2], [("kernel", 30), ("event", 30)]);
    }
}
