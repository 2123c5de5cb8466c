//! Whom a client trusts and who it says it is: authorities, its own certificate, or nobody's check at all.
//!
//! Loaded once, before measuring: a file that is missing or not a certificate fails in the first second.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use serde::Serialize;

use super::certificate::{KNOWN_KEYS, check_validity, refusal, unknown_curve, unsupported};
use super::tls::Dialer;
#[cfg(feature = "toolkit")]
use super::verified_as::VerifiedAs;
use crate::model::shell;
use crate::sys::file;

/// Bytes of a file with certificates, or of a key, that are read.
const LONGEST_PEM: u64 = 16 << 20;

/// Trust that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("cannot read the {what} `{}`", path.display())]
    File {
        /// What it should hold.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing of the kind inside.
    #[error("the {what} holds {found}")]
    Content {
        /// What it should hold, and where it came from.
        what: String,
        /// What is there instead.
        found: String,
    },
    /// A key of a kind that the library does not know.
    #[error("the {what} is on the curve {curve}: {KNOWN_KEYS}")]
    Curve {
        /// Whose key.
        what: &'static str,
        /// Which curve.
        curve: &'static str,
    },
    /// A certificate without its key, or the other way round.
    #[error("a client certificate needs its key: give both --client-cert and --client-key")]
    Half,
    /// This host knows no authority.
    #[error("this host has no trusted certificate authorities: install `ca-certificates`, or give --ca-file")]
    NoRoots,
    /// Key and certificate do not fit, or the library refuses them.
    #[error("the client certificate cannot be used")]
    Identity(#[source] rustls::Error),
    /// The library cannot be set up.
    #[error("TLS cannot be set up")]
    Library(#[source] rustls::Error),
}

/// Trust as the user gave it: only paths, so that it may stand in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TlsSpec {
    /// Authorities to trust instead of the host's own.
    pub ca_file: Option<PathBuf>,
    /// Certificate to show, with those that signed it.
    pub client_cert: Option<PathBuf>,
    /// Its private key.
    pub client_key: Option<PathBuf>,
    /// Whether to trust anybody.
    pub insecure: bool,
}

impl TlsSpec {
    /// The same as options of a command line.
    #[must_use]
    pub fn options(&self) -> String {
        let mut line = String::new();
        let files =
            [("--ca-file", &self.ca_file), ("--client-cert", &self.client_cert), ("--client-key", &self.client_key)];
        for (option, file) in files {
            file.iter().for_each(|file| shell::push(&mut line, option, file.display()));
        }
        if self.insecure {
            line.push_str(" --insecure");
        }
        line
    }
}

/// The same as contents.
#[derive(Clone, Default)]
pub struct TrustPem {
    /// Authorities to trust instead of the host's own.
    pub ca: Option<Vec<u8>>,
    /// Certificate to show, with those that signed it.
    pub client_cert: Option<Vec<u8>>,
    /// Its private key.
    pub client_key: Option<Vec<u8>>,
    /// Whether to trust anybody.
    pub insecure: bool,
}

impl TrustPem {
    /// Reads the files that a user gave.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read(spec: &TlsSpec) -> Result<Self, TlsError> {
        Ok(Self {
            ca: spec.ca_file.as_deref().map(|path| read("CA file", path)).transpose()?,
            client_cert: spec.client_cert.as_deref().map(|path| read("client certificate", path)).transpose()?,
            client_key: spec.client_key.as_deref().map(|path| read("client key", path)).transpose()?,
            insecure: spec.insecure,
        })
    }
}

/// Whom we trust and who we are; cheap to clone.
#[derive(Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    #[cfg(feature = "toolkit")]
    verifier: Arc<dyn ServerCertVerifier>,
}

impl Trust {
    /// Reads the files.
    ///
    /// # Errors
    /// When one is missing, holds something else, or does not fit the others.
    pub fn load(spec: &TlsSpec) -> Result<Self, TlsError> {
        Self::from_pem(&TrustPem::read(spec)?)
    }

