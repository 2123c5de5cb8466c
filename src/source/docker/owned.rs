//! What is ours at an engine: the marks by which it is known, and the removal of what killed runs left.
//!
//! Separate from the hand, which does what it is told. Each thing of ours bears the mark of its process, so that the next run finds
//! what a killed one left; what bears no mark is never touched.

use super::Hand;
use crate::model::{Warning, with_causes};
use crate::sys::owner::{Fate, Owner};

/// The label that says whose it is.
pub const OWNER: &str = "offloadctl.owner";
/// The label that says of which run it is.
pub const RUN: &str = "offloadctl.run";

/// The labels of everything that one run makes.
#[derive(Clone, Debug)]
pub struct Marks {
    owner: String,
    /// Names the run.
    pub run: String,
}

impl Marks {
    /// Those of this run of this process.
    #[must_use]
    pub fn of(run: &str) -> Self {
        Self { owner: Owner::ours().to_string(), run: run.to_owned() }
    }

    /// As keys and values.
    #[must_use]
    pub fn pairs(&self) -> [(&str, &str); 2] {
        [(OWNER, &self.owner), (RUN, &self.run)]
    }
}

/// Removes what runs left whose process is gone; what there is to say about it.
pub async fn sweep(hand: &Hand) -> Vec<Warning> {
    // What cannot be listed is no obstacle here: whatever follows says more.
    let containers = hand.containers(OWNER).await.unwrap_or_default();
    let images = hand.images(OWNER).await.unwrap_or_default();
    let (mut gone, mut unknown, mut stuck) = (0_u64, 0_u64, None);
    for (one, is_image) in containers.iter().map(|one| (one, false)).chain(images.iter().map(|one| (one, true))) {
        let owner: Option<Owner> = one.label(OWNER).and_then(|mark| mark.parse().ok());
        match owner.map(|owner| owner.fate()) {
            Some(Fate::Runs) => {}
            Some(Fate::Gone) => {
                let removed = if is_image { hand.remove_image(&one.id).await } else { hand.remove(&one.id).await };
                match removed {
                    Ok(()) => gone += 1,
                    Err(error) => stuck = Some(with_causes(&error)),
                }
            }
            Some(Fate::Unknown) | None => unknown += 1,
        }
    }
    let warning = |text: String| Warning::new("leftover", text);
    let by_hand = format!("`docker ps -a --filter label={OWNER}` and `docker images --filter label={OWNER}` show them");
    let gone = (gone > 0)
        .then(|| warning(format!("{gone} containers and images were removed that a run left when it was killed")));
    let stuck = stuck.map(|why| warning(format!("what a killed run left cannot be removed ({why}); {by_hand}")));
    let unknown = (unknown > 0).then(|| {
        warning(format!(
            "{unknown} containers and images are of runs of another host or container, and are left; {by_hand}"
        ))
    });
    [gone, stuck, unknown].into_iter().flatten().collect()
}
