//! Exchanges of one socket until all stamps of them are there.
//!
//! Pure, and separate from the sockets, because stamps come late, out of order or never, and because an exchange that is slow
//! must not be left out: what remained would be the quick ones.

use std::collections::HashMap;
use std::time::Duration;

use super::exchange::Exchange;
use crate::echo::{Earlier, Epoch};
use crate::model::{CardStamp, Stamp, WallStamp};

/// Exchanges kept at first, and at most: room for twice what is in flight, and as much for those that are slow.
const LEAST_ROOM: usize = 16;
const MOST_ROOM: usize = 1 << 16;

/// The exchanges of one socket that are not complete yet.
#[derive(Debug)]
pub struct Ledger {
    /// By sequence, modulo their count.
    exchanges: Vec<Option<Exchange>>,
    /// Older ones in whose place there is another, while somebody waits for them.
    aside: HashMap<u64, Exchange>,
    /// So many were set aside since those that nobody waits for any more were looked for.
    untidied: usize,
    /// Whether those that were answered are kept for what takes them out: their attempt, or the far end's word of them, which
    /// may come late.
    keeps_answered: bool,
    /// The sequence of each message, by the kernel's number of it, modulo their count.
    numbers: Vec<Option<(u32, u64)>>,
    /// From one message to the next, the kernel's numbers differ by this.
    stride: u32,
    /// After so long an exchange has been given up, or nobody comes to take it out any more.
    retention: Duration,
}

impl Ledger {
    /// An empty ledger of messages whose numbers differ by `stride`: 1 of datagrams, their length in a stream. An answer is
    /// waited for no longer than `patience`.
    #[must_use]
    pub fn new(stride: u32, patience: Duration) -> Self {
        Self {
            exchanges: vec![None; LEAST_ROOM],
            aside: HashMap::new(),
            untidied: 0,
            keeps_answered: false,
            numbers: vec![None; LEAST_ROOM],
            stride: stride.max(1),
            // A process that was held up is late in giving up, too.
            retention: patience * 2,
        }
    }

    /// Keeps exchanges that were answered until they are taken out, too.
    #[must_use]
    pub fn keeping_answered(self) -> Self {
        Self { keeps_answered: true, ..self }
    }

    /// Takes an exchange that begins, on both clocks, while so many are in flight. Returns those that were answered and had
    /// to make room.
    ///
    /// Those whose answers are slow stay, however many quick ones come and go meanwhile: the slow would be missing else.
    pub fn begin(&mut self, sequence: u64, at: (Stamp, WallStamp), in_flight: usize) -> Vec<Exchange> {
        if in_flight * 2 > self.exchanges.len() && self.exchanges.len() < MOST_ROOM {
            self.grow();
        }
        let place = self.place(sequence);
        match self.exchanges[place].replace(Exchange::begun(sequence, at)) {
            Some(older) if older.ended.is_some() && !self.keeps_answered => vec![older],
            Some(older) if self.is_awaited(&older, at.0) => self.set_aside(older, at.0),
            _ => Vec::new(),
        }
    }

    fn is_awaited(&self, exchange: &Exchange, now: Stamp) -> bool {
        now.since(exchange.started) <= self.retention
    }

    fn set_aside(&mut self, exchange: Exchange, now: Stamp) -> Vec<Exchange> {
        let mut gone = Vec::new();
        self.untidied += 1;
        if self.untidied > (self.aside.len() / 2).max(LEAST_ROOM) {
            let retention = self.retention;
            let old = self.aside.extract_if(|_, known| now.since(known.started) > retention);
            gone.extend(old.map(|(_, known)| known).filter(|known| known.ended.is_some()));
            self.untidied = 0;
        }
        if self.aside.len() < MOST_ROOM {
            self.aside.insert(exchange.sequence, exchange);
        } else if exchange.ended.is_some() {
            gone.push(exchange);
        }
        gone
    }

    /// The kernel numbers the message of this exchange so.
    pub fn numbered(&mut self, number: u32, sequence: u64) {
        let at = self.place_of_number(number);
        self.numbers[at] = Some((number, sequence));
    }

    /// The kernel sent the message of this number.
    pub fn sent(&mut self, number: u32, stamp: WallStamp) {
        let Some(exchange) = self.of_number(number) else { return };
        // Of a message that was still under way when the numbers began again.
        let is_of_another = stamp < exchange.set_out;
        // A repeated message is stamped again; the first sending is the beginning.
        exchange.card.is_ambiguous |= is_of_another || exchange.sent.is_some();
        exchange.sent = exchange.sent.or(Some(stamp).filter(|_| !is_of_another));
    }

    /// The card sent the message of this number; it tells so after the kernel has.
    pub fn sent_by_card(&mut self, number: u32, stamp: CardStamp) {
        let Some(exchange) = self.of_number(number) else { return };
        if !exchange.card.is_ambiguous {
            exchange.card.sent = exchange.card.sent.or(Some(stamp));
        }
    }

    fn of_number(&mut self, number: u32) -> Option<&mut Exchange> {
        let (_, sequence) = self.numbers[self.place_of_number(number)].filter(|known| known.0 == number)?;
        self.of(sequence)
    }

