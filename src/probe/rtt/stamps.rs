//! What a channel's exchanges look like in the stamps of kernel and card: the series beside what this process saw, or why there are
//! none.
//!
//! Separate from the driver's record of the same attempts because an attempt has ended before all of its stamps are there:
//! the far end's come with a later answer.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::book::{Book, Read};
use super::exchange::{Exchange, Spans};
use super::one_way::OneWay;
use crate::echo::{Earlier, Epoch, Frame};
use crate::load::{FarClock, OffsetTrack, Track};
use crate::model::{Clock, Labels, Outcome, Role, Series, Stamp};
use crate::sys::stamping::Stampers;

/// The stamped exchanges of one channel, while they grow.
#[derive(Clone, Debug, Default)]
pub struct Tracks {
    /// Exchanges that set out before this are warm-up; `None` until recording begins.
    from: Option<Stamp>,
    /// Exchanges that set out from here on are nobody's attempt.
    until: Option<Stamp>,
    kernel: Track,
    wakeup: Track,
    network: Track,
    forward: Track,
    backward: Track,
    /// What the card stamped, where it was asked: few hosts have one that does, and a thousand targets have a track each.
    card: Option<Box<Track>>,
    one_way: OneWay,
    offset: OffsetTrack<(u64, Epoch)>,
    /// How often there was another socket: behind it may be another far end, so offsets are not compared across it.
    generation: u64,
    /// Known at the end.
    far_clock: Option<FarClock>,
    /// Whether the far end has ever told its stamps.
    is_told: bool,
}

/// Why a series is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Absence {
    /// The kernel refused to stamp, with its reason.
    Refused(String),
    /// The kernel did not refuse, and stamped none.
    Unstamped,
    /// The far end tells no stamps of its own.
    Untold,
}

impl Tracks {
    /// Empty ones, of exchanges that these stamp.
    pub fn new(stampers: Stampers) -> Self {
        let card = (stampers == Stampers::KernelAndCard).then(Box::default);
        Self { card, ..Self::default() }
    }

    /// Records the exchanges that set out from now on.
    pub const fn record_from(&mut self, from: Stamp) {
        self.from = Some(from);
    }

    /// Takes the exchange at this place among its neighbours, of which nothing more will be known.
    pub fn record(&mut self, ordinal: u64, exchange: &Exchange) {
        let is_recorded = self.from.is_some_and(|from| exchange.started >= from)
            && self.until.is_none_or(|until| exchange.started < until);
        let Some(spans) = exchange.spans().filter(|_| is_recorded) else { return };
        let Spans { kernel_ns, wakeup_ns, network_ns, card_ns } = spans;
        self.is_told |= exchange.far.is_some();
        self.one_way.record(ordinal, exchange, network_ns);
        if let (Ok(_), Some(stamps)) = (network_ns, exchange.four_stamps()) {
            let (forward, backward) = (&mut self.forward, &mut self.backward);
            let (near_steps, far_epoch) = exchange.epoch;
            // Steps of one clock are far fewer than this.
            let epoch = ((self.generation << 32) + near_steps, far_epoch);
            self.offset.push(stamps, epoch, |there, back| vary(forward, backward, there, back));
        }
        let software = [(&mut self.kernel, kernel_ns), (&mut self.wakeup, wakeup_ns), (&mut self.network, network_ns)];
        for (track, span) in software.into_iter().chain(self.card.as_deref_mut().map(|track| (track, card_ns))) {
            match span {
                Ok(span_ns) => track.record(ordinal, Outcome::Ok, span_ns),
                Err(kind) => track.record(ordinal, Outcome::Failed(kind), 0),
            }
        }
    }

