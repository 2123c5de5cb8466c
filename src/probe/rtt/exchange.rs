//! What is known of one exchange, and what follows from its stamps.
//!
//! Pure, and separate from the book of many because here it is decided what is a figure and what is a failure: whatever is
//! missing is told, and nothing is put in its place.

use crate::echo::Epoch;
use crate::load::FourStamps;
use crate::model::{CardStamp, Stamp, WallStamp};

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

    /// One that begins, on both clocks.
    pub(super) fn begun(sequence: u64, (started, set_out): (Stamp, WallStamp)) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn of_an_unknown_one_only_its_end_is_known() {
        assert_eq!(kinds(&Exchange::unknown(3, Stamp::from_nanos(7))), [Err("no_send_stamp"); 3]);
    }
}
