//! The gateway's side of TLS: its certificate, and whom it lets in by theirs.
//!
//! Separate because vendor types of rustls and rcgen stay here.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};

use crate::sync::store::{beside, make_folder, publish};
use crate::sys::file;
use crate::wire::{KNOWN_KEYS, unknown_curve, unknown_curve_of};

type Made = rcgen::CertifiedKey<rcgen::KeyPair>;

/// Files of a certificate that we made ourselves: agents are told to trust the first.
pub const OWN_CERTIFICATE: &str = "certificate.pem";
const OWN_KEY: &str = "certificate.key";

/// Bytes of a file with certificates, or of a key, that are read.
const LONGEST_PEM: u64 = 16 << 20;

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
        source: pem::Error,
    },
    /// A certificate authority is not one.
    #[error("{} holds no certificate authority", path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
    },
    /// A key, or all that are to vouch for others, of a kind that the library does not know.
    #[error("{} has a key on the curve {curve}: {KNOWN_KEYS}", path.display())]
    Curve {
        /// Which file.
        path: PathBuf,
        /// Which curve.
        curve: &'static str,
    },
    /// Certificate and key do not fit, or are of a kind that is not spoken.
    #[error("the certificate and its key cannot be used")]
    Config(#[source] rustls::Error),
    /// Agents trust the certificate that is there, and nobody can show it.
    #[error("{} is there, and its key {} is not", certificate.display(), key.display())]
    Keyless {
        /// The certificate.
        certificate: PathBuf,
        /// Where its key was.
        key: PathBuf,
    },
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
    /// One that was made and is kept nowhere else: it stays the same as long as the process lives.
    made: Option<Arc<Pair>>,
}

impl TlsError {
    /// What to do next.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Keyless { .. } => Some(
                "bring the key back; or remove the certificate, and a new pair is made that agents have to trust anew",
            ),
            _ => None,
        }
    }
}

impl Identity {
    /// Reads the files; without a certificate, makes one that is valid for this host's loopback names.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        Self::load_after(files, None)
    }

    /// Reads the files once more.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn reload(&self, files: &TlsFiles) -> Result<Self, TlsError> {
        Self::load_after(files, self.made.clone())
    }

    fn load_after(files: &TlsFiles, made: Option<Arc<Pair>>) -> Result<Self, TlsError> {
        let (mut kept_here, before) = (None, made);
        let (chain, key) = match (&files.own, &files.kept_in) {
            (Some((chain, key)), _) => (read_chain(chain)?, read_key(key)?),
            (None, Some(folder)) => kept(folder)?,
            (None, None) => {
                let pair = before.map_or_else(|| make().map(|made| Arc::new(read(&made))), Ok)?;
                let copy = (pair.0.clone(), pair.1.clone_key());
                kept_here = Some(pair);
                copy
            }
        };
        let fingerprint = chain.first().map_or_else(String::new, |first| fingerprint(first));
        let versions = ServerConfig::builder();
        let verified = match &files.client_ca {
            Some(path) => versions.with_client_cert_verifier(verifier(path)?),
            None => versions.with_no_client_auth(),
        };
        let mut config = verified.with_single_cert(chain, key).map_err(TlsError::Config)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), fingerprint, made: kept_here })
    }
}

/// Certificates are checked where they are sent; a token does as well.
fn verifier(path: &Path) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    let chain = read_chain(path)?;
    // One that is known is enough for those whom it has signed.
    if let Some(curve) = chain.iter().map(|der| unknown_curve_of(der)).reduce(|all, one| all.and(one)).flatten() {
        return Err(TlsError::Curve { path: path.to_owned(), curve });
    }
    roots.add_parsable_certificates(chain);
    let builder = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated();
    builder.build().map_err(|_| TlsError::Authority { path: path.to_owned() })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem { path: path.to_owned(), what: "certificate", source };
    let bytes = file::read(path, LONGEST_PEM).map_err(|error| failed(pem::Error::Io(error)))?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(failed)?;
    if chain.is_empty() { Err(failed(pem::Error::NoItemsFound)) } else { Ok(chain) }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let failed = |source| TlsError::Pem { path: path.to_owned(), what: "private key", source };
    let bytes = file::read(path, LONGEST_PEM).map_err(|error| failed(pem::Error::Io(error)))?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(failed)?;
    match unknown_curve(key.secret_der()) {
        Some(curve) => Err(TlsError::Curve { path: path.to_owned(), curve }),
        None => Ok(key),
    }
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The certificate that is kept in a folder; one is made first if there is none.
fn kept(folder: &Path) -> Result<Pair, TlsError> {
    let (chain, key) = (folder.join(OWN_CERTIFICATE), folder.join(OWN_KEY));
    match (chain.exists(), key.exists()) {
        (true, true) => {}
        (true, false) => return Err(TlsError::Keyless { certificate: chain, key }),
        (false, has_key) => write_pair(folder, (&chain, &key), has_key)?,
    }
    Ok((read_chain(&chain)?, read_key(&key)?))
}

/// Makes a pair and writes it. Each file appears whole, the certificate last, so that a key alone is what remains of an
/// attempt that was cut short: nobody has seen its certificate, and it is replaced.
fn write_pair(folder: &Path, (chain, key): (&Path, &Path), has_key: bool) -> Result<(), TlsError> {
    let made = make()?;
    let wrote = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Write { path, source }
    };
    make_folder(folder).map_err(wrote(folder))?;
    if has_key {
        fs::remove_file(key).map_err(wrote(key))?;
    }
    write(key, &made.signing_key.serialize_pem(), 0o600).map_err(wrote(key))?;
    write(chain, &made.cert.pem(), 0o644).map_err(wrote(chain))
}

fn make() -> Result<Made, TlsError> {
    rcgen::generate_simple_self_signed(OWN_NAMES.map(str::to_owned)).map_err(TlsError::Make)
}

fn read(made: &Made) -> Pair {
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    (vec![made.cert.der().clone()], key)
}

/// Writes a file whole or not at all.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = beside(path)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    publish(file, path)
}

fn fingerprint(certificate: &[u8]) -> String {
    let bytes: Vec<String> = Sha256::digest(certificate).iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(kept_in: Option<&Path>) -> TlsFiles {
        TlsFiles { kept_in: kept_in.map(Path::to_owned), ..TlsFiles::default() }
    }

    #[test]
    fn a_pair_that_was_cut_short_is_made_anew_and_a_certificate_without_its_key_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(Some(folder.path()));
        let (chain, key) = (folder.path().join(OWN_CERTIFICATE), folder.path().join(OWN_KEY));
        fs::write(&key, "half a k").unwrap();
        let first = Identity::load(&files).unwrap().fingerprint;
        assert_eq!(Identity::load(&files).unwrap().fingerprint, first);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&key), mode(&chain)), (0o600, 0o644));
        fs::remove_file(&key).unwrap();
        let before = fs::read(&chain).unwrap();
        let error = Identity::load(&files).unwrap_err();
        assert!(matches!(&error, TlsError::Keyless { .. }) && error.hint().is_some(), "{error}");
        assert_eq!(fs::read(&chain).unwrap(), before);
    }

    #[test]
    fn a_certificate_that_is_kept_nowhere_outlives_a_reload() {
        let first = Identity::load(&files(None)).unwrap();
        assert_eq!(first.reload(&files(None)).unwrap().fingerprint, first.fingerprint);
        assert_ne!(Identity::load(&files(None)).unwrap().fingerprint, first.fingerprint);
    }
}
