//! How far the far end's wall clock is from ours, how fast it drifts, and what each direction of the path did.
//!
//! Pure arithmetic on the four stamps of each exchange (RFC 5905, section 8): the offset is ((t2 - t1) + (t3 - t4)) / 2, and
//! whatever the path does, it is wrong by at most half of the network's time. So of each window the fastest exchange counts.
//! Here and not beside the probe that asks the most: whoever compares stamps of two hosts needs it.

use crate::model::WallStamp;

/// Exchanges of a window: few enough that the drift within it is a straight line.
const WINDOW: usize = 32;

/// Windows kept; beyond them neighbours are joined, and the faster one stays.
const POINTS: usize = 256;

/// Points that a drift is fitted through at least.
const FIT_POINTS: usize = 8;

/// A path has changed in one direction when a window's network time exceeds the least by this share, for so many windows in
/// a row, and the offset moved by most of the half that one direction alone would move it.
const DETOUR_SHARE: f64 = 0.2;
/// Stamps of software differ by some microseconds on a busy host; below this nothing is a change of the path.
const DETOUR_LEAST_NS: f64 = 20_000.0;
const DETOUR_POINTS: usize = 3;
const ONE_SIDED: f64 = 0.35;

/// Until a drift is fitted, a clock is taken to run off by at most this: RFC 5905 allows for 15 ppm (its PHI), crystals of
/// cheap hosts and virtual machines have been seen several times as far off.
const UNKNOWN_DRIFT: f64 = 100e-6;

/// The four stamps of an exchange: ours of sending and receiving, the far end's of receiving and sending.
#[derive(Clone, Copy, Debug)]
pub struct FourStamps {
    /// t1.
    pub sent: WallStamp,
    /// t2.
    pub far_received: WallStamp,
    /// t3.
    pub far_sent: WallStamp,
    /// t4.
    pub received: WallStamp,
}

/// One exchange as the estimate sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    /// When, on our wall clock.
    at_ns: f64,
    /// Far clock minus ours.
    offset_ns: f64,
    network_ns: f64,
    /// t2 - t1 and t4 - t3: one-way delays with the offset in them.
    forward_ns: f64,
    backward_ns: f64,
}

/// A straight line of the offset over time.
#[derive(Clone, Copy, Debug)]
struct Line {
    at_ns: f64,
    offset_ns: f64,
    /// Nanoseconds a nanosecond.
    slope: f64,
}

/// What is known of the far clock at the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FarClock {
    /// Far clock minus ours, at the last exchange.
    pub offset_ns: f64,
    /// How wrong that may be, as long as the drift is steady.
    pub bound_ns: f64,
    /// How fast it gains on ours, with its 95 % interval; `None` of too short a run.
    pub drift: Option<Drift>,
    /// A time in which one direction of the path was longer than the other had become.
    pub detour: Option<Detour>,
}

/// How fast the far clock gains on ours, in millionths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// The fit.
    pub ppm: f64,
    /// Its 95 % interval.
    pub low_ppm: f64,
    /// Its 95 % interval.
    pub high_ppm: f64,
}

/// One direction got longer for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detour {
    /// Whether the way there.
    pub is_forward: bool,
    /// By how much, at most.
    pub extra_ns: f64,
    /// For how long, from the first to the last window that shows it.
    pub span_ns: f64,
}

/// Takes exchanges and keeps what the estimate needs, in constant memory. `E` is another whenever either clock was stepped:
/// offsets across a step are not compared.
#[derive(Clone, Debug, Default)]
pub struct OffsetTrack<E> {
    epoch: E,
    origin: Option<WallStamp>,
    window: Vec<Point>,
    /// The first window, which waits for the second to know the drift.
    held: Vec<Point>,
    last: Option<Point>,
    points: Vec<Point>,
    /// Windows joined into a point, and those of the point that grows.
    joined: usize,
    growing: Option<(Point, usize)>,
}

impl<E: Default + PartialEq> OffsetTrack<E> {
    /// Takes an exchange; `vary` gets each direction's delay above its least of the window, forward first, when that is known.
    pub fn push(&mut self, stamps: FourStamps, epoch: E, mut vary: impl FnMut(u64, u64)) {
        if epoch != self.epoch {
            self.flush(&mut vary);
            *self = Self { epoch, ..Self::default() };
        }
        let origin = *self.origin.get_or_insert(stamps.sent);
        self.window.push(Point::of(stamps, origin));
        if self.window.len() == WINDOW {
            self.close(vary);
        }
    }

