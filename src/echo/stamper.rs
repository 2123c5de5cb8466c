//! The kernel's stamps at the far end: which of them belong to which exchange, and whether they can be trusted.
//!
//! The stamp of a PONG is taken when it is on its way, so it can only travel in a later one (as in the two steps of PTP).
//! A stream has one of these, the datagrams of all peers share one.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use super::frame::{Earlier, Epoch};
use crate::model::WallStamp;
use crate::sys::stamping::{self, SentAt, SentStamp};
use crate::sys::wall::{Reading, WallWatch};
use crate::sys::{clock, socket};

/// PONGs whose stamp may be under way; where a driver takes longer over them, the oldest are given up.
const WAITING_LIMIT: usize = 64;

/// An answered exchange whose stamp of sending has not come yet.
#[derive(Clone, Copy, Debug)]
struct Waiting<F> {
    /// What the kernel numbers the sending with.
    number: u32,
    flow: F,
    sequence: u64,
    received: WallStamp,
}

/// An exchange that was answered just now.
#[derive(Clone, Copy, Debug)]
pub struct Answered<F> {
    /// Whose it is.
    pub flow: F,
    /// Its number.
    pub sequence: u64,
    /// The kernel's stamp of its PING, if that is certain.
    pub received: Option<WallStamp>,
}

/// Matches the stamps of what was sent through one socket; `F` tells whose an exchange is.
#[derive(Debug)]
pub struct Stamper<F> {
    waiting: VecDeque<Waiting<F>>,
    watch: WallWatch,
    /// Whether a step of the wall clock was noticed, and PINGs that came in before it may still be unread.
    is_spoilt: bool,
    /// Number of the epoch before the first step.
    first_epoch: u64,
}

impl<F: Copy> Stamper<F> {
    /// Begins with nothing under way.
    pub fn new() -> Self {
        Self {
            waiting: VecDeque::with_capacity(WAITING_LIMIT),
            watch: WallWatch::new(clock::reading()),
            is_spoilt: false,
            first_epoch: clock::entropy(),
        }
    }

    /// Takes note of an exchange whose answer the kernel numbers so, unless its PING may be stamped by the clock before a
    /// step, and its PONG by that after it.
    pub fn answered(&mut self, number: u32, answered: Answered<F>) {
        let Answered { flow, sequence, received } = answered;
        if let Some(received) = received.filter(|_| !self.is_spoilt) {
            if self.waiting.len() == WAITING_LIMIT {
                self.waiting.pop_front();
            }
            self.waiting.push_back(Waiting { number, flow, sequence, received });
        }
    }

    /// Hands each exchange that is complete to `take`, unless the wall clock was stepped meanwhile. Never waits.
    pub fn collect(&mut self, socket: BorrowedFd<'_>, mut take: impl FnMut(F, Earlier, Epoch)) {
        self.observe(clock::reading());
        while let Ok(Some(stamp)) = stamping::sent(socket) {
            if let Some((flow, earlier)) = self.matching(stamp) {
                take(flow, earlier, self.epoch());
            }
            // Usually the stamp is there when the call that sends returns, and is the only one.
            if self.waiting.is_empty() {
                break;
            }
        }
    }

    /// Before a PING is read: once none waits, whatever comes is stamped by the clock after the step.
    pub fn before_reading(&mut self, socket: BorrowedFd<'_>) {
        if self.is_spoilt {
            self.is_spoilt = socket::has_waiting(socket);
        }
    }

    fn observe(&mut self, reading: Reading) {
        if self.watch.observe(reading) {
            self.is_spoilt = true;
            self.waiting.clear();
        }
    }

    /// Forgets what is under way, because the numbers begin again.
    pub fn restart(&mut self, socket: BorrowedFd<'_>) {
        self.waiting.clear();
        while let Ok(Some(_)) = stamping::sent(socket) {}
    }

    /// The reception of this stamp was another's: of those with it that wait, nobody knows when they were received.
    pub fn retract(&mut self, received: WallStamp) {
        self.waiting.retain(|waiting| waiting.received != received);
    }

    /// The time between two steps of the wall clock that it is now, as a PONG tells it.
    pub const fn epoch(&self) -> Epoch {
        Epoch::from_number(self.first_epoch.wrapping_add(self.watch.step_count()))
    }

