//! The connections of a run: spread over the endpoints in turn, each kept up for as long as the run lasts.
//!
//! A connection sticks to its endpoint. When the member goes away, attempts on its connections fail at once and are
//! counted, and the connection is looked for again: that is how the gap of a killed member is measured and not hidden. One that
//! a server has had enough of is no gap: the next is opened at once, and attempts wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::access::Access;
use super::client::{Driven, Link};
use super::transport::{DialError, Endpoint};

/// Pause before a lost connection is looked for, doubled after each failure up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Open connections, and the tasks that keep them so; dropping it closes them.
pub struct Links {
    links: Vec<Arc<Link>>,
    next: AtomicUsize,
    rtt_ns: Option<u64>,
    _keepers: JoinSet<()>,
}

impl Links {
    /// `count` connections over the endpoints in turn.
    ///
    /// # Errors
    /// The first that cannot be opened, with the number of its endpoint.
    pub async fn open(endpoints: &[Endpoint], count: usize, access: &Arc<Access>) -> Result<Self, (usize, DialError)> {
        let mut keepers = JoinSet::new();
        let (mut links, mut rtts) = (Vec::with_capacity(count), Vec::new());
        for (at, endpoint) in endpoints.iter().enumerate().cycle().take(count) {
            let link = Arc::new(Link::new(endpoint, Arc::clone(access)));
            let (driven, rtt_ns) = link.open(endpoint).await.map_err(|error| (at, error))?;
            rtts.extend(rtt_ns);
            keepers.spawn(keep(Arc::clone(&link), endpoint.clone(), driven));
            links.push(link);
        }
        Ok(Self { links, next: AtomicUsize::new(0), rtt_ns: rtts.into_iter().min(), _keepers: keepers })
    }

    /// The connection whose turn it is.
    #[must_use]
    pub fn next(&self) -> &Arc<Link> {
        &self.links[self.next.fetch_add(1, Ordering::Relaxed) % self.links.len()]
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Arc<Link>] {
        &self.links
    }

    /// A connection that is up, or any if none is.
    #[must_use]
    pub fn any(&self) -> &Arc<Link> {
        self.links.iter().find(|link| link.is_up()).unwrap_or(&self.links[0])
    }

    /// The shortest round trip of all handshakes, as the kernel saw it.
    #[must_use]
    pub const fn rtt_ns(&self) -> Option<u64> {
        self.rtt_ns
    }
}

/// Drives a connection until it ends or is to be left, and opens it anew, for ever.
async fn keep(link: Arc<Link>, endpoint: Endpoint, mut driven: Driven) {
    loop {
        // However it ended: the attempts on it were told. Those that a server still answers when it sends us away go on.
        tokio::select! {
            _ = &mut driven => {}
            () = link.line.left() => {}
        }
        driven = reopen(&link, &endpoint).await;
    }
}

async fn reopen(link: &Link, endpoint: &Endpoint) -> Driven {
    if link.line.reopen()
        && let Ok((driven, _)) = link.open(endpoint).await
    {
        return driven;
    }
    link.line.close();
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        match link.open(endpoint).await {
            Ok((driven, _)) => return driven,
            Err(_) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}
