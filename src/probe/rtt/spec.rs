//! What the user meant with `probe rtt`: targets, channels, addresses and load; knows no command line.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use crate::load::LoadSpec;
use crate::model::span::known_as_nanos;
use crate::model::{LinkProfile, words};
use crate::wire::locate::{BindFamily, Reach};

/// A spec that cannot be meant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// Nothing to measure.
    #[error("no target: give `NAME=HOST:PORT`, `--emulate PROFILE` or `--topology FILE`")]
    NoTarget,
    /// Two targets of one name.
    #[error("two targets are named `{0}`; each needs a name of its own")]
    DuplicateName(String),
    /// Not a target.
    #[error("`{text}` is not a target: {reason}; write `NAME=HOST:PORT`, an IPv6 address in brackets")]
    Target {
        /// As typed.
        text: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A channel that needs a port, for a target without one.
    #[error("target `{0}` has no port, so it has only the icmp channel; write `{0}=HOST:PORT`")]
    NoPort(String),
    /// Channels that an emulated link does not have.
    #[error(
        "`{0}` is emulated in user space, where the kernel's handshake and ICMP cannot be delayed: it has only the channels `echo` and `udp`"
    )]
    EmulatedChannel(String),
    /// A local address of another family than was asked for.
    #[error(transparent)]
    BindFamily(#[from] BindFamily),
}

/// A way to measure a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// TCP handshakes.
    Connect,
    /// ICMP echo requests.
    Icmp,
    /// PING and PONG on a kept TCP connection to `offloadctl echo`.
    Echo,
    /// PING and PONG as datagrams to `offloadctl echo`.
    Udp,
}

words!(Channel { Connect = "connect", Icmp = "icmp", Echo = "echo", Udp = "udp" });

/// Where a target is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// At an address or a name of the network.
    Address {
        /// Name or address.
        host: String,
        /// Port, without which there is only ICMP.
        port: Option<u16>,
    },
    /// Behind an emulated link in this process.
    Emulated {
        /// Name of the profile.
        profile: String,
        /// What the link is like.
        link: LinkProfile,
    },
}

/// One named target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// The name that labels its series.
    pub name: String,
    /// Where it is.
    pub place: Place,
}

impl Target {
    /// Whether it is but one word: a host without a port, or a name that stands for an address elsewhere.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        matches!(&self.place, Place::Address { host, port: None } if *host == self.name)
    }
}

/// The whole of a `probe rtt`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RttSpec {
    /// Whom to measure.
    pub targets: Vec<Target>,
    /// By which channels; `None` takes what each target has.
    pub channels: Option<BTreeSet<Channel>>,
    /// Which addresses, and from where.
    #[serde(flatten)]
    pub reach: Reach,
    /// How far the far ends' wall clocks are from ours at most, as something outside of this measurement says.
    #[serde(rename = "clock_bound_ns", serialize_with = "known_as_nanos", skip_serializing_if = "Option::is_none")]
    pub clock_bound: Option<Duration>,
    /// How to load.
    pub load: LoadSpec,
    /// Share of unanswered attempts above which a target counts as lost.
    pub max_loss_ratio: f64,
}

impl RttSpec {
    /// Checks what no single argument shows.
    ///
    /// # Errors
    /// Without targets, with two of one name, or with channels that a target cannot have.
    pub fn checked(self) -> Result<Self, SpecError> {
        if self.targets.is_empty() {
            return Err(SpecError::NoTarget);
        }
        self.reach.check()?;
        let mut names = BTreeSet::new();
        for target in &self.targets {
            if !names.insert(&target.name) {
                return Err(SpecError::DuplicateName(target.name.clone()));
            }
            self.check_channels(target)?;
        }
        Ok(self)
    }

    /// Whether the user asked for this channel by name.
    #[must_use]
    pub fn named(&self, channel: Channel) -> bool {
        self.channels.as_ref().is_some_and(|channels| channels.contains(&channel))
    }

    /// Whether this channel may be tried: named, or nothing was named.
    #[must_use]
    pub fn wants(&self, channel: Channel) -> bool {
        self.channels.is_none() || self.named(channel)
    }

