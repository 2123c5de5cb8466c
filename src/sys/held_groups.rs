//! Control groups of ours by their names, which are the ids of what stands for containers where nobody makes any.
//!
//! Separate from the groups themselves because several parts of a program hold them: copies share what they hold, and what is left
//! goes with the last copy.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::own_group::{GroupError, OwnGroup, OwnGroups};

/// Groups of ours by their names.
#[derive(Clone, Debug)]
pub struct HeldGroups(Arc<Mutex<Held>>);

#[derive(Debug)]
struct Held {
    /// Dropped before the folder that they are in.
    groups: HashMap<String, OwnGroup>,
    folder: OwnGroups,
}

impl HeldGroups {
    /// Makes a folder for them; with what was removed that killed runs had left.
    ///
    /// # Errors
    /// Where this process can make none.
    pub fn open() -> Result<(Self, Vec<String>), GroupError> {
        let (folder, removed) = OwnGroups::make()?;
        Ok((Self(Arc::new(Mutex::new(Held { groups: HashMap::new(), folder }))), removed))
    }

    /// Makes one of this name.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn create(&self, name: String) -> Result<String, GroupError> {
        self.with(|held| {
            let group = held.folder.create(&name)?;
            held.groups.insert(name.clone(), group);
            Ok(name)
        })
    }

    /// Starts its process, which ends with the thread that calls this.
    ///
    /// # Errors
    /// When it cannot be started, or is not held.
    pub fn start(&self, name: &str) -> Result<(), GroupError> {
        self.with(|held| held.group(name)?.start())
    }

    /// Ends its process.
    ///
    /// # Errors
    /// When it cannot be ended, or is not held.
    pub fn kill(&self, name: &str) -> Result<(), GroupError> {
        self.with(|held| held.group(name)?.end())
    }

    /// Removes it.
    ///
    /// # Errors
    /// When the kernel refuses, or it is not held.
    pub fn remove(&self, name: &str) -> Result<(), GroupError> {
        self.with(|held| match held.groups.remove(name) {
            Some(group) => group.remove(),
            None => Err(GroupError::Gone(name.to_owned())),
        })
    }

    /// Ends and removes all.
    pub fn clear(&self) {
        self.with(|held| held.groups.clear());
    }

    fn with<T>(&self, work: impl FnOnce(&mut Held) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Held {
    fn group(&mut self, name: &str) -> Result<&mut OwnGroup, GroupError> {
        self.groups.get_mut(name).ok_or_else(|| GroupError::Gone(name.to_owned()))
    }
}