    /// The series beside the lane of this name. A series without a single value is not there.
    pub fn into_series(self, name: &str, labels: &Labels, floor: bool) -> Vec<Series> {
        let (family, channel) = name.rsplit_once('.').unwrap_or(("rtt", name));
        let by_card = labels.clone().with("stamps", "hardware");
        let labels = &labels.clone().with("stamps", "software");
        let by_channel = labels.clone().with("channel", channel);
        let all = [
            (self.kernel, format!("{name}.kernel"), labels.clone(), Clock::Kernel),
            (self.wakeup, format!("{family}.wakeup"), by_channel.clone(), Clock::User),
            (self.network, format!("{family}.network"), by_channel.clone(), Clock::Kernel),
            (self.forward, format!("{family}.network.forward"), by_channel.clone(), Clock::Kernel),
            (self.backward, format!("{family}.network.backward"), by_channel.clone(), Clock::Kernel),
        ];
        let one_way = self.one_way.into_tracks().into_iter().flat_map(|(bound, tracks)| {
            let labels = by_channel.clone().with("clock_bound", &bound);
            tracks.map(|(way, track)| (track, format!("{family}.oneway.{way}"), labels.clone(), Clock::Kernel))
        });
        let card = self.card.map(|track| (*track, format!("{name}.kernel"), by_card, Clock::Kernel));
        let present = all.into_iter().chain(card).chain(one_way).filter(|(track, ..)| track.counts().ok_count > 0);
        let role = Role::Phase;
        present
            .map(|(track, name, labels, clock)| Series { role, clock, floor, ..track.into_series(name, labels) })
            .collect()
    }

    /// Nothing more will come.
    pub fn close(&mut self) {
        let (forward, backward) = (&mut self.forward, &mut self.backward);
        self.far_clock = self.offset.finish(|there, back| vary(forward, backward, there, back)).or(self.far_clock);
    }

    /// The answered exchanges with all stamps that both kernels give: those without one are its failures.
    pub const fn complete(&self) -> &Track {
        if self.is_told { &self.network } else { &self.kernel }
    }

    /// The same of the card, where it was asked.
    pub fn by_card(&self) -> Option<&Track> {
        self.card.as_deref()
    }

    /// What is known of the far clock, once they are closed.
    pub const fn far_clock(&self) -> Option<FarClock> {
        self.far_clock
    }

    /// The bound on the clocks that the user stated, where nothing better is known.
    pub const fn stated_bound(&self) -> Option<Duration> {
        self.one_way.stated()
    }

    /// Why `NAME.kernel` is not there, if it is not.
    pub fn absence(&self, refused: Option<&str>) -> Option<Absence> {
        let counts = self.kernel.counts();
        (counts.ok_count == 0 && counts.attempt_count > 0)
            .then(|| refused.map_or(Absence::Unstamped, |reason| Absence::Refused(reason.to_owned())))
    }
}

/// Takes how much longer than the least of its window each direction took; the order of the exchanges is theirs.
fn vary(forward: &mut Track, backward: &mut Track, there_ns: u64, back_ns: u64) {
    for (track, span_ns) in [(forward, there_ns), (backward, back_ns)] {
        track.record(track.counts().attempt_count, Outcome::Ok, span_ns);
    }
}

/// The stamps of a channel that has a socket of its own.
#[derive(Debug)]
pub struct Stamps(Mutex<(Book, Tracks)>);

impl Stamps {
    /// Begins with this book.
    pub fn new(book: Book) -> Self {
        let tracks = Tracks::new(book.stampers());
        Self(Mutex::new((book, tracks)))
    }

    /// Goes on with another book, because there is another socket.
    pub fn go_on(&self, book: Book) {
        let mut inner = self.lock();
        let (old, tracks) = &mut *inner;
        old.take_all().iter().for_each(|exchange| tracks.record(exchange.sequence, exchange));
        tracks.generation += 1;
        *old = book;
    }

    /// The kernel begins its numbers again.
    pub fn renumber(&self, asked: io::Result<()>, socket: BorrowedFd<'_>) {
        self.lock().0.renumber(asked, socket);
    }

    /// Takes an exchange that begins, while so many are in flight.
    pub fn begin(&self, sequence: u64, started: Stamp, in_flight: usize) {
        self.take(|book| book.begin(sequence, started, in_flight));
    }

    /// The kernel numbers the message of this exchange so.
    pub fn written(&self, number: u32, sequence: u64, socket: BorrowedFd<'_>) {
        self.lock().0.written(number, sequence, socket);
    }

    /// Takes the end of an exchange.
    pub fn read(&self, read: Read, socket: BorrowedFd<'_>) {
        self.take(|book| {
            book.is_steady(read.sequence);
            book.read(read, socket)
        });
    }

    /// The stamp of the answer to this exchange was that of a later one.
    pub fn retract(&self, sequence: u64) {
        self.lock().0.retract(sequence);
    }

    /// Takes the far end's stamps of an exchange before.
    pub fn told(&self, earlier: Earlier, pong: &Frame) {
        self.lock().1.one_way.hear(pong.is_same_host);
        self.take(|book| book.told(earlier, pong.epoch));
    }

