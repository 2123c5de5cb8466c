//! What somebody sees who asks for a list again and again: each act is found by comparing two lists.
//!
//! Separate from those who ask, and pure: what lies between two lists is not seen at all, whoever is asked.

use std::collections::BTreeMap;

use super::{Act, Sight};
use crate::model::Stamp;

/// How far a container has come, as a list shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Made and not started.
    Made,
    /// Started and not ended.
    Running,
    /// Ended.
    Over,
    /// The list does not say.
    Unknown,
}

/// What the lists have shown.
#[derive(Debug, Default)]
pub struct Lists {
    /// How far each container had come; `None` before the first list.
    known: Option<BTreeMap<String, Stage>>,
}

impl Lists {
    /// Takes the next list; the acts that lie between it and the one before, all seen now.
    pub fn take(&mut self, now: BTreeMap<String, Stage>, seen: Stamp) -> Vec<Sight> {
        let Some(before) = self.known.replace(now.clone()) else { return Vec::new() };
        let mut sights = Vec::new();
        let mut saw = |container: &str, acts: &[(Act, bool)]| {
            sights.extend(acts.iter().map(|(act, implied)| Sight {
                container: container.to_owned(),
                act: *act,
                seen,
                stamped: None,
                kernel: false,
                implied: *implied,
                exit_code: None,
            }));
        };
        for (id, phase) in &now {
            saw(id, between(before.get(id).copied(), Some(*phase)));
        }
        for (id, phase) in before.iter().filter(|(id, _)| !now.contains_key(*id)) {
            saw(id, between(Some(*phase), None));
        }
        sights
    }
}

/// What happened to a container from one list to the next, with what follows from it and was not seen itself.
const fn between(before: Option<Stage>, now: Option<Stage>) -> &'static [(Act, bool)] {
    const SEEN: bool = false;
    const IMPLIED: bool = true;
    match (before, now) {
        (None, Some(Stage::Running)) => &[(Act::Create, SEEN), (Act::Start, SEEN)],
        (None, Some(Stage::Over)) => &[(Act::Create, SEEN), (Act::Start, IMPLIED), (Act::Exit, SEEN)],
        (None, Some(Stage::Made | Stage::Unknown)) => &[(Act::Create, SEEN)],
        (Some(Stage::Made | Stage::Unknown | Stage::Over), Some(Stage::Running)) => &[(Act::Start, SEEN)],
        (Some(Stage::Made), Some(Stage::Over)) => &[(Act::Start, IMPLIED), (Act::Exit, SEEN)],
        (Some(Stage::Running | Stage::Unknown), Some(Stage::Over)) => &[(Act::Exit, SEEN)],
        (Some(Stage::Running), None) => &[(Act::Exit, IMPLIED), (Act::Destroy, SEEN)],
        (Some(Stage::Made | Stage::Unknown | Stage::Over), None) => &[(Act::Destroy, SEEN)],
        // A step back, or no step.
        (Some(_), Some(_)) | (None, None) => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acts(lists: &mut Lists, entries: &[(&str, Stage)]) -> Vec<(String, Act, bool)> {
        let now = entries.iter().map(|(id, stage)| ((*id).to_owned(), *stage)).collect();
        let sights = lists.take(now, Stamp::from_nanos(1));
        sights.into_iter().map(|sight| (sight.container, sight.act, sight.implied)).collect()
    }

    fn told(id: &str, act: Act, implied: bool) -> (String, Act, bool) {
        (id.to_owned(), act, implied)
    }

    #[test]
    fn what_was_there_before_is_no_news() {
        let mut lists = Lists::default();
        assert_eq!(acts(&mut lists, &[("old", Stage::Running)]), []);
        assert_eq!(acts(&mut lists, &[("old", Stage::Running)]), []);
        assert_eq!(acts(&mut lists, &[("old", Stage::Over)]), [told("old", Act::Exit, false)]);
    }

    #[test]
    fn a_start_first_seen_as_exited_follows_from_the_exit() {
        let mut lists = Lists::default();
        acts(&mut lists, &[]);
        let expected = [told("a", Act::Create, false), told("a", Act::Start, true), told("a", Act::Exit, false)];
        assert_eq!(acts(&mut lists, &[("a", Stage::Over)]), expected);
    }

    #[test]
    fn a_container_removed_before_it_was_looked_at_again_has_exited_too() {
        let mut lists = Lists::default();
        acts(&mut lists, &[]);
        let made = [told("a", Act::Create, false), told("a", Act::Start, false), told("b", Act::Create, false)];
        assert_eq!(acts(&mut lists, &[("a", Stage::Running), ("b", Stage::Made)]), made);
        // Whether b was ever started, nobody can tell.
        let gone = [told("a", Act::Exit, true), told("a", Act::Destroy, false), told("b", Act::Destroy, false)];
        assert_eq!(acts(&mut lists, &[]), gone);
    }
}
