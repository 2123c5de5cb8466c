//! What several sources say of the same tasks, made one: pure.
//!
//! Separate from the waiting, so that every order is tried. A task goes through steps: it is made, runs, is over; started again it
//! goes through them once more. Whoever first says a step is believed, and the others confirm it when they come to it; each source
//! is followed by its own account, so that a late word of an old step is told from a new one. A list heals what a gap hid. A
//! task is gone when nobody holds it any more.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Event, Sighting, TaskState};

/// How often it was started again, and how far it has come since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    round: u64,
    rank: u8,
}

/// What is known of the tasks of all sources.
#[derive(Debug, Default)]
pub struct Join {
    tasks: BTreeMap<String, Task>,
    /// The sources that have told what they know, or that they cannot: one that is away silences no other.
    spoken: BTreeSet<usize>,
    source_count: usize,
}

#[derive(Debug, Default)]
struct Task {
    /// The furthest that anybody said, and how it was said.
    step: Step,
    state: Option<TaskState>,
    told: Option<Sighting>,
    /// Of each source that holds it: how far it has followed, and what else it says.
    sources: BTreeMap<usize, Followed>,
}

#[derive(Debug, Default)]
struct Followed {
    step: Step,
    payload: Option<String>,
}

impl Join {
    /// Of so many sources.
    #[must_use]
    pub fn new(source_count: usize) -> Self {
        Self { source_count, ..Self::default() }
    }

    /// Takes what a source says; what is news of it.
    pub fn take(&mut self, source: usize, event: Event) -> Vec<Event> {
        match event {
            Event::Known(all) => self.list(source, all).into_iter().collect(),
            Event::Changed(some) => {
                let news: Vec<Sighting> =
                    some.into_iter().filter_map(|sighting| self.see(source, sighting, false)).collect();
                if news.is_empty() { Vec::new() } else { vec![Event::Changed(news)] }
            }
            Event::Vanished(id) => {
                if self.let_go(source, &id) {
                    vec![Event::Vanished(id)]
                } else {
                    Vec::new()
                }
            }
            Event::Trouble(text) => {
                let is_first = self.spoken.insert(source);
                let known = (is_first && self.is_whole()).then(|| self.known());
                std::iter::once(Event::Trouble(text)).chain(known).collect()
            }
            Event::Odd(text) => vec![Event::Odd(text)],
        }
    }

    /// Whether what is known is everything: before everybody has spoken it is not.
    fn is_whole(&self) -> bool {
        self.spoken.len() >= self.source_count
    }

    fn known(&self) -> Event {
        Event::Known(self.tasks.values().filter_map(|task| task.told.clone()).collect())
    }

    /// A source says everything that it knows: what it held and does not name it lets go.
    fn list(&mut self, source: usize, all: Vec<Sighting>) -> Option<Event> {
        self.spoken.insert(source);
        let named: BTreeSet<String> = all.iter().map(|sighting| sighting.task_id.clone()).collect();
        let held: Vec<String> = self
            .tasks
            .iter()
            .filter(|(id, task)| task.sources.contains_key(&source) && !named.contains(*id))
            .map(|(id, _)| id.clone())
            .collect();
        for id in held {
            self.let_go(source, &id);
        }
        for sighting in all {
            self.see(source, sighting, true);
        }
        self.is_whole().then(|| self.known())
    }

    /// A source sees a task at a step; it, if anything of that is news.
    fn see(&mut self, source: usize, seen: Sighting, is_list: bool) -> Option<Sighting> {
        let task = self.tasks.entry(seen.task_id.clone()).or_default();
        let rank = rank_of(seen.state);
        let round = match task.sources.get(&source) {
            // Back to an earlier step: it was started again.
            Some(before) if rank < before.step.rank && rank > 0 => before.step.round + 1,
            Some(before) => before.step.round,
            // It has told what there was when it began, so this is the task's beginning to it.
            None => 0,
        };
        // A list is of now: what its source missed of earlier rounds is over.
        let step = Step { round: if is_list { round.max(task.step.round) } else { round }, rank };
        let followed = task.sources.entry(source).or_default();
        followed.step = step;
        followed.payload.clone_from(&seen.payload);
        let is_further = task.state.is_none() || step > task.step;
        if is_further {
            (task.step, task.state) = (step, Some(seen.state));
        }
        let payload = task.payload();
        let before = task.told.as_ref();
        let is_news = is_further || before.is_some_and(|told| told.payload != payload);
        if !is_news {
            return None;
        }
        let (state, at) = match before {
            Some(told) if !is_further => (told.state, told.at),
            _ => (seen.state, seen.at),
        };
        let told = Sighting { task_id: seen.task_id, state, at, payload, mark: seen.mark };
        task.told = Some(told.clone());
        Some(told)
    }

