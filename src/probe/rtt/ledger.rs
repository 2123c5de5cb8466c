//! Exchanges of one socket until all stamps of them are there: what is known of each, and what follows from it.
//!
//! Pure, and separate from the sockets, because stamps come late, out of order or never: whatever is missing is told, and
//! nothing is put in its place.

use std::time::Duration;

use super::offset::FourStamps;
use crate::echo::{Earlier, Epoch};
use crate::model::{CardStamp, Stamp, WallStamp};

/// Exchanges kept at first, and at most.
const LEAST_ROOM: usize = 16;
const MOST_ROOM: usize = 1 << 16;

/// A card's clock runs for itself or is steered to a time from the network, by less than this share of a span; its stamps
/// are some tens of nanoseconds apart at least.
const CARD_RATE: u64 = 1000;
const CARD_GRAIN_NS: u64 = 100;

/// What is known of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its number in the session.
    pub sequence: u64,
    /// When this process set out to send it.
    pub started: Stamp,
    /// The same by the wall clock, at the earliest.
    pub set_out: WallStamp,
    /// When this process had read the answer; `None` until then.
    pub ended: Option<Stamp>,
    /// When the kernel sent it (t1).
    pub sent: Option<WallStamp>,
    /// When the far kernel received it (t2), and when it sent the answer (t3).
    pub far: Option<(WallStamp, WallStamp)>,
    /// When the kernel received the answer (t4).
    pub received: Option<WallStamp>,
    /// The same two by the network card, where it was asked.
    pub card: CardStamps,
    /// Whether the wall clock was not stepped meanwhile.
    pub is_steady: bool,
    /// Steps of our wall clock before it, and the epoch of the far one: offsets across a step are not compared.
    pub epoch: (u64, Epoch),
}

/// When the card sent a message and received its answer, by its own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CardStamps {
    /// When it left.
    pub sent: Option<CardStamp>,
    /// When its answer came in.
    pub received: Option<CardStamp>,
    /// Whether the kernel stamped another message of its number: then nobody knows which one a card's stamp is of.
    pub is_ambiguous: bool,
}

/// What follows from the stamps of one exchange; each is a span or the kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    /// From the kernel's sending to its reception: t4 - t1.
    pub kernel_ns: Result<u64, &'static str>,
    /// What this process added to that.
    pub wakeup_ns: Result<u64, &'static str>,
    /// What neither process was concerned in: (t4 - t1) - (t3 - t2).
    pub network_ns: Result<u64, &'static str>,
    /// From the card's sending to its reception.
    pub card_ns: Result<u64, &'static str>,
}

impl Exchange {
    /// One of which nothing is known but that it has ended.
    #[must_use]
    pub fn unknown(sequence: u64, ended: Stamp) -> Self {
        Self { ended: Some(ended), ..Self::begun(sequence, (ended, WallStamp::from_nanos(0))) }
    }

    fn begun(sequence: u64, (started, set_out): (Stamp, WallStamp)) -> Self {
        Self {
            sequence,
            started,
            set_out,
            ended: None,
            sent: None,
            far: None,
            received: None,
            card: CardStamps::default(),
            is_steady: true,
            epoch: (0, Epoch::default()),
        }
    }

    /// The spans of an exchange that has ended; `None` of one that has not.
    #[must_use]
    pub fn spans(&self) -> Option<Spans> {
        let user_ns = self.ended?.nanos_since(self.started);
        let kernel_ns = self.kernel_ns().and_then(|kernel| match kernel <= user_ns {
            true => Ok(kernel),
            // The kernel's part lies within ours; where it does not, one of the stamps is not of this exchange.
            false => Err("implausible"),
        });
        Some(Spans {
            kernel_ns,
            wakeup_ns: kernel_ns.map(|kernel| user_ns - kernel),
            network_ns: kernel_ns.and_then(|kernel| self.network_ns(kernel)),
            card_ns: self.card_ns(kernel_ns.unwrap_or(user_ns)),
        })
    }

