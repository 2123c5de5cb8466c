//! `offloadctl probe api`: arguments to spec, and the run around the measurement.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::commands::address_args::AddressArgs;
use crate::commands::catalogue::Known;
use crate::commands::load_args::LoadArgs;
use crate::commands::measuring::Conduct;
use crate::commands::output_args::OutputArgs;
use crate::commands::value::{one_of, parse_bytes, parse_positive, parse_share, unique};
use crate::error::{Exit, Failure};
use crate::probe::api::{ApiSpec, CacheSpec, HttpChoice, OF_CACHE, OF_REQUESTS, Server, measure};
use crate::wire::TlsSpec;

const EXAMPLES: &str = "Examples:
  What curl shows, as distributions: a new connection for each request, phase by phase:
    offloadctl probe api https://api.example.com:6443/readyz --ca-file ca.pem --duration 1m
  A Kubernetes with its own share of the time, as the current context of a kubeconfig:
    offloadctl probe api --kubeconfig ~/.kube/config --path /api/v1/nodes
  How many requests a second fit through ten kept connections:
    offloadctl probe api http://127.0.0.1:8080/ --reuse --concurrency 10 --duration 10s
  What a cache in front of the API server would save, for a list that is read each 5 s today:
    offloadctl probe api --kubeconfig ~/.kube/config --cache --path /api/v1/nodes --interval 5s
  Fail a CI job when lists got slow:
    offloadctl probe api --in-cluster --fail-if 'api.request.p95 > 500ms'";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ApiArgs {
    /// The server: http:// or https://, or a name of offload.toml; a path in it is the one that is asked for, or with
    /// --path the one below which all lie
    // As text, because clap repeats what it cannot parse, and there may be a password in it.
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// The server and the login of a kubeconfig instead, or of a list as in KUBECONFIG; its credential plugin is run
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "in_cluster"])]
    kubeconfig: Option<PathBuf>,
    /// Which context of the kubeconfig [default: its current one]; alone, of KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "NAME", conflicts_with_all = ["url", "in_cluster"])]
    context: Option<String>,
    /// The API server of the cluster in which this program runs, as its service account
    #[arg(long, conflicts_with = "url")]
    in_cluster: bool,
    /// What to ask for; may repeat, each path is measured on its own [default: /api/v1/namespaces]
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,
    /// Keep connections; otherwise each request has one of its own
    #[arg(long)]
    reuse: bool,
    /// Read one list through etcd, from the server's watch cache and by an informer of our own: what a cache would save, and
    /// how late it is [default path: /api/v1/nodes]
    #[arg(long, conflicts_with = "reuse")]
    cache: bool,
    /// With --cache: how often a client reads the list today, for the requests an hour
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_positive, requires = "cache")]
    interval: Duration,
    /// With --cache: the same through this caching proxy too, which is told the login
    #[arg(long, value_name = "URL", requires = "cache")]
    via: Option<String>,
    /// Which HTTP to speak; auto takes what the server prefers
    #[arg(long, value_name = "VERSION", default_value_t, value_parser = one_of::<HttpChoice>(HttpChoice::NAMES))]
    http: HttpChoice,
    /// Longest body that is read; a longer one is a failure
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_bytes)]
    max_body: u64,
    /// Take these statuses for success too: others outside 200 to 399 are errors
    #[arg(long, value_name = "STATUS,...", value_delimiter = ',', value_parser = parse_status)]
    expect_status: Vec<u16>,
    #[command(flatten)]
    address: AddressArgs,
    /// Exit 1 if more of a path's attempts than this stay unanswered; total loss always does
    #[arg(long, value_name = "SHARE", default_value = "100%", value_parser = parse_share)]
    max_loss: f64,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Trust and login")]
struct TrustArgs {
    /// Trust these certificate authorities instead of this host's
    #[arg(long, value_name = "FILE.pem")]
    ca_file: Option<PathBuf>,
    /// Show this certificate to the server
    #[arg(long, value_name = "FILE.pem")]
    client_cert: Option<PathBuf>,
    /// The private key of that certificate
    #[arg(long, value_name = "FILE.pem")]
    client_key: Option<PathBuf>,
    /// Send the bearer token in this file; it is read again when it changes
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Do not check the server's certificate; it stands in the run
    #[arg(long)]
    insecure: bool,
}

/// Measures, and ends with the verdict.
///
/// # Errors
/// When the arguments cannot be meant, nothing can be measured, or the run cannot be written.
pub fn run(args: &ApiArgs) -> Result<Exit, Failure> {
    let spec = args.spec()?;
    let (measurement, known) = match spec.cache {
        Some(_) => (&OF_CACHE, Known::new("read", ["quorum", "watch_cache", "informer"])),
        None => (&OF_REQUESTS, Known::new("path", spec.paths.clone())),
    };
    let conduct = Conduct::driven(measurement, &spec, &spec.load, spec.max_loss_ratio, &args.output);
    let conduct = Conduct { known, ..conduct };
    conduct
        .run(async |session| measure(&spec, session).await.map_err(|error| Failure::unable(&error).hint(error.hint())))
}

/// Where kubectl looks for a kubeconfig that nobody named.
fn usual_kubeconfig() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("KUBECONFIG").or_else(|| Some(set("HOME")?.join(".kube/config")))
}

impl ApiArgs {
    fn server(&self) -> Result<Server, Failure> {
        let file = self.kubeconfig.clone().or_else(|| self.context.as_ref().and_then(|_| usual_kubeconfig()));
        match (&self.url, file) {
            (Some(url), _) => {
                let config = self.output.show.config()?;
                config.target(url).unwrap_or(url).parse().map(Server::Url).map_err(Failure::usage)
            }
            (None, Some(file)) => Ok(Server::Kubeconfig { file, context: self.context.clone() }),
            (None, None) if self.in_cluster => Ok(Server::InCluster),
            (None, None) => {
                Err(Failure::plain(Exit::Usage, "no server: give a URL, --kubeconfig FILE or --in-cluster")
                    .hint("see `offloadctl probe api --help`"))
            }
        }
    }

    fn cache_spec(&self) -> Result<Option<CacheSpec>, Failure> {
        if !self.cache {
            return Ok(None);
        }
        let config = self.output.show.config()?;
        let via = self.via.as_ref().map(|url| config.target(url).unwrap_or(url).parse());
        Ok(Some(CacheSpec { interval: self.interval, via: via.transpose().map_err(Failure::usage)? }))
    }

    fn spec(&self) -> Result<ApiSpec, Failure> {
        let spec = ApiSpec {
            server: self.server()?,
            paths: unique(self.path.iter().cloned()),
            reuse: self.reuse,
            http: self.http,
            tls: TlsSpec {
                ca_file: self.trust.ca_file.clone(),
                client_cert: self.trust.client_cert.clone(),
                client_key: self.trust.client_key.clone(),
                insecure: self.trust.insecure,
            },
            token_file: self.trust.token_file.clone(),
            reach: self.address.reach(),
            max_body_bytes: self.max_body,
            expected_statuses: unique(self.expect_status.iter().copied()),
            load: self.load.spec().map_err(|text| Failure::plain(Exit::Usage, text))?,
            max_loss_ratio: self.max_loss,
            cache: self.cache_spec()?,
        };
        spec.checked().map_err(|error| Failure::usage(error).hint("see `offloadctl probe api --help`"))
    }
}

/// A status code of HTTP.
fn parse_status(text: &str) -> Result<u16, String> {
    let status = text.parse().ok().filter(|status| (100..600).contains(status));
    status.ok_or_else(|| "it is not a status from 100 to 599".to_owned())
}
