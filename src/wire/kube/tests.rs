//! Kubeconfig files as people have them, read to the end: what they lead to, and what is said of those that lead nowhere.

use std::fs;

use super::*;

const CONFIG: &str = "apiVersion: v1
kind: Config
current-context: a
clusters:
- {name: c, cluster: {server: 'https://10.0.0.1:6443', tls-server-name: kubernetes}}
- {name: bare, cluster: {server: '10.0.0.1:8080', proxy-url: 'http://proxy'}}
- {name: lax, cluster: {server: 10.0.0.1, insecure-skip-tls-verify: yes}}
- {name: none, cluster: {}}
- {name: odd, cluster: {server: 'https://a', insecure-skip-tls-verify: perhaps}}
contexts:
- {name: a, context: {cluster: c, user: token}}
- {name: b, context: {cluster: c, user: exec}}
- {name: bare, context: {cluster: bare}}
- {name: lax, context: {cluster: lax}}
- {name: none, context: {cluster: none}}
- {name: odd, context: {cluster: odd}}
- {name: certificate, context: {cluster: c, user: certificate}}
- {name: password, context: {cluster: c, user: password}}
- {name: provider, context: {cluster: c, user: provider}}
- {name: nested, context: {cluster: c, user: nested}}
- {name: both, context: {cluster: c, user: both}}
- {name: nameless, context: {cluster: c, user: nameless}}
- {name: lost, context: {cluster: nowhere, user: token}}
- {name: stranger, context: {cluster: c, user: nobody}}
users:
- name: token
  user: {token: secret, as: somebody, as-uid: 7, as-groups: [g, h], as-user-extra: {example.com/Scope: [x, y], a%b: [z]}}
- {name: exec, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, args: [-c, 'SCRIPT'], env: [{name: GREETING, value: hello}], provideClusterInfo: true}}}
- {name: certificate, user: {client-certificate-data: '%%', client-key-data: AAAA}}
- {name: password, user: {username: u, password: secret}}
- {name: provider, user: {auth-provider: {name: gcp}}}
- {name: nested, user: {token: [secret]}}
- {name: both, user: {username: u, password: secret, token: secret}}
- {name: nameless, user: {as-groups: [g]}}
";

async fn load(text: &str, context: Option<&str>) -> Result<Identity, KubeError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    from_file(file.path(), context).await
}

/// The error with its sources.
async fn refusal(text: &str, context: &str) -> String {
    crate::model::with_causes(&load(text, Some(context)).await.err().unwrap())
}

#[tokio::test]
async fn a_context_leads_to_a_server_and_a_login() {
    let identity = load(&format!("\u{feff}{CONFIG}"), None).await.unwrap();
    assert_eq!(identity.url.to_string(), "https://10.0.0.1:6443/");
    assert_eq!(identity.server_name.as_deref(), Some("kubernetes"));
    assert!(matches!(&identity.login, Login::Token(token) if token == "secret"));
    let headers: Vec<String> = identity.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = [
        "impersonate-user=somebody",
        "impersonate-uid=7",
        "impersonate-group=g",
        "impersonate-group=h",
        "impersonate-extra-example.com%2FScope=x",
        "impersonate-extra-example.com%2FScope=y",
        "impersonate-extra-a%25b=z",
    ];
    assert_eq!(headers, expected);
    let password = load(CONFIG, Some("password")).await.unwrap().login;
    assert!(matches!(password, Login::Basic(user, password) if (user.as_str(), password.as_str()) == ("u", "secret")));
}

#[tokio::test]
async fn a_server_without_a_scheme_is_secure_where_anything_says_how() {
    let bare = load(CONFIG, Some("bare")).await.unwrap();
    assert_eq!(bare.url.to_string(), "http://10.0.0.1:8080/");
    assert!(bare.warnings[0].contains("a proxy is configured") && matches!(bare.login, Login::Nobody));
    let lax = load(CONFIG, Some("lax")).await.unwrap();
    assert_eq!((lax.url.to_string().as_str(), lax.pem.insecure), ("https://10.0.0.1/", true));
}

#[tokio::test]
async fn a_plugin_is_asked_and_its_token_has_an_end() {
    let script = r#"echo "{\"status\":{\"token\":\"$GREETING $(echo "$KUBERNETES_EXEC_INFO" | tr -d \\\")\",\"expirationTimestamp\":\"2030-01-01T00:00:00Z\"}}""#;
    let text = CONFIG.replace("SCRIPT", &script.replace('\'', "''"));
    let identity = load(&text, Some("b")).await.unwrap();
    let Login::Plugin(_, issued) = identity.login else { panic!("no plugin") };
    let token = issued.token.unwrap();
    assert!(token.starts_with("hello {apiVersion:client.authentication.k8s.io/v1"), "{}", token);
    assert!(token.contains("cluster:{server:https://10.0.0.1:6443,tls-server-name:kubernetes}"), "{}", token);
    assert_eq!(issued.ends_at, Some(1_893_456_000));
}

