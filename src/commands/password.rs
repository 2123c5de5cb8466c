//! A user of etcd with the password, from a file or the environment.
//!
//! Separate because the bench and the gateway ask for it alike.

use std::path::Path;

use crate::error::{Exit, Failure};
use crate::sys::file::read_text;
use crate::wire::etcd::Login;

/// Longest password file.
const LONGEST_PASSWORD: u64 = 4096;

/// The login of this user; `None` without one. `option` is what names the file.
///
/// # Errors
/// When there is a user and no password.
pub fn login(user: Option<&str>, file: Option<&Path>, option: &str) -> Result<Option<Login>, Failure> {
    let Some(user) = user.map(str::to_owned) else { return Ok(None) };
    let password = match file {
        Some(path) => read_password(path)?,
        None => std::env::var("OFFLOADCTL_ETCD_PASSWORD").map_err(|_| {
            Failure::plain(Exit::Usage, format!("the user `{user}` needs a password"))
                .hint(format!("give {option} FILE, or set OFFLOADCTL_ETCD_PASSWORD"))
        })?,
    };
    Ok(Some(Login { user, password }))
}

fn read_password(path: &Path) -> Result<String, Failure> {
    let unreadable = |error| Failure::file("cannot read the password in", path, &error);
    let text = read_text(path, LONGEST_PASSWORD).map_err(unreadable)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
