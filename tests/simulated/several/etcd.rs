//! A store with etcd's semantics: revisions, transactions of guarded writes, leases that end with their keys, one log for all.
//!
//! Separate from the world because it decides nothing: what is written is what its conditions allow. What must never be written is
//! noted here, where nobody can have overlooked it.

use std::collections::BTreeMap;

use offloadctl::sync::record::{Change, NodeState};
use offloadctl::sync::store::shared::{Act, Event, Loaded, Name, Owner, Proposal, number};

#[derive(Clone, Debug)]
enum Value {
    Record(Change),
    Owner { gateway: String, lease: u64 },
}

/// The cluster.
#[derive(Debug, Default)]
pub struct Etcd {
    revision: u64,
    keys: BTreeMap<Name, (u64, Value)>,
    /// What happened, by revision, with the moment.
    log: Vec<(u64, u64, Vec<Event>)>,
    /// Leases and when they end, in milliseconds.
    leases: BTreeMap<u64, u64>,
    granted: u64,
    /// Nodes that were called dead, with the moment and by whom.
    pub accusations: Vec<(u64, String, String)>,
    /// What must never be.
    pub violations: Vec<String>,
}

impl Etcd {
    /// A lease that ends at this moment unless it is kept.
    pub fn grant(&mut self, until: u64) -> u64 {
        self.granted += 1;
        self.leases.insert(self.granted, until);
        self.granted
    }

    /// Begins its time anew; false where it has ended.
    pub fn keep(&mut self, lease: u64, until: u64) -> bool {
        self.leases.get_mut(&lease).map(|end| *end = until).is_some()
    }

    /// Ends what is due, each lease with its keys in one revision.
    pub fn tick(&mut self, now: u64) {
        let due: Vec<u64> = self.leases.iter().filter(|(_, end)| **end <= now).map(|(lease, _)| *lease).collect();
        for ended in due {
            self.leases.remove(&ended);
            let is_bound = |value: &Value| matches!(value, Value::Owner { lease, .. } if *lease == ended);
            let names: Vec<Name> =
                self.keys.iter().filter(|(_, (_, value))| is_bound(value)).map(|(name, _)| name.clone()).collect();
            self.revision += 1;
            let mut events = Vec::new();
            for name in names {
                self.keys.remove(&name);
                if let Name::Owner(node_id) = name {
                    events.push(Event::Owner { node_id, owner: None });
                }
            }
            self.log.push((self.revision, now, events));
        }
    }

    /// A transaction of a gateway; false as a whole where it names a lease that has ended.
    pub fn write(&mut self, now: u64, proposals: &[Proposal], (me, lease): (&str, u64)) -> bool {
        if proposals.iter().any(|proposal| matches!(proposal.act, Act::Claim(_))) && !self.leases.contains_key(&lease) {
            return false;
        }
        self.revision += 1;
        let (mut events, mut deletions) = (Vec::new(), 0);
        let mut seen = Vec::new();
        for (place, proposal) in proposals.iter().enumerate() {
            let name = proposal.name();
            if seen.contains(&name) {
                self.violations.push(format!("{name:?} twice in one transaction"));
            }
            if self.holds(&name, proposal) {
                events.extend(self.put(now, proposal, (place as u64, &mut deletions), (me, lease)));
            }
            seen.push(name);
        }
        self.log.push((self.revision, now, events));
        true
    }

    fn holds(&self, name: &Name, proposal: &Proposal) -> bool {
        let at = |name: &Name| self.keys.get(name).map_or(0, |(revision, _)| *revision);
        let is_owner = match (name, proposal.ownership) {
            (Name::Node(node_id), Some(since)) => at(&Name::Owner(node_id.clone())) == since,
            _ => true,
        };
        at(name) == proposal.guard && is_owner
    }

