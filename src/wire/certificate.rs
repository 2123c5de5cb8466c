//! Why a certificate is not trusted, in words that name the certificate and the option that helps.
//!
//! Separate because TLS libraries only say `UnknownIssuer`: who meets that at night wants to know which certificate the
//! server showed, who signed it and until when it was good.

use std::fmt;

use rustls::CertificateError;
use rustls::pki_types::UnixTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::TlsFailure;

/// Names shown of a certificate that has many.
const NAMES_SHOWN: usize = 5;

/// Curves of keys that the library cannot use, by their object identifiers in DER.
const UNKNOWN_CURVES: [(&[u8], &str); 3] = [
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23], "P-521"),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a], "secp256k1"),
    (&[0x06, 0x08, 0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01], "a Brainpool curve"),
];

/// What can be used instead.
pub const KNOWN_KEYS: &str = "this program knows P-256, P-384, Ed25519 and RSA";

/// The curve of a key, where it is one that we cannot use.
#[must_use]
pub fn unknown_curve(key: &[u8]) -> Option<&'static str> {
    let holds = |part: &[u8]| key.windows(part.len()).any(|window| window == part);
    UNKNOWN_CURVES.iter().find(|(identifier, _)| holds(identifier)).map(|(_, name)| *name)
}

/// The same of the key that a certificate is for.
#[must_use]
pub fn unknown_curve_of(certificate: &[u8]) -> Option<&'static str> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    unknown_curve(certificate.public_key().raw)
}

/// The failure of a chain that holds what we cannot verify.
pub fn unsupported<'a>(end_entity: &[u8], chain: impl Iterator<Item = &'a [u8]>) -> TlsFailure {
    let shown = describe(end_entity).unwrap_or_default();
    let odd = chain.into_iter().find_map(|der| Some((describe(der)?, unknown_curve_of(der)?)));
    let why = match odd {
        Some((of, curve)) if of.subject == shown.subject => format!("its key is on the curve {curve}"),
        Some((of, curve)) => format!("`{of}`, which vouches for it, has a key on the curve {curve}"),
        None => "it is signed in a way that this program does not know".to_owned(),
    };
    TlsFailure {
        kind: "tls_unsupported",
        text: format!("the server's certificate ({shown}) cannot be verified: {why}; {KNOWN_KEYS}"),
        hint: Some("have it signed with such a key; --insecure measures in spite of it, and says so in the run"),
    }
}

/// What a certificate says of itself.
#[derive(Debug, Default)]
struct Described {
    subject: String,
    issuer: String,
    not_before: String,
    not_after: String,
    names: Vec<String>,
    is_self_signed: bool,
}

/// The failure that a certificate is refused with.
pub fn refusal(error: &CertificateError, end_entity: &[u8], server_name: &str) -> TlsFailure {
    let described = describe(end_entity).unwrap_or_default();
    let (kind, text, hint) = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            "tls_expired",
            format!("the server's certificate ({described}) expired at {}", described.not_after),
            "renew it on the server; --insecure measures in spite of it, and says so in the run",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            "tls_not_yet_valid",
            format!("the server's certificate ({described}) is valid only from {}", described.not_before),
            "compare the clocks of this host and of the server; --insecure measures in spite of it",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "tls_wrong_name",
            format!("the server's certificate is not for `{server_name}`: it is for {}", described.name_list()),
            "use a name of the certificate, with --resolve NAME:PORT:ADDRESS if it does not lead there; --insecure does not compare names",
        ),
        _ if described.is_self_signed => (
            "tls_untrusted",
            format!("the server's certificate ({described}) is self-signed and not among those that are trusted"),
            "give it, or the authority that signed it, with --ca-file; --insecure trusts anybody",
        ),
        CertificateError::UnknownIssuer => (
            "tls_untrusted",
            format!("the server's certificate ({described}) is signed by `{}`, which is not trusted", described.issuer),
            "give that authority's certificate with --ca-file; --insecure trusts anybody",
        ),
        other => (
            "tls_untrusted",
            format!("the server's certificate ({described}) is refused: {other}"),
            "--insecure trusts anybody, and says so in the run",
        ),
    };
    TlsFailure { kind, text, hint: Some(hint) }
}

/// Whether a certificate is in its time, as the usual checks say it.
///
/// # Errors
/// When it is not, or not readable.
pub fn check_validity(der: &[u8], now: UnixTime) -> Result<(), CertificateError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::BadEncoding)?;
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if seconds < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet);
    }
    if seconds > validity.not_after.timestamp() { Err(CertificateError::Expired) } else { Ok(()) }
}

fn describe(der: &[u8]) -> Option<Described> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = match certificate.subject_alternative_name() {
        Ok(Some(extension)) => extension.value.general_names.iter().filter_map(name_of).collect(),
        _ => Vec::new(),
    };
    Some(Described {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        not_before: certificate.validity().not_before.to_string(),
        not_after: certificate.validity().not_after.to_string(),
        names,
        is_self_signed: certificate.subject().as_raw() == certificate.issuer().as_raw(),
    })
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| std::net::IpAddr::from(bytes).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::IpAddr::from(bytes).to_string()),
            _ => None,
        },
        _ => None,
    }
}

impl Described {
    fn name_list(&self) -> String {
        if self.names.is_empty() {
            return "no host name or address at all".to_owned();
        }
        let shown: Vec<String> = self.names.iter().take(NAMES_SHOWN).map(|name| format!("`{name}`")).collect();
        let more = self.names.len() - shown.len();
        if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
    }
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject.as_str() {
            "" => write!(f, "for {}", self.name_list()),
            subject => f.write_str(subject),
        }
    }
}
