//! From a named target to the one address that is measured.
//!
//! A name may have a dead IPv6 and a live IPv4 address. Which one is used is decided once, before the clock starts, and
//! written into the run: an address that changes in the middle would be two measurements under one name.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::timeout;

use super::connect::open;
use super::spec::{RttSpec, Rule};
use crate::sys::resolve::{Family, lookup};

/// Port used for a lookup where the target has none; nothing is sent to it.
const NO_PORT: u16 = 0;

/// A target that has no address to measure.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// The resolver does not know it.
    #[error("target `{target}`: the name `{host}` does not resolve")]
    Unknown {
        /// Name of the target.
        target: String,
        /// Its host.
        host: String,
        /// The resolver's word.
        source: io::Error,
    },
    /// It has addresses, but none of the family asked for.
    #[error("target `{target}`: `{host}` has no {family} address")]
    Family {
        /// Name of the target.
        target: String,
        /// Its host.
        host: String,
        /// What was asked for.
        family: &'static str,
    },
}

/// The address of a target, and those that were passed over for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The address that is measured.
    pub address: SocketAddr,
    /// Addresses tried before it, with what they did.
    pub passed_over: Vec<(IpAddr, &'static str)>,
}

/// Resolves a target and chooses its address.
///
/// # Errors
/// When the name is unknown or has no address of the family.
pub async fn locate(spec: &RttSpec, target: &str, host: &str, port: Option<u16>) -> Result<Located, LocateError> {
    let all = addresses(spec, target, host, port.unwrap_or(NO_PORT)).await?;
    let candidates: Vec<SocketAddr> = all.into_iter().filter(|a| spec.family.admits(&a.ip())).collect();
    let Some(first) = candidates.first() else {
        let family = if spec.family == Family::V6 { "IPv6" } else { "IPv4" };
        return Err(LocateError::Family { target: target.to_owned(), host: host.to_owned(), family });
    };
    if candidates.len() == 1 || port.is_none() {
        return Ok(Located { address: *first, passed_over: Vec::new() });
    }
    Ok(choose(spec, &candidates).await)
}

async fn addresses(spec: &RttSpec, target: &str, host: &str, port: u16) -> Result<Vec<SocketAddr>, LocateError> {
    let ours = |rule: &&Rule| rule.host == host && rule.port == port;
    if let Some(rule) = spec.resolve.iter().find(ours) {
        return Ok(rule.addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect());
    }
    let unknown = |source| LocateError::Unknown { target: target.to_owned(), host: host.to_owned(), source };
    lookup(host, port).await.map_err(unknown)
}

/// The first address that accepts a connection; else the first that refuses one; else the first.
async fn choose(spec: &RttSpec, candidates: &[SocketAddr]) -> Located {
    let patience = spec.load.timeout.min(Duration::from_secs(2));
    let mut passed_over = Vec::new();
    for &address in candidates {
        match try_connect(address, spec.bind, patience).await {
            Ok(()) => return Located { address, passed_over },
            Err(what) => passed_over.push((address.ip(), what)),
        }
    }
    let refused = passed_over.iter().position(|(_, what)| *what == REFUSED).unwrap_or(0);
    passed_over.remove(refused);
    Located { address: candidates[refused], passed_over }
}

const REFUSED: &str = "refused the connection";

async fn try_connect(address: SocketAddr, bind: Option<IpAddr>, patience: Duration) -> Result<(), &'static str> {
    let socket = open(address, bind).map_err(|_| "cannot be reached from here")?;
    match timeout(patience, socket.connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(REFUSED),
        Ok(Err(_)) => Err("cannot be reached from here"),
        Err(_) => Err("did not answer"),
    }
}
