//! The API server's own account of our requests: what it counted for a kind of them, as numbers and as words. Pure.
//!
//! Separate from the split of a path's time, because an account is of a kind of request and may cover several paths.

use super::cell::Cell;
use super::server::Growth;
use crate::model::{Finding, Labels, Scalar, Severity};

/// The server's own account of a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Which requests.
    pub cell: Cell,
    /// What the server counted.
    pub growth: Growth,
    /// Our own paths in this cell: the two reads of one object share theirs.
    pub ours: Vec<Ours>,
    /// Requests of all cells that we made and that were answered.
    pub total_count: u64,
}

/// One of our paths in a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Ours {
    /// Path and query.
    pub path: String,
    /// Its answers, those of the warm-up included.
    pub answer_count: u64,
}

impl Account {
    /// Requests of the cell that we made and that were answered.
    #[must_use]
    pub fn our_count(&self) -> u64 {
        self.ours.iter().map(|ours| ours.answer_count).sum()
    }

    /// Which share of our requests in the cell may go to etcd.
    #[must_use]
    pub fn uncached_ratio(&self) -> f64 {
        let uncached: u64 =
            self.ours.iter().filter(|ours| !is_from_cache(&ours.path)).map(|ours| ours.answer_count).sum();
        uncached as f64 / self.our_count().max(1) as f64
    }
}

/// Whether the path asks for whatever the server has at hand.
#[must_use]
pub fn is_from_cache(path: &str) -> bool {
    path.split_once('?').is_some_and(|(_, query)| query.split('&').any(|pair| pair == "resourceVersion=0"))
}

/// Who served the lists of a cell, by what they caused in etcd.
#[must_use]
pub fn list_source(account: &Account, version: Option<&str>) -> Option<Finding> {
    if account.cell.verb != "LIST" {
        return None;
    }
    let (requests, etcd) = account.growth.requests.zip(account.growth.etcd)?;
    let ratio = etcd.count / requests.count.max(1.0);
    let from = match ratio {
        ratio if ratio <= 0.1 => "from the API server's watch cache",
        ratio if ratio >= 0.9 => "from etcd",
        _ => "partly from etcd and partly from the API server's watch cache",
    };
    let version = version.map_or_else(String::new, |version| format!(" (Kubernetes {version})"));
    let text = format!("{} was served {from}{version}", account.cell.name());
    let evidence = vec![format!("{:.0} lists in etcd for {:.0} of the API server", etcd.count, requests.count)];
    Some(Finding::new("list_source", Severity::Info, text).with_evidence(evidence))
}

/// The server's own means as single numbers; absent ones are null.
#[must_use]
pub fn scalars(account: &Account) -> Vec<Scalar> {
    let Cell { verb, resource, scope, .. } = &account.cell;
    let labels = Labels::new().with("verb", verb).with("resource", resource).with("scope", scope);
    let Growth { requests, etcd, queue } = account.growth;
    let means = [
        ("api.server.request_mean", requests.and_then(|totals| totals.mean_ns())),
        ("api.server.etcd_mean", etcd.and_then(|totals| totals.mean_ns())),
        ("api.server.queue_mean", queue.and_then(|totals| totals.mean_ns())),
    ];
    means.into_iter().map(|(name, mean_ns)| Scalar::new(name, &labels, "ns", mean_ns)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Totals;

    fn totals(count: f64, mean_ms: f64) -> Option<Totals> {
        Some(Totals { count, seconds: count * mean_ms / 1e3 })
    }

    fn account(our_count: u64, growth: Growth) -> Account {
        let ours = vec![Ours { path: "/api/v1/pods".to_owned(), answer_count: our_count }];
        Account { cell: Cell::of("/api/v1/pods"), growth, ours, total_count: our_count }
    }

    #[test]
    fn lists_say_who_served_them() {
        let from = |etcd| {
            let growth = Growth { requests: totals(100.0, 1.0), etcd: totals(etcd, 1.0), queue: None };
            list_source(&account(100, growth), Some("v1.33.2")).unwrap().text
        };
        assert!(from(0.0).contains("watch cache (Kubernetes v1.33.2)"));
        assert!(from(100.0).contains("served from etcd"));
        assert!(from(50.0).contains("partly"));
    }

    #[test]
    fn absent_means_are_null() {
        let all = scalars(&account(1, Growth { requests: totals(2.0, 5.0), etcd: None, queue: None }));
        let values: Vec<_> = all.iter().map(|scalar| scalar.value).collect();
        assert_eq!(values, [Some(5e6), None, None]);
    }
}
