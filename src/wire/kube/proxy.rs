//! Whether another client would go through a proxy to a server: never we, for the proxy would be measured in its place. Pure.
//!
//! Separate because who is exempt is a small language of its own, as Go reads it (golang.org/x/net/http/httpproxy).

use std::net::IpAddr;

use crate::wire::Url;

/// The variables that name a proxy for servers of this kind.
const fn variables(url: &Url) -> [&'static str; 2] {
    match url.scheme {
        crate::wire::Scheme::Https => ["HTTPS_PROXY", "https_proxy"],
        crate::wire::Scheme::Http => ["HTTP_PROXY", "http_proxy"],
    }
}

/// Whether the environment leads others through a proxy to this server.
pub fn is_wanted(url: &Url, variable: impl Fn(&str) -> Option<String>) -> bool {
    let set =
        |names: [&str; 2]| names.into_iter().find_map(|name| variable(name).filter(|text| !text.trim().is_empty()));
    set(variables(url)).is_some() && !is_exempt(url, &set(["NO_PROXY", "no_proxy"]).unwrap_or_default())
}

/// Whether a server is reached without a proxy: this host always, and what the list names.
fn is_exempt(url: &Url, list: &str) -> bool {
    let host = url.host.to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    list.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() && (!name.contains(':') || name.ends_with(']')) => {
                (name, port.parse().ok())
            }
            _ => (entry.as_str(), None),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let is_named = match (name, address) {
            ("", _) => false,
            ("*", _) => true,
            (name, Some(address)) => name.parse() == Ok(address) || is_within(address, name),
            // With a dot in front only what lies below it, without one the name itself too.
            (name, None) => {
                let domain = name.trim_start_matches("*.").trim_start_matches('.');
                host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.') || rest.is_empty() && domain == name)
            }
        };
        is_named && port.is_none_or(|port: u16| port == url.port)
    })
}

/// Whether an address is in a network such as `10.0.0.0/8`.
fn is_within(address: IpAddr, network: &str) -> bool {
    let Some((base, length)) = network.split_once('/') else { return false };
    let (Ok(base), Ok(length)) = (base.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    let (one, other, width) = match (address, base) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (u128::from(one.to_bits()), u128::from(other.to_bits()), 32_u32),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        _ => return false,
    };
    let Some(rest) = width.checked_sub(length) else { return false };
    (one ^ other).checked_shr(rest).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_wanted_for(url: &str, list: &str) -> bool {
        let variable = |name: &str| match name {
            "HTTPS_PROXY" => Some("proxy:3128 ".to_owned()),
            "no_proxy" => Some(list.to_owned()),
            _ => None,
        };
        is_wanted(&url.parse().unwrap(), variable)
    }

    #[test]
    fn a_proxy_is_for_what_the_list_does_not_name() {
        assert!(is_wanted_for("https://api.example.com:6443", ""));
        assert!(!is_wanted_for("http://api.example.com", ""), "that has a variable of its own");
        for url in ["https://127.0.0.1:6443", "https://localhost", "https://[::1]:1"] {
            assert!(!is_wanted_for(url, ""), "{url}");
        }
        for list in ["*", "example.com", ".example.com", "a, API.example.com ", "*.example.com", "example.com:6443"] {
            assert!(!is_wanted_for("https://api.example.com:6443", list), "{list}");
        }
        for list in ["ample.com", ".api.example.com", "example.com:443", "10.0.0.0/8", ",", "com.example"] {
            assert!(is_wanted_for("https://api.example.com:6443", list), "{list}");
        }
        for list in ["10.1.2.3", "10.0.0.0/8", "10.1.2.3:6443", "0.0.0.0/0"] {
            assert!(!is_wanted_for("https://10.1.2.3:6443", list), "{list}");
        }
        for list in ["10.1.2.4", "10.2.0.0/16", "10.0.0.0/99", "fd00::/8"] {
            assert!(is_wanted_for("https://10.1.2.3:6443", list), "{list}");
        }
        assert!(
            !is_wanted_for("https://[fd00::7]", "fd00::/8") && !is_wanted_for("https://[fd00::7]:1", "[fd00::7]:1")
        );
    }
}
