//! Why a kubeconfig, a plugin or a pod leads to no server, or to nobody who may ask it; no message quotes what may be a secret.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use crate::sys::plugin::PluginError;
use crate::wire::UrlError;

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
    #[error("`{}` is not a kubeconfig: it is wrong at line {line}", path.display())]
    Form {
        /// Which file.
        path: PathBuf,
        /// In which line.
        line: u64,
    },
    /// A kubeconfig that does not say enough, or says it in a way that we do not understand.
    #[error("the kubeconfig `{}` cannot be used: {what}{}", path.display(), place(*line))]
    Content {
        /// Which file.
        path: PathBuf,
        /// In which line, where it is written at all.
        line: Option<u64>,
        /// What is wrong.
        what: String,
    },
    /// Its server.
    #[error("the kubeconfig `{}` names a server that cannot be asked", path.display())]
    Server {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: UrlError,
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
    #[error("this process does not run inside of a Kubernetes cluster: {variable} is not set")]
    Outside {
        /// What every pod has and this process has not.
        variable: &'static str,
    },
    /// Inside of a cluster, but without what a service account brings.
    #[error("the service account of this pod is not there: cannot read `{}`", path.display())]
    Account {
        /// Which of its files.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The address of the server that this cluster names.
    #[error("the cluster names a server that cannot be asked")]
    Inside(#[source] UrlError),
}

impl KubeError {
    /// The next step; a kubeconfig may bring its own.
    #[must_use]
    pub fn hint(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Plugin { install_hint: Some(text), .. } => {
                return Cow::Owned(format!("the kubeconfig says: {}", text.trim()));
            }
            Self::Plugin { .. } | Self::Answer { .. } => {
                "run the plugin by hand, log in with it, or give a token with --token-file"
            }
            Self::Outside { .. } => "give a URL, or --kubeconfig FILE",
            Self::Account { .. } => {
                "set automountServiceAccountToken for the pod, or give a URL with --ca-file and --token-file"
            }
            Self::Unsupported { .. } => "give the URL, with --token-file or --client-cert",
            _ => "`kubectl config view --kubeconfig FILE` shows what kubectl makes of it",
        })
    }
}

fn place(line: Option<u64>) -> String {
    line.map_or_else(String::new, |line| format!(" (line {line})"))
}
