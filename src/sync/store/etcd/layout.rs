//! Which key holds what, and what its value says.
//!
//! Separate because it is pure and an interface: gateways of several versions share it. All keys lie below a prefix: `task/ID`
//! and `node/ID` hold records as JSON whose `revision` is the place in the transaction, `owner/ID` the name of a gateway, and
//! `meta` what the store says of itself.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::error::EtcdStoreError;
use crate::sync::record::{Change, NodeRecord, TaskRecord};
use crate::sync::store::shared::{Act, Event, Name, Owner, Proposal, number};
use crate::wire::etcd::{KeyEvent, Pair, Write};

/// The version of this layout.
pub const SCHEMA: u32 = 1;

/// What the store says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The version of its layout.
    pub schema: u32,
    /// Names the row of revisions.
    pub lineage: String,
}

/// The keys below one prefix.
#[derive(Clone, Debug)]
pub struct Layout {
    prefix: String,
}

/// What is told of one revision may hold several deletions: their places are their ranks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ranks {
    revision: i64,
    count: u64,
}

impl Layout {
    /// Below this prefix.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: format!("{}/", prefix.trim_end_matches('/')) }
    }

    /// The prefix with its slash.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of a name.
    #[must_use]
    pub fn key(&self, name: &Name) -> Bytes {
        let (kind, id) = match name {
            Name::Task(id) => ("task", id),
            Name::Node(id) => ("node", id),
            Name::Owner(id) => ("owner", id),
        };
        format!("{}{kind}/{id}", self.prefix).into()
    }

    /// The key of what the store says of itself.
    #[must_use]
    pub fn meta(&self) -> Bytes {
        format!("{}meta", self.prefix).into()
    }

    /// The key that a gateway writes before it loads, to know where it is in what the watch tells.
    #[must_use]
    pub fn mark(&self) -> Bytes {
        format!("{}mark", self.prefix).into()
    }

    /// The name of a key; `None` for one that is not ours.
    #[must_use]
    pub fn name(&self, key: &[u8]) -> Option<Name> {
        let (kind, id) = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?.split_once('/')?;
        let id = id.to_owned();
        match kind {
            "task" => Some(Name::Task(id)),
            "node" => Some(Name::Node(id)),
            "owner" => Some(Name::Owner(id)),
            _ => None,
        }
    }

    /// A proposal as what is written, at this place of a transaction, by the gateway `me` with its lease.
    ///
    /// # Errors
    /// When the change has no text.
    pub fn write(
        &self,
        proposal: &Proposal,
        place: usize,
        (me, lease): (&str, i64),
    ) -> Result<Write, serde_json::Error> {
        let name = proposal.name();
        let key = self.key(&name);
        let mut guards = vec![(key.clone(), signed(proposal.guard))];
        if let (Name::Node(node_id), Some(since)) = (name, proposal.ownership) {
            guards.push((self.key(&Name::Owner(node_id)), signed(since)));
        }
        let (value, lease) = match &proposal.act {
            Act::Claim(_) => (Some(Bytes::copy_from_slice(me.as_bytes())), lease),
            Act::Release(_) => (None, 0),
            Act::Change(change) => (text(change.clone().numbered(place as u64))?, 0),
        };
        Ok(Write { key, value, lease, guards })
    }

    /// What happened to a key, in our words; `None` for one that is not ours.
    ///
    /// # Errors
    /// When its value does not read.
    pub fn event(&self, event: &KeyEvent, ranks: &mut Ranks) -> Result<Option<Event>, EtcdStoreError> {
        if event.key == self.meta() {
            return Ok(Some(Event::Replaced));
        }
        let Some(name) = self.name(&event.key) else { return Ok(None) };
        Ok(Some(match (name, &event.value) {
            (Name::Owner(node_id), value) => {
                let owner = value.as_ref().map(|value| owner(value, event.revision));
                Event::Owner { node_id, owner }
            }
            (name, Some(value)) => Event::Change(self.record(&name, value, event.revision)?),
            (name, None) => {
                let revision = number(unsigned(event.revision), ranks.next(event.revision));
                Event::Change(match name {
                    Name::Task(task_id) => Change::TaskForgotten { task_id, revision },
                    Name::Node(node_id) | Name::Owner(node_id) => Change::NodeForgotten { node_id, revision },
                })
            }
        }))
    }

    /// A record that was read, as the change that wrote it.
    ///
    /// # Errors
    /// When it does not read.
    pub fn record(&self, name: &Name, value: &[u8], revision: i64) -> Result<Change, EtcdStoreError> {
        let read = match name {
            Name::Task(_) => serde_json::from_slice::<TaskRecord>(value).map(Change::Task),
            Name::Node(_) | Name::Owner(_) => serde_json::from_slice::<NodeRecord>(value).map(Change::Node),
        };
        let change = read.map_err(|source| self.unreadable(&self.key(name), source))?;
        let place = change.revision();
        Ok(change.numbered(number(unsigned(revision), place)))
    }

    /// Who owns, as it stands in a key.
    #[must_use]
    pub fn owner(&self, pair: &Pair) -> Owner {
        owner(&pair.value, pair.revision)
    }

    /// An error about a key.
    pub fn unreadable(&self, key: &[u8], source: serde_json::Error) -> EtcdStoreError {
        EtcdStoreError::Unreadable { key: String::from_utf8_lossy(key).into_owned(), source }
    }
}

