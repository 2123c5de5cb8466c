//! The one Driver: it alone schedules, times, limits, warms up and cancels attempts.
//!
//! A probe or a bench brings an [`Operation`] per lane (one target by one channel); the driver plans the starts
//! ([`Pace`]), starts them whether or not earlier ones were answered, and records response, service and slip in planned
//! order ([`LaneRecord`]). A [`Session`] conducts a whole measurement: it prepares, drives once or many times or counts steps,
//! writes checkpoints, and ends with what there is when the user stops it. Whether the generator kept its promise is for [`judge`].

mod deadline;
mod driver;
mod loss;
mod offset;
mod operation;
mod pace;
mod recorder;
mod session;
mod spec;
mod track;
mod validity;

pub use driver::{DriverError, Load, drive};
pub use loss::{abandoned, lost_targets};
pub use offset::{Detour, Drift, FarClock, FourStamps, OffsetTrack};
pub use operation::{Answer, Beside, Detail, Lane, MakeBeside, Named, Observer, Operation, Part};
pub use pace::Pace;
pub use recorder::{LaneRecord, Settled};
pub use session::{Session, Steps};
pub use spec::{Arrival, Length, LoadSpec, Rate, RateError, Spacing};
pub use track::Track;
pub use validity::{Verdict, judge};
