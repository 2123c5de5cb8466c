//! What the gateway counts, and how it tells: OpenMetrics text.
//!
//! Separate because every part of the shell counts, and only `/metrics` reads.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::machine::{Counts, Machine};
use super::refusal::Code;
use crate::sync::message::Outcome;

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Counters {
    heartbeats: AtomicU64,
    heartbeat_bytes: AtomicU64,
    stored: AtomicU64,
    duplicates: AtomicU64,
    stale: AtomicU64,
    connections: Arc<AtomicU64>,
    agents: Arc<AtomicU64>,
    watchers: Arc<AtomicU64>,
    handshakes_failed: AtomicU64,
    store_failures: AtomicU64,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

/// Something that is there while this value lives.
#[derive(Debug)]
pub struct Present(Arc<AtomicU64>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    /// A heartbeat was heard.
    pub fn heartbeat(&self) {
        self.heartbeats.fetch_add(1, Ordering::Relaxed);
    }

    /// The JSON text or message of a heartbeat was so long, whatever carried it.
    pub fn heartbeat_bytes(&self, length: usize) {
        self.heartbeat_bytes.fetch_add(length as u64, Ordering::Relaxed);
    }

    /// A report was taken.
    pub fn report(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Stored => &self.stored,
            Outcome::Duplicate => &self.duplicates,
            Outcome::Stale => &self.stale,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Something was refused.
    pub fn refused(&self, code: Code) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(code.word()).or_default() += 1;
    }

    /// A TLS handshake did not succeed, or took too long.
    pub fn handshake_failed(&self) {
        self.handshakes_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// The store could not be opened again.
    pub fn store_failed(&self) {
        self.store_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection is open.
    pub fn connection(&self) -> Present {
        present(&self.connections)
    }

    /// An agent is connected.
    pub fn agent(&self) -> Present {
        present(&self.agents)
    }

    /// Somebody watches.
    pub fn watcher(&self) -> Present {
        present(&self.watchers)
    }

    /// Open connections.
    pub fn connection_count(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Everything as OpenMetrics text.
    #[must_use]
    pub fn text(&self, machine: &Machine, durable: u64, store: &[(&str, &str, f64)]) -> String {
        let mut text = String::new();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let outcomes = [("stored", &self.stored), ("duplicate", &self.duplicates), ("stale", &self.stale)];
        family(&mut text, "reports", "counter", "Reports taken, by outcome.");
        for (outcome, counter) in outcomes {
            sample(&mut text, "reports_total", &[("outcome", outcome)], load(counter));
        }
        family(&mut text, "refused", "counter", "Requests and frames refused, by code.");
        for (code, count) in &*self.refused.lock().unwrap_or_else(PoisonError::into_inner) {
            sample(&mut text, "refused_total", &[("code", code)], count);
        }
        let counters = [
            ("heartbeats", "Heartbeats heard.", &self.heartbeats),
            (
                "heartbeat_bytes",
                "Bytes of their JSON texts or messages, without framing and TLS.",
                &self.heartbeat_bytes,
            ),
            ("tls_handshakes_failed", "TLS handshakes that did not succeed.", &self.handshakes_failed),
            ("store_reopen_failures", "Times that a failed store could not be opened again.", &self.store_failures),
        ];
        for (name, help, counter) in counters {
            family(&mut text, name, "counter", help);
            sample(&mut text, &format!("{name}_total"), &[], load(counter));
        }
        let gauges = [
            ("connections", "Open connections.", load(&self.connections)),
            ("agents", "Connected agents.", load(&self.agents)),
            ("watchers", "Subscribers of changes.", load(&self.watchers)),
            ("revision", "The newest revision.", machine.revision()),
            ("durable_revision", "The newest revision that is durable.", durable),
        ];
        for (name, help, value) in gauges {
            family(&mut text, name, "gauge", help);
            sample(&mut text, name, &[], value);
        }
        for (name, help, value) in store {
            family(&mut text, name, "gauge", help);
            sample(&mut text, name, &[], value);
        }
        let Counts { tasks, nodes } = machine.counts();
        family(&mut text, "tasks", "gauge", "Tasks, by status as shown.");
        for (status, count) in tasks {
            sample(&mut text, "tasks", &[("status", status.name())], count);
        }
        family(&mut text, "nodes", "gauge", "Nodes, by state.");
        for (state, count) in nodes {
            sample(&mut text, "nodes", &[("state", state.name())], count);
        }
        text.push_str("# EOF\n");
        text
    }
}

fn present(counter: &Arc<AtomicU64>) -> Present {
    counter.fetch_add(1, Ordering::Relaxed);
    Present(Arc::clone(counter))
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# TYPE offloadctl_gateway_{name} {kind}\n# HELP offloadctl_gateway_{name} {help}");
}

fn sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: impl Display) {
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _ = writeln!(text, "offloadctl_gateway_{name}{labels} {value}");
}
