//! `server`: one gateway or a list of them, and how each is spoken to.
//!
//! Separate because its scheme decides what carries the frames.

use serde::Deserialize;

use super::ConfigError;
use crate::wire::Url;

/// Gateways of one list.
const MOST_SERVERS: usize = 64;

/// How the gateway is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `wss://`: one WebSocket.
    Socket,
    /// `https://`: requests on a connection that is kept.
    Requests,
    /// `grpcs://`: one stream of gRPC.
    Stream,
}

/// A gateway and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it is.
    pub url: Url,
    /// How it is spoken to.
    pub mode: Mode,
}

/// `server` as it is written.
#[derive(Deserialize)]
#[serde(untagged, expecting = "`server` is neither an address nor a list of addresses")]
pub enum WrittenServer {
    /// One alone.
    One(String),
    /// Whichever is there.
    Several(Vec<String>),
}

impl WrittenServer {
    /// The gateways.
    ///
    /// # Errors
    /// When one of them is no address of ours, or there are none or too many.
    pub fn list(self) -> Result<Vec<Server>, ConfigError> {
        let written = match self {
            Self::One(server) => vec![server],
            Self::Several(servers) => servers,
        };
        if written.is_empty() || written.len() > MOST_SERVERS {
            let what = format!("the list has {} addresses, not 1 to {MOST_SERVERS}", written.len());
            return Err(ConfigError::Value { key: "server", what });
        }
        written.iter().map(|text| server_of(text)).collect()
    }
}

fn server_of(text: &str) -> Result<Server, ConfigError> {
    let (rest, mode, path) = match text.split_once("://") {
        Some(("wss", rest)) => (rest, Mode::Socket, "/state"),
        Some(("https", rest)) => (rest, Mode::Requests, "/"),
        Some(("grpcs", rest)) => (rest, Mode::Stream, "/"),
        _ => {
            let what = format!(
                "`{text}` begins with neither `wss://` (a WebSocket) nor `grpcs://` (gRPC) nor `https://` (requests)"
            );
            return Err(ConfigError::Value { key: "server", what });
        }
    };
    let url: Url = format!("https://{rest}").parse()?;
    let has_path = url.has_path() && url.path() != "/";
    if mode != Mode::Socket && has_path {
        let what = format!("`{text}` has a path, but the paths of the gateway are known: leave it out");
        return Err(ConfigError::Value { key: "server", what });
    }
    if has_path { Ok(Server { url, mode }) } else { Ok(Server { url: url.with_path(path)?, mode }) }
}
