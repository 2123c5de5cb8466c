//! Who the user of a kubeconfig is to the server: certificate, password, token, plugin, and in whose name.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Login;
use super::error::KubeError;
use super::exec::ExecPlugin;
use super::part::Part;
use crate::wire::TrustPem;

/// What has to be escaped in the name of a header, as client-go does it: all but the characters of a token of RFC 9110,
/// and the percent sign itself.
const IN_HEADER_NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'*')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The login of a user; the certificate of a plugin is put into `pem`.
///
/// # Errors
/// When something about it is not understood, or its plugin gives nothing.
pub async fn log_in(user: &Part, cluster: &Part, pem: &mut TrustPem) -> Result<Login, KubeError> {
    if let Some(provider) = user.part("auth-provider")? {
        let name = provider.text("name")?.unwrap_or_default();
        let what = format!("the authentication provider `{name}`");
        return Err(KubeError::Unsupported { path: user.file.clone(), what });
    }
    let has_token = user.text("token")?.is_some() || user.text("tokenFile")?.is_some();
    match (user.text("username")?, user.text("password")?) {
        (None, None) => {}
        _ if has_token => {
            let what = format!("{} has a password and a token, of which one alone can be sent", user.what);
            return Err(user.error(Some(user.node.line), what));
        }
        (name, password) => return Ok(Login::Basic(name.unwrap_or_default(), password.unwrap_or_default())),
    }
    match (user.path("tokenFile")?, user.text("token")?) {
        // The token is what was in the file when somebody wrote it down.
        (Some(path), before) => return Ok(Login::File { path, before }),
        (None, Some(token)) => return Ok(Login::Token(token)),
        (None, None) => {}
    }
    let Some(exec) = user.part("exec")? else { return Ok(Login::Nobody) };
    let plugin = ExecPlugin::new(&exec, cluster)?;
    let answer = plugin.ask().await?;
    if let Some((certificate, key)) = &answer.certificate {
        pem.client_cert = Some(certificate.clone().into_bytes());
        pem.client_key = Some(key.clone().into_bytes());
    }
    Ok(Login::Plugin(Arc::new(plugin), answer))
}

/// The headers that ask the server to act in somebody else's name.
///
/// # Errors
/// When something about it is not understood.
pub fn impersonation(user: &Part) -> Result<Vec<(String, String)>, KubeError> {
    let mut headers = Vec::new();
    for (key, name) in [("as", "impersonate-user"), ("as-uid", "impersonate-uid")] {
        headers.extend(user.text(key)?.map(|value| (name.to_owned(), value)));
    }
    headers.extend(user.texts("as-groups")?.into_iter().map(|group| ("impersonate-group".to_owned(), group)));
    if let Some(extra) = user.part("as-user-extra")? {
        for (key, _) in extra.node.pairs() {
            let name = format!("impersonate-extra-{}", utf8_percent_encode(key, IN_HEADER_NAME));
            headers.extend(extra.texts(key)?.into_iter().map(|value| (name.clone(), value)));
        }
    }
    if user.text("as")?.is_none() && !headers.is_empty() {
        let what = format!("{} wants to act with rights of somebody, and `as` does not say of whom", user.what);
        return Err(user.error(Some(user.node.line), what));
    }
    Ok(headers)
}
