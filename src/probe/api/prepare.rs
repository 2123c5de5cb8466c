//! Everything before the first request: who we are, where the server is, which HTTP it speaks, and whether it answers.
//!
//! Separate from the measurement because here nothing is timed, and because here it is decided what the labels say: the
//! version of HTTP is what one connection negotiated, never what was asked for.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use hyper::Uri;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use tokio::time::timeout;

use super::connection::{OpenError, Opener};
use super::evaluate::{CACHE_PATH, QUORUM_PATH};
use super::operation::{ApiOperation, Shared};
use super::request::Reply;
use super::server::{Asker, Kind};
use super::shown::Shown;
use super::spec::{ApiSpec, HttpChoice, Server, Version};
use super::way::Way;
use crate::load::{Arrival, Lane};
use crate::model::{Labels, Outcome, Warning};
use crate::wire::credentials::{Credentials, Login, TokenError};
use crate::wire::dial;
use crate::wire::kube::{self, Identity, KubeError};
use crate::wire::locate::{BindError, LocateError, Sought, locate};
use crate::wire::{TlsError, TlsFailure, Trust, TrustPem, Url};

/// How long the first answer may take, whatever the timeout of the attempts.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

/// How long a port may take to show that it speaks TLS.
const TLS_PATIENCE: Duration = Duration::from_secs(1);

/// Name of the response series.
pub const SERIES: &str = "api.request";

/// What must be there before anything can be measured, and is not.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A kubeconfig, a plugin, or a cluster.
    #[error(transparent)]
    Kube(#[from] KubeError),
    /// Certificates.
    #[error(transparent)]
    Trust(#[from] TlsError),
    /// A token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A local address that cannot be used.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The server's name.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// A header that cannot be sent.
    #[error("the header `{name}` of the kubeconfig cannot be sent")]
    Header {
        /// Which one.
        name: String,
    },
    /// A handshake that cannot succeed however often it is tried.
    #[error("no TLS connection to `{url}`")]
    Tls {
        /// Whom.
        url: String,
        /// Why.
        source: TlsFailure,
    },
    /// The version of HTTP that was asked for.
    #[error("`{url}` does not speak HTTP/{version}")]
    Version {
        /// Whom.
        url: String,
        /// What was asked for.
        version: Version,
    },
    /// A server that does not keep connections.
    #[error("`{url}` closes its connection after each answer, so there is none to keep")]
    NotKept {
        /// Whom.
        url: String,
    },
}

impl PrepareError {
    /// The next step, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Kube(error) => return Some(error.hint()),
            Self::Tls { source, .. } => source.hint.unwrap_or("see `openssl s_client -connect`"),
            Self::Locate(error) => error.hint(),
            Self::Bind(error) => error.hint(),
            Self::Version { .. } => "leave out --http, and the server chooses",
            Self::NotKept { .. } => "leave out --reuse",
            Self::Trust(_) | Self::Token(_) | Self::Header { .. } => return None,
        }))
    }
}

