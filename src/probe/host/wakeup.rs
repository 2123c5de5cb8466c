//! How late this process wakes from a sleep until an absolute time: what every planned start pays.
//!
//! Separate because it is the one thing here that is timed by itself; it uses the timer that the driver uses.

use std::io;
use std::time::Duration;

use crate::load::Track;
use crate::model::{Labels, Outcome, Series};
use crate::sys::clock;
use crate::sys::shutdown::Shutdown;
use crate::sys::timer::Timer;

/// From one sleep's end to the next: long enough for a processor to go idle.
const GAP: Duration = Duration::from_millis(1);

/// The wake-ups from so many sleeps, or from as many as there were until `shutdown`.
pub async fn measure(count: u64, shutdown: &Shutdown) -> io::Result<Series> {
    let mut timer = Timer::new()?;
    let mut track = Track::default();
    let mut deadline = clock::now() + GAP;
    for number in 0..count {
        if shutdown.is_requested() {
            break;
        }
        timer.wait_until(deadline).await?;
        let woken = clock::now();
        track.record(number, Outcome::Ok, woken.nanos_since(deadline));
        deadline = woken + GAP;
    }
    Ok(track.into_series("timer.wakeup".to_owned(), Labels::new()))
}
