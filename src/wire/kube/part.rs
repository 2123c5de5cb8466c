//! One entry of a kubeconfig and the values in it, each with the error that names its key, its file and its line.
//!
//! Separate because whoever reads a cluster or a user asks for the same few kinds of value, and none may show one.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::KubeError;
use super::yaml::Node;
use crate::sys::file;

/// Longest kubeconfig, certificate or key that is read.
pub const LONGEST_FILE: u64 = 4 << 20;

/// A cluster, a user, or a part of one.
#[derive(Clone)]
pub struct Part {
    /// The file in which it stands; relative paths in it begin there.
    pub file: PathBuf,
    /// What it is, for a person.
    pub what: String,
    /// Its keys and values.
    pub node: Node,
}

impl Part {
    /// One value; nothing where it is empty.
    pub fn text(&self, key: &str) -> Result<Option<String>, KubeError> {
        let Some(node) = self.node.get(key) else { return Ok(None) };
        let text = node.text().ok_or_else(|| self.wrong(key, node, "is not a single value"))?;
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    /// A value that is true or false, or one of the other words for it that Go knows.
    pub fn flag(&self, key: &str) -> Result<bool, KubeError> {
        let Some(node) = self.node.get(key) else { return Ok(false) };
        match node.text().map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "yes" | "on" | "y") => Ok(true),
            Some("false" | "no" | "off" | "n" | "") => Ok(false),
            _ => Err(self.wrong(key, node, "is neither true nor false")),
        }
    }

    /// A list of values.
    pub fn texts(&self, key: &str) -> Result<Vec<String>, KubeError> {
        let Some(node) = self.node.get(key) else { return Ok(Vec::new()) };
        let wrong = || self.wrong(key, node, "is not a list of single values");
        let items = node.items().ok_or_else(wrong)?;
        items.iter().map(|item| item.text().map(str::to_owned).ok_or_else(wrong)).collect()
    }

    /// A part of it with keys of its own.
    pub fn part(&self, key: &str) -> Result<Option<Self>, KubeError> {
        let Some(node) = self.node.get(key) else { return Ok(None) };
        if !node.is_map() {
            return Err(self.wrong(key, node, "holds no keys"));
        }
        let what = format!("the `{key}` of {}", self.what);
        Ok(Some(Self { file: self.file.clone(), what, node: node.clone() }))
    }

    /// The place of a file; a relative one begins at the kubeconfig's folder.
    pub fn path(&self, key: &str) -> Result<Option<PathBuf>, KubeError> {
        Ok(self.text(key)?.map(|text| self.beside(Path::new(&text))))
    }

    /// A path as it is meant in this file.
    pub fn beside(&self, path: &Path) -> PathBuf {
        self.file.parent().map_or_else(|| path.to_owned(), |folder| folder.join(path))
    }

    /// What a file holds, or what stands in its place in base64, under `KEY-data`.
    pub fn content(&self, key: &str) -> Result<Option<Vec<u8>>, KubeError> {
        let inline = format!("{key}-data");
        if let Some(text) = self.text(&inline)? {
            // Broken into lines, as `base64` prints it.
            let whole: String = text.split_ascii_whitespace().collect();
            let node = self.node.get(&inline).unwrap_or(&self.node);
            return STANDARD.decode(whole).map(Some).map_err(|_| self.wrong(&inline, node, "is not base64"));
        }
        let Some(path) = self.path(key)? else { return Ok(None) };
        file::read(&path, LONGEST_FILE).map(Some).map_err(|source| KubeError::File { path, source })
    }

    /// What is wrong with the value of a key.
    fn wrong(&self, key: &str, node: &Node, what: &str) -> KubeError {
        self.error(Some(node.line), format!("the `{key}` of {} {what}", self.what))
    }

    /// What is wrong with it.
    pub fn error(&self, line: Option<u64>, what: String) -> KubeError {
        KubeError::Content { path: self.file.clone(), line, what }
    }
}