impl Ranks {
    fn next(&mut self, revision: i64) -> u64 {
        if self.revision != revision {
            *self = Self { revision, count: 0 };
        }
        self.count += 1;
        self.count - 1
    }
}

fn owner(value: &[u8], revision: i64) -> Owner {
    Owner { gateway: String::from_utf8_lossy(value).into_owned(), revision: unsigned(revision) }
}

fn text(change: Change) -> Result<Option<Bytes>, serde_json::Error> {
    Ok(match change {
        Change::Task(task) => Some(serde_json::to_vec(&task)?.into()),
        Change::Node(node) => Some(serde_json::to_vec(&node)?.into()),
        Change::TaskForgotten { .. } | Change::NodeForgotten { .. } => None,
    })
}

/// Revisions of etcd are signed, and never below 0.
pub fn unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}

/// The same the other way; ours come from there.
pub fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WallTime;
    use crate::sync::record::NodeState;

    fn node(revision: u64) -> Change {
        let (node_id, changed_at) = ("a/b".to_owned(), WallTime::from_unix_nanos(0));
        Change::Node(NodeRecord { node_id, state: NodeState::Alive, epoch: 1, interval_ms: 64, changed_at, revision })
    }

    #[test]
    fn a_name_survives_its_key_and_other_keys_are_not_ours() {
        let layout = Layout::new("/site/one/");
        assert_eq!(layout.prefix(), "/site/one/");
        for name in [Name::Task("a/b".to_owned()), Name::Node(String::new()), Name::Owner("ключ".to_owned())] {
            assert_eq!(layout.name(&layout.key(&name)), Some(name));
        }
        for foreign in ["/site/one/meta", "/site/one/spell/a", "/site/two/task/a", "/site/one/task"] {
            assert_eq!(layout.name(foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn a_change_gets_its_number_from_its_revision_and_its_place() {
        let layout = Layout::new("p");
        let proposal = Proposal { act: Act::Change(node(0)), guard: 4, ownership: Some(3) };
        let write = layout.write(&proposal, 7, ("gw", 9)).unwrap();
        assert_eq!(write.guards, [("p/node/a/b".into(), 4), ("p/owner/a/b".into(), 3)]);
        assert_eq!(write.lease, 0);
        let event = KeyEvent { key: write.key, value: write.value, revision: 5 };
        let told = layout.event(&event, &mut Ranks::default()).unwrap();
        assert_eq!(told, Some(Event::Change(node(5 * 128 + 7))));
    }

    #[test]
    fn deletions_of_one_revision_are_numbered_in_order() {
        let (layout, mut ranks) = (Layout::new("p"), Ranks::default());
        let mut told = |key: &str, revision| {
            let event = KeyEvent { key: key.to_owned().into(), value: None, revision };
            match layout.event(&event, &mut ranks).unwrap() {
                Some(Event::Change(change)) => Some(change.revision()),
                _ => None,
            }
        };
        let numbers: Vec<Option<u64>> =
            [("p/task/a", 3), ("p/owner/n", 3), ("p/node/n", 3), ("p/task/a", 4)].map(|(key, at)| told(key, at)).into();
        assert_eq!(numbers, [Some(384), None, Some(385), Some(512)]);
    }

    #[test]
    fn a_claim_is_bound_to_the_lease_and_a_value_that_is_not_ours_is_told() {
        let layout = Layout::new("p");
        let claim = Proposal { act: Act::Claim("n".to_owned()), guard: 0, ownership: None };
        let write = layout.write(&claim, 0, ("gw", 9)).unwrap();
        assert_eq!((write.value, write.lease), (Some("gw".into()), 9));
        let event = KeyEvent { key: "p/node/n".into(), value: Some("garbage".into()), revision: 5 };
        let error = layout.event(&event, &mut Ranks::default()).unwrap_err();
        assert!(error.to_string().contains("p/node/n"), "{error}");
    }
}