/// Ready to be driven.
pub struct Prepared {
    /// One lane a path.
    pub lanes: Vec<Lane<ApiOperation>>,
    /// What they share.
    pub shared: Rc<Shared>,
    /// The server.
    pub url: Url,
    /// The way to it, for advice.
    pub way: Way,
    /// What was noticed about the measurement.
    pub warnings: Vec<Warning>,
    /// Addresses that were passed over for the one that is dialled, with what they did.
    pub passed_over: Vec<(IpAddr, &'static str)>,
    /// How many of the lanes are those that the user asked for.
    pub path_count: usize,
    /// Whether connections are kept.
    pub keeps: bool,
    is_reached: bool,
    /// Whether a server that was asked in the clear speaks TLS.
    pub speaks_tls: bool,
    /// Headers that the kubeconfig wants on every request.
    pub own_headers: Vec<(String, String)>,
    labels: Labels,
}

/// Prepares everything, and asks for the first path once.
///
/// # Errors
/// When something is missing or wrong that no repetition would change.
pub async fn prepare(spec: &ApiSpec) -> Result<Prepared, PrepareError> {
    spec.reach.try_bind()?;
    let mut identity = identity(spec).await?;
    // In the clear nobody is checked, and a host without authorities is no obstacle.
    identity.pem.insecure |= !identity.url.is_tls();
    let trust = Trust::from_pem(&identity.pem)?;
    let mut prepared = assemble(spec, identity, trust).await?;
    let discovered = prepared.discover(spec).await?;
    prepared.is_reached = discovered.is_some();
    prepared.speaks_tls = prepared.hears_tls(discovered.as_ref()).await;
    prepared.label(spec, discovered.as_ref());
    for path in &spec.paths {
        prepared.add(path);
    }
    Ok(prepared)
}

/// What the kubeconfig or the cluster say, with the options of the command line on top.
pub async fn identity(spec: &ApiSpec) -> Result<Identity, PrepareError> {
    let mut identity = match &spec.server {
        Server::Url(url) => Identity {
            url: url.clone(),
            server_name: None,
            pem: TrustPem::default(),
            login: Login::Nobody,
            headers: Vec::new(),
            warnings: Vec::new(),
        },
        Server::Kubeconfig { file, context } => kube::from_file(file, context.as_deref()).await?,
        Server::InCluster => kube::in_cluster()?,
    };
    let given = TrustPem::read(&spec.tls)?;
    identity.pem.ca = given.ca.or(identity.pem.ca);
    if given.client_cert.is_some() {
        identity.pem.client_cert = given.client_cert;
        identity.pem.client_key = given.client_key;
    }
    identity.pem.insecure |= given.insecure;
    if let Some(file) = &spec.token_file {
        identity.login = Login::File { path: file.clone(), before: None };
    }
    Ok(identity)
}

async fn assemble(spec: &ApiSpec, identity: Identity, trust: Trust) -> Result<Prepared, PrepareError> {
    let url = identity.url;
    let warnings = identity.warnings.into_iter().map(|text| Warning::new("not_done", text));
    let mut warnings: Vec<Warning> = warnings.collect();
    if identity.pem.insecure && url.is_tls() {
        let text = "the server's certificate was not checked, as asked for: nothing shows that it is the right server";
        warnings.push(Warning::new("insecure", text));
    }
    let site = Site {
        url: &url,
        server_name: identity.server_name,
        pem: identity.pem,
        trust,
        credentials: Rc::new(Credentials::new(identity.login)?),
        headers: &identity.headers,
    };
    let (shared, passed_over) = share(spec, site).await?;
    if shared.credentials.is_some() && !url.is_tls() {
        let text = "credentials are sent in the clear: the server is not `https://`";
        warnings.push(Warning::new("credentials_in_the_clear", text));
    }
    Ok(Prepared {
        lanes: Vec::new(),
        shared: Rc::new(shared),
        way: Way::new(spec, &url),
        url,
        warnings,
        passed_over,
        path_count: spec.paths.len(),
        keeps: spec.reuse,
        is_reached: false,
        speaks_tls: false,
        own_headers: identity.headers,
        labels: Labels::new(),
    })
}

/// A server, and who we are to it.
pub struct Site<'a> {
    /// Where it is.
    pub url: &'a Url,
    /// The name that its certificate must be for, if not its host.
    pub server_name: Option<String>,
    /// Whom we trust, as it was given.
    pub pem: TrustPem,
    /// The same, ready.
    pub trust: Trust,
    /// What goes with each request.
    pub credentials: Rc<Credentials>,
    /// Further headers of each request.
    pub headers: &'a [(String, String)],
}

/// What all paths of a server share, and the addresses that were passed over for the one that is dialled.
///
/// # Errors
/// When the server has no address, or a header cannot be sent.
pub async fn share(spec: &ApiSpec, site: Site<'_>) -> Result<(Shared, Vec<(IpAddr, &'static str)>), PrepareError> {
    let url = site.url;
    let (target, host) = (url.authority(), url.socket_host());
    let sought = Sought { target: &target, host: &host, port: Some(url.port), timeout: spec.load.timeout };
    let located = locate(&spec.reach, &sought).await?;
    let is_named = url.host.parse::<IpAddr>().is_err() && spec.reach.rule(&url.host, url.port).is_none();
    let server_name = site.server_name.unwrap_or_else(|| url.host.clone());
    let shared = Shared {
        opener: Opener {
            host: url.host.clone(),
            address: located.address,
            looks_up: is_named,
            reach: spec.reach.clone(),
            tls: url.is_tls().then(|| (RefCell::new(site.trust.dialer(spec.http.offer())), server_name)),
            clear: if spec.http == HttpChoice::Two { Version::Two } else { Version::One },
            expected: Cell::new(None),
        },
        credentials: site.credentials,
        max_body: spec.max_body_bytes,
        expected: spec.expected_statuses.clone(),
        headers: headers(site.headers)?,
        base: base(url),
        below: url.base().to_owned(),
        shown: Shown::new(site.pem, site.trust, spec.http.offer()),
    };
    Ok((shared, located.passed_over))
}

fn headers(own: &[(String, String)]) -> Result<HeaderMap, PrepareError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("offloadctl/", env!("CARGO_PKG_VERSION"))));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    for (name, value) in own {
        let wrong = || PrepareError::Header { name: name.clone() };
        let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        headers.append(HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?, value);
    }
    Ok(headers)
}

fn base(url: &Url) -> Uri {
    // Invariant: a `Url` was parsed from a `Uri`, so its parts make one again.
    url.root().without_zone().to_string().parse().unwrap_or_default()
}

