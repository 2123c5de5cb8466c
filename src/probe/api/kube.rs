//! Where a Kubernetes is and who we are to it: kubeconfig files, credential plugins, and the identity inside of a cluster.
//!
//! The only file that knows the kube crate, of which we use the configuration and not the client: connections are opened
//! and stamped by ourselves. Plugins are run by ourselves too, because one that hangs must be stopped.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::{
    AuthInfo, Config, ExecConfig, ExecInteractiveMode, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::credentials::Login;
use crate::model::WallTime;
use crate::sys::plugin::{Plugin, PluginError};
use crate::wire::{TrustPem, Url, UrlError};

/// Longest kubeconfig, certificate or key that is read.
const LONGEST_FILE: u64 = 4 << 20;

/// How long a credential plugin may take. Those of the clouds ask a service and need a second or two.
const PLUGIN_LIMIT: Duration = Duration::from_secs(10);

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

/// A token and its end, in seconds of the Unix time.
#[derive(Clone)]
pub struct Token {
    /// The token itself.
    pub text: String,
    /// When it ends, if that is known.
    pub ends_at: Option<i64>,
}

/// A configuration that leads to no server.
#[derive(Debug, thiserror::Error)]
pub enum KubeError {
    /// A file that cannot be read.
    #[error("cannot read `{}`", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a kubeconfig. The parser's own words may quote a token and are left out.
    #[error("`{}` is not a kubeconfig: it is wrong{}", path.display(), place(*line))]
    Form {
        /// Which file.
        path: PathBuf,
        /// In which line.
        line: Option<u64>,
    },
    /// A kubeconfig that does not say enough.
    #[error("the kubeconfig `{}` cannot be used", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: Box<KubeconfigError>,
    },
    /// Its server.
    #[error("the kubeconfig `{}` names a server that cannot be asked", path.display())]
    Server {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: UrlError,
    },
    /// A certificate or key that is no base64.
    #[error("the kubeconfig `{}` holds a {what} that is not base64", path.display())]
    Data {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
    },
    /// A way to log in that we do not have.
    #[error("the kubeconfig `{}` wants {what}, which this program does not do", path.display())]
    Unsupported {
        /// Which file.
        path: PathBuf,
        /// What it wants.
        what: String,
    },
    /// A plugin that gives no answer.
    #[error("the credential plugin `{program}` gave no credentials")]
    Plugin {
        /// Its program.
        program: String,
        /// How to get it, as the kubeconfig says.
        install_hint: Option<String>,
        /// Why.
        source: PluginError,
    },
    /// A plugin whose answer is none.
    #[error("the credential plugin `{program}` gave no credentials: {what}")]
    Answer {
        /// Its program.
        program: String,
        /// What it answered instead.
        what: &'static str,
    },
    /// Not inside of a cluster.
    #[error("this process does not run inside of a Kubernetes cluster")]
    Outside(#[source] Box<InClusterError>),
    /// The address of the server that this cluster names.
    #[error("the cluster names a server that cannot be asked")]
    Inside(#[source] UrlError),
}

fn place(line: Option<u64>) -> String {
    line.map_or_else(String::new, |line| format!(" at line {line}"))
}

/// A plugin as a kubeconfig names it.
pub struct ExecPlugin {
    plugin: Plugin,
    program: String,
    install_hint: Option<String>,
}

/// What a plugin answers.
struct ExecAnswer {
    token: Option<Token>,
    certificate: Option<(String, String)>,
}

/// Reads a kubeconfig, and runs its plugin if it has one.
///
/// # Errors
/// When it is missing, malformed, or leads to no server or no login.
pub async fn from_file(path: &Path, context: Option<&str>) -> Result<Identity, KubeError> {
    check_length(path)?;
    let parsed = Kubeconfig::read_from(path).map_err(|error| unreadable(path, error))?;
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(parsed, &options).await;
    let config = config.map_err(|source| KubeError::Content { path: path.to_owned(), source: Box::new(source) })?;
    let url = config.cluster_url.to_string().parse();
    let url = url.map_err(|source| KubeError::Server { path: path.to_owned(), source })?;
    let mut identity = identity(&config, url);
    let user = &config.auth_info;
    identity.pem.client_cert =
        data(path, "client certificate", user.client_certificate_data.as_deref(), &user.client_certificate)?;
    let key = user.client_key_data.as_ref().map(SecretString::expose_secret);
    identity.pem.client_key = data(path, "client key", key, &user.client_key)?;
    identity.headers = impersonation(user);
    if let Some(provider) = &user.auth_provider {
        let what = format!("the authentication provider `{}`", provider.name);
        return Err(KubeError::Unsupported { path: path.to_owned(), what });
    }
    identity.login = log_in(path, user, &mut identity.pem).await?;
    Ok(identity)
}

/// The identity of the pod in which this process runs.
///
/// # Errors
/// When it runs in none.
pub fn in_cluster() -> Result<Identity, KubeError> {
    let config = Config::incluster().map_err(|error| KubeError::Outside(Box::new(error)))?;
    let mut identity = identity(&config, config.cluster_url.to_string().parse().map_err(KubeError::Inside)?);
    if let Some(file) = &config.auth_info.token_file {
        identity.login = Login::File(file.into());
    }
    Ok(identity)
}

fn identity(config: &Config, url: Url) -> Identity {
    let proxy = config.proxy_url.as_ref().map(|_| {
        "a proxy is configured (in the kubeconfig or HTTPS_PROXY) and is not used: the server itself is measured"
            .to_owned()
    });
    Identity {
        url,
        server_name: config.tls_server_name.clone(),
        pem: TrustPem {
            ca: config
                .root_cert
                .as_ref()
                .map(|certificates| certificates.iter().map(|der| pem(der)).collect::<String>().into()),
            insecure: config.accept_invalid_certs,
            ..TrustPem::default()
        },
        login: Login::Nobody,
        headers: Vec::new(),
        warnings: proxy.into_iter().collect(),
    }
}

/// A certificate in the form that our own TLS reads.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

async fn log_in(path: &Path, user: &AuthInfo, pem: &mut TrustPem) -> Result<Login, KubeError> {
    if let (Some(name), Some(password)) = (&user.username, &user.password) {
        return Ok(Login::Basic(name.clone(), password.expose_secret().to_owned()));
    }
    if let Some(token) = &user.token {
        return Ok(Login::Token(token.expose_secret().to_owned()));
    }
    if let Some(file) = &user.token_file {
        return Ok(Login::File(file.into()));
    }
    let Some(exec) = &user.exec else { return Ok(Login::Nobody) };
    let plugin = ExecPlugin::new(path, exec)?;
    let answer = plugin.ask().await?;
    if let Some((certificate, key)) = answer.certificate {
        pem.client_cert = Some(certificate.into_bytes());
        pem.client_key = Some(key.into_bytes());
    }
    Ok(answer.token.map_or(Login::Nobody, |token| Login::Plugin(Arc::new(plugin), token)))
}

impl ExecPlugin {
    fn new(path: &Path, exec: &ExecConfig) -> Result<Self, KubeError> {
        let unsupported = |what: &str| KubeError::Unsupported { path: path.to_owned(), what: what.to_owned() };
        if exec.interactive_mode == Some(ExecInteractiveMode::Always) {
            return Err(unsupported("a credential plugin that asks its user"));
        }
        let program = exec.command.clone().ok_or_else(|| unsupported("a credential plugin without a command"))?;
        let mut environment = Vec::new();
        for variable in exec.env.iter().flatten() {
            if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
                environment.push((name.into(), value.into()));
            }
        }
        // What client-go tells its plugins (client.authentication.k8s.io, ExecCredential).
        let cluster = exec.cluster.as_ref().and_then(|cluster| serde_json::to_value(cluster).ok());
        let mut info =
            json!({ "kind": "ExecCredential", "apiVersion": exec.api_version, "spec": { "interactive": false } });
        if let Some(cluster) = cluster {
            info["spec"]["cluster"] = cluster;
        }
        environment.push(("KUBERNETES_EXEC_INFO".into(), info.to_string().into()));
        let arguments = exec.args.clone().unwrap_or_default();
        let plugin = Plugin { program: PathBuf::from(&program), arguments, environment };
        Ok(Self { plugin, program, install_hint: exec.install_hint.clone() })
    }

    /// Runs it for a new token.
    ///
    /// # Errors
    /// When it fails, hangs, or gives none.
    pub async fn token(&self) -> Result<Token, KubeError> {
        let wrong = || KubeError::Answer { program: self.program.clone(), what: "its answer holds no token" };
        self.ask().await?.token.ok_or_else(wrong)
    }

    async fn ask(&self) -> Result<ExecAnswer, KubeError> {
        let printed = self.plugin.run(PLUGIN_LIMIT).await.map_err(|source| KubeError::Plugin {
            program: self.program.clone(),
            install_hint: self.install_hint.clone(),
            source,
        })?;
        read_answer(&printed).map_err(|what| KubeError::Answer { program: self.program.clone(), what })
    }
}

