//! The packages that cargo resolves for this repository, for every feature and platform.
//!
//! Separate from the licence check so that the check itself runs no program.

use std::process::Command;

use serde::Deserialize;

/// What we need to know of one package.
#[derive(Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub license: Option<String>,
    pub source: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// All packages of the lock file, without the network where their sources are already here.
pub fn packages() -> Vec<Package> {
    let text = run(&["--offline"]).or_else(|_| run(&[])).unwrap_or_else(|why| panic!("cargo metadata failed: {why}"));
    let metadata: Metadata =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("cargo metadata is not what we read: {error}"));
    metadata.packages
}

fn run(further: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--all-features"])
        .args(further)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_among_our_packages() {
        let ours = packages().into_iter().find(|package| package.name == env!("CARGO_PKG_NAME"));
        assert_eq!(ours.map(|package| package.source), Some(None));
    }
}
