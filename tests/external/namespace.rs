//! Network namespaces of the tests' own, under random names, removed when their test ends.

use std::process::Command;

use offloadctl::sys::clock;

use crate::host::path_of;

/// A network namespace with its loopback up; dropping it removes it and its links.
pub struct Namespace(String);

/// Two namespaces with a link between them; `near` has the first address of each network, `far` the second.
pub struct Pair {
    /// Where the program runs.
    pub near: Namespace,
    /// Where the servers run.
    pub far: Namespace,
}

/// Addresses of the near and the far end, IPv4.
pub const NEAR_V4: &str = "10.77.0.1";
pub const FAR_V4: &str = "10.77.0.2";
/// The same, IPv6.
pub const NEAR_V6: &str = "fd77::1";
pub const FAR_V6: &str = "fd77::2";

/// Name of the link in both namespaces.
pub const LINK: &str = "wire";

impl Namespace {
    /// A new namespace.
    #[track_caller]
    pub fn new() -> Self {
        let name = format!("offloadctl-test-{:08x}", clock::entropy() as u32);
        ip(&format!("netns add {name}"));
        let namespace = Self(name);
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `ip` with these words inside.
    #[track_caller]
    pub fn ip(&self, words: &str) {
        ip(&format!("-n {} {words}", self.0));
    }

    /// The command that runs what follows it inside.
    pub fn prefix(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.0].map(str::to_owned).into()
    }

    /// The words, to be run inside.
    pub fn inside(&self, words: &[String]) -> Vec<String> {
        [&self.prefix(), words].concat()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A destructor that fails while its test fails would hide the reason; a namespace left behind shows by name.
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).output();
    }
}

impl Pair {
    /// Two namespaces, linked, addressed and ready.
    #[track_caller]
    pub fn new() -> Self {
        let pair = Self { near: Namespace::new(), far: Namespace::new() };
        ip(&format!("link add {LINK} netns {} type veth peer name {LINK} netns {}", pair.near.0, pair.far.0));
        for (side, v4, v6) in [(&pair.near, NEAR_V4, NEAR_V6), (&pair.far, FAR_V4, FAR_V6)] {
            side.ip(&format!("address add {v4}/24 dev {LINK}"));
            // No detection of duplicates: it takes a second, and there are none.
            side.ip(&format!("address add {v6}/64 dev {LINK} nodad"));
            side.ip(&format!("link set {LINK} up"));
        }
        pair
    }
}

#[track_caller]
fn ip(words: &str) {
    let output = Command::new(path_of("ip", "iproute2")).args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}