fn read_answer(printed: &[u8]) -> Result<ExecAnswer, &'static str> {
    let value: Value = serde_json::from_slice(printed).map_err(|_| "its answer is not JSON")?;
    let status = value.get("status").ok_or("its answer is no ExecCredential with a status")?;
    let text = |key: &str| status.get(key).and_then(Value::as_str).map(str::to_owned);
    let ends_at = match status.get("expirationTimestamp").filter(|end| !end.is_null()) {
        None => None,
        Some(end) => {
            let end: WallTime = serde_json::from_value(end.clone()).map_err(|_| "the end of its token is no time")?;
            Some(end.unix_seconds())
        }
    };
    let token = text("token").map(|text| Token { text, ends_at });
    let certificate = text("clientCertificateData").zip(text("clientKeyData"));
    match (token, certificate) {
        (None, None) => Err("its answer holds neither token nor certificate"),
        (token, certificate) => Ok(ExecAnswer { token, certificate }),
    }
}

fn impersonation(user: &AuthInfo) -> Vec<(String, String)> {
    let one = |name: &str, value: &Option<String>| value.clone().map(|value| (name.to_owned(), value));
    let groups = user.impersonate_groups.iter().flatten().map(|group| ("impersonate-group".to_owned(), group.clone()));
    let single = [one("impersonate-user", &user.impersonate), one("impersonate-uid", &user.impersonate_uid)];
    single.into_iter().flatten().chain(groups).collect()
}

