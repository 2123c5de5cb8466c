//! Words to the service manager, by the protocol of `sd_notify(3)`: ready, stopping, still alive.
//!
//! Separate because it is a socket of its own. Where no manager listens, nothing is said. A word that cannot be delivered is
//! the manager's loss and no reason to stop.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager of this process, if there is one.
#[derive(Debug)]
pub struct Manager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that the environment names.
    #[must_use]
    pub fn of_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| connect(&name).ok());
        let own = std::env::var("WATCHDOG_PID").ok().is_none_or(|id| id.parse() == Ok(std::process::id()));
        let span = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok()).map(Duration::from_micros);
        Self { socket, watchdog: span.filter(|span| own && !span.is_zero()) }
    }

    /// How often it wants to hear that the process is alive: half of its patience, as it recommends.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.socket.as_ref().and(self.watchdog).map(|span| span / 2)
    }

    /// Says something, such as `READY=1`.
    pub fn tell(&self, word: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(word.as_bytes());
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match name.as_bytes() {
        [b'@', rest @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(rest)?)?,
        _ => socket.connect(name)?,
    }
    // A manager that does not read must not hold us up.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_a_socket_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstract_name = format!("offloadctl-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap()).unwrap();
        for (listener, name) in [(by_path, path.into_os_string()), (by_name, format!("@{abstract_name}").into())] {
            let manager = Manager { socket: connect(&name).ok(), watchdog: Some(Duration::from_secs(3)) };
            manager.tell("READY=1");
            let mut buffer = [0; 64];
            let length = listener.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1");
            assert_eq!(manager.watchdog_interval(), Some(Duration::from_millis(1_500)));
        }
    }

    #[test]
    fn without_a_manager_nothing_is_said() {
        let manager = Manager { socket: None, watchdog: Some(Duration::from_secs(3)) };
        manager.tell("READY=1");
        assert_eq!(manager.watchdog_interval(), None);
    }
}
