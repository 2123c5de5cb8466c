//! The login of this run: who we are, and the token that the cluster gave for it.
//!
//! Separate because all connections share it: when the token expires under a hundred attempts, one of them logs in anew
//! and the others wait for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::fault::Fault;

/// A user and the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Name.
    pub user: String,
    /// Password; never printed or stored.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

/// The login, if there is one, and its token.
#[derive(Default)]
pub struct Access {
    login: Option<Login>,
    token: Mutex<Option<Bytes>>,
    generation: AtomicU64,
    renewing: tokio::sync::Mutex<()>,
}

impl Access {
    /// Access with this login; without one, as anybody.
    #[must_use]
    pub fn new(login: Option<Login>) -> Self {
        Self { login, ..Self::default() }
    }

    /// Whether there is a user to log in.
    #[must_use]
    pub const fn has_user(&self) -> bool {
        self.login.is_some()
    }

    /// The present token.
    #[must_use]
    pub fn token(&self) -> Option<Bytes> {
        self.has_user().then(|| self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()).flatten()
    }

    /// How often a token was taken.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Takes a new token by `log_in`, unless that happened since generation `seen`.
    ///
    /// # Errors
    /// When `log_in` fails.
    pub async fn renew(
        &self,
        seen: u64,
        log_in: impl AsyncFnOnce(&str, &str) -> Result<String, Fault>,
    ) -> Result<(), Fault> {
        let Some(Login { user, password }) = &self.login else { return Ok(()) };
        let _turn = self.renewing.lock().await;
        if self.generation() > seen {
            return Ok(());
        }
        let token = log_in(user, password).await?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(Bytes::from(token));
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }
}
