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

/// An event with its moment.
#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    /// Moment in nanoseconds, rank, and the number of the push: the whole order in one comparison.
    key: (u64, Rank, u64),
    event: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
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
        self.key.cmp(&other.key)
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
    /// A wheel of `slots` slots (rounded up to a power of two) of about `width_ns` each.
    pub fn new(width_ns: u64, slots: usize) -> Self {
        let slots = slots.max(2).next_power_of_two();
        Self {
            current: Vec::new(),
            slots: (0..slots).map(|_| Vec::new()).collect(),
            shift: width_ns.max(1).ilog2(),
            cursor: 0,
            near_count: 0,
            far: BinaryHeap::new(),
            pushed: 0,
        }
    }

    /// Plans an event; one that is already past becomes the next.
    pub fn push(&mut self, at: u64, rank: Rank, event: T) {
        self.pushed += 1;
        let entry = Entry { key: (at, rank, self.pushed), event };
        let slot = at >> self.shift;
        if slot <= self.cursor {
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
    pub fn pop(&mut self, until: u64) -> Option<(u64, T)> {
        while self.current.is_empty() {
            if !self.advance(until) {
                return None;
            }
        }
        self.current.pop_if(|next| next.key.0 <= until).map(|entry| (entry.key.0, entry.event))
    }

    fn slot_mut(&mut self, slot: u64) -> &mut Vec<Entry<T>> {
        let mask = self.slots.len() as u64 - 1;
        &mut self.slots[(slot & mask) as usize]
    }

    /// Goes to the next slot that holds anything; false if there is none up to `until`.
    fn advance(&mut self, until: u64) -> bool {
        let next_far = self.far.peek().map(|Reverse(entry)| entry.key.0 >> self.shift);
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
        let mut taken = std::mem::take(self.slot_mut(next));
        self.near_count -= taken.len();
        // The emptied slot keeps the room of the one that was current, so that nothing is allocated as the wheel turns.
        std::mem::swap(&mut self.current, &mut taken);
        *self.slot_mut(next) = taken;
        while self.far.peek().is_some_and(|Reverse(entry)| entry.key.0 >> self.shift <= next) {
            self.current.extend(self.far.pop().map(|Reverse(entry)| entry));
        }
        self.current.sort_unstable_by(|a, b| b.cmp(a));
        true
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
            let mut wheel = Wheel::new(700, 16);
            for at in &moments {
                wheel.push(*at, Rank::Send, *at);
            }
            let (mut now, mut seen, mut more) = (0, 0, later.iter());
            while let Some((at, event)) = wheel.pop(u64::MAX) {
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
        let mut wheel = Wheel::new(1, 4);
        for (rank, event) in [(Rank::Deadline, 'd'), (Rank::Send, 's'), (Rank::Arrival, 'a'), (Rank::Arrival, 'b')] {
            wheel.push(9, rank, event);
        }
        let order: String = std::iter::from_fn(|| wheel.pop(9)).map(|(_, event)| event).collect();
        assert_eq!(order, "absd");
    }

    #[test]
    fn what_is_later_than_asked_for_stays() {
        let mut wheel = Wheel::new(1000, 4);
        wheel.push(5_000_000, Rank::Send, 'x');
        assert_eq!(wheel.pop(4_999_999), None);
        assert_eq!(wheel.pop(5_000_000), Some((5_000_000, 'x')));
    }
}
