//! The identity that a pod has by itself: the server of its cluster and its service account.

use std::env;
use std::net::IpAddr;
use std::path::Path;

use super::error::KubeError;
use super::part::LONGEST_FILE;
use super::{Identity, Login};
use crate::sys::file;
use crate::wire::TrustPem;

/// Where the kubelet puts what a service account needs.
const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The identity of the pod in which this process runs.
///
/// # Errors
/// When it runs in none.
pub fn in_cluster() -> Result<Identity, KubeError> {
    identity(|name| env::var(name).ok(), Path::new(FOLDER))
}

fn identity(variable: impl Fn(&str) -> Option<String>, folder: &Path) -> Result<Identity, KubeError> {
    let needed = |name| variable(name).filter(|text| !text.is_empty()).ok_or(KubeError::Outside { variable: name });
    let (host, port) = (needed("KUBERNETES_SERVICE_HOST")?, needed("KUBERNETES_SERVICE_PORT")?);
    let host = match host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host,
    };
    let url = format!("https://{host}:{port}").parse().map_err(KubeError::Inside)?;
    let path = folder.join("ca.crt");
    let ca = file::read(&path, LONGEST_FILE).map_err(|source| KubeError::Account { path, source })?;
    Ok(Identity {
        url,
        server_name: None,
        pem: TrustPem { ca: Some(ca), ..TrustPem::default() },
        login: Login::File { path: folder.join("token"), before: None },
        headers: Vec::new(),
        warnings: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_pod_knows_its_server_and_its_account() {
        let folder = tempfile::tempdir().unwrap();
        let inside = |host: &str| {
            let host = host.to_owned();
            let variable = move |name: &str| match name {
                "KUBERNETES_SERVICE_HOST" => Some(host.clone()),
                _ => Some("443".to_owned()),
            };
            identity(variable, folder.path())
        };
        let error = inside("10.0.0.1").err().unwrap().to_string();
        assert!(error.contains("service account of this pod is not there") && error.contains("ca.crt"), "{error}");
        fs::write(folder.path().join("ca.crt"), "the authority").unwrap();
        let found = inside("fd00::1").unwrap();
        assert_eq!(found.url.to_string(), "https://[fd00::1]/");
        assert_eq!(found.pem.ca.as_deref(), Some(&b"the authority"[..]));
        let Login::File { path, .. } = found.login else { panic!("no token") };
        assert_eq!(path, folder.path().join("token"));
    }

    #[test]
    fn elsewhere_it_says_what_is_missing() {
        let error = identity(|_| None, Path::new("/nonexistent")).err().unwrap().to_string();
        assert!(error.ends_with("KUBERNETES_SERVICE_HOST is not set"), "{error}");
    }
}