    /// The card's part lies within the kernel's: more than that is a clock that was set meanwhile, or another card's.
    fn card_ns(&self, within_ns: u64) -> Result<u64, &'static str> {
        let sent = self.card.sent.ok_or("no_send_stamp")?;
        let received = self.card.received.ok_or("no_receive_stamp")?;
        let most_ns = within_ns + within_ns / CARD_RATE + CARD_GRAIN_NS;
        received.nanos_since(sent).filter(|card| *card <= most_ns).ok_or("implausible")
    }

    /// The stamps of both ends, if all four are there.
    #[must_use]
    pub fn four_stamps(&self) -> Option<FourStamps> {
        let (far_received, far_sent) = self.far?;
        Some(FourStamps { sent: self.sent?, far_received, far_sent, received: self.received? })
    }

    fn kernel_ns(&self) -> Result<u64, &'static str> {
        if !self.is_steady {
            return Err("clock_step");
        }
        let sent = self.sent.ok_or("no_send_stamp")?;
        let received = self.received.ok_or("no_receive_stamp")?;
        received.nanos_since(sent).ok_or("implausible")
    }

    fn network_ns(&self, kernel_ns: u64) -> Result<u64, &'static str> {
        let (received, sent) = self.far.ok_or("no_far_stamps")?;
        let dwell_ns = sent.nanos_since(received).ok_or("implausible")?;
        kernel_ns.checked_sub(dwell_ns).ok_or("implausible")
    }
}

