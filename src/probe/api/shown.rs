//! The certificate that we show, and its change in the middle of a run.
//!
//! Separate because a plugin may give certificates of a few minutes: new connections show the newest, and one that was kept
//! and shows another is given up, as the official client does.

use std::cell::{Cell, RefCell};

use crate::wire::credentials::Credentials;
use crate::wire::{Dialer, Trust, TrustPem};

/// Whom we trust, and as whom we connect now.
pub struct Shown {
    pem: RefCell<TrustPem>,
    trust: RefCell<Trust>,
    offer: &'static [&'static str],
    generation: Cell<u64>,
}

impl Shown {
    /// What was there before the run, with the versions of HTTP that are offered.
    #[must_use]
    pub const fn new(pem: TrustPem, trust: Trust, offer: &'static [&'static str]) -> Self {
        Self { pem: RefCell::new(pem), trust: RefCell::new(trust), offer, generation: Cell::new(0) }
    }

    /// Whom we trust and who we are now.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.trust.borrow().clone()
    }

    /// The same as it was given.
    #[must_use]
    pub fn pem(&self) -> TrustPem {
        self.pem.borrow().clone()
    }

    /// Grows whenever another certificate is shown.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Takes a certificate that came meanwhile; how connections are made from now on, if there was one.
    pub fn renew(&self, credentials: &Credentials) -> Option<Dialer> {
        let (certificate, key) = credentials.fresh_certificate()?;
        let mut pem = self.pem.borrow_mut();
        pem.client_cert = Some(certificate.into_bytes());
        pem.client_key = Some(key.into_bytes());
        match Trust::from_pem(&pem) {
            Ok(trust) => {
                let dialer = trust.dialer(self.offer);
                self.trust.replace(trust);
                self.generation.set(self.generation.get() + 1);
                Some(dialer)
            }
            Err(error) => {
                credentials.complain(crate::model::with_causes(&error));
                None
            }
        }
    }
}