    /// What is known at the end.
    pub fn finish(&mut self, mut vary: impl FnMut(u64, u64)) -> Option<FarClock> {
        self.flush(&mut vary);
        self.points.extend(self.growing.take().map(|(point, _)| point));
        let (best, last) = (fastest(&self.points)?, self.last?);
        let fast: Vec<Point> = self.points.iter().filter(|point| !point.is_slower(best)).copied().collect();
        let drift = fit(&fast);
        let slope = drift.map_or(0.0, |drift| drift.ppm * 1e-6);
        let line = Line { at_ns: best.at_ns, offset_ns: best.offset_ns, slope };
        let uncertain = drift.map_or(UNKNOWN_DRIFT, |drift| (drift.high_ppm - drift.low_ppm) / 2.0 * 1e-6);
        Some(FarClock {
            offset_ns: line.at(last.at_ns),
            bound_ns: best.network_ns / 2.0 + uncertain * (last.at_ns - best.at_ns).abs(),
            drift,
            detour: detour(&self.points, best, line),
        })
    }

    /// Tells the variation of every exchange that waits for a later one.
    fn flush(&mut self, mut vary: impl FnMut(u64, u64)) {
        self.close(&mut vary);
        if let Some(last) = self.last {
            let line = Line { at_ns: last.at_ns, offset_ns: last.offset_ns, slope: 0.0 };
            vary_above_least(&mut self.held, line, &mut vary);
        }
    }

    fn close(&mut self, mut vary: impl FnMut(u64, u64)) {
        let Some(best) = fastest(&self.window) else { return };
        let line = match self.last {
            Some(last) => Line::through(last, best),
            None => Line { at_ns: best.at_ns, offset_ns: best.offset_ns, slope: 0.0 },
        };
        if self.last.is_none() && self.window.len() == WINDOW {
            std::mem::swap(&mut self.held, &mut self.window);
        } else {
            vary_above_least(&mut self.held, line, &mut vary);
            vary_above_least(&mut self.window, line, &mut vary);
        }
        self.last = Some(best);
        self.keep(best);
    }

    fn keep(&mut self, best: Point) {
        let (point, windows) = self.growing.take().map_or((best, 1), |(known, windows)| {
            (if best.network_ns < known.network_ns { best } else { known }, windows + 1)
        });
        if windows <= self.joined {
            self.growing = Some((point, windows));
            return;
        }
        self.points.push(point);
        if self.points.len() == POINTS {
            self.points = self.points.chunks(2).filter_map(fastest).collect();
            self.joined = self.joined * 2 + 1;
        }
    }
}

impl Point {
    fn of(stamps: FourStamps, origin: WallStamp) -> Self {
        let between = |from: WallStamp, to: WallStamp| (i128::from(to.as_nanos()) - i128::from(from.as_nanos())) as f64;
        let forward_ns = between(stamps.sent, stamps.far_received);
        let backward_ns = between(stamps.far_sent, stamps.received);
        Self {
            at_ns: between(origin, stamps.sent),
            offset_ns: (forward_ns - backward_ns) / 2.0,
            network_ns: forward_ns + backward_ns,
            forward_ns,
            backward_ns,
        }
    }

    /// Whether the network took so much longer than at its best that it is another network.
    fn is_slower(&self, best: Self) -> bool {
        self.network_ns - best.network_ns > (best.network_ns * DETOUR_SHARE).max(DETOUR_LEAST_NS)
    }
}

impl Line {
    fn through(a: Point, b: Point) -> Self {
        let span = b.at_ns - a.at_ns;
        let slope = if span > 0.0 { (b.offset_ns - a.offset_ns) / span } else { 0.0 };
        Self { at_ns: b.at_ns, offset_ns: b.offset_ns, slope }
    }

    fn at(&self, at_ns: f64) -> f64 {
        self.offset_ns + self.slope * (at_ns - self.at_ns)
    }
}

fn fastest(points: &[Point]) -> Option<Point> {
    points.iter().min_by(|a, b| a.network_ns.total_cmp(&b.network_ns)).copied()
}

/// Hands out how far each delay of a window is above the least one of its direction, with the drift taken out.
fn vary_above_least(window: &mut Vec<Point>, line: Line, mut vary: impl FnMut(u64, u64)) {
    let forward = |point: &Point| point.forward_ns - line.at(point.at_ns);
    let backward = |point: &Point| point.backward_ns + line.at(point.at_ns);
    let least = |delay: &dyn Fn(&Point) -> f64| window.iter().map(delay).fold(f64::INFINITY, f64::min);
    let (least_forward, least_backward) = (least(&forward), least(&backward));
    for point in window.iter() {
        vary((forward(point) - least_forward) as u64, (backward(point) - least_backward) as u64);
    }
    window.clear();
}

