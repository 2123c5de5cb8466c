//! What an informer keeps: every object of the list, read without asking anybody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::evaluate::View;
use super::object::{List, Object};

/// The objects, by their keys; written by one thread and read by others.
#[derive(Debug, Default)]
pub struct Store(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    version: u64,
    objects: BTreeMap<Arc<str>, Arc<Object>>,
}

impl Store {
    /// All objects at this moment, as the listers of client-go give them: each is shared and not copied.
    pub fn read(&self) -> View {
        let inner = self.inner();
        View { version: inner.version, objects: inner.objects.values().map(Arc::clone).collect() }
    }

    /// Bytes of the objects' text that it holds.
    pub fn len_bytes(&self) -> u64 {
        let length = |object: &Arc<Object>| object.text.as_ref().map_or(0, |text| text.get().len() as u64);
        self.inner().objects.values().map(length).sum()
    }

    /// Everything anew.
    pub fn replace(&self, list: List) {
        let objects = list.objects.into_iter().map(|object| (Arc::clone(&object.key), object)).collect();
        *self.inner() = Inner { version: list.number, objects };
    }

    /// One object is new, or another.
    pub fn put(&self, object: Arc<Object>) {
        let mut inner = self.inner();
        inner.version = inner.version.max(object.version);
        inner.objects.insert(Arc::clone(&object.key), object);
    }

    /// One object is gone, as it was told at this version.
    pub fn remove(&self, object: &Object) {
        let mut inner = self.inner();
        inner.version = inner.version.max(object.version);
        inner.objects.remove(&object.key);
    }

    /// Nothing happened up to this version.
    pub fn advance(&self, version: u64) {
        let mut inner = self.inner();
        inner.version = inner.version.max(version);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
