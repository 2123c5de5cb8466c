//! `offloadctl` measures why the state of a container task, pod or node arrives late.
//!
//! # A guided tour
//!
//! A measurement goes one way, and every folder is one station of it:
//!
//! ```text
//! active :  Args -> Spec -> Operation   -> Driver     -> Series -> Run -> Reporter
//! ```
//!
//! Follow `offloadctl probe rtt dc=10.0.0.5:7777 --rate 50/s`:
//!
//! 1. [`commands`] turns the arguments into a [`probe::rtt::RttSpec`]: what was meant, checked once.
//! 2. [`probe::rtt`] finds the address, asks once whether the far end is an [`echo`], starts emulated links of [`topo`]
//!    if there are any, and makes one [`load::Lane`] per target and channel, each with a [`load::Operation`].
//! 3. A [`load::Session`] conducts it: it prepares, drives the lanes, writes checkpoints, and ends with what there is when the
//!    user stops it. [`load::drive`] plans the starts and keeps to them whatever comes back. It is the only code that
//!    schedules, times and cancels; it reads the clock through [`sys`].
//! 4. What comes out is [`model::Measured`], of [`model::Series`] above all: distributions with everything that was lost
//!    counted beside them.
//! 5. [`context`] makes it a [`model::Run`] with the host, the tool's own cost and the verdict on its validity, and keeps
//!    it as a file.
//! 6. A [`model::Measurement`] says what the command can measure and lays the run out: an answer, then tables and pictures.
//!    [`report`] draws that and knows no command; [`stats`] judges the run where a gate was given; [`console`] is the one voice.
//!
//! `probe api` and `bench etcd` go the same way with [`wire`], which holds TLS and HTTP as all our clients speak them: see
//! [`probe::api`] for phases stamped at the stream, and [`bench::etcd`] for a matrix of measurements on one cluster.
//! [`bench::heartbeat`] needs no driver: [`detect`] holds the failure detectors and [`sim`] the small world on a virtual
//! clock in which they are tried.
//!
//! [`probe::events`] is passive: it races the watchers of [`source`] (engines, lists, the kernel's tracepoints) on one clock, and a
//! pure correlator pairs what they saw. [`stats::compare`] holds two sides of runs against each other; `compare` and
//! `topology run` make such runs themselves, each in a process of its own.
//!
//! [`sync`] is the state-synchronisation system that a ruler must be tried on: agent, gateway, and the store that keeps its
//! records; [`source`] is where its agents learn what happens, too.
//!
//! [`trace`] follows single changes through that system, or through somebody's: agent and gateway add their stamps to a change on its
//! way, and a pure function makes hops of them.
//!
//! [`probe::host`] is what `doctor` asks: which of all this works on a host, and how finely. [`topo::carry`] and
//! [`topo::KernelLink`] put emulated links between programs that are not ours.
//!
//! `model`, `stats` and `report` are pure; `sys` holds every door to the operating system. Who may use whom is a table in
//! `CONTRIBUTING.md`, and a test keeps it.
//!
//! The feature `toolkit`, which is on by default, brings all that measures and all that serves; without it remains what an
//! agent on a node needs.

#[cfg(feature = "toolkit")]
pub mod bench;
pub mod commands;
pub mod console;
#[cfg(feature = "toolkit")]
pub mod context;
pub mod detect;
#[cfg(feature = "toolkit")]
pub mod diagnose;
#[cfg(feature = "toolkit")]
pub mod echo;
pub mod error;
#[cfg(feature = "toolkit")]
pub mod load;
pub mod model;
#[cfg(feature = "toolkit")]
pub mod probe;
#[cfg(feature = "toolkit")]
pub mod report;
#[cfg(feature = "toolkit")]
pub mod sim;
pub mod source;
#[cfg(feature = "toolkit")]
pub mod stats;
pub mod sync;
pub mod sys;
#[cfg(feature = "toolkit")]
pub mod topo;
#[cfg(feature = "toolkit")]
pub mod trace;
pub mod wire;
