//! How the server of a run is reached, as other commands take it: what the report advises runs as it stands. Pure.
//!
//! Separate because an advice without the path, the authority or the kubeconfig of the run leads to another server, or to none.

use super::spec::{ApiSpec, Server};
use crate::model::shell::{push, word};
use crate::wire::Url;

/// The server of a run in the words of command lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    host: String,
    /// Host and port.
    authority: String,
    /// `offloadctl probe api` and what leads it to the server.
    probe_api: String,
    /// Which addresses, and from where.
    reach: String,
    /// `kubectl` and what leads it to the server.
    kubectl: String,
}

impl Way {
    /// The way to the server of this spec, which is at this URL.
    #[must_use]
    pub fn new(spec: &ApiSpec, url: &Url) -> Self {
        let host = url.socket_host().into_owned();
        let authority =
            if host.contains(':') { format!("[{host}]:{}", url.port) } else { format!("{host}:{}", url.port) };
        let mut probe_api = "offloadctl probe api".to_owned();
        let (mut kubectl, mut list) = (String::new(), String::new());
        match &spec.server {
            Server::Url(url) => {
                let url = url.to_string();
                let url = url.trim_end_matches('/');
                probe_api.push_str(&format!(" {}", word(url)));
                push(&mut kubectl, "--server", url);
            }
            Server::Kubeconfig { file, context } => {
                push(&mut probe_api, "--kubeconfig", file.display());
                // It takes one file by its option, and several by the variable.
                match file.to_string_lossy().contains(':') {
                    true => list = format!("KUBECONFIG={} ", word(file.display())),
                    false => push(&mut kubectl, "--kubeconfig", file.display()),
                }
                if let Some(context) = context {
                    push(&mut probe_api, "--context", context);
                    push(&mut kubectl, "--context", context);
                }
            }
            Server::InCluster => probe_api.push_str(" --in-cluster"),
        }
        let reach = spec.reach.options();
        probe_api.push_str(&reach);
        probe_api.push_str(&spec.tls.options());
        spec.token_file.iter().for_each(|file| push(&mut probe_api, "--token-file", file.display()));
        trust(&mut kubectl, spec);
        Self { host, authority, probe_api, reach, kubectl: format!("{list}kubectl{kubectl}") }
    }

    /// Looks the name up.
    #[must_use]
    pub fn lookup(&self) -> String {
        format!("getent ahosts {}", word(&self.host))
    }

    /// Measures the path to the server.
    #[must_use]
    pub fn probe_rtt(&self) -> String {
        format!("offloadctl probe rtt {}{}", word(format_args!("api={}", self.authority)), self.reach)
    }

    /// Asks for this path on kept connections.
    #[must_use]
    pub fn probe_kept(&self, path: &str) -> String {
        format!("{} --path {} --reuse", self.probe_api, word(path))
    }

    /// Asks the API server for what is no resource.
    #[must_use]
    pub fn kubectl_raw(&self, path: &str) -> String {
        format!("{} get --raw {path}", self.kubectl)
    }
}

/// Whom kubectl trusts, and who it says it is.
fn trust(line: &mut String, spec: &ApiSpec) {
    let tls = &spec.tls;
    let files = [
        ("--certificate-authority", &tls.ca_file),
        ("--client-certificate", &tls.client_cert),
        ("--client-key", &tls.client_key),
    ];
    for (option, file) in files {
        file.iter().for_each(|file| push(line, option, file.display()));
    }
    if tls.insecure {
        line.push_str(" --insecure-skip-tls-verify");
    }
    if let Some(file) = &spec.token_file {
        // It takes the token itself alone, which the shell reads then.
        line.push_str(&format!(" --token \"$(cat {})\"", word(file.display())));
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::tests::spec;
    use super::*;

    #[test]
    fn a_command_keeps_what_led_to_the_server() {
        let mut of_url = spec("https://[fe80::1%25lo]:6443/k8s/c1/", &["/version?a=b"]);
        of_url.tls.ca_file = Some("my ca.pem".into());
        of_url.token_file = Some("token".into());
        of_url.reach.family = crate::sys::resolve::Family::V6;
        let Server::Url(url) = of_url.server.clone() else { return };
        let way = Way::new(&of_url, &url);
        let kept =
            "offloadctl probe api https://[fe80::1%25lo]:6443/k8s/c1 -6 --ca-file 'my ca.pem' --token-file token";
        assert_eq!(
            way.probe_kept("/version?a=b"),
            format!("{kept} --path '/version?a=b' --reuse")
                .replace("https://[fe80::1%25lo]:6443/k8s/c1", "'https://[fe80::1%25lo]:6443/k8s/c1'")
        );
        assert_eq!(way.probe_rtt(), "offloadctl probe rtt 'api=[fe80::1%lo]:6443' -6");
        let kubectl = "--certificate-authority 'my ca.pem' --token \"$(cat token)\" get --raw /metrics";
        assert_eq!(
            way.kubectl_raw("/metrics"),
            format!("kubectl --server 'https://[fe80::1%25lo]:6443/k8s/c1' {kubectl}")
        );
    }

    #[test]
    fn a_kubeconfig_stays_one() {
        let mut of_file = spec("https://h", &["/a"]);
        let Server::Url(url) = of_file.server.clone() else { return };
        let server = |file: &str| Server::Kubeconfig { file: file.into(), context: Some("c".into()) };
        of_file.server = server("a b");
        let way = Way::new(&of_file, &url);
        assert_eq!(way.probe_kept("/a"), "offloadctl probe api --kubeconfig 'a b' --context c --path /a --reuse");
        assert_eq!(way.kubectl_raw("/metrics"), "kubectl --kubeconfig 'a b' --context c get --raw /metrics");
        of_file.server = server("a:b");
        assert_eq!(Way::new(&of_file, &url).kubectl_raw("/x"), "KUBECONFIG=a:b kubectl --context c get --raw /x");
        of_file.server = Server::InCluster;
        assert_eq!(Way::new(&of_file, &url).probe_kept("/a"), "offloadctl probe api --in-cluster --path /a --reuse");
        assert_eq!(Way::new(&of_file, &url).lookup(), "getent ahosts h");
    }
}
