//! One GET for a question that is asked once: scrapes, and what is asked beside the timed path.

use std::net::SocketAddr;
use std::time::Duration;

use super::client::{FetchError, Fetched, HttpClient, Place, Question};
use super::{Trust, Url};

/// How long a scrape may take, and how long it may be; etcd's is about 100 KiB.
const SCRAPE_WITHIN: Duration = Duration::from_secs(2);
const LONGEST_SCRAPE: usize = 8 << 20;

/// What to get, and how long and how much it may take.
#[derive(Clone, Copy, Debug)]
pub struct Fetch<'a> {
    /// What to get.
    pub url: &'a Url,
    /// Where the server is, if not where its name leads.
    pub address: Option<SocketAddr>,
    /// The name that its certificate must be for, if not its host.
    pub server_name: Option<&'a str>,
    /// Whom to trust.
    pub trust: &'a Trust,
    /// Further headers, such as `authorization`.
    pub headers: &'a [(String, String)],
    /// How long it may take from lookup to last byte.
    pub timeout: Duration,
    /// How long the body may be.
    pub max_body: usize,
}

/// Gets it.
///
/// # Errors
/// When there is no whole answer within the limits. Any status is an answer.
pub async fn fetch(spec: Fetch<'_>) -> Result<Fetched, FetchError> {
    let Fetch { url, address, server_name, trust, headers, timeout, max_body } = spec;
    let client = HttpClient::new(Place { url, address, server_name, trust })?;
    client.ask(Question { path: url.path(), headers, json: None, timeout, max_body }).await
}

/// The page of a server's metrics as text; `None` where there is none. It is asked beside what is measured, which goes on without it.
pub async fn scrape(url: &Url, trust: &Trust) -> Option<String> {
    let spec = Fetch {
        url,
        address: None,
        server_name: None,
        trust,
        headers: &[],
        timeout: SCRAPE_WITHIN,
        max_body: LONGEST_SCRAPE,
    };
    let fetched = fetch(spec).await.ok().filter(|fetched| fetched.status == 200)?;
    Some(String::from_utf8_lossy(&fetched.body).into_owned())
}
