//! Plain processes in control groups of our own, which stand for containers where nobody makes any.
//!
//! Separate because no engine is asked: the kernel alone knows of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::HandError;
use crate::sys::clock;
use crate::sys::own_group::{GroupError, OwnGroup, OwnGroups};

/// Groups of ours by their names, which are the ids of what stands for containers.
#[derive(Clone)]
pub struct Groups(Arc<Mutex<Held>>);

struct Held {
    /// Dropped before the folder that they are in.
    groups: HashMap<String, OwnGroup>,
    folder: OwnGroups,
    run: u64,
    count: u64,
}

impl Groups {
    /// Makes a folder for them; with what was removed that killed runs had left.
    ///
    /// # Errors
    /// Where this process can make none.
    pub fn open() -> Result<(Self, Vec<String>), GroupError> {
        let (folder, removed) = OwnGroups::make()?;
        let held = Held { groups: HashMap::new(), folder, run: clock::entropy(), count: 0 };
        Ok((Self(Arc::new(Mutex::new(held))), removed))
    }

    /// Makes one; its name.
    pub fn create(&self) -> Result<String, HandError> {
        self.with(|held| {
            held.count += 1;
            let id = format!("{:016x}-{}", held.run, held.count);
            let group = held.folder.create(&id)?;
            held.groups.insert(id.clone(), group);
            Ok(id)
        })
    }

    /// Starts its process.
    pub fn start(&self, id: &str) -> Result<(), HandError> {
        self.with(|held| Ok(held.group(id)?.start()?))
    }

    /// Ends its process.
    pub fn kill(&self, id: &str) -> Result<(), HandError> {
        self.with(|held| Ok(held.group(id)?.end()?))
    }

    /// Removes it.
    pub fn remove(&self, id: &str) -> Result<(), HandError> {
        self.with(|held| match held.groups.remove(id) {
            Some(group) => Ok(group.remove()?),
            None => Err(HandError::Gone(id.to_owned())),
        })
    }

    /// Ends and removes all.
    pub fn clear(&self) -> Result<(), HandError> {
        self.with(|held| {
            held.groups.clear();
            Ok(())
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Held) -> Result<T, HandError>) -> Result<T, HandError> {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Held {
    fn group(&mut self, id: &str) -> Result<&mut OwnGroup, HandError> {
        self.groups.get_mut(id).ok_or_else(|| HandError::Gone(id.to_owned()))
    }
}