#[tokio::test]
async fn a_plugin_that_fails_says_so() {
    let with = |script: &str| CONFIG.replace("SCRIPT", script);
    let text = refusal(&with("echo log in first >&2; exit 1"), "b").await;
    assert!(text.contains("plugin `sh` gave no credentials") && text.contains("log in first"), "{text}");
    assert!(refusal(&with("echo hello"), "b").await.contains("not JSON"));
    assert!(refusal(&with("echo \"{}\""), "b").await.contains("status"));
    let asks = CONFIG.replace("provideClusterInfo: true", "interactiveMode: Always");
    assert!(refusal(&asks, "b").await.contains("wants a credential plugin that asks its user"));
}

#[tokio::test]
async fn what_is_malformed_is_told_without_its_secrets() {
    let broken = CONFIG.replace("password: secret", "password: [secret");
    let text = refusal(&broken, "a").await;
    assert!(text.contains("is not a kubeconfig: it is wrong at line") && !text.contains("secret"), "{text}");
    let cases = [
        ("lost", "the context `lost` names the cluster `nowhere`, which is not there"),
        ("stranger", "the context `stranger` names the user `nobody`, which is not there"),
        ("missing", "it has no context `missing`; there are `a`, `b`, `bare`"),
        ("none", "the cluster `none` names no server (line 8)"),
        ("odd", "the `insecure-skip-tls-verify` of the cluster `odd` is neither true nor false (line 9)"),
        ("certificate", "the `client-certificate-data` of the user `certificate` is not base64 (line 29)"),
        ("nested", "the `token` of the user `nested` is not a single value (line 32)"),
        ("both", "the user `both` has a password and a token"),
        ("nameless", "the user `nameless` wants to act with rights of somebody"),
        ("provider", "wants the authentication provider `gcp`, which this program does not do"),
    ];
    for (context, expected) in cases {
        let text = refusal(CONFIG, context).await;
        assert!(text.contains(expected) && !text.contains("secret") && !text.contains("%%"), "{context}: {text}");
    }
    let error = load("", None).await.err().unwrap().to_string();
    assert!(error.ends_with("cannot be used: it has no current context and none to choose from"), "{error}");
    assert!(refusal(&CONFIG.replace("https://10", "ftp://10"), "a").await.contains("server that cannot be asked"));
}

#[tokio::test]
async fn data_may_be_broken_into_lines_and_files_lie_beside() {
    let folder = tempfile::tempdir().unwrap();
    let text = "
current-context: a
clusters:
- name: c
  cluster:
    server: https://a
    certificate-authority-data: |
      YWJj
      ZGVm
contexts:
- {name: a, context: {cluster: c, user: u}}
users:
- name: u
  user:
    client-certificate-data: \"YWJj\\r\\nZGVm \"
    client-key: key.pem
    token: old
    tokenFile: token
";
    fs::write(folder.path().join("key.pem"), "the key").unwrap();
    fs::write(folder.path().join("config"), text).unwrap();
    let identity = from_file(&folder.path().join("config"), None).await.unwrap();
    assert_eq!(identity.pem.ca.as_deref(), Some(&b"abcdef"[..]));
    assert_eq!(identity.pem.client_cert.as_deref(), Some(&b"abcdef"[..]));
    assert_eq!(identity.pem.client_key.as_deref(), Some(&b"the key"[..]));
    let Login::File { path, before } = identity.login else { panic!("no file") };
    assert_eq!((path, before.as_deref()), (folder.path().join("token"), Some("old")));
}

#[tokio::test]
async fn a_pipe_is_read_once_and_up_to_the_limit() {
    use std::os::fd::AsRawFd as _;
    let (reader, writer) = std::io::pipe().unwrap();
    let text = CONFIG.to_owned();
    let feeding = std::thread::spawn(move || std::io::Write::write_all(&mut &writer, text.as_bytes()));
    let path = format!("/dev/fd/{}", reader.as_raw_fd());
    let identity = from_file(Path::new(&path), None).await.unwrap();
    assert_eq!(identity.url.to_string(), "https://10.0.0.1:6443/");
    feeding.join().unwrap().unwrap();
    let error = from_file(Path::new("/dev/zero"), None).await.err().unwrap();
    assert!(crate::model::with_causes(&error).ends_with("`/dev/zero`: longer than 4 MiB"), "{error}");
}
