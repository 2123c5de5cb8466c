//! A credential plugin as a kubeconfig names it, and what it answers.
//!
//! It is run by ourselves and within a limit, because one that hangs must be stopped.

use std::ffi::OsString;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::error::KubeError;
use super::part::Part;
use crate::model::WallTime;
use crate::sys::plugin::Plugin;
use crate::wire::credentials::Issued;

/// How long a credential plugin may take. Those of the clouds ask a service and need a second or two.
const PLUGIN_LIMIT: Duration = Duration::from_secs(10);

/// The name under which a cluster holds what its plugins want to know (client.authentication.k8s.io, Cluster.config).
const CONFIG_NAME: &str = "client.authentication.k8s.io/exec";

/// A plugin as a kubeconfig names it.
pub struct ExecPlugin {
    plugin: Plugin,
    program: String,
    install_hint: Option<String>,
}

impl ExecPlugin {
    /// The plugin of a user, which may want to know the cluster.
    ///
    /// # Errors
    /// When it wants a terminal, has no program, or is not understood.
    pub fn new(exec: &Part, cluster: &Part) -> Result<Self, KubeError> {
        let unsupported = |what: &str| KubeError::Unsupported { path: exec.file.clone(), what: what.to_owned() };
        if exec.text("interactiveMode")?.as_deref() == Some("Always") {
            return Err(unsupported("a credential plugin that asks its user"));
        }
        let program = exec.text("command")?.ok_or_else(|| unsupported("a credential plugin without a command"))?;
        let mut environment = environment(exec)?;
        environment.push(("KUBERNETES_EXEC_INFO".into(), info(exec, cluster)?.to_string().into()));
        // Without a folder in it, it is looked for where programs are.
        let place = match program.contains(MAIN_SEPARATOR) {
            true => exec.beside(Path::new(&program)),
            false => PathBuf::from(&program),
        };
        let plugin = Plugin { program: place, arguments: exec.texts("args")?, environment };
        Ok(Self { plugin, program, install_hint: exec.text("installHint")? })
    }

    /// Runs it for whatever it gives.
    ///
    /// # Errors
    /// When it fails, hangs, or gives nothing.
    pub async fn ask(&self) -> Result<Issued, KubeError> {
        let printed = self.plugin.run(PLUGIN_LIMIT).await.map_err(|source| KubeError::Plugin {
            program: self.program.clone(),
            install_hint: self.install_hint.clone(),
            source,
        })?;
        read_answer(&printed).map_err(|what| KubeError::Answer { program: self.program.clone(), what })
    }
}

fn environment(exec: &Part) -> Result<Vec<(OsString, OsString)>, KubeError> {
    let listed = exec.node.get("env").and_then(|env| env.items()).unwrap_or_default();
    let mut environment = Vec::new();
    for node in listed {
        let variable = Part { what: format!("a variable of {}", exec.what), node: node.clone(), ..exec.clone() };
        if let Some(name) = variable.text("name")? {
            environment.push((name.into(), variable.text("value")?.unwrap_or_default().into()));
        }
    }
    Ok(environment)
}

/// What client-go tells its plugins (client.authentication.k8s.io, ExecCredential).
fn info(exec: &Part, cluster: &Part) -> Result<Value, KubeError> {
    let mut info = json!({
        "kind": "ExecCredential", "apiVersion": exec.text("apiVersion")?, "spec": { "interactive": false }
    });
    if exec.flag("provideClusterInfo")? {
        info["spec"]["cluster"] = cluster_info(cluster)?;
    }
    Ok(info)
}

fn cluster_info(cluster: &Part) -> Result<Value, KubeError> {
    use base64::Engine as _;
    let mut info = Map::new();
    for key in ["server", "tls-server-name", "proxy-url"] {
        info.extend(cluster.text(key)?.map(|text| (key.to_owned(), text.into())));
    }
    for key in ["insecure-skip-tls-verify", "disable-compression"] {
        info.extend(cluster.flag(key)?.then(|| (key.to_owned(), true.into())));
    }
    let authority = cluster.content("certificate-authority")?.map(|pem| base64::prelude::BASE64_STANDARD.encode(pem));
    info.extend(authority.map(|text| ("certificate-authority-data".to_owned(), text.into())));
    let extensions = cluster.node.get("extensions").and_then(|list| list.items()).unwrap_or_default();
    let own = extensions.iter().find(|item| item.get("name").and_then(|name| name.text()) == Some(CONFIG_NAME));
    let config = own.and_then(|item| item.get("extension")?.json());
    info.extend(config.map(|config| ("config".to_owned(), config)));
    Ok(info.into())
}

fn read_answer(printed: &[u8]) -> Result<Issued, &'static str> {
    let value: Value = serde_json::from_slice(printed).map_err(|_| "its answer is not JSON")?;
    let status = value.get("status").ok_or("its answer is no ExecCredential with a status")?;
    let text = |key: &str| status.get(key).and_then(Value::as_str).map(str::to_owned);
    let ends_at = match status.get("expirationTimestamp").filter(|end| !end.is_null()) {
        None => None,
        Some(end) => {
            let end: WallTime =
                serde_json::from_value(end.clone()).map_err(|_| "the end of its credentials is no time")?;
            Some(end.unix_seconds())
        }
    };
    let filled = |key: &str| text(key).filter(|text| !text.is_empty());
    let token = filled("token");
    match (filled("clientCertificateData"), filled("clientKeyData")) {
        (None, None) if token.is_none() => Err("its answer holds neither token nor certificate"),
        (Some(certificate), Some(key)) => Ok(Issued { token, certificate: Some((certificate, key)), ends_at }),
        (None, None) => Ok(Issued { token, certificate: None, ends_at }),
        _ => Err("its answer holds a certificate without its key, or a key without its certificate"),
    }
}