    /// Does this to the book, and records the exchanges of which nothing more will be known after it.
    fn take<T: IntoIterator<Item = Exchange>>(&self, act: impl FnOnce(&mut Book) -> T) {
        let mut inner = self.lock();
        let (book, tracks) = &mut *inner;
        act(book).into_iter().for_each(|exchange| tracks.record(exchange.sequence, &exchange));
    }

    /// The two clocks differ by no more than this, says the user.
    pub fn trust(&self, clock_bound: Duration) {
        self.lock().1.one_way.trust(clock_bound);
    }

    /// Whether the far end tells its stamps, so that the last exchange is worth one more; those from `now` on are not
    /// recorded.
    pub fn close(&self, now: Stamp) -> bool {
        let mut inner = self.lock();
        inner.1.until = Some(now);
        inner.1.is_told
    }

    /// Takes everything as it is.
    pub fn finish(&self) {
        let mut inner = self.lock();
        let (book, tracks) = &mut *inner;
        book.take_all().iter().for_each(|exchange| tracks.record(exchange.sequence, exchange));
        tracks.close();
    }

    /// What is known of the far clock.
    pub fn far_clock(&self) -> Option<FarClock> {
        self.lock().1.far_clock()
    }

    /// Looks at what was recorded so far.
    pub fn with_tracks<T>(&self, look: impl FnOnce(&mut Tracks) -> T) -> T {
        look(&mut self.lock().1)
    }

    /// Why a series is not there: that of the kernel, or else that of the network.
    pub fn absence(&self) -> Option<Absence> {
        let inner = self.lock();
        let (book, tracks) = &*inner;
        let is_untold = !tracks.is_told && tracks.kernel.counts().attempt_count > 0;
        tracks.absence(book.refused()).or(is_untold.then_some(Absence::Untold))
    }

    fn lock(&self) -> MutexGuard<'_, (Book, Tracks)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::exchange::CardStamps;
    use super::*;
    use crate::model::{CardStamp, WallStamp};

    /// An exchange of 60 ns by the kernel, and 50 by the card if it stamped both ways.
    fn exchange(sequence: u64, received: Option<u64>) -> Exchange {
        let at = |nanos| Some(WallStamp::from_nanos(nanos));
        let card = |nanos| CardStamp::from_nanos(nanos);
        Exchange {
            sequence,
            started: Stamp::from_nanos(1_000),
            set_out: WallStamp::from_nanos(5_000),
            ended: Some(Stamp::from_nanos(1_100)),
            sent: at(5_010),
            far: None,
            received: at(5_070),
            card: CardStamps { sent: card(7), received: received.and_then(card), is_ambiguous: false },
            is_steady: true,
            epoch: (0, Epoch::default()),
        }
    }

    /// Name, stamps, answered, failed and median of the series of the kernel and the card.
    fn kernel_series(tracks: &Tracks) -> Vec<(Option<String>, u64, u64, Option<u64>)> {
        let all = tracks.clone().into_series("rtt.echo", &Labels::new(), false);
        let kernel = all.into_iter().filter(|series| series.name == "rtt.echo.kernel");
        let stamps = |series: &Series| series.labels.value("stamps").map(str::to_owned);
        kernel.map(|s| (stamps(&s), s.counts.ok_count, s.counts.failed_count, s.summary.max_ns)).collect()
    }

    #[test]
    fn the_card_has_a_series_of_its_own_where_it_was_asked_and_stamped() {
        let software = |count| (Some("software".to_owned()), count, 0, Some(60));
        let mut unasked = Tracks::new(Stampers::Kernel);
        let mut asked = Tracks::new(Stampers::KernelAndCard);
        for tracks in [&mut unasked, &mut asked] {
            tracks.record_from(Stamp::from_nanos(0));
            tracks.record(0, &exchange(0, None));
        }
        assert_eq!(kernel_series(&asked), [software(1)], "never filled in from the kernel's");
        assert_eq!(asked.by_card().and_then(Track::main_failure), Some("no_receive_stamp"));
        for tracks in [&mut unasked, &mut asked] {
            tracks.record(1, &exchange(1, Some(57)));
        }
        assert_eq!(kernel_series(&unasked), [software(2)]);
        assert_eq!(kernel_series(&asked), [software(2), (Some("hardware".to_owned()), 1, 1, Some(50))]);
    }
}
