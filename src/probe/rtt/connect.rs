//! The connect channel: one TCP handshake per attempt.
//!
//! Separate because it is the only channel that works against any open port, and the only one with the kernel's own
//! estimate beside ours. The connection is closed politely at once; the target sees a client that said nothing.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;

use tokio::net::TcpStream;

use crate::load::{Answer, Detail};
use crate::model::{Clock, Outcome};
use crate::sys::{clock, socket};
use crate::wire::dial::{open, outcome_of};

/// Handshakes with one address.
#[derive(Debug)]
pub struct ConnectChannel {
    /// Whom to connect to.
    pub address: SocketAddr,
    /// From which local address.
    pub bind: Option<IpAddr>,
    /// Name of the series of the kernel's own estimate.
    pub kernel_series: &'static str,
}

impl ConnectChannel {
    /// One handshake. Opening the socket is before the start, closing it after the end.
    pub async fn attempt(&self) -> Answer {
        let opened = match open(self.address, self.bind) {
            Ok(opened) => opened,
            Err(error) => return Answer::new(outcome_of(&error)),
        };
        let started = clock::now();
        let connected = opened.connect(self.address).await;
        let ended = Some(clock::now());
        let (outcome, details) = match connected {
            Ok(stream) => (Outcome::Ok, self.kernel_detail(&stream).into_iter().collect()),
            Err(error) => (outcome_of(&error), Vec::new()),
        };
        Answer { outcome, started: Some(started), ended, details }
    }

    fn kernel_detail(&self, stream: &TcpStream) -> Option<Detail> {
        let value_ns = socket::tcp_rtt_ns(stream.as_fd())?;
        Some(Detail { name: self.kernel_series, clock: Clock::Kernel, value_ns })
    }
}