    /// The exchange of this sequence, if it is still here.
    pub fn of(&mut self, sequence: u64) -> Option<&mut Exchange> {
        let at = self.place(sequence);
        match &mut self.exchanges[at] {
            Some(exchange) if exchange.sequence == sequence => Some(exchange),
            _ => self.aside.get_mut(&sequence),
        }
    }

    /// The far end's stamps of an exchange, and of which epoch of its clock they are. Returns it if it is complete with them.
    pub fn told(&mut self, earlier: Earlier, epoch: Epoch) -> Option<Exchange> {
        self.keeps_answered = true;
        let exchange = self.of(earlier.sequence)?;
        exchange.far = Some((earlier.received, earlier.sent));
        exchange.epoch.1 = epoch;
        self.take_complete(earlier.sequence)
    }

    /// Takes out an exchange that has ended, if its far stamps are there: an answer may be overtaken by the next, which has them.
    pub fn take_complete(&mut self, sequence: u64) -> Option<Exchange> {
        self.of(sequence).filter(|exchange| exchange.ended.is_some() && exchange.far.is_some())?;
        self.take(sequence)
    }

    /// Takes out an exchange as it is.
    pub fn take(&mut self, sequence: u64) -> Option<Exchange> {
        let at = self.place(sequence);
        self.exchanges[at].take_if(|exchange| exchange.sequence == sequence).or_else(|| self.aside.remove(&sequence))
    }

    /// Takes out all exchanges as they are, in their order, because nothing more will be known of them.
    pub fn take_all(&mut self) -> Vec<Exchange> {
        self.forget_numbers();
        let aside = self.aside.drain().map(|(_, exchange)| exchange);
        let mut all: Vec<Exchange> = self.exchanges.iter_mut().filter_map(Option::take).chain(aside).collect();
        all.sort_by_key(|exchange| exchange.sequence);
        all
    }

    /// Forgets how messages are numbered; those that wait for a stamp will not get one.
    pub fn forget_numbers(&mut self) {
        self.numbers.fill(None);
    }

    fn grow(&mut self) {
        let room = self.exchanges.len() * 2;
        let exchanges = std::mem::replace(&mut self.exchanges, vec![None; room]);
        let numbers = std::mem::replace(&mut self.numbers, vec![None; room]);
        for exchange in exchanges.into_iter().flatten() {
            let at = self.place(exchange.sequence);
            self.exchanges[at] = Some(exchange);
        }
        for (number, sequence) in numbers.into_iter().flatten() {
            self.numbered(number, sequence);
        }
    }

    const fn place_of_number(&self, number: u32) -> usize {
        (number / self.stride) as usize % self.numbers.len()
    }

