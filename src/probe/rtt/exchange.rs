//! What is known of one exchange, and what follows from its stamps.
//!
//! Pure, and separate from the book of many because here it is decided what is a figure and what is a failure: whatever is
//! missing is told, and nothing is put in its place.

use crate::echo::Epoch;
use crate::load::FourStamps;
use crate::model::{Stamp, WallStamp};

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
    /// Whether the wall clock was not stepped meanwhile.
    pub is_steady: bool,
    /// Steps of our wall clock before it, and the epoch of the far one: offsets across a step are not compared.
    pub epoch: (u64, Epoch),
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
        })
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

    /// An exchange that this process saw as 100 ns and the kernel as 60, of which 20 were spent at the far end, whose
    /// clock is elsewhere.
    fn whole() -> Exchange {
        Exchange {
            sequence: 3,
            started: Stamp::from_nanos(1_000),
            set_out: at(5_000),
            ended: Some(Stamp::from_nanos(1_100)),
            sent: Some(at(5_010)),
            far: Some((at(77), at(97))),
            received: Some(at(5_070)),
            is_steady: true,
            epoch: (0, Epoch::default()),
        }
    }

    fn kinds(exchange: &Exchange) -> [Result<u64, &'static str>; 3] {
        let Spans { kernel_ns, wakeup_ns, network_ns } = exchange.spans().unwrap();
        [kernel_ns, wakeup_ns, network_ns]
    }

    #[test]
    fn the_spans_are_differences_on_one_clock_each() {
        assert_eq!(kinds(&whole()), [Ok(60), Ok(40), Ok(40)]);
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
