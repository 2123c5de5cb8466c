//! The protocols by name.

use std::fmt;
use std::str::FromStr;

/// A way to carry a heartbeat or a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// A unary call of gRPC for each message.
    Grpc,
    /// Messages on one bidirectional stream of gRPC.
    GrpcStream,
    /// Binary frames of a WebSocket.
    Websocket,
    /// POST over HTTP/1.1.
    Http1,
    /// POST over HTTP/2.
    Http2,
    /// Messages of a Raft cluster: heartbeats of its leader, and proposals to it.
    Raft,
}

/// What is no protocol of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no protocol that is spoken here; there are grpc, grpc-stream, websocket, http1, http2 and raft")]
pub struct UnknownProtocol(String);

impl Protocol {
    /// Each of them.
    pub const ALL: [Self; 6] = [Self::Grpc, Self::GrpcStream, Self::Websocket, Self::Http1, Self::Http2, Self::Raft];

    /// Whether this build speaks it.
    #[must_use]
    pub const fn is_built(self) -> bool {
        cfg!(feature = "raft") || !matches!(self, Self::Raft)
    }

    /// Its name, as users type it and labels have it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::GrpcStream => "grpc-stream",
            Self::Websocket => "websocket",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Raft => "raft",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|protocol| protocol.word() == text);
        known.ok_or_else(|| UnknownProtocol(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_read_back_and_others_are_refused_with_the_list() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.word().parse(), Ok(protocol));
        }
        let refused = "GRPC".parse::<Protocol>().unwrap_err().to_string();
        assert!(refused.starts_with("`GRPC`") && Protocol::ALL.iter().all(|known| refused.contains(known.word())));
    }
}