    const fn place(&self, sequence: u64) -> usize {
        sequence as usize % self.exchanges.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    const fn at(nanos: u64) -> WallStamp {
        WallStamp::from_nanos(nanos)
    }

    fn card(nanos: u64) -> Option<CardStamp> {
        CardStamp::from_nanos(nanos)
    }

    #[test]
    fn stamps_are_matched_by_number_and_sequence_whatever_their_order() {
        let mut ledger = Ledger::new(72, PATIENCE);
        for sequence in 0..40 {
            ledger.begin(sequence, (Stamp::from_nanos(sequence), at(1)), sequence as usize);
            ledger.numbered(sequence as u32 * 72 + 71, sequence);
        }
        // The end of no message.
        ledger.sent(0, at(1));
        for sequence in (8..40).rev() {
            ledger.sent(sequence as u32 * 72 + 71, at(100 + sequence));
            // A repetition.
            ledger.sent(sequence as u32 * 72 + 71, at(999));
        }
        assert!((8..40).all(|sequence| ledger.of(sequence).unwrap().sent == Some(at(100 + sequence))));
        let far = |sequence| Earlier { sequence, received: at(1), sent: at(2) };
        ledger.of(20).unwrap().ended = Some(Stamp::from_nanos(50));
        assert_eq!(ledger.take_complete(20), None, "the far end has told nothing of it");
        let complete = ledger.told(far(20), Epoch::from_number(3)).unwrap();
        assert_eq!((complete.sent, complete.far), (Some(at(120)), Some((at(1), at(2)))));
        assert_eq!(ledger.told(far(20), Epoch::from_number(3)), None, "only once");
        assert_eq!(ledger.take_all().len(), 39);
    }

    #[test]
    fn an_answer_that_the_next_one_overtakes_is_complete_when_it_comes() {
        let mut ledger = Ledger::new(1, PATIENCE);
        ledger.begin(0, (Stamp::from_nanos(0), at(1)), 1);
        let far = Earlier { sequence: 0, received: at(1), sent: at(2) };
        assert_eq!(ledger.told(far, Epoch::from_number(3)), None, "it has not been answered");
        ledger.of(0).unwrap().ended = Some(Stamp::from_nanos(50));
        let complete = ledger.take_complete(0).unwrap();
        assert_eq!((complete.far, complete.epoch.1), (Some((at(1), at(2))), Epoch::from_number(3)));
    }

    #[test]
    fn a_stamp_of_the_card_that_may_be_of_a_repetition_is_not_taken() {
        let mut ledger = Ledger::new(1, PATIENCE);
        for sequence in 0..3 {
            ledger.begin(sequence, (Stamp::from_nanos(0), at(1)), 1);
            ledger.numbered(sequence as u32, sequence);
            ledger.sent(sequence as u32, at(1));
        }
        ledger.sent_by_card(0, card(7).unwrap());
        ledger.sent(0, at(2));
        ledger.sent_by_card(0, card(8).unwrap());
        ledger.sent(1, at(2));
        ledger.sent_by_card(1, card(8).unwrap());
        ledger.sent_by_card(9, card(8).unwrap());
        let sent: Vec<_> = ledger.take_all().iter().map(|exchange| exchange.card.sent).collect();
        assert_eq!(sent, [card(7), None, None]);
    }

    #[test]
    fn a_stamp_of_before_the_exchange_set_out_is_of_another_message() {
        let mut ledger = Ledger::new(1, PATIENCE);
        ledger.begin(7, (Stamp::from_nanos(0), at(50)), 1);
        ledger.numbered(0, 7);
        ledger.sent(0, at(49));
        ledger.sent_by_card(0, card(7).unwrap());
        assert_eq!(ledger.of(7).unwrap().sent, None);
        ledger.sent(0, at(50));
        ledger.sent_by_card(0, card(8).unwrap());
        let exchange = ledger.of(7).unwrap();
        assert_eq!(
            (exchange.sent, exchange.card.sent),
            (Some(at(50)), None),
            "which message the card means is not known"
        );
    }

    /// Begins one each millisecond, two of them in flight, and returns the numbers of those that had to make room.
    fn pass(ledger: &mut Ledger, sequences: std::ops::Range<u64>, is_answered: bool) -> Vec<u64> {
        let mut gone = Vec::new();
        for sequence in sequences {
            let begun = Stamp::from_nanos(sequence * 1_000_000);
            gone.extend(ledger.begin(sequence, (begun, at(1)), 2).iter().map(|exchange| exchange.sequence));
            ledger.of(sequence).unwrap().ended = is_answered.then_some(begun);
        }
        gone
    }

    #[test]
    fn a_slow_exchange_stays_until_it_has_been_given_up_however_many_quick_ones_pass() {
        let mut ledger = Ledger::new(1, PATIENCE);
        assert!(pass(&mut ledger, 0..1, false).is_empty());
        let out = pass(&mut ledger, 1..2_000, true);
        assert!(out.iter().copied().eq(1..2_000 - 16), "those that were answered make room in their turn");
        ledger.of(0).unwrap().ended = Some(Stamp::from_nanos(7));
        let far = Earlier { sequence: 0, received: at(1), sent: at(2) };
        assert!(ledger.told(far, Epoch::default()).is_some_and(|exchange| exchange.sequence == 0));
        assert_eq!(ledger.of(0), None);
    }

    #[test]
    fn unanswered_exchanges_take_no_more_room_than_twice_the_patience_has() {
        let mut ledger = Ledger::new(1, PATIENCE);
        assert!(pass(&mut ledger, 0..100_000, false).is_empty());
        assert!((2_000..=8_000).contains(&ledger.aside.len()), "{}", ledger.aside.len());
        assert_eq!(ledger.exchanges.len(), LEAST_ROOM);
    }

    #[test]
    fn one_that_was_answered_late_and_of_which_the_far_end_tells_nothing_is_handed_back_in_the_end() {
        let mut ledger = Ledger::new(1, PATIENCE);
        pass(&mut ledger, 0..40, false);
        ledger.of(3).unwrap().ended = Some(Stamp::from_nanos(7));
        assert_eq!(pass(&mut ledger, 40..10_000, false), [3]);
    }

    #[test]
    fn those_that_were_answered_are_kept_where_somebody_takes_them_out() {
        let mut ledger = Ledger::new(1, PATIENCE).keeping_answered();
        assert!(pass(&mut ledger, 0..1_000, true).is_empty());
        assert!((0..1_000).all(|sequence| ledger.take(sequence).is_some()));
        assert_eq!(ledger.take_all(), []);
    }

    #[test]
    fn those_that_were_answered_wait_for_a_far_end_that_tells_its_stamps() {
        let mut ledger = Ledger::new(1, PATIENCE);
        let far = |sequence| Earlier { sequence, received: at(1), sent: at(2) };
        pass(&mut ledger, 0..1, true);
        assert!(ledger.told(far(0), Epoch::default()).is_some());
        assert!(pass(&mut ledger, 1..1_000, true).is_empty());
        assert!((1..1_000).all(|sequence| ledger.told(far(sequence), Epoch::default()).is_some()));
    }

    #[test]
    fn what_waits_aside_is_limited() {
        let mut ledger = Ledger::new(1, Duration::from_secs(1_000));
        pass(&mut ledger, 0..2 * MOST_ROOM as u64, false);
        assert_eq!(ledger.aside.len(), MOST_ROOM);
    }
}
