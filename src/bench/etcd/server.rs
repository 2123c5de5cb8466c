//! Scrapes of the members' own metrics: before, after, and now and then between.
//!
//! Separate from what is read out of them, which is pure. A member whose metrics cannot be had is a `None`, never an
//! error: the measurement itself does not need them.

use futures_util::future::join_all;

use super::window::Counters;
use crate::wire::{Trust, Url, scrape};

/// Where the metrics of each endpoint are.
#[derive(Clone)]
pub struct Metrics {
    urls: Vec<Option<Url>>,
    trust: Trust,
}

impl Metrics {
    /// The metrics of these endpoints.
    #[must_use]
    pub fn new(endpoints: &[Url], trust: &Trust) -> Self {
        let urls = endpoints.iter().map(|url| url.with_path("/metrics").ok()).collect();
        Self { urls, trust: trust.clone() }
    }

    /// One scrape of each endpoint, all at once.
    pub async fn scrape(&self) -> Vec<Option<Counters>> {
        join_all(self.urls.iter().map(|url| self.scrape_one(url.as_ref()))).await
    }

    async fn scrape_one(&self, url: Option<&Url>) -> Option<Counters> {
        let counters = Counters::parse(&scrape(url?, &self.trust).await?);
        counters.is_etcd().then_some(counters)
    }
}
