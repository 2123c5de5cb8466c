//! How fast members of etcd answer a reader who asks gently: one key that there is not, five times a second.
//!
//! Separate from the metrics, which say what a member does for others. A linearizable read is confirmed by a majority, so it has in
//! it what every reader of state waits for; nothing is written.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::load::{Answer, Arrival, Lane, LaneRecord, Length, LoadSpec, Operation, Session, Spacing};
use crate::model::{Labels, Outcome, Series, Warning, with_causes};
use crate::wire::etcd::{Access, CONNECTION_LOST, Endpoint, Links, NOT_CONNECTED, Read};
use crate::wire::{TlsSpec, Trust, Url};

/// The series of the reads.
pub const SERIES: &str = "diagnose.etcd_read";

/// How long each is asked, and how long an answer may take.
const WINDOW: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(2);

/// Reads of one member.
struct Reads(Rc<Links>);

impl Operation for Reads {
    async fn attempt(&self) -> Answer {
        Answer::new(match self.0.any().read(Bytes::from_static(b"offloadctl"), Read::Linearizable).await {
            Ok(_) => Outcome::Ok,
            Err(fault) if matches!(fault.kind, CONNECTION_LOST | NOT_CONNECTED) => Outcome::Failed(fault.kind),
            Err(fault) => Outcome::Error(fault.kind),
        })
    }
}

/// Asks all members at once; what cannot be asked is a warning.
pub async fn measure(members: &[String], session: &mut Session<'_>) -> (Vec<Series>, Vec<Warning>) {
    let (mut lanes, mut warnings) = (Vec::new(), Vec::new());
    for member in members {
        match connect(member).await {
            Ok(links) => lanes.push(Lane {
                operation: Reads(Rc::new(links)),
                name: SERIES,
                labels: Labels::new().with("target", member),
                floor: false,
                reference: None,
            }),
            Err(why) => {
                warnings.push(Warning::new("not_measured", format!("reads of etcd at {member}: {why}")));
            }
        }
    }
    let Ok(rate) = "5/s".parse() else { return (Vec::new(), warnings) };
    let load = LoadSpec {
        arrival: Arrival::Open { rate, spacing: Spacing::Constant, slack: Duration::ZERO },
        length: Length::Duration(WINDOW),
        warmup: Duration::ZERO,
        timeout: TIMEOUT,
        max_in_flight: 8,
        seed: 0,
    };
    if lanes.is_empty() {
        return (Vec::new(), warnings);
    }
    match session.drive(&lanes, &load).await {
        Ok(load) => (load.lanes.into_iter().flat_map(LaneRecord::into_series).collect(), warnings),
        Err(error) => {
            warnings.push(Warning::new("not_measured", format!("reads of etcd: {}", with_causes(&error))));
            (Vec::new(), warnings)
        }
    }
}

async fn connect(member: &str) -> Result<Links, String> {
    let url: Url = member.parse().map_err(|error| with_causes(&error))?;
    let trust = Trust::load(&TlsSpec::default()).map_err(|error| with_causes(&error))?;
    let endpoint = Endpoint::new(&url, &trust);
    let access = Arc::new(Access::new(None));
    Links::open(&[endpoint], 1, &access).await.map_err(|(_, error)| with_causes(&error))
}
