//! From a named target to the one address that is measured.
//!
//! A name may have a dead IPv6 and a live IPv4 address. Which one is used is decided once, before the clock starts, and
//! written into the run: an address that changes in the middle would be two measurements under one name.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;

use super::dial::open;
use crate::model::shell;
use crate::sys::resolve::{Family, lookup};

/// Port used for a lookup where the target has none; nothing is sent to it.
const NO_PORT: u16 = 0;

/// Longest that one of several addresses is waited for.
const LONGEST_PATIENCE: Duration = Duration::from_secs(2);

/// Addresses given for a name, instead of the resolver's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The name.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What it stands for.
    pub addresses: Vec<IpAddr>,
}

/// Not a rule for names.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not `HOST:PORT:ADDRESS[,ADDRESS]`")]
pub struct RuleError(String);

/// A local address of another family than was asked for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("--bind {0} is not of the address family that was asked for")]
pub struct BindFamily(IpAddr);

/// How targets are reached: which addresses, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// Which address family.
    pub family: Family,
    /// From which local address.
    pub bind: Option<IpAddr>,
    /// Names that are not looked up.
    pub resolve: Vec<Rule>,
}

impl Reach {
    /// Checks that the local address is of the family.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self) -> Result<(), BindFamily> {
        self.bind.filter(|address| !self.family.admits(address)).map_or(Ok(()), |address| Err(BindFamily(address)))
    }

    /// The same as options of a command line.
    #[must_use]
    pub fn options(&self) -> String {
        let mut line = match self.family {
            Family::Any => String::new(),
            Family::V4 => " -4".to_owned(),
            Family::V6 => " -6".to_owned(),
        };
        self.bind.iter().for_each(|address| shell::push(&mut line, "--bind", address));
        self.resolve.iter().for_each(|rule| shell::push(&mut line, "--resolve", rule));
        line
    }

    /// Tries the local address: one that is not of this host would make every target look bad.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn try_bind(&self) -> Result<(), BindError> {
        let Some(address) = self.bind else { return Ok(()) };
        let tried = std::net::UdpSocket::bind(SocketAddr::new(address, 0));
        tried.map(drop).map_err(|source| BindError { address, source })
    }

    /// The rule for a name, if there is one.
    #[must_use]
    pub fn rule(&self, host: &str, port: u16) -> Option<&Rule> {
        self.resolve.iter().find(|rule| rule.host == host && rule.port == port)
    }
}

/// A local address that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot measure from the local address {address}")]
pub struct BindError {
    /// As given with --bind.
    pub address: IpAddr,
    /// The kernel's word.
    pub source: io::Error,
}

impl BindError {
    /// The next step.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        "`ip address` shows the addresses of this host"
    }
}

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

impl LocateError {
    /// The next step.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "check the name, or give the address with --resolve HOST:PORT:ADDRESS",
            Self::Family { .. } => "leave out -4, -6 or --bind, or give an address of that family",
        }
    }
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'a> {
    /// What the user calls it.
    pub target: &'a str,
    /// Name or address.
    pub host: &'a str,
    /// Port, if it has one.
    pub port: Option<u16>,
    /// How long one of several addresses may take to accept a connection.
    pub timeout: Duration,
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
pub async fn locate(reach: &Reach, place: &Sought<'_>) -> Result<Located, LocateError> {
    let Sought { target, host, port, .. } = *place;
    let all = addresses(reach, target, host, port.unwrap_or(NO_PORT)).await?;
    let candidates: Vec<SocketAddr> = all.into_iter().filter(|a| reach.family.admits(&a.ip())).collect();
    let Some(first) = candidates.first() else {
        let family = if reach.family == Family::V6 { "IPv6" } else { "IPv4" };
        return Err(LocateError::Family { target: target.to_owned(), host: host.to_owned(), family });
    };
    if candidates.len() == 1 || port.is_none() {
        return Ok(Located { address: *first, passed_over: Vec::new() });
    }
    Ok(choose(reach, &candidates, place.timeout.min(LONGEST_PATIENCE)).await)
}

async fn addresses(reach: &Reach, target: &str, host: &str, port: u16) -> Result<Vec<SocketAddr>, LocateError> {
    if let Some(rule) = reach.rule(host, port) {
        return Ok(rule.addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect());
    }
    let unknown = |source| LocateError::Unknown { target: target.to_owned(), host: host.to_owned(), source };
    lookup(host, port).await.map_err(unknown)
}

/// The first address that accepts a connection; else the first that refuses one; else the first.
async fn choose(reach: &Reach, candidates: &[SocketAddr], patience: Duration) -> Located {
    let mut passed_over = Vec::new();
    for &address in candidates {
        match try_connect(address, reach.bind, patience).await {
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

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        write!(f, "{}:{}:{}", self.host, self.port, addresses.join(","))
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let wrong = || RuleError(text.to_owned());
        let (host, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (port, addresses) = rest.split_once(':').ok_or_else(wrong)?;
        let addresses = addresses.split(',').map(|a| a.trim_start_matches('[').trim_end_matches(']').parse());
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().map_err(|_| wrong())?,
            addresses: addresses.collect::<Result<_, _>>().map_err(|_| wrong())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_take_several_addresses() {
        let rule: Rule = "two.test:80:[::1],127.0.0.1".parse().unwrap();
        assert_eq!((rule.host.as_str(), rule.port, rule.addresses.len()), ("two.test", 80, 2));
        assert_eq!(rule.to_string().parse(), Ok(rule));
        assert!("two.test:80".parse::<Rule>().is_err());
    }
}
