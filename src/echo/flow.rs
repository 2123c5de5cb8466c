//! The stamps that wait for the next PONG of each peer that asks by datagram: a table of fixed size.
//!
//! Separate because datagrams have no connection to keep them in, and whoever forges senders must gain nothing: the table
//! never grows, finding a place takes constant time, and who has been silent longest in his corner gives way.

use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;

use super::frame::{Earlier, Epoch};
use crate::sys::host::same_kernel;

/// Places in a corner of the table; one lookup compares so many. With few of them some corners would be full before the
/// table is: peers that ask in turns then all find their place taken.
const WAYS: usize = 16;

/// Corners: together they hold 4096 peers in 0.4 MB, four times as many as one echo takes connections by default.
const SETS: usize = 256;

/// A peer, and what the next PONG to it carries.
#[derive(Clone, Copy, Debug)]
struct Flow {
    peer: SocketAddr,
    session: u64,
    /// When it was last heard of, in datagrams.
    heard: u64,
    /// Stamps, and the epoch of the clock that they are of.
    earlier: Option<(Earlier, Epoch)>,
    /// Whether it is of this host, once it was looked at.
    is_same_host: Option<bool>,
}

/// The peers that were heard of lately.
#[derive(Debug)]
pub struct Flows {
    places: Box<[Option<Flow>]>,
    hasher: RandomState,
    heard: u64,
}

impl Flows {
    /// An empty table.
    pub fn new() -> Self {
        Self { places: vec![None; SETS * WAYS].into_boxed_slice(), hasher: RandomState::new(), heard: 0 }
    }

    /// The place of this peer's session, which may be one that somebody else had to leave, and the stamps that wait there.
    pub fn hear(&mut self, peer: SocketAddr, session: u64) -> (usize, Option<(Earlier, Epoch)>) {
        self.heard += 1;
        let first = (self.hasher.hash_one((peer, session)) as usize % SETS) * WAYS;
        let corner = first..first + WAYS;
        let is_known = |at: &usize| self.places[*at].is_some_and(|flow| flow.peer == peer && flow.session == session);
        let known = corner.clone().find(is_known);
        let oldest = || corner.clone().min_by_key(|at| self.places[*at].map_or(0, |flow| flow.heard));
        let at = known.or_else(oldest).unwrap_or(first);
        let flow = known.and_then(|at| self.places[at]);
        let is_same_host = flow.and_then(|flow| flow.is_same_host);
        self.places[at] = Some(Flow { peer, session, heard: self.heard, earlier: None, is_same_host });
        (at, flow.and_then(|flow| flow.earlier))
    }

    /// Whether the peer at this place, whose PING carries this token, is of this host; computed once a session.
    pub fn is_same_host(&mut self, at: usize, host: Option<u64>) -> bool {
        let Some(flow) = &mut self.places[at] else { return false };
        *flow.is_same_host.get_or_insert_with(|| same_kernel(flow.session, host))
    }

    /// Keeps the stamps of an exchange of this session for its next PONG, unless it had to leave its place.
    pub fn keep(&mut self, at: usize, session: u64, earlier: Earlier, epoch: Epoch) {
        if let Some(flow) = &mut self.places[at]
            && flow.session == session
        {
            flow.earlier = Some((earlier, epoch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WallStamp;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn epoch(number: u64) -> Epoch {
        Epoch::from_number(number)
    }

    fn earlier(sequence: u64) -> Earlier {
        Earlier { sequence, received: WallStamp::from_nanos(1), sent: WallStamp::from_nanos(2) }
    }

    #[test]
    fn each_session_gets_its_own_stamps_and_gets_them_once() {
        let mut flows = Flows::new();
        let (first, none) = flows.hear(peer(1), 1);
        let (second, _) = flows.hear(peer(1), 2);
        assert_eq!(none, None);
        flows.keep(first, 1, earlier(7), epoch(3));
        flows.keep(second, 2, earlier(8), epoch(4));
        assert_eq!(flows.hear(peer(1), 1), (first, Some((earlier(7), epoch(3)))));
        assert_eq!(flows.hear(peer(1), 1), (first, None));
        assert_eq!(flows.hear(peer(1), 2), (second, Some((earlier(8), epoch(4)))));
    }

    #[test]
    fn peers_that_ask_in_turns_all_find_their_own() {
        let mut flows = Flows::new();
        for round in 0..3 {
            for session in 0..500 {
                let (at, waiting) = flows.hear(peer(session as u16), session);
                assert_eq!(waiting.is_some(), round > 0);
                flows.keep(at, session, earlier(session), epoch(0));
            }
        }
    }

    #[test]
    fn a_flood_of_senders_does_not_grow_it_and_never_mixes_sessions() {
        let mut flows = Flows::new();
        for session in 0..50_000 {
            let (at, waiting) = flows.hear(peer((session % 60_000) as u16), session);
            assert_eq!(waiting, None);
            flows.keep(at, session, earlier(session), epoch(0));
            flows.keep(at, session + 1, earlier(session + 1), epoch(0));
        }
        assert_eq!(flows.places.len(), SETS * WAYS);
        assert!(flows.places.iter().flatten().all(|flow| flow.earlier == Some((earlier(flow.session), epoch(0)))));
    }
}