    /// The exchange of this stamp. Older ones that still wait have lost theirs: stamps come in order.
    fn matching(&mut self, stamp: SentStamp) -> Option<(F, Earlier)> {
        let is_older = |waiting: &mut Waiting<F>| (stamp.number.wrapping_sub(waiting.number) as i32) > 0;
        while self.waiting.pop_front_if(is_older).is_some() {}
        let Waiting { flow, sequence, received, .. } =
            self.waiting.pop_front_if(|waiting| waiting.number == stamp.number)?;
        // The card is not asked here: its clock is none that a far end could compare.
        let SentAt::Kernel(sent) = stamp.at else { return None };
        Some((flow, Earlier { sequence, received, sent }))
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::sys::stamping::{Stampers, stamp_datagrams};

    /// An echo's socket with a peer, and its stamper.
    struct Scene {
        echo: UdpSocket,
        peer: UdpSocket,
        stamper: Stamper<char>,
        sent: u32,
    }

    impl Scene {
        fn new() -> Self {
            let [echo, peer] = [0; 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
            peer.connect(echo.local_addr().unwrap()).unwrap();
            stamp_datagrams(&echo, Stampers::Kernel).unwrap();
            Self { echo, peer, stamper: Stamper::new(), sent: 0 }
        }

        /// Reads a PING of this flow and answers it; returns whose stamps are complete then.
        fn exchange(&mut self, flow: char) -> Vec<(char, Epoch)> {
            self.stamper.before_reading(self.echo.as_fd());
            if !socket::has_waiting(self.echo.as_fd()) {
                self.peer.send(b"ping").unwrap();
            }
            let (_, peer) = self.echo.recv_from(&mut [0; 8]).unwrap();
            self.echo.send_to(b"pong", peer).unwrap();
            let received = Some(WallStamp::from_nanos(1));
            self.stamper.answered(self.sent, Answered { flow, sequence: 0, received });
            self.sent += 1;
            let mut complete = Vec::new();
            self.stamper.collect(self.echo.as_fd(), |flow, _, epoch| complete.push((flow, epoch)));
            complete
        }

        fn step(&mut self) {
            let Reading { before, wall, after } = clock::reading();
            let wall = WallStamp::from_nanos(wall.as_nanos() + 1_000_000_000);
            self.stamper.observe(Reading { before, wall, after });
        }
    }

    #[test]
    fn a_step_spoils_whoever_waited_and_nobody_who_came_later() {
        let mut scene = Scene::new();
        let before = scene.stamper.epoch();
        assert_eq!(scene.exchange('a'), [('a', before)]);
        // Two peers have asked and were not read yet when the clock is stepped, forth and in the next reading back.
        scene.peer.send(b"ping").unwrap();
        scene.peer.send(b"ping").unwrap();
        scene.step();
        assert_eq!(scene.exchange('b'), []);
        assert_eq!(scene.exchange('c'), []);
        let after = scene.stamper.epoch();
        assert_ne!(after, before);
        assert_eq!(scene.exchange('d'), [('d', after)]);
        assert_eq!(scene.exchange('a'), [('a', after)]);
    }

    #[test]
    fn a_reception_that_was_anothers_is_not_told_though_the_answer_was_under_way() {
        let mut scene = Scene::new();
        scene.stamper.answered(0, Answered { flow: 'a', sequence: 0, received: Some(WallStamp::from_nanos(1)) });
        scene.stamper.answered(1, Answered { flow: 'a', sequence: 1, received: Some(WallStamp::from_nanos(2)) });
        scene.stamper.retract(WallStamp::from_nanos(1));
        let far = scene.peer.local_addr().unwrap();
        for _ in 0..2 {
            scene.echo.send_to(b"pong", far).unwrap();
        }
        let mut told = Vec::new();
        scene.stamper.collect(scene.echo.as_fd(), |_, earlier, _| told.push(earlier.sequence));
        assert_eq!(told, [1]);
    }

    #[test]
    fn an_answer_under_way_across_a_step_is_not_told() {
        let mut scene = Scene::new();
        scene.stamper.answered(0, Answered { flow: 'a', sequence: 0, received: Some(WallStamp::from_nanos(1)) });
        scene.step();
        scene.echo.send_to(b"pong", scene.peer.local_addr().unwrap()).unwrap();
        scene.stamper.collect(scene.echo.as_fd(), |flow, _, _| panic!("{flow} was told"));
    }

    #[test]
    fn an_end_that_was_started_anew_counts_its_epochs_from_elsewhere() {
        let epochs: Vec<Epoch> = (0..8).map(|_| Stamper::<()>::new().epoch()).collect();
        assert!(epochs.iter().any(|epoch| *epoch != epochs[0]), "{epochs:?}");
    }
}