    fn check_channels(&self, target: &Target) -> Result<(), SpecError> {
        let only_without = |needed: &[Channel]| {
            self.channels.as_ref().is_some_and(|channels| needed.iter().all(|channel| !channels.contains(channel)))
        };
        match target.place {
            Place::Emulated { .. } if only_without(&[Channel::Echo, Channel::Udp]) => {
                Err(SpecError::EmulatedChannel(target.name.clone()))
            }
            Place::Address { port: None, .. } if only_without(&[Channel::Icmp]) => {
                Err(SpecError::NoPort(target.name.clone()))
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for Target {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let wrong = |reason| SpecError::Target { text: text.to_owned(), reason };
        let (name, address) = text.split_once('=').unwrap_or((text, text));
        if name.is_empty() || name.contains(['{', '}', ',', '=', '\n']) {
            return Err(wrong("its name is empty or holds one of `{},=`"));
        }
        if address.is_empty() {
            return Err(wrong("it has no host"));
        }
        let (host, port) = split_port(address).map_err(wrong)?;
        Ok(Self { name: name.to_owned(), place: Place::Address { host, port } })
    }
}

/// Host and port of `HOST:PORT`; the port of `HOST` alone is `None`.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn split_port(address: &str) -> Result<(String, Option<u16>), &'static str> {
    if let Some(rest) = address.strip_prefix('[') {
        let (inside, after) = rest.split_once(']').ok_or("its bracket is not closed")?;
        let host = literal(inside).ok_or("what stands in brackets is not an address")?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(parse_port(port)?))),
            None if after.is_empty() => Ok((host, None)),
            None => Err("after the bracket there is neither a port nor nothing"),
        };
    }
    if let Some(host) = literal(address) {
        return Ok((host, None));
    }
    let is_name = |host: &str| !host.is_empty() && !host.contains([':', '[', ']']);
    match address.rsplit_once(':') {
        None if is_name(address) => Ok((address.to_owned(), None)),
        Some((host, port)) if is_name(host) => parse_port(port).map(|port| (host.to_owned(), Some(port))),
        _ => Err("its host is not a name or an address"),
    }
}

/// An address, an IPv6 address also with the zone of its interface: `fe80::1%eth0`, or with `%25` as in a URL.
fn literal(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    let (address, zone) = text.split_once('%')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let zone = zone.strip_prefix("25").filter(|zone| !zone.is_empty()).unwrap_or(zone);
    (!zone.is_empty()).then(|| format!("{address}%{zone}"))
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    text.parse().map_err(|_| "its port is not a number from 1 to 65535").and_then(nonzero)
}

const fn nonzero(port: u16) -> Result<u16, &'static str> {
    if port == 0 { Err("its port is not a number from 1 to 65535") } else { Ok(port) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_as_people_type_them() {
        let place = |text: &str| match text.parse::<Target>() {
            Ok(Target { name, place: Place::Address { host, port } }) => format!("{name} {host} {port:?}"),
            other => format!("{other:?}"),
        };
        assert_eq!(place("dc=10.0.0.5:7777"), "dc 10.0.0.5 Some(7777)");
        assert_eq!(place("dc=[::1]:7777"), "dc ::1 Some(7777)");
        assert_eq!(place("dc=::1"), "dc ::1 None");
        assert_eq!(place("dc=[fe80::1%eth0]:7777"), "dc fe80::1%eth0 Some(7777)");
        assert_eq!(place("dc=[fe80::1%25eth0]:7777"), "dc fe80::1%eth0 Some(7777)");
        assert_eq!(place("dc=[fe80::1%eth0]"), "dc fe80::1%eth0 None");
        assert_eq!(place("dc=fe80::1%eth0"), "dc fe80::1%eth0 None");
        assert_eq!(place("dc=[::1]"), "dc ::1 None");
        assert_eq!(place("dc=host.example"), "dc host.example None");
        assert_eq!(place("host.example:443"), "host.example:443 host.example Some(443)");
    }

    #[test]
    fn what_is_no_target_says_why() {
        let reason = |text: &str| text.parse::<Target>().unwrap_err().to_string();
        assert!(reason("=h:1").contains("name is empty"));
        assert!(reason("a=").contains("no host"));
        assert!(reason("a=h:0").contains("1 to 65535"));
        assert!(reason("a=h:http").contains("1 to 65535"));
        assert!(reason("a=:80").contains("host is not"));
        for text in ["[::1", "a=[::1:80", "a=[::1%lo"] {
            assert!(reason(text).contains("bracket is not closed"), "{text}: {}", reason(text));
        }
        for text in ["a=::1]", "a=host]", "a=[::1]80", "a=[host]:80", "a=[::1%]:80", "a=[::1]:0", "a=1:2:3"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
