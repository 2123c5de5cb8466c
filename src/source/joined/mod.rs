//! Several sources as one: the first to see wins, the others confirm, and a gap of one is healed by its list.
//!
//! Separate from the sources, which know nothing of each other, and from the agent, which so is told each step once.

mod machine;

use std::collections::VecDeque;
use std::pin::Pin;

use futures_util::StreamExt as _;
use futures_util::stream::{SelectAll, Stream, select_all, unfold};

pub use self::machine::Join;
use super::{Event, EventSource, Next};

type Words = Pin<Box<dyn Stream<Item = (usize, Event)> + Send>>;

/// All of some sources.
pub struct Joined {
    words: SelectAll<Words>,
    join: Join,
    /// What is to be said next.
    waiting: VecDeque<Event>,
}

impl Joined {
    /// What these say, the first of which is believed where two say different things beside the state.
    #[must_use]
    pub fn new(sources: Vec<Box<dyn EventSource>>) -> Self {
        let join = Join::new(sources.len());
        let words = sources.into_iter().enumerate().map(|(index, source)| {
            let words = unfold(source, move |mut source| async move {
                let event = source.next().await?;
                Some(((index, event), source))
            });
            Box::pin(words) as Words
        });
        Self { words: select_all(words), join, waiting: VecDeque::new() }
    }
}

impl EventSource for Joined {
    fn next(&mut self) -> Next<'_> {
        Box::pin(async {
            loop {
                if let Some(event) = self.waiting.pop_front() {
                    return Some(event);
                }
                let (source, event) = self.words.next().await?;
                self.waiting.extend(self.join.take(source, event));
            }
        })
    }
}
