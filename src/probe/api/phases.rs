//! From the stamps of one request to its phases. Pure: the same stamps give the same phases.
//!
//! Separate because the borders between phases are decided here and nowhere else.

use crate::load::Detail;
use crate::model::{Clock, Stamp};

/// Where a request is. What is before the first byte of the answer, the writing of the request included, is `Ttfb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The name is looked up.
    Dns,
    /// The connection is being made.
    Tcp,
    /// The TLS handshake runs.
    Tls,
    /// The request is on its way, or the server works.
    Ttfb,
    /// The answer comes in.
    Transfer,
}

/// All phases in their order.
pub const PHASES: [Phase; 5] = [Phase::Dns, Phase::Tcp, Phase::Tls, Phase::Ttfb, Phase::Transfer];

impl Phase {
    /// Name of its series.
    #[must_use]
    pub const fn series(self) -> &'static str {
        match self {
            Self::Dns => "api.dns",
            Self::Tcp => "api.tcp",
            Self::Tls => "api.tls",
            Self::Ttfb => "api.ttfb",
            Self::Transfer => "api.transfer",
        }
    }
}

/// Name of the series of whole requests.
pub const TOTAL: &str = "api.total";

/// A beginning and an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it began.
    pub from: Stamp,
    /// When it ended.
    pub to: Stamp,
}

/// How a connection came about; what did not happen is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// The lookup, unless the address was known.
    pub dns: Option<Span>,
    /// The TCP handshake.
    pub tcp: Option<Span>,
    /// The TLS handshake, unless in the clear.
    pub tls: Option<Span>,
}

impl Opening {
    /// When it began.
    #[must_use]
    pub fn began(&self) -> Option<Stamp> {
        self.dns.or(self.tcp).map(|span| span.from)
    }
}

/// One answered request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// When the request was handed over.
    pub began: Stamp,
    /// When its last byte was handed to the kernel.
    pub written: Stamp,
    /// When the first byte of the answer had been read.
    pub first: Stamp,
    /// When the whole answer had been read.
    pub ended: Stamp,
}

/// The phases of a request as details of its attempt: all of them on a connection of its own, the last ones on a kept one.
#[must_use]
pub fn details(opening: &Opening, exchange: &Exchange) -> Vec<Detail> {
    let mut details = Vec::with_capacity(PHASES.len() + 1);
    let mut push = |name, from: Stamp, to: Stamp| {
        details.push(Detail { name, clock: Clock::User, value_ns: to.nanos_since(from) });
    };
    for (phase, span) in [(Phase::Dns, opening.dns), (Phase::Tcp, opening.tcp), (Phase::Tls, opening.tls)] {
        if let Some(span) = span {
            push(phase.series(), span.from, span.to);
        }
    }
    push(Phase::Ttfb.series(), exchange.written, exchange.first);
    push(Phase::Transfer.series(), exchange.first, exchange.ended);
    push(TOTAL, opening.began().unwrap_or(exchange.began), exchange.ended);
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Stamp {
        Stamp::from_nanos(nanos)
    }

    fn span(from: u64, to: u64) -> Option<Span> {
        Some(Span { from: at(from), to: at(to) })
    }

    fn shown(opening: Opening) -> Vec<(&'static str, u64)> {
        let exchange = Exchange { began: at(100), written: at(110), first: at(150), ended: at(180) };
        details(&opening, &exchange).iter().map(|detail| (detail.name, detail.value_ns)).collect()
    }

    #[test]
    fn a_connection_of_its_own_has_every_phase() {
        let phases = shown(Opening { dns: span(10, 20), tcp: span(21, 50), tls: span(50, 95) });
        let expected = [
            ("api.dns", 10),
            ("api.tcp", 29),
            ("api.tls", 45),
            ("api.ttfb", 40),
            ("api.transfer", 30),
            ("api.total", 170),
        ];
        assert_eq!(phases, expected);
    }

    #[test]
    fn what_did_not_happen_is_absent_and_not_zero() {
        let phases = shown(Opening { dns: None, tcp: span(21, 50), tls: None });
        assert_eq!(phases, [("api.tcp", 29), ("api.ttfb", 40), ("api.transfer", 30), ("api.total", 159)]);
        let kept = shown(Opening::default());
        assert_eq!(kept, [("api.ttfb", 40), ("api.transfer", 30), ("api.total", 80)]);
    }
}