/// The least-squares line through the points, as drift with its interval: that of the fit, widened by what delays in one
/// direction can feign.
fn fit(points: &[Point]) -> Option<Drift> {
    let n = points.len() as f64;
    if points.len() < FIT_POINTS {
        return None;
    }
    let mean = |of: fn(&Point) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (mean_at, mean_offset) = (mean(|p| p.at_ns), mean(|p| p.offset_ns));
    let sum = |of: &dyn Fn(&Point) -> f64| points.iter().map(of).sum::<f64>();
    let spread = sum(&|p| (p.at_ns - mean_at).powi(2));
    if spread <= 0.0 {
        return None;
    }
    let slope = sum(&|p| (p.at_ns - mean_at) * (p.offset_ns - mean_offset)) / spread;
    let residual = sum(&|p| (p.offset_ns - mean_offset - slope * (p.at_ns - mean_at)).powi(2));
    let freedom = n - 2.0;
    // The 97.5 % quantile of Student's t to 0.01 from 6 degrees of freedom on.
    let student = 1.96 + 2.4 / freedom + 3.0 / (freedom * freedom);
    // What a window's network took above the least may all have been in one direction, which moves its offset by half of it:
    // the residuals of windows that were delayed in a row would not show that.
    let least = points.iter().map(|p| p.network_ns).fold(f64::INFINITY, f64::min);
    let feigned = sum(&|p| (p.at_ns - mean_at).abs() * (p.network_ns - least) / 2.0) / spread;
    let half = student * (residual / freedom / spread).sqrt() + feigned;
    Some(Drift { ppm: slope * 1e6, low_ppm: (slope - half) * 1e6, high_ppm: (slope + half) * 1e6 })
}

