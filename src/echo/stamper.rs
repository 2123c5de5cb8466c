//! The kernel's stamps at the far end: which of them belong to which exchange, and whether they can be trusted.
//!
//! The stamp of a PONG is taken when it is on its way, so it can only travel in a later one (as in the two steps of PTP).
//! A stream has one of these, the datagrams of all peers share one.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use super::frame::Earlier;
use crate::model::WallStamp;
use crate::sys::stamping::{self, SentAt, SentStamp};
use crate::sys::{clock, wall::WallWatch};

/// PONGs whose stamp may be under way; where a driver takes longer over them, the oldest are given up.
const WAITING_LIMIT: usize = 64;

/// A step of the wall clock spoils the exchange in which it was noticed, and the one that may have come in before.
const SPOILT: u8 = 2;

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
    spoilt: u8,
}

impl<F: Copy> Stamper<F> {
    /// Begins with nothing under way.
    pub fn new() -> Self {
        Self { waiting: VecDeque::with_capacity(WAITING_LIMIT), watch: WallWatch::new(clock::reading()), spoilt: 0 }
    }

    /// Takes note of an exchange whose answer the kernel numbers so.
    pub fn answered(&mut self, number: u32, answered: Answered<F>) {
        let Answered { flow, sequence, received } = answered;
        if let Some(received) = received {
            if self.waiting.len() == WAITING_LIMIT {
                self.waiting.pop_front();
            }
            self.waiting.push_back(Waiting { number, flow, sequence, received });
        }
    }

    /// Hands each exchange that is complete to `take`, unless the wall clock was stepped meanwhile. Never waits.
    pub fn collect(&mut self, socket: BorrowedFd<'_>, mut take: impl FnMut(F, Earlier, u8)) {
        if self.watch.observe(clock::reading()) {
            self.spoilt = SPOILT;
            self.waiting.clear();
        }
        let step_count = self.wall_step_count();
        while let Ok(Some(stamp)) = stamping::sent(socket) {
            match self.matching(stamp) {
                Some((flow, earlier)) if self.spoilt == 0 => take(flow, earlier, step_count),
                _ => {}
            }
            // Usually the stamp is there when the call that sends returns, and is the only one.
            if self.waiting.is_empty() {
                break;
            }
        }
        self.spoilt = self.spoilt.saturating_sub(1);
    }

    /// Forgets what is under way, because the numbers begin again.
    pub fn restart(&mut self, socket: BorrowedFd<'_>) {
        self.waiting.clear();
        while let Ok(Some(_)) = stamping::sent(socket) {}
    }

    /// Steps of the wall clock, modulo 256, as a PONG tells them.
    pub const fn wall_step_count(&self) -> u8 {
        self.watch.step_count() as u8
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
