//! Watchers: what a source says of single acts on containers, each stamped when it arrived.
//!
//! Separate from [`super::EventSource`], which tells an agent where tasks stand and therefore asks, joins and leaves out: whoever
//! wants to know when an act was known needs every word as it came. A watcher is no trait: it is opened, which can fail, and
//! then is a future that tells until it is dropped. Each may so have a thread of its own, and none delays another's stamps.

mod lists;
mod own_time;
mod poll;
#[cfg(feature = "toolkit")]
mod runner;

use std::future::Future;
use std::pin::Pin;

use tokio::sync::mpsc::Sender;

pub use lists::{Lists, Stage};
pub use own_time::OwnTime;
pub use poll::poll;
#[cfg(feature = "toolkit")]
pub use runner::{Account, Runner};

use crate::model::{Stamp, words};

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// It was made.
    Create,
    /// Its process was started.
    Start,
    /// Its process has ended.
    Exit,
    /// The kernel killed one of its processes for want of memory.
    Oom,
    /// It was removed.
    Destroy,
}

words!(Act { Create = "create", Start = "start", Exit = "exit", Oom = "oom", Destroy = "destroy" });

impl Act {
    /// All of them, in the order of a container's life.
    pub const ALL: [Self; 5] = [Self::Create, Self::Start, Self::Exit, Self::Oom, Self::Destroy];
}

/// An act as a watcher saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The container's full id.
    pub container: String,
    /// What happened to it.
    pub act: Act,
    /// When this process knew of it.
    pub seen: Stamp,
    /// When it happened by the source's own time, on the monotonic clock; `None` where the source says none, or where its clock
    /// was stepped.
    pub stamped: Option<Stamp>,
    /// Whether `stamped` is the kernel's, taken where the act itself was done.
    pub kernel: bool,
    /// Whether it was not seen itself, and follows from what was seen of a later act, as the start of a container that is
    /// first seen when it has ended.
    pub implied: bool,
    /// Of an exit, what the process ended with, where the source says it.
    pub exit_code: Option<i64>,
}

/// What a watcher tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It sees everything that happens from now on. After [`Told::Trouble`] it is said again.
    Watching,
    /// This happened.
    Saw(Sight),
    /// So many sights were lost on the way to it.
    Lost(u64),
    /// It cannot see at present, and goes on trying: a sentence for people.
    Trouble(String),
    /// It was told something that it does not understand: a sentence for people.
    Odd(String),
}

/// Where a watcher tells what it sees. It is bounded: a watcher that is not listened to waits, with its stamps taken.
pub type Teller = Sender<Told>;

/// A watcher at its work; it ends when it is dropped.
pub type Watching = Pin<Box<dyn Future<Output = ()> + Send>>;
