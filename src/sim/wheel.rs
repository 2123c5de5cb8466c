//! The events to come, in the order of their moments: a timing wheel with a heap for what lies beyond its horizon.
//!
//! A wheel because almost all events lie within one heartbeat interval: a push is one store, and only the few events of
//! one slot are ever sorted. A binary heap moves each event a dozen times and misses the cache each time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What comes first of two events of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Whatever happens to nodes and links.
    Fault,
    /// A heartbeat arrives: on a tie it wins against the deadline.
    Arrival,
    /// A heartbeat is sent.
    Send,
    /// A deadline passes.
    Deadline,
}

/// An event with its moment and its place among those of the same moment.
#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    /// Nanoseconds.
    at: u64,
    /// The rank in the two highest bits, below it the number of the push: the whole order in one comparison.
    order: u64,
    event: T,
}

impl<T> Entry<T> {
    const fn key(&self) -> (u64, u64) {
        (self.at, self.order)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Events by moment.
#[derive(Clone, Debug)]
pub struct Wheel<T> {
    /// Events of the slot at the cursor, the next one last.
    current: Vec<Entry<T>>,
    slots: Vec<Vec<Entry<T>>>,
    /// Nanoseconds of a slot as a power of two.
    shift: u32,
    /// Number of the slot that `current` was taken from, counted from moment zero.
    cursor: u64,
    /// Events in the slots.
    near_count: usize,
    far: BinaryHeap<Reverse<Entry<T>>>,
    pushed: u64,
}

impl<T: Copy> Wheel<T> {
    /// A wheel of slots of at most `width_ns` each that reaches `span_ns` ahead.
    pub fn new(width_ns: u64, span_ns: u64) -> Self {
        let shift = width_ns.max(1).ilog2();
        let slots = ((span_ns >> shift) as usize + 1).next_power_of_two();
        Self {
            current: Vec::new(),
            slots: (0..slots).map(|_| Vec::new()).collect(),
            shift,
            cursor: 0,
            near_count: 0,
            far: BinaryHeap::new(),
            pushed: 0,
        }
    }

    /// Plans an event; one that is already past becomes the next.
    pub fn push(&mut self, at: u64, rank: Rank, event: T) {
        self.pushed += 1;
        let entry = Entry { at, order: (rank as u64) << 62 | self.pushed, event };
        let slot = at >> self.shift;
        if slot <= self.cursor {
            // Few are left of a slot, and most that are pushed into it come late in it: at the front of the row.
            let place = self.current.partition_point(|other| *other > entry);
            self.current.insert(place, entry);
        } else if slot - self.cursor < self.slots.len() as u64 {
            self.near_count += 1;
            self.slot_mut(slot).push(entry);
        } else {
            self.far.push(Reverse(entry));
        }
    }

    /// Takes the next event, if it is not after `until`.
    pub fn pop(&mut self, until: u64) -> Option<(u64, Rank, T)> {
        while self.current.is_empty() {
            if !self.advance(until) {
                return None;
            }
        }
        self.current.pop_if(|next| next.at <= until).map(|entry| (entry.at, Rank::of(entry.order), entry.event))
    }

    fn slot_mut(&mut self, slot: u64) -> &mut Vec<Entry<T>> {
        let mask = self.slots.len() as u64 - 1;
        &mut self.slots[(slot & mask) as usize]
    }

    /// Goes to the next slot that holds anything; false if there is none up to `until`.
    fn advance(&mut self, until: u64) -> bool {
        let next_far = self.far.peek().map(|Reverse(entry)| entry.at >> self.shift);
        let next = match (self.near_count, next_far) {
            (0, None) => return false,
            // Nothing near: the wheel turns to the far event at once.
            (0, Some(far)) => far,
            (_, _) => self.cursor + 1,
        };
        if next > until >> self.shift {
            return false;
        }
        self.cursor = next;
        // The emptied slot keeps the room of the one that was current, so that nothing is allocated as the wheel turns.
        let mut taken = std::mem::take(&mut self.current);
        std::mem::swap(self.slot_mut(next), &mut taken);
        self.near_count -= taken.len();
        self.current = taken;
        while self.far.peek().is_some_and(|Reverse(entry)| entry.at >> self.shift <= next) {
            self.current.extend(self.far.pop().map(|Reverse(entry)| entry));
        }
        self.current.sort_unstable_by(|a, b| b.cmp(a));
        true
    }
}

impl Rank {
    /// The rank that an order begins with.
    const fn of(order: u64) -> Self {
        match order >> 62 {
            0 => Self::Fault,
            1 => Self::Arrival,
            2 => Self::Send,
            _ => Self::Deadline,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn events_come_in_the_order_of_their_moments(
            moments in prop::collection::vec(0_u64..1_000_000, 1..200),
            later in prop::collection::vec(0_u64..200_000, 1..200),
        ) {
            let mut wheel = Wheel::new(700, 11_200);
            for at in &moments {
                wheel.push(*at, Rank::Send, *at);
            }
            let (mut now, mut seen, mut more) = (0, 0, later.iter());
            while let Some((at, _, event)) = wheel.pop(u64::MAX) {
                prop_assert!(at >= now && event == at);
                now = at;
                seen += 1;
                if let Some(after) = more.next() {
                    wheel.push(now + after, Rank::Send, now + after);
                }
            }
            prop_assert_eq!(seen, moments.len() + later.len() - more.count());
        }
    }

    #[test]
    fn at_one_moment_arrivals_come_before_deadlines_and_else_as_planned() {
        let mut wheel = Wheel::new(1, 3);
        for (rank, event) in [(Rank::Deadline, 'd'), (Rank::Send, 's'), (Rank::Arrival, 'a'), (Rank::Arrival, 'b')] {
            wheel.push(9, rank, event);
        }
        let order: String = std::iter::from_fn(|| wheel.pop(9)).map(|(_, _, event)| event).collect();
        assert_eq!(order, "absd");
    }

    #[test]
    fn what_is_later_than_asked_for_stays() {
        let mut wheel = Wheel::new(1000, 4_000);
        wheel.push(5_000_000, Rank::Send, 'x');
        assert_eq!(wheel.pop(4_999_999), None);
        assert_eq!(wheel.pop(5_000_000), Some((5_000_000, Rank::Send, 'x')));
    }
}
