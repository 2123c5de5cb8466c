//! Asking for a list in equal spans, and telling what changed.
//!
//! Separate from whom it is asked of: an engine and a runtime are polled alike.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::{Act, Lists, Stage, Teller, Told};
use crate::model::with_causes;
use crate::sys::clock;

/// Tells which of these acts lie between list and list until nobody listens. What the first list has was there before.
pub async fn poll<E, L>(every: Duration, acts: &[Act], teller: Teller, list: impl Fn() -> L + Send)
where
    E: Error,
    L: Future<Output = Result<BTreeMap<String, Stage>, E>> + Send,
{
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut lists, mut sees) = (Lists::default(), false);
    loop {
        ticks.tick().await;
        let listed = list().await;
        let seen = clock::now();
        let mut told = Vec::new();
        match listed {
            Ok(stages) => {
                let sights = lists.take(stages, seen).into_iter().filter(|sight| acts.contains(&sight.act));
                told.extend(sights.map(Told::Saw));
                told.extend((!sees).then_some(Told::Watching));
                sees = true;
            }
            Err(error) if sees => {
                told.push(Told::Trouble(format!("there is no list: {}", with_causes(&error))));
                sees = false;
            }
            Err(_) => {}
        }
        for word in told {
            if teller.send(word).await.is_err() {
                return;
            }
        }
    }
}
