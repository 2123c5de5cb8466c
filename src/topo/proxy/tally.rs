//! What a link carried, and how late it was with it: its own error, so that nobody trusts a link that could not keep up.

use super::Way;
use crate::model::{Histogram, Labels, Moments, Series, Stamp};

/// What was carried by one way of transport.
#[derive(Clone, Debug, Default)]
pub struct Crossing {
    /// Connections, or peers that sent datagrams.
    pub flows: u64,
    /// Connections, or datagrams of further peers, for which there was no room.
    pub turned_away: u64,
    /// Connections, or datagrams, that the far end did not take.
    pub refused: u64,
    /// Bytes delivered to the far end.
    pub bytes_there: u64,
    /// Bytes delivered to the near end.
    pub bytes_back: u64,
    /// Pieces of streams, or datagrams, delivered to the far end.
    pub pieces_there: u64,
    /// The same to the near end.
    pub pieces_back: u64,
    /// Datagrams that the link lost, as its profile says.
    pub lost: u64,
    /// Datagrams that did not find room on the link, or in the socket they were delivered to.
    pub dropped: u64,
    /// How late they were delivered.
    pub lateness: Lateness,
}

/// Spans from the moment a piece was due to the moment it was handed to the kernel.
#[derive(Clone, Debug, Default)]
pub struct Lateness {
    histogram: Histogram,
    moments: Moments,
}

/// Everything that a link did.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By TCP.
    pub streams: Crossing,
    /// By UDP.
    pub datagrams: Crossing,
}

impl Crossing {
    /// Takes bytes that the kernel took when they were handed to it then, with the moment at which they were due if they are the
    /// first of their piece.
    pub(super) fn deliver(&mut self, way: Way, bytes: usize, (due, handed_over): (Option<Stamp>, Stamp)) {
        let (all, pieces) = match way {
            Way::There => (&mut self.bytes_there, &mut self.pieces_there),
            Way::Back => (&mut self.bytes_back, &mut self.pieces_back),
        };
        *all += bytes as u64;
        if let Some(due) = due {
            *pieces += 1;
            self.lateness.push(due, handed_over);
        }
    }
}

impl Lateness {
    fn push(&mut self, due: Stamp, handed_over: Stamp) {
        let late_ns = handed_over.nanos_since(due);
        self.histogram.record(late_ns);
        self.moments.push(late_ns);
    }

    /// All of them as a series.
    #[must_use]
    pub fn series(&self, name: &str) -> Series {
        Series::of_spans(name, Labels::new(), self.histogram.clone(), &self.moments)
    }
}
