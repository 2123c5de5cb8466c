//! What stands for Raft in a build without it: nothing can be made of it, and whoever asks is told before.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::task::JoinSet;

use super::call::{DialError, Line, Target, What};
use crate::echo::protocol::Protocol;
use crate::load::Session;
use crate::model::Series;
use crate::wire::{Trust, Url};

/// The way to no cluster.
#[derive(Clone, Debug)]
pub struct Way;

impl Way {
    /// Of none.
    #[must_use]
    pub const fn new(_: &[u16], _: &Trust) -> Self {
        Self
    }

    /// Finds none.
    ///
    /// # Errors
    /// Always.
    pub async fn look(&mut self, _: &Url) -> Result<(), DialError> {
        Err(DialError::NotBuilt)
    }

    /// No port.
    pub const fn port(&self, _: What) -> u16 {
        0
    }
}

/// Opens nothing.
///
/// # Errors
/// Always.
pub async fn open(_: &Target, _: What, _: &mut JoinSet<()>) -> Result<Line, DialError> {
    Err(DialError::NotBuilt)
}

/// No members.
#[derive(Debug, Default)]
pub struct Members;

impl Members {
    /// Starts none.
    ///
    /// # Errors
    /// When they are asked for.
    pub async fn start(
        protocols: &[Protocol],
        _: (IpAddr, Option<u16>),
        _: Arc<ServerConfig>,
        _: &Path,
    ) -> io::Result<Self> {
        match protocols.contains(&Protocol::Raft) {
            true => Err(io::Error::other(DialError::NotBuilt)),
            false => Ok(Self),
        }
    }

    /// No ports.
    #[must_use]
    pub const fn ports(&self) -> Vec<u16> {
        Vec::new()
    }

    pub(super) async fn lose_leaders(&mut self, _: &mut Session<'_>) -> Option<Series> {
        None
    }
}
