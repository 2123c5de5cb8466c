//! The gateway's side of TLS: its certificate, and whom it lets in by theirs.
//!
//! Separate because vendor types of rustls and rcgen stay here.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};

use crate::sync::store::make_folder;

type Made = rcgen::CertifiedKey<rcgen::KeyPair>;

/// Files of a certificate that we made ourselves: agents are told to trust the first.
const OWN_CERTIFICATE: &str = "certificate.pem";
const OWN_KEY: &str = "certificate.key";

/// Names of a certificate that we made ourselves.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not what it should be.
    #[error("{} is not a {what} in PEM", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// Why it is not.
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate authority is not one.
    #[error("{} holds no certificate authority", path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
    },
    /// Certificate and key do not fit, or are of a kind that is not spoken.
    #[error("the certificate and its key cannot be used")]
    Config(#[source] rustls::Error),
    /// The one that was made cannot be kept.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No certificate could be made.
    #[error("no certificate could be made")]
    Make(#[source] rcgen::Error),
}

/// Where the gateway's certificate is, if it was given one.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// Certificate chain and its key.
    pub own: Option<(PathBuf, PathBuf)>,
    /// Where one that we make ourselves is kept, so that it stays the same; `None` keeps none.
    pub kept_in: Option<PathBuf>,
    /// Who signs the certificates of agents.
    pub client_ca: Option<PathBuf>,
}

/// What the gateway shows and asks for.
#[derive(Clone, Debug)]
pub struct Identity {
    /// For the acceptor.
    pub config: Arc<ServerConfig>,
    /// SHA-256 of the certificate, as browsers and `openssl x509 -fingerprint` write it.
    pub fingerprint: String,
}

impl Identity {
    /// Reads the files; without a certificate, makes one that is valid for this host's loopback names.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let (chain, key) = match (&files.own, &files.kept_in) {
            (Some((chain, key)), _) => (read_chain(chain)?, read_key(key)?),
            (None, Some(folder)) => kept(folder)?,
            (None, None) => read(&make()?)?,
        };
        let fingerprint = chain.first().map_or_else(String::new, |first| fingerprint(first));
        let versions = ServerConfig::builder();
        let verified = match &files.client_ca {
            Some(path) => versions.with_client_cert_verifier(verifier(path)?),
            None => versions.with_no_client_auth(),
        };
        let mut config = verified.with_single_cert(chain, key).map_err(TlsError::Config)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), fingerprint })
    }
}

/// Certificates are checked where they are sent; a token does as well.
fn verifier(path: &Path) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read_chain(path)?);
    let builder = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated();
    builder.build().map_err(|_| TlsError::Authority { path: path.to_owned() })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem { path: path.to_owned(), what: "certificate", source };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(failed)?;
    if chain.is_empty() { Err(failed(rustls::pki_types::pem::Error::NoItemsFound)) } else { Ok(chain) }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::Pem {
        path: path.to_owned(),
        what: "private key",
        source,
    })
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The certificate that is kept in a folder; one is made first if there is none.
fn kept(folder: &Path) -> Result<Pair, TlsError> {
    let (chain, key) = (folder.join(OWN_CERTIFICATE), folder.join(OWN_KEY));
    if !chain.exists() || !key.exists() {
        let made = make()?;
        let wrote = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::Write { path, source }
        };
        make_folder(folder).map_err(wrote(folder))?;
        // The key first: a certificate without one would be taken for a pair.
        write_private(&key, made.signing_key.serialize_pem().as_bytes()).map_err(wrote(&key))?;
        std::fs::write(&chain, made.cert.pem()).map_err(wrote(&chain))?;
    }
    Ok((read_chain(&chain)?, read_key(&key)?))
}

fn make() -> Result<Made, TlsError> {
    rcgen::generate_simple_self_signed(OWN_NAMES.map(str::to_owned)).map_err(TlsError::Make)
}

fn read(made: &Made) -> Result<Pair, TlsError> {
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    Ok((vec![made.cert.der().clone()], key))
}

/// A file that nobody else may read.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?.write_all(bytes)
}

fn fingerprint(certificate: &[u8]) -> String {
    let bytes: Vec<String> = Sha256::digest(certificate).iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}