    /// Takes their contents.
    ///
    /// # Errors
    /// When one holds something else, or does not fit the others.
    pub fn from_pem(pem: &TrustPem) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = if pem.insecure {
            Arc::new(Anybody(provider.clone()))
        } else {
            let roots = Arc::new(roots(pem.ca.as_deref())?);
            let inner = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
            let inner = inner.map_err(|error| TlsError::Content {
                what: "list of trusted authorities".to_owned(),
                found: error.to_string(),
            })?;
            let given = pem.ca.as_deref().map(|pem| certificates("CA file", pem)).transpose()?.unwrap_or_default();
            Arc::new(Explaining { inner, given })
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Library)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier));
        let config = match (&pem.client_cert, &pem.client_key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(chain), Some(key)) => builder
                .with_client_auth_cert(certificates("client certificate", chain)?, private_key(key)?)
                .map_err(TlsError::Identity)?,
            _ => return Err(TlsError::Half),
        };
        Ok(Self {
            config: Arc::new(config),
            #[cfg(feature = "toolkit")]
            verifier,
        })
    }

    /// A dialer that offers these protocols, the preferred one first. Sessions are not resumed: each handshake is a whole
    /// one, as a new client's.
    #[must_use]
    pub fn dialer(&self, alpn: &[&str]) -> Dialer {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config.resumption = rustls::client::Resumption::disabled();
        Dialer::new(Arc::new(config))
    }

    /// The same for a library that makes its connections itself, over HTTP/1.1: the server must be the one of the URL, or of this
    /// name, which is not sent then.
    #[cfg(feature = "toolkit")]
    pub(super) fn client(&self, verified_as: Option<ServerName<'static>>) -> ClientConfig {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if let Some(name) = verified_as {
            config.enable_sni = false;
            let inner = Arc::clone(&self.verifier);
            config.dangerous().set_certificate_verifier(Arc::new(VerifiedAs { inner, name }));
        }
        config
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

impl fmt::Debug for TrustPem {
    /// Nothing of it: it holds a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrustPem")
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    file::read(path, LONGEST_PEM).map_err(|source| TlsError::File { what, path: path.to_owned(), source })
}

fn roots(ca: Option<&[u8]>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (given, what) = match ca {
        Some(pem) => (certificates("CA file", pem)?, "CA file"),
        // Some of a host's authorities may be unreadable; only none at all is an error.
        None => (rustls_native_certs::load_native_certs().certs, "host's list of authorities"),
    };
    let (added, ignored) = roots.add_parsable_certificates(given);
    match (added, ca) {
        (0, None) => Err(TlsError::NoRoots),
        (0, Some(_)) => Err(TlsError::Content {
            what: what.to_owned(),
            found: format!("{ignored} certificates, none of which can be an authority"),
        }),
        _ => Ok(roots),
    }
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |found: String| TlsError::Content { what: what.to_owned(), found };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(certificates) if certificates.is_empty() => Err(wrong("no certificate in PEM form".to_owned())),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(wrong(format!("something that is not PEM: {error}"))),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| TlsError::Content {
        what: "client key".to_owned(),
        found: "no unencrypted private key in PEM form".to_owned(),
    })?;
    match unknown_curve(key.secret_der()) {
        Some(curve) => Err(TlsError::Curve { what: "client key", curve }),
        None => Ok(key),
    }
}

/// The usual checks, with a reason that names the certificate.
#[derive(Debug)]
struct Explaining {
    inner: Arc<WebPkiServerVerifier>,
    /// What the user gave with `--ca-file`: a server that shows one of these very certificates is trusted, though a
    /// certificate that may sign others is else not accepted as a server's.
    given: Vec<CertificateDer<'static>>,
}

impl Explaining {
    /// Whether the server shows a certificate that was given, for its name and in its time.
    fn is_given(
        &self,
        shown: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<bool, rustls::Error> {
        if !self.given.iter().any(|given| given == shown) {
            return Ok(false);
        }
        verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
        check_validity(shown, now)?;
        Ok(true)
    }
}

impl ServerCertVerifier for Explaining {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let error = match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Ok(verified) => return Ok(verified),
            Err(error) => match self.is_given(end_entity, server_name, now) {
                Ok(true) => return Ok(ServerCertVerified::assertion()),
                Ok(false) => error,
                Err(error) => error,
            },
        };
        let rustls::Error::InvalidCertificate(reason) = error else { return Err(error) };
        let failure = if is_unsupported(&reason) {
            let chain = std::iter::once(end_entity).chain(intermediates).chain(&self.given);
            unsupported(end_entity, chain.map(AsRef::as_ref))
        } else {
            refusal(&reason, end_entity, &server_name.to_str())
        };
        Err(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(failure)))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Whether a certificate was refused for the kind of a key or a signature, and for nothing that it says.
const fn is_unsupported(reason: &CertificateError) -> bool {
    matches!(
        reason,
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
    )
}

/// `--insecure`: whoever answers is trusted; the signatures of the handshake are still checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