    /// A source holds a task no longer; whether nobody does.
    fn let_go(&mut self, source: usize, id: &str) -> bool {
        let Some(task) = self.tasks.get_mut(id) else { return false };
        task.sources.remove(&source);
        let is_gone = task.sources.is_empty();
        if is_gone {
            self.tasks.remove(id);
        }
        is_gone
    }
}

impl Task {
    /// What all sources say beside the state; where two say the same key, the one that the configuration has first.
    fn payload(&self) -> Option<String> {
        let texts: Vec<&String> = self.sources.values().filter_map(|followed| followed.payload.as_ref()).collect();
        match texts[..] {
            [] => None,
            [only] => Some(only.clone()),
            _ => {
                let mut all = serde_json::Map::new();
                for text in texts {
                    let Ok(serde_json::Value::Object(keys)) = serde_json::from_str(text) else { continue };
                    for (key, value) in keys {
                        all.entry(key).or_insert(value);
                    }
                }
                Some(serde_json::Value::Object(all).to_string())
            }
        }
    }
}

/// How far a task is; one of which nobody knows how it ended is over before it is over well or badly.
const fn rank_of(state: TaskState) -> u8 {
    match state {
        TaskState::Pending => 1,
        TaskState::Running => 2,
        TaskState::Unknown => 3,
        TaskState::Ended { .. } => 4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::WallTime;

    const WELL: TaskState = TaskState::Ended { is_success: true };
    const BADLY: TaskState = TaskState::Ended { is_success: false };

    fn seen(id: &str, state: TaskState, payload: Option<&str>) -> Sighting {
        Sighting {
            task_id: id.to_owned(),
            state,
            at: WallTime::from_unix_nanos(1),
            payload: payload.map(str::to_owned),
            mark: None,
        }
    }

    fn changed(state: TaskState) -> Event {
        Event::Changed(vec![seen("a", state, None)])
    }

    /// Two sources that know of nothing yet.
    fn join() -> Join {
        let mut join = Join::new(2);
        assert_eq!(join.take(0, Event::Known(Vec::new())), [], "the other has not spoken");
        assert_eq!(join.take(1, Event::Known(Vec::new())), [Event::Known(Vec::new())]);
        join
    }

    fn states(join: &mut Join, words: &[(usize, TaskState)]) -> Vec<TaskState> {
        let mut told = Vec::new();
        for (source, state) in words {
            match &join.take(*source, changed(*state))[..] {
                [Event::Changed(some)] => told.extend(some.iter().map(|one| one.state)),
                [] => {}
                other => panic!("{other:?}"),
            }
        }
        told
    }

    #[test]
    fn the_first_to_see_is_told_and_the_others_confirm() {
        let (made, runs) = (TaskState::Pending, TaskState::Running);
        let words = [(0, made), (1, runs), (0, runs), (1, WELL), (0, WELL), (1, WELL)];
        assert_eq!(states(&mut join(), &words), [made, runs, WELL]);
        // The other says otherwise how it ended: the first is believed.
        assert_eq!(states(&mut join(), &[(0, runs), (0, WELL), (1, runs), (1, BADLY)]), [runs, WELL]);
    }

    #[test]
    fn a_task_that_is_started_again_runs_again_and_late_words_of_its_first_end_are_none_of_its_second() {
        let runs = TaskState::Running;
        let words = [(0, runs), (1, runs), (0, BADLY), (0, runs), (1, BADLY), (1, runs), (1, WELL), (0, WELL)];
        assert_eq!(states(&mut join(), &words), [runs, BADLY, runs, WELL]);
    }

    #[test]
    fn how_it_ended_follows_from_whoever_knows() {
        let runs = TaskState::Running;
        let words = [(0, runs), (1, runs), (1, TaskState::Unknown), (0, BADLY)];
        assert_eq!(states(&mut join(), &words), [runs, TaskState::Unknown, BADLY]);
    }

    #[test]
    fn a_gap_of_one_is_healed_by_its_list_and_hides_nothing_of_the_other() {
        let mut join = join();
        let runs = TaskState::Running;
        assert_eq!(states(&mut join, &[(0, runs), (1, runs)]), [runs]);
        assert_eq!(join.take(0, Event::Trouble("away".to_owned())), [Event::Trouble("away".to_owned())]);
        assert_eq!(states(&mut join, &[(1, WELL)]), [WELL]);
        let list = vec![seen("a", WELL, None), seen("b", runs, Some(r#"{"name":"b"}"#))];
        let told = join.take(0, Event::Known(list));
        let [Event::Known(all)] = &told[..] else { panic!("a list is told whole: {told:?}") };
        let told: Vec<(&str, TaskState)> = all.iter().map(|one| (one.task_id.as_str(), one.state)).collect();
        assert_eq!(told, [("a", WELL), ("b", runs)]);
        // What the list does not name, and nobody else holds, is gone.
        assert!(matches!(&join.take(1, Event::Known(Vec::new()))[..], [Event::Known(all)] if all.len() == 2));
        assert_eq!(join.take(0, Event::Vanished("a".to_owned())), [Event::Vanished("a".to_owned())]);
    }

    #[test]
    fn a_source_that_is_away_from_the_beginning_silences_no_other() {
        let mut join = Join::new(2);
        let known = Event::Known(vec![seen("a", TaskState::Running, None)]);
        assert_eq!(join.take(0, known.clone()), []);
        assert_eq!(join.take(1, Event::Trouble("away".to_owned())), [Event::Trouble("away".to_owned()), known]);
        assert_eq!(states(&mut join, &[(0, WELL)]), [WELL]);
    }

    #[test]
    fn a_task_is_gone_when_nobody_holds_it() {
        let mut join = join();
        states(&mut join, &[(0, TaskState::Running), (1, TaskState::Running)]);
        assert_eq!(join.take(1, Event::Vanished("a".to_owned())), []);
        assert_eq!(join.take(0, Event::Vanished("a".to_owned())), [Event::Vanished("a".to_owned())]);
    }

    #[test]
    fn what_another_knows_beside_it_follows_once() {
        let mut join = join();
        let runs = TaskState::Running;
        assert_eq!(states(&mut join, &[(1, runs)]), [runs]);
        let named = Event::Changed(vec![seen("a", runs, Some(r#"{"name":"web"}"#))]);
        let told = join.take(0, named.clone());
        assert!(told.len() == 1 && told[0] == named, "the name is news: {told:?}");
        assert_eq!(join.take(0, named), []);
    }

    proptest! {
        /// However the words of sources that see the same life are mixed, each step is told once and in order.
        #[test]
        fn each_step_is_told_once(order in proptest::collection::vec(0..3_usize, 0..60), rounds in 1..4_usize) {
            let life: Vec<TaskState> =
                (0..rounds).flat_map(|_| [TaskState::Running, WELL]).collect();
            let mut join = Join::new(3);
            for source in 0..3 {
                join.take(source, Event::Known(Vec::new()));
            }
            let (mut places, mut told) = ([0; 3], Vec::new());
            let rest = (0..3).flat_map(|source| std::iter::repeat_n(source, life.len()));
            for source in order.into_iter().chain(rest) {
                let Some(state) = life.get(places[source]) else { continue };
                places[source] += 1;
                for event in join.take(source, changed(*state)) {
                    let Event::Changed(some) = event else { continue };
                    told.extend(some.iter().map(|one| one.state));
                }
            }
            prop_assert_eq!(told, life);
        }
    }
}
