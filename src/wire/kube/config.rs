//! Kubeconfig files, merged as the official client merges them, and the entries that a context chooses.
//!
//! Read entry by entry: of all that stands there only what is chosen has to be understood, for a file is often shared by
//! tools that know more kinds of entries than we do.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use super::error::KubeError;
use super::part::{LONGEST_FILE, Part};
use super::yaml::{self, Node};
use crate::sys::file;

/// Contexts that a message names.
const NAMES_SHOWN: usize = 10;

/// One or several files; of a name that stands in more than one, the first counts.
pub struct Kubeconfig {
    files: Vec<(PathBuf, Node)>,
    /// Files of a list that are not there, which is no error as long as one is.
    pub missing: Vec<PathBuf>,
}

/// What a context leads to.
pub struct Choice {
    /// Where the server is.
    pub cluster: Part,
    /// Who we are to it.
    pub user: Part,
}

impl Kubeconfig {
    /// Reads the file of this path, or, where the path is none and holds colons, the list of files as in `KUBECONFIG`.
    ///
    /// # Errors
    /// When there is no file, or one cannot be read or is no YAML.
    pub async fn read(list: &Path) -> Result<Self, KubeError> {
        let paths = split(list);
        let (mut files, mut missing) = (Vec::new(), Vec::new());
        let mut first = None;
        for path in &paths {
            // It may be a pipe, so it is opened once and not looked at before.
            match file::await_text(path.clone(), LONGEST_FILE).await {
                Ok(text) => files.push((path.clone(), root(path, &text)?)),
                Err(error) if error.kind() == io::ErrorKind::NotFound && paths.len() > 1 => {
                    missing.push(path.clone());
                    first.get_or_insert(error);
                }
                Err(source) => return Err(KubeError::File { path: path.clone(), source }),
            }
        }
        match first {
            Some(source) if files.is_empty() => Err(KubeError::File { path: list.to_owned(), source }),
            _ => Ok(Self { files, missing }),
        }
    }

    /// The cluster and the user of a context, or of the current one.
    ///
    /// # Errors
    /// When one of them is missing, or is no such thing.
    pub fn choose(&self, context: Option<&str>) -> Result<Choice, KubeError> {
        let current = || self.files.iter().find_map(|(_, root)| root.get("current-context")?.text());
        let Some(name) = context.or_else(current).filter(|name| !name.is_empty()) else {
            return Err(self.error(format!("it has no current context{}", self.names())));
        };
        let context = self.entry("contexts", "context", name)?;
        let context = context.ok_or_else(|| self.error(format!("it has no context `{name}`{}", self.names())))?;
        let named = |section, kind: &'static str| -> Result<Option<Part>, KubeError> {
            let Some(name) = context.text(kind)? else { return Ok(None) };
            let lost =
                || context.error(None, format!("{} names the {kind} `{name}`, which is not there", context.what));
            self.entry(section, kind, &name)?.ok_or_else(lost).map(Some)
        };
        let none = || context.error(Some(context.node.line), format!("{} names no cluster", context.what));
        let cluster = named("clusters", "cluster")?.ok_or_else(none)?;
        // Whoever is not named is nobody in particular.
        let nobody = || Part { what: "nobody".to_owned(), node: Node::absent(), ..context.clone() };
        Ok(Choice { cluster, user: named("users", "user")?.unwrap_or_else(nobody) })
    }

    /// The first entry of a name, in the order of the files.
    fn entry(&self, section: &str, kind: &str, name: &str) -> Result<Option<Part>, KubeError> {
        let found = self.entries(section).find(|(_, entry)| entry.get("name").and_then(Node::text) == Some(name));
        let Some((path, entry)) = found else { return Ok(None) };
        let node = entry.get(kind).cloned().unwrap_or_else(Node::absent);
        let part = Part { file: path.to_owned(), what: format!("the {kind} `{name}`"), node };
        if !part.node.is_map() {
            return Err(part.error(Some(part.node.line), format!("{} holds no keys", part.what)));
        }
        Ok(Some(part))
    }

    fn entries(&self, section: &str) -> impl Iterator<Item = (&Path, &Node)> {
        self.files.iter().flat_map(move |(path, root)| {
            let items = root.get(section).and_then(Node::items).unwrap_or_default();
            items.iter().map(move |item| (path.as_path(), item))
        })
    }

    /// The contexts that there are, as the end of a sentence.
    fn names(&self) -> String {
        let names: Vec<&str> = self.entries("contexts").filter_map(|(_, entry)| entry.get("name")?.text()).collect();
        let shown: Vec<String> = names.iter().take(NAMES_SHOWN).map(|name| format!("`{name}`")).collect();
        match names.len() {
            0 => " and none to choose from".to_owned(),
            count if count > NAMES_SHOWN => {
                format!("; there are {} and {} more", shown.join(", "), count - NAMES_SHOWN)
            }
            _ => format!("; there are {}", shown.join(", ")),
        }
    }

    fn error(&self, what: String) -> KubeError {
        let paths = env::join_paths(self.files.iter().map(|(path, _)| path)).unwrap_or_default();
        KubeError::Content { path: paths.into(), line: None, what }
    }
}