/// The longest run of windows in which the network took longer and the offset moved as if one direction did. A clock that
/// wanders does not make the network slower, and a path that is slower both ways does not move the offset.
fn detour(points: &[Point], best: Point, line: Line) -> Option<Detour> {
    let side = |point: &Point| {
        let (extra, moved) = (point.network_ns - best.network_ns, point.offset_ns - line.at(point.at_ns));
        let is_detour = point.is_slower(best) && moved.abs() > extra * ONE_SIDED;
        is_detour.then_some(moved > 0.0)
    };
    let runs = points.chunk_by(|a, b| side(a) == side(b)).filter(|run| run.len() >= DETOUR_POINTS);
    runs.filter_map(|run| {
        let (first, last) = (run.first()?, run.last()?);
        let extra_ns = run.iter().map(|point| point.network_ns - best.network_ns).fold(0.0, f64::max);
        Some(Detour { is_forward: side(first)?, extra_ns, span_ns: last.at_ns - first.at_ns })
    })
    .max_by(|a, b| a.span_ns.total_cmp(&b.span_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u64 = 0;
    const STEP_NS: u64 = 100_000_000;

    /// Exchange `number` over a path of these delays, with a far clock that is 5 ms ahead and gains `ppm`.
    fn exchange(number: u64, forward: u64, backward: u64, ppm: f64) -> FourStamps {
        let sent = 1_000_000_000_000 + number * STEP_NS;
        let far = |at: u64| WallStamp::from_nanos(at + 5_000_000 + ((number * STEP_NS) as f64 * ppm * 1e-6) as u64);
        let near = WallStamp::from_nanos;
        FourStamps {
            sent: near(sent),
            far_received: far(sent + forward),
            far_sent: far(sent + forward + 70_000),
            received: near(sent + forward + 70_000 + backward),
        }
    }

    /// Delays of 40 us each way, with some queueing that differs from exchange to exchange and is nothing now and then.
    fn queued(number: u64) -> (u64, u64) {
        (40_000 + number * 7919 % 31 * 1_000, 40_000 + number * 104_729 % 29 * 1_000)
    }

    #[test]
    fn offset_and_drift_are_found_within_their_bounds() {
        for ppm in [0.0, 20.0] {
            let mut track = OffsetTrack::default();
            let (mut count, mut most) = (0, 0);
            let mut vary = |forward: u64, backward: u64| {
                count += 1;
                most = most.max(forward).max(backward);
            };
            for number in 0..20_000 {
                let (forward, backward) = queued(number);
                track.push(exchange(number, forward, backward, ppm), FIRST, &mut vary);
            }
            let clock = track.finish(&mut vary).unwrap();
            let truth = 5_000_000.0 + (19_999 * STEP_NS) as f64 * ppm * 1e-6;
            assert!((clock.offset_ns - truth).abs() <= clock.bound_ns + 1_000.0 * ppm, "{clock:?}, in truth {truth}");
            let drift = clock.drift.unwrap();
            assert!((drift.ppm - ppm).abs() < 0.1 && drift.low_ppm <= ppm && ppm <= drift.high_ppm, "{drift:?}");
            assert_eq!((count, clock.detour), (20_000, None));
            assert!((25_000..45_000).contains(&most), "queueing of at most 30 us appears as {most} ns");
        }
    }

    #[test]
    fn one_direction_that_gets_slower_by_little_is_no_proof_of_a_drift() {
        let mut track = OffsetTrack::default();
        for number in 0..1_000 {
            track.push(exchange(number, 40_000 + number, 40_000, 0.0), FIRST, |_, _| ());
        }
        let drift = track.finish(|_, _| ()).unwrap().drift.unwrap();
        assert!(drift.ppm > 0.0 && drift.low_ppm < 0.0, "{drift:?}");
    }

    #[test]
    fn a_path_that_gets_longer_one_way_is_told_from_one_that_gets_longer_both_ways() {
        for (there, back, expected) in [(200_000, 0, Some(true)), (0, 200_000, Some(false)), (100_000, 100_000, None)] {
            let mut track = OffsetTrack::default();
            for number in 0..1_000 {
                let (forward, backward) = queued(number);
                let (there, back) = if (400..700).contains(&number) { (there, back) } else { (0, 0) };
                track.push(exchange(number, forward + there, backward + back, 1.0), FIRST, |_, _| ());
            }
            let detour = track.finish(|_, _| ()).unwrap().detour;
            assert_eq!(detour.map(|detour| detour.is_forward), expected, "{detour:?}");
            assert!(detour.is_none_or(|detour| (detour.extra_ns - 200_000.0).abs() < 40_000.0), "{detour:?}");
        }
    }

    #[test]
    fn a_run_that_is_too_short_for_a_drift_allows_for_one() {
        let mut track = OffsetTrack::default();
        for number in 0..100 {
            // The fastest exchange is the first.
            track.push(exchange(number, 40_000 + number * 10, 40_000, 20.0), FIRST, |_, _| ());
        }
        let clock = track.finish(|_, _| ()).unwrap();
        let truth = 5_000_000.0 + (99 * STEP_NS) as f64 * 20e-6;
        assert!(
            clock.drift.is_none() && (clock.offset_ns - truth).abs() <= clock.bound_ns,
            "{clock:?}, in truth {truth}"
        );
    }

    #[test]
    fn every_exchange_has_its_variation_also_those_of_a_single_window_and_before_a_step() {
        for (count, step_at) in [(32, 1_000), (31, 1_000), (100, 40), (64, 32)] {
            let (mut track, mut told) = (OffsetTrack::default(), 0);
            for number in 0..count {
                let epoch = u64::from(number >= step_at);
                track.push(exchange(number, 40_000, 40_000, 0.0), epoch, |_, _| told += 1);
            }
            track.finish(|_, _| told += 1);
            assert_eq!(told, count, "of {count} with a step at {step_at}");
        }
    }

    #[test]
    fn a_step_of_either_clock_begins_the_estimate_again() {
        let mut track = OffsetTrack::default();
        for number in 0..100 {
            track.push(exchange(number, 40_000, 60_000, 0.0), FIRST, |_, _| ());
        }
        let stepped = |stamps: FourStamps| FourStamps {
            far_received: WallStamp::from_nanos(stamps.far_received.as_nanos() + 7_000_000),
            far_sent: WallStamp::from_nanos(stamps.far_sent.as_nanos() + 7_000_000),
            ..stamps
        };
        for number in 100..110 {
            track.push(stepped(exchange(number, 40_000, 60_000, 0.0)), 1, |_, _| ());
        }
        let clock = track.finish(|_, _| ()).unwrap();
        assert_eq!((clock.offset_ns, clock.bound_ns, clock.drift), (12_000_000.0 - 10_000.0, 50_000.0, None));
    }

    #[test]
    fn nothing_is_known_of_nothing() {
        assert_eq!(OffsetTrack::<u64>::default().finish(|_, _| ()), None);
    }
}
