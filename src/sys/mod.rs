//! Every door to the operating system: clock, timer, sockets, disks, other programs, host facts.
//!
//! The only folder that may hold `unsafe`, and the only one that asks what time it is.

pub mod ability;
pub mod cgroup;
#[cfg(feature = "toolkit")]
pub mod child;
pub mod clock;
pub mod companion;
#[cfg(feature = "toolkit")]
pub mod daemon;
pub mod datagram;
pub mod descriptor;
pub mod disk;
pub mod exec;
pub mod file;
#[cfg(feature = "runtimes")]
pub mod group_tree;
#[cfg(feature = "toolkit")]
pub mod held_groups;
pub mod host;
pub mod icmp;
pub mod interface;
pub mod interrupted;
pub mod namespace;
pub mod notify;
#[cfg(feature = "runtimes")]
pub mod own_group;
pub mod owner;
#[cfg(feature = "runtimes")]
pub mod pipe;
pub mod plugin;
pub mod presence;
pub mod privilege;
pub mod procfs;
pub mod resolve;
pub mod route;
pub mod server;
pub mod shutdown;
pub mod socket;
pub mod socket_table;
pub mod stamp_support;
pub mod stamping;
pub mod thread;
pub mod timer;
pub mod wall;