/// The exchanges of one socket that are not complete yet.
#[derive(Debug)]
pub struct Ledger {
    /// By sequence, modulo their count.
    exchanges: Vec<Option<Exchange>>,
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
        let (exchanges, numbers) = (vec![None; LEAST_ROOM], vec![None; LEAST_ROOM]);
        // A process that was held up is late in giving up, too.
        Self { exchanges, numbers, stride: stride.max(1), retention: patience * 2 }
    }

    /// Takes an exchange that begins, on both clocks. Returns one that had to make room.
    ///
    /// Those whose answers are slow stay, however many quick ones come and go meanwhile: the slow would be missing else.
    pub fn begin(&mut self, sequence: u64, at: (Stamp, WallStamp)) -> Option<Exchange> {
        let retention = self.retention;
        let is_awaited = |known: &Exchange| at.0.since(known.started) <= retention;
        while self.exchanges[self.place(sequence)].as_ref().is_some_and(is_awaited) && self.exchanges.len() < MOST_ROOM
        {
            self.grow();
        }
        let place = self.place(sequence);
        self.exchanges[place].replace(Exchange::begun(sequence, at))
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
        self.exchanges[at].as_mut().filter(|exchange| exchange.sequence == sequence)
    }

    /// The far end's stamps of an exchange, and of which epoch of its clock they are. Returns it if it is complete with them.
    pub fn told(&mut self, earlier: Earlier, epoch: Epoch) -> Option<Exchange> {
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
        self.exchanges[at].take_if(|exchange| exchange.sequence == sequence)
    }

    /// Takes out all exchanges as they are, in their order, because nothing more will be known of them.
    pub fn take_all(&mut self) -> Vec<Exchange> {
        self.forget_numbers();
        let mut all: Vec<Exchange> = self.exchanges.iter_mut().filter_map(Option::take).collect();
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

    /// An exchange that this process saw as 100 ns, the kernel as 60 and the card as 50, of which 20 were spent at the far
    /// end, whose clock is elsewhere, as that of the card is.
    fn whole() -> Exchange {
        Exchange {
            sequence: 3,
            started: Stamp::from_nanos(1_000),
            set_out: at(5_000),
            ended: Some(Stamp::from_nanos(1_100)),
            sent: Some(at(5_010)),
            far: Some((at(77), at(97))),
            received: Some(at(5_070)),
            card: CardStamps { sent: card(915), received: card(965), is_ambiguous: false },
            is_steady: true,
            epoch: (0, Epoch::default()),
        }
    }

    fn kinds(exchange: &Exchange) -> [Result<u64, &'static str>; 3] {
        let Spans { kernel_ns, wakeup_ns, network_ns, .. } = exchange.spans().unwrap();
        [kernel_ns, wakeup_ns, network_ns]
    }

    #[test]
    fn the_spans_are_differences_on_one_clock_each() {
        assert_eq!(kinds(&whole()), [Ok(60), Ok(40), Ok(40)]);
        assert_eq!(whole().spans().unwrap().card_ns, Ok(50));
    }

    #[test]
    fn the_span_of_the_card_is_its_own_and_lies_within_that_of_the_kernel() {
        let of = |sent, received, exchange: Exchange| {
            let card = CardStamps { sent, received, is_ambiguous: false };
            Exchange { card, ..exchange }.spans().unwrap().card_ns
        };
        assert_eq!(of(None, card(965), whole()), Err("no_send_stamp"));
        assert_eq!(of(card(915), None, whole()), Err("no_receive_stamp"), "never filled in from the kernel's");
        assert_eq!(of(card(965), card(915), whole()), Err("implausible"), "set back meanwhile");
        assert_eq!(of(card(915), card(915 + 160), whole()), Ok(160), "the grain of its clock");
        assert_eq!(of(card(915), card(915 + 161), whole()), Err("implausible"), "longer than the kernel's 60");
        let stepped = Exchange { is_steady: false, ..whole() };
        assert_eq!(of(card(915), card(965), stepped), Ok(50), "the wall clock is none of the card's");
        assert_eq!(of(card(915), card(915 + 201), stepped), Err("implausible"), "longer than this process's 100");
        let long = Exchange { ended: Some(Stamp::from_nanos(2_001_000)), received: Some(at(2_005_000)), ..whole() };
        assert_eq!(of(card(1), card(2_001_001), long), Ok(2_001_000), "a clock that runs 500 ppm fast");
    }

    #[test]
    fn what_is_missing_is_told_and_never_filled_in() {
        let cases = [
            (Exchange { is_steady: false, ..whole() }, [Err("clock_step"); 3]),
            (Exchange { sent: None, ..whole() }, [Err("no_send_stamp"); 3]),
            (Exchange { received: None, ..whole() }, [Err("no_receive_stamp"); 3]),
            (Exchange { received: Some(at(5_009)), ..whole() }, [Err("implausible"); 3]),
            (Exchange { received: Some(at(5_111)), ..whole() }, [Err("implausible"); 3]),
            (Exchange { far: None, ..whole() }, [Ok(60), Ok(40), Err("no_far_stamps")]),
            (Exchange { far: Some((at(98), at(97))), ..whole() }, [Ok(60), Ok(40), Err("implausible")]),
            (Exchange { far: Some((at(0), at(61))), ..whole() }, [Ok(60), Ok(40), Err("implausible")]),
        ];
        for (exchange, expected) in cases {
            assert_eq!(kinds(&exchange), expected, "{exchange:?}");
        }
        assert_eq!(Exchange { ended: None, ..whole() }.spans(), None);
    }

    #[test]
    fn stamps_are_matched_by_number_and_sequence_whatever_their_order() {
        let mut ledger = Ledger::new(72, PATIENCE);
        for sequence in 0..40 {
            ledger.begin(sequence, (Stamp::from_nanos(sequence), at(1)));
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
        ledger.begin(0, (Stamp::from_nanos(0), at(1)));
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
            ledger.begin(sequence, (Stamp::from_nanos(0), at(1)));
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
        ledger.begin(7, (Stamp::from_nanos(0), at(50)));
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

    #[test]
    fn a_slow_exchange_stays_until_it_has_been_given_up_however_many_quick_ones_pass() {
        let mut ledger = Ledger::new(1, PATIENCE);
        let begun = |sequence: u64| (Stamp::from_nanos(sequence * 1_000_000), at(1));
        ledger.begin(0, begun(0));
        for sequence in 1..2_000 {
            assert_eq!(ledger.begin(sequence, begun(sequence)), None);
            ledger.take(sequence);
        }
        assert!(ledger.of(0).is_some(), "its answer may still come");
        let out: Vec<u64> = (2_001..5_000).filter_map(|at| ledger.begin(at, begun(at))).map(|e| e.sequence).collect();
        assert_eq!(out.first(), Some(&0), "nobody waits for it after twice the patience");
        assert!(ledger.exchanges.len() <= 4096, "room for what came within that time, and no more");
    }

    #[test]
    fn of_what_had_to_make_room_nothing_is_known_but_that_it_was_answered() {
        let unknown = Exchange::unknown(3, Stamp::from_nanos(7));
        assert_eq!(kinds(&unknown), [Err("no_send_stamp"); 3]);
        let mut ledger = Ledger::new(1, Duration::from_secs(100));
        let mut begin = |sequence| ledger.begin(sequence, (Stamp::from_nanos(sequence), at(1)));
        assert!((0..MOST_ROOM as u64).all(|sequence| begin(sequence).is_none()));
        assert_eq!(begin(MOST_ROOM as u64 + 5).map(|gone| gone.sequence), Some(5));
    }
}