    fn put(
        &mut self,
        now: u64,
        proposal: &Proposal,
        (place, deletions): (u64, &mut u64),
        (me, lease): (&str, u64),
    ) -> Option<Event> {
        let name = &proposal.name();
        match &proposal.act {
            Act::Claim(node_id) => {
                let value = Value::Owner { gateway: me.to_owned(), lease };
                self.keys.insert(name.clone(), (self.revision, value));
                let owner = Some(Owner { gateway: me.to_owned(), revision: self.revision });
                Some(Event::Owner { node_id: node_id.clone(), owner })
            }
            Act::Release(node_id) => {
                self.keys.remove(name);
                Some(Event::Owner { node_id: node_id.clone(), owner: None })
            }
            Act::Change(change) if proposal.is_removal() => {
                *deletions += 1;
                // A removal of what is not there is no event.
                self.keys.remove(name)?;
                Some(Event::Change(change.clone().numbered(number(self.revision, *deletions - 1))))
            }
            Act::Change(change) => {
                let change = change.clone().numbered(number(self.revision, place));
                self.judge(now, &change, me);
                self.keys.insert(name.clone(), (self.revision, Value::Record(change.clone())));
                Some(Event::Change(change))
            }
        }
    }

    /// Whether this may be written at all.
    fn judge(&mut self, now: u64, change: &Change, me: &str) {
        let before = match self.keys.get(&Name::of(change)) {
            Some((_, Value::Record(record))) => Some(record.clone()),
            _ => None,
        };
        match (change, before) {
            (Change::Task(new), Some(Change::Task(old))) if (new.epoch, new.version) <= (old.epoch, old.version) => {
                self.violations.push(format!("{} over {} of {}", new.version, old.version, new.task_id));
            }
            (Change::Node(node), _) if matches!(node.state, NodeState::Suspect | NodeState::Unreachable) => {
                let owner = self.owner(&node.node_id);
                if owner.as_deref() != Some(me) {
                    let state = node.state;
                    self.violations.push(format!("{me} wrote {state:?} of {}, which {owner:?} owns", node.node_id));
                }
                if node.state == NodeState::Unreachable {
                    self.accusations.push((now, node.node_id.clone(), me.to_owned()));
                }
            }
            _ => {}
        }
    }

    /// Who owns a node.
    pub fn owner(&self, node_id: &str) -> Option<String> {
        match self.keys.get(&Name::Owner(node_id.to_owned())) {
            Some((_, Value::Owner { gateway, .. })) => Some(gateway.clone()),
            _ => None,
        }
    }

    /// What happened after a revision and not after a moment, with the last revision of it.
    pub fn told(&self, after: u64, until: u64) -> (u64, Vec<Event>) {
        let first = self.log.partition_point(|(revision, ..)| *revision <= after);
        let heard = self.log[first..].iter().take_while(|(_, at, _)| *at <= until);
        let mut last = after;
        let mut events = Vec::new();
        for (revision, _, happened) in heard {
            last = *revision;
            events.extend(happened.iter().cloned());
        }
        (last, events)
    }

    /// All changes that there ever were.
    pub fn changes(&self) -> Vec<Change> {
        self.log.iter().flat_map(|(_, _, events)| events.iter().cloned().filter_map(Event::change)).collect()
    }

    /// The present records.
    pub fn records(&self) -> Vec<Change> {
        let records = self.keys.values().filter_map(|(_, value)| match value {
            Value::Record(change) => Some(change.clone()),
            Value::Owner { .. } => None,
        });
        records.collect()
    }

    /// All that is kept.
    pub fn load(&mut self, now: u64) -> Loaded {
        // The mark of a gateway that loads.
        self.revision += 1;
        self.log.push((self.revision, now, Vec::new()));
        let mut loaded = Loaded {
            lineage: "simulated".to_owned(),
            revision: self.revision,
            history: self.changes(),
            ..Loaded::default()
        };
        for (name, (revision, value)) in &self.keys {
            match (name, value) {
                (_, Value::Record(Change::Task(task))) => loaded.tasks.push(task.clone()),
                (_, Value::Record(Change::Node(node))) => loaded.nodes.push(node.clone()),
                (Name::Owner(node_id), Value::Owner { gateway, .. }) => {
                    let owner = Owner { gateway: gateway.clone(), revision: *revision };
                    loaded.owners.push((node_id.clone(), owner));
                }
                _ => {}
            }
        }
        loaded
    }
}
