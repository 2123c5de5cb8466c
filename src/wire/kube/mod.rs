//! Where a Kubernetes is and who we are to it: kubeconfig files, credential plugins, and the identity inside of a cluster.
//!
//! Our own reader, because the client library of Kubernetes would be built for its configuration alone: connections are
//! opened and stamped by ourselves. It reads what client-go reads, and says of what it does not do that it does not.

mod config;
mod error;
mod exec;
mod inside;
mod part;
mod proxy;
mod user;
mod yaml;

use std::env;
use std::path::Path;

pub use error::KubeError;
pub use exec::ExecPlugin;
pub use inside::in_cluster;

use self::config::{Choice, Kubeconfig};
use self::part::Part;
use super::credentials::Login;
use super::{TrustPem, Url};

/// Where to, and as whom.
pub struct Identity {
    /// The server.
    pub url: Url,
    /// The name that its certificate must be for, if not its host.
    pub server_name: Option<String>,
    /// Whom to trust, and the certificate that we show.
    pub pem: TrustPem,
    /// Who we say we are.
    pub login: Login,
    /// Headers of every request.
    pub headers: Vec<(String, String)>,
    /// What is asked for and not done.
    pub warnings: Vec<String>,
}

/// Reads a kubeconfig, or a list of them as in `KUBECONFIG`, and runs its plugin if it has one.
///
/// # Errors
/// When it is missing, malformed, or leads to no server or no login.
pub async fn from_file(list: &Path, context: Option<&str>) -> Result<Identity, KubeError> {
    let config = Kubeconfig::read(list).await?;
    let Choice { cluster, user } = config.choose(context)?;
    let mut pem = TrustPem {
        ca: cluster.content("certificate-authority")?,
        insecure: cluster.flag("insecure-skip-tls-verify")?,
        ..TrustPem::default()
    };
    pem.client_cert = user.content("client-certificate")?;
    pem.client_key = user.content("client-key")?;
    // What is wrong is told before a plugin asks somebody.
    let url = server(&cluster, &pem)?;
    let headers = user::impersonation(&user)?;
    let login = user::log_in(&user, &cluster, &mut pem).await?;
    let mut warnings: Vec<String> = config
        .missing
        .iter()
        .map(|path| format!("the kubeconfig `{}` of the list is not there and was left out", path.display()))
        .collect();
    warnings.extend(proxy_warning(&cluster, &url)?);
    Ok(Identity { url, server_name: cluster.text("tls-server-name")?, headers, pem, login, warnings })
}

/// The server's URL; one without a scheme is meant as client-go means it: secure where anything says how.
fn server(cluster: &Part, pem: &TrustPem) -> Result<Url, KubeError> {
    let none = || cluster.error(Some(cluster.node.line), format!("{} names no server", cluster.what));
    let text = cluster.text("server")?.ok_or_else(none)?;
    let is_secure = pem.ca.is_some() || pem.client_cert.is_some() || pem.insecure;
    let text = match text.contains("://") {
        true => text,
        false => format!("{}://{text}", if is_secure { "https" } else { "http" }),
    };
    text.parse().map_err(|source| KubeError::Server { path: cluster.file.clone(), source })
}

/// A proxy would be measured in the server's place.
fn proxy_warning(cluster: &Part, url: &Url) -> Result<Option<String>, KubeError> {
    let is_wanted = cluster.text("proxy-url")?.is_some() || proxy::is_wanted(url, |name| env::var(name).ok());
    let text =
        "a proxy is configured (in the kubeconfig or HTTPS_PROXY) and is not used: the server itself is measured";
    Ok(is_wanted.then(|| text.to_owned()))
}

#[cfg(test)]
mod tests;