fn split(list: &Path) -> Vec<PathBuf> {
    if !list.to_string_lossy().contains(':') || list.exists() {
        return vec![list.to_owned()];
    }
    let mut paths = Vec::new();
    for path in env::split_paths(list).filter(|path| !path.as_os_str().is_empty()) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

fn root(path: &Path, text: &str) -> Result<Node, KubeError> {
    let wrong = |line| KubeError::Form { path: path.to_owned(), line };
    let root = yaml::parse(text).map_err(|malformed| wrong(malformed.line))?;
    if root.is_map() { Ok(root) } else { Err(wrong(root.line)) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const FIRST: &str = "
current-context: a
clusters:
- {name: one, cluster: {server: 'https://first', certificate-authority: ca.pem}}
contexts:
- {name: a, context: {cluster: one, user: u}}
- nonsense
- {name: [a, list], context: {}}
users:
- {name: odd, user: [what, is, this]}
- {context: no name}
";

    const SECOND: &str = "
current-context: b
clusters:
- {name: one, cluster: {server: 'https://second'}}
- {name: two, cluster: {server: 'https://third'}}
contexts:
- {name: a, context: {cluster: two}}
- {name: b, context: {cluster: two, user: odd}}
- {name: c, context: {cluster: two}}
- {name: d, context: {user: u}}
users:
- {name: u, user: {tokenFile: token}}
";

    struct Scene(tempfile::TempDir);

    impl Scene {
        fn new() -> Self {
            let scene = Self(tempfile::tempdir().unwrap());
            fs::create_dir(scene.0.path().join("sub")).unwrap();
            fs::write(scene.0.path().join("first"), FIRST).unwrap();
            fs::write(scene.0.path().join("sub/second"), SECOND).unwrap();
            scene
        }

        async fn read(&self, names: &[&str]) -> Result<Kubeconfig, KubeError> {
            let paths = names.iter().map(|name| self.0.path().join(name));
            Kubeconfig::read(Path::new(&env::join_paths(paths).unwrap())).await
        }
    }

    fn refused(config: &Kubeconfig, context: &str) -> String {
        config.choose(Some(context)).err().unwrap().to_string()
    }

    #[tokio::test]
    async fn the_first_of_a_name_counts_and_paths_begin_where_they_stand() {
        let scene = Scene::new();
        let config = scene.read(&["first", "missing", "sub/second", "first"]).await.unwrap();
        assert_eq!(config.missing, [scene.0.path().join("missing")]);
        let choice = config.choose(None).unwrap();
        assert_eq!(choice.cluster.text("server").unwrap().as_deref(), Some("https://first"));
        assert_eq!(choice.cluster.path("certificate-authority").unwrap(), Some(scene.0.path().join("ca.pem")));
        assert_eq!(choice.user.path("tokenFile").unwrap(), Some(scene.0.path().join("sub/token")));
        let other = scene.read(&["sub/second", "first"]).await.unwrap();
        assert_eq!(other.choose(Some("a")).unwrap().cluster.text("server").unwrap().as_deref(), Some("https://third"));
    }

    #[tokio::test]
    async fn an_odd_entry_hides_no_other() {
        let scene = Scene::new();
        let config = scene.read(&["first", "sub/second"]).await.unwrap();
        assert!(config.choose(Some("c")).unwrap().user.node.is_absent());
        let text = refused(&config, "b");
        assert!(text.contains("first` cannot be used: the user `odd` holds no keys (line 10)"), "{text}");
        assert!(!text.contains("what"), "{text}");
        assert!(
            refused(&config, "d").contains("the context `d` names no cluster (line 10)"),
            "{}",
            refused(&config, "d")
        );
        let text = refused(&config, "e");
        assert!(text.ends_with("it has no context `e`; there are `a`, `a`, `b`, `c`, `d`"), "{text}");
    }

    #[tokio::test]
    async fn a_list_without_any_file_is_refused() {
        let scene = Scene::new();
        let error = scene.read(&["nowhere", "neither"]).await.err().unwrap().to_string();
        assert!(error.contains("nowhere:") && error.contains("neither"), "{error}");
        fs::write(scene.0.path().join("a:b"), FIRST).unwrap();
        assert!(Kubeconfig::read(&scene.0.path().join("a:b")).await.is_ok(), "a name with a colon is a name");
    }

    #[tokio::test]
    async fn what_is_no_map_is_no_kubeconfig() {
        let scene = Scene::new();
        fs::write(scene.0.path().join("words"), "\n- a\n- b\n").unwrap();
        let error = scene.read(&["words"]).await.err().unwrap().to_string();
        assert!(error.ends_with("is not a kubeconfig: it is wrong at line 2"), "{error}");
    }
}