impl Prepared {
    /// Asks once. A server that cannot be reached now is measured even so: its losses are the result.
    async fn discover(&self, spec: &ApiSpec) -> Result<Option<Reply>, PrepareError> {
        let first = ApiOperation::new(Rc::clone(&self.shared), &spec.paths[0], false);
        let patience = spec.load.timeout.max(LEAST_PATIENCE);
        let error = match timeout(patience, first.try_once()).await {
            Err(_) => return Ok(None),
            Ok(Ok(reply)) => {
                self.check_version(spec)?;
                if self.keeps && !reply.is_kept {
                    return Err(PrepareError::NotKept { url: self.url.to_string() });
                }
                return Ok(Some(reply));
            }
            Ok(Err(error)) => error,
        };
        match error {
            OpenError::Tls(source) if is_permanent(source.kind) => {
                Err(PrepareError::Tls { url: self.url.to_string(), source })
            }
            // It shows its certificate only after the handshake, and tells us of ours only then.
            OpenError::Outcome(Outcome::Failed(kind)) if is_permanent(kind) => Err(PrepareError::Tls {
                url: self.url.to_string(),
                source: TlsFailure {
                    kind,
                    text: "the server refuses this client after the TLS handshake".to_owned(),
                    hint: Some("give a certificate that it trusts with --client-cert and --client-key"),
                },
            }),
            OpenError::Tls(_) | OpenError::Outcome(_) => self.check_version(spec).map(|()| None),
        }
    }

    /// Whether TLS is what the port wants: asked where it took a request in the clear for a bad one, or for none.
    async fn hears_tls(&self, discovered: Option<&Reply>) -> bool {
        let opener = &self.shared.opener;
        if opener.tls.is_some() || discovered.is_some_and(|reply| reply.status != 400) {
            return false;
        }
        let Ok(trust) = Trust::from_pem(&TrustPem { insecure: true, ..TrustPem::default() }) else { return false };
        let handshake = async {
            let stream = dial::open(opener.address, opener.reach.bind).ok()?.connect(opener.address).await.ok()?;
            let shaken = trust.dialer(&[]).handshake(&opener.host, stream).await;
            Some(shaken.map_or_else(|failure| !matches!(failure.kind, "tls_not_spoken" | "tls_closed"), |_| true))
        };
        timeout(TLS_PATIENCE, handshake).await.ok().flatten().unwrap_or(false)
    }

    fn check_version(&self, spec: &ApiSpec) -> Result<(), PrepareError> {
        let wanted = match spec.http {
            HttpChoice::Auto => None,
            HttpChoice::One => Some(Version::One),
            HttpChoice::Two => Some(Version::Two),
        };
        match (wanted, self.shared.opener.expected.get()) {
            (Some(version), Some(spoken)) if version != spoken => {
                Err(PrepareError::Version { url: self.url.to_string(), version })
            }
            _ => Ok(()),
        }
    }

    fn label(&mut self, spec: &ApiSpec, discovered: Option<&Reply>) {
        let opener = &self.shared.opener;
        let version = match (&opener.tls, discovered) {
            (None, Some(_)) => Some(opener.clear),
            _ => opener.expected.get(),
        };
        self.labels = Labels::new()
            .with("address", &opener.address.to_string())
            .with("connection", if spec.reuse { "reused" } else { "cold" });
        if let Some(version) = version {
            self.labels = std::mem::take(&mut self.labels).with("http", &version.to_string());
        }
    }

    /// Finds out what kind of server it is, and how its metrics stand before the run.
    pub async fn ask_kind(&self) -> Kind {
        match self.is_reached {
            true => self.asker().kind().await,
            false => Kind::Other { reason: "it did not answer before the run".to_owned() },
        }
    }

    /// Who asks the server about itself.
    pub fn asker(&self) -> Asker<'_> {
        let opener = &self.shared.opener;
        Asker {
            url: &self.url,
            address: opener.address,
            server_name: opener.tls.as_ref().map_or(&self.url.host, |(_, name)| name),
            trust: self.shared.shown.trust(),
            credentials: &self.shared.credentials,
            headers: self.own_headers.clone(),
        }
    }

    /// Adds the two reads of one object whose difference is what a read through etcd costs.
    pub fn add_pair(&mut self, spec: &ApiSpec) {
        for path in [QUORUM_PATH, CACHE_PATH] {
            if !spec.paths.iter().any(|own| own == path) {
                self.add(path);
            }
        }
    }

    /// Adds a lane for a path.
    fn add(&mut self, path: &str) {
        let operation = ApiOperation::new(Rc::clone(&self.shared), path, self.keeps);
        let labels = self.labels.clone().with("path", path);
        self.lanes.push(Lane { operation, name: SERIES, labels, floor: false, reference: None });
    }

    /// Opens the connections that are kept: as many as a closed loop uses, and one for an open loop to begin with.
    pub async fn open_ahead(&self, spec: &ApiSpec) {
        let count = match spec.load.arrival {
            Arrival::Closed { concurrency } => concurrency,
            Arrival::Open { .. } => 1,
        };
        let patience = spec.load.timeout.max(LEAST_PATIENCE);
        for lane in &self.lanes {
            // What takes longer is left to the attempts, whose outcomes say why.
            let _ = timeout(patience, lane.operation.open_ahead(count)).await;
        }
    }
}

/// Whether trying again cannot help.
fn is_permanent(kind: &str) -> bool {
    let kinds = [
        "tls_wrong_name",
        "tls_expired",
        "tls_not_yet_valid",
        "tls_unsupported",
        "tls_untrusted",
        "tls_client_certificate",
        "tls_not_spoken",
    ];
    kinds.contains(&kind)
}
