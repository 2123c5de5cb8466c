//! One TLS handshake, and why it failed.
//!
//! Separate from the trust it relies on, because it happens once per connection and inside what is timed.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A handshake that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFailure {
    /// A stable word for it, by which it is counted: `tls_untrusted`, `tls_expired`, and so on.
    pub kind: &'static str,
    /// One sentence for a person.
    pub text: String,
    /// The next step.
    pub hint: Option<&'static str>,
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for TlsFailure {}

/// Makes TLS connections with one list of protocols to offer; cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    connector: TlsConnector,
}

impl Dialer {
    pub(super) fn new(config: Arc<ClientConfig>) -> Self {
        Self { connector: TlsConnector::from(config) }
    }

    /// Makes a TLS connection of an open one.
    ///
    /// # Errors
    /// When the peer is not who it should be, refuses us, or speaks something else.
    pub async fn handshake<S>(&self, server_name: &str, stream: S) -> Result<TlsStream<S>, TlsFailure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(server_name.to_owned()).map_err(|_| TlsFailure {
            kind: "tls_wrong_name",
            text: format!("`{server_name}` is not a name that a certificate can be for"),
            hint: None,
        })?;
        self.connector.connect(name, stream).await.map_err(|error| failure_of(&error))
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

/// The protocol that both ends agreed on, if they did.
#[must_use]
pub fn alpn_of<S>(stream: &TlsStream<S>) -> Option<&str> {
    std::str::from_utf8(stream.get_ref().1.alpn_protocol()?).ok()
}

/// The same for an error that comes with the first read: a server of TLS 1.3 looks at our certificate only after the
/// handshake has ended for us.
#[must_use]
pub fn failure_of(error: &io::Error) -> TlsFailure {
    let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return TlsFailure {
            kind: "tls_closed",
            text: format!("the server ended the connection during the TLS handshake: {error}"),
            hint: Some("it may not speak TLS on this port, or want a client certificate: --client-cert, --client-key"),
        };
    };
    let other = |kind, text: String, hint| TlsFailure { kind, text, hint };
    match inner {
        rustls::Error::InvalidCertificate(CertificateError::Other(reason)) => {
            match reason.0.downcast_ref::<TlsFailure>() {
                Some(failure) => failure.clone(),
                None => other("tls_untrusted", format!("the server's certificate is refused: {}", reason.0), None),
            }
        }
        rustls::Error::AlertReceived(alert) if is_about_us(*alert) => other(
            "tls_client_certificate",
            format!("the server refuses this client: alert {alert:?}"),
            Some("give a certificate that it trusts with --client-cert and --client-key"),
        ),
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => other(
            "tls_unsupported",
            "the server ended the TLS handshake: it has nothing in common with this program (alert HandshakeFailure)"
                .to_owned(),
            Some(
                "its key may be on the curve P-521, which cannot be verified here, or it speaks only what is older than TLS 1.2",
            ),
        ),
        rustls::Error::AlertReceived(alert) => {
            other("tls_other", format!("the server ended the TLS handshake with the alert {alert:?}"), None)
        }
        rustls::Error::InvalidMessage(_) => other(
            "tls_not_spoken",
            "the server does not speak TLS on this port".to_owned(),
            Some("use `http://`, or the port of its TLS listener"),
        ),
        error => other("tls_other", format!("the TLS handshake failed: {error}"), None),
    }
}

const fn is_about_us(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate
    )
}