fn data(
    path: &Path,
    what: &'static str,
    inline: Option<&str>,
    file: &Option<String>,
) -> Result<Option<Vec<u8>>, KubeError> {
    if let Some(inline) = inline {
        let wrong = |_| KubeError::Data { path: path.to_owned(), what };
        return STANDARD.decode(inline.trim()).map(Some).map_err(wrong);
    }
    let Some(file) = file else { return Ok(None) };
    let file = Path::new(file);
    check_length(file)?;
    fs::read(file).map(Some).map_err(|source| KubeError::File { path: file.to_owned(), source })
}

fn check_length(path: &Path) -> Result<(), KubeError> {
    let wrong = |source| KubeError::File { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(wrong)?;
    match metadata.is_file() && metadata.len() <= LONGEST_FILE {
        true => Ok(()),
        false => Err(wrong(io::Error::new(io::ErrorKind::InvalidInput, "it is no file, or longer than 4 MiB"))),
    }
}

fn unreadable(path: &Path, error: KubeconfigError) -> KubeError {
    let path = path.to_owned();
    match error {
        KubeconfigError::Parse(error) => {
            let line = error.location().map(|location| location.line()).filter(|line| *line > 0);
            KubeError::Form { path, line }
        }
        KubeconfigError::ReadConfig(source, _) => KubeError::File { path, source },
        source => KubeError::Content { path, source: Box::new(source) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "apiVersion: v1
kind: Config
current-context: a
clusters:
- {name: c, cluster: {server: 'https://10.0.0.1:6443', tls-server-name: kubernetes}}
contexts:
- {name: a, context: {cluster: c, user: token}}
- {name: b, context: {cluster: c, user: exec}}
- {name: certificate, context: {cluster: c, user: certificate}}
- {name: lost, context: {cluster: nowhere, user: token}}
users:
- {name: token, user: {token: secret, as: somebody}}
- {name: exec, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, args: [-c, 'SCRIPT']}}}
- {name: certificate, user: {client-certificate-data: '%%', client-key-data: AAAA}}
";

    async fn load(text: &str, context: Option<&str>) -> Result<Identity, KubeError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        from_file(file.path(), context).await
    }

    /// The error with its sources, without the name of the file.
    async fn refusal(text: &str, context: Option<&str>) -> String {
        use std::error::Error as _;
        let error = load(text, context).await.err().unwrap();
        let mut all = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            all += &format!(": {inner}");
            source = inner.source();
        }
        all
    }

    #[tokio::test]
    async fn a_context_leads_to_a_server_and_a_login() {
        let identity = load(CONFIG, None).await.unwrap();
        assert_eq!(identity.url.to_string(), "https://10.0.0.1:6443/");
        assert_eq!(identity.server_name.as_deref(), Some("kubernetes"));
        assert!(matches!(&identity.login, Login::Token(token) if token == "secret"));
        assert_eq!(identity.headers, [("impersonate-user".to_owned(), "somebody".to_owned())]);
    }

    #[tokio::test]
    async fn a_plugin_is_asked_and_its_token_has_an_end() {
        let script = r#"echo "{\"status\":{\"token\":\"t${KUBERNETES_EXEC_INFO:+old}\",\"expirationTimestamp\":\"2030-01-01T00:00:00Z\"}}""#;
        let text = CONFIG.replace("SCRIPT", &script.replace('\'', "''"));
        let identity = load(&text, Some("b")).await.unwrap();
        let Login::Plugin(_, token) = identity.login else { panic!("no plugin") };
        assert_eq!((token.text.as_str(), token.ends_at), ("told", Some(1_893_456_000)));
    }

    #[tokio::test]
    async fn a_plugin_that_fails_says_so() {
        let with = |script: &str| CONFIG.replace("SCRIPT", script);
        let text = refusal(&with("echo log in first >&2; exit 1"), Some("b")).await;
        assert!(text.contains("plugin `sh` gave no credentials") && text.contains("log in first"), "{text}");
        assert!(refusal(&with("echo hello"), Some("b")).await.contains("not JSON"));
        assert!(refusal(&with("echo \"{}\""), Some("b")).await.contains("status"));
    }

    #[tokio::test]
    async fn what_is_malformed_is_told_without_its_secrets() {
        let broken = CONFIG.replace("{name: token, user: {token: secret", "{name: token, user: [token: secret");
        let text = refusal(&broken, None).await;
        assert!(text.contains("is not a kubeconfig") && text.contains("at line"), "{text}");
        assert!(!text.contains("secret"), "{text}");
        assert!(refusal(CONFIG, Some("lost")).await.contains("nowhere"));
        assert!(refusal(CONFIG, Some("missing")).await.contains("missing"));
        assert!(refusal("", None).await.contains("cannot be used"));
        assert!(refusal(CONFIG, Some("certificate")).await.contains("client certificate that is not base64"));
        assert!(refusal(&CONFIG.replace("https://10", "ftp://10"), None).await.contains("server that cannot be asked"));
    }
}
