//! The bearer token, password or certificate of a plugin that goes with each request, and its renewal while the run goes on.
//!
//! Separate because one may expire in the middle: a file is read again when it changes, a plugin is run again before what it
//! gave ends, and both at once when the server answers 401. Nothing of that is waited for by a request.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use tokio::task::JoinSet;

use super::kube::ExecPlugin;
use crate::model::Stamp;
use crate::sys::{clock, file};

/// Longest token file that is read.
const LONGEST_TOKEN: u64 = 64 << 10;

/// How often a token file is looked at.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Seconds before its end at which what a plugin gave is renewed: a minute, or half its life where that is short; and more
/// than the one by which both of its times may be cut.
const AHEAD: i64 = 60;
const LEAST_AHEAD: i64 = 2;

/// Pause after a renewal, whether it succeeded or not: a server that answers 401 to everything must not start a plugin
/// for every request.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(5);

/// A token that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Its file cannot be read.
    #[error("cannot read the token file `{}`", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is none.
    #[error("{place} holds no token: {what}")]
    Content {
        /// Where it came from.
        place: String,
        /// What is there instead.
        what: &'static str,
    },
}

/// What a plugin gave: a token, or a certificate with its key, or both.
#[derive(Clone)]
pub struct Issued {
    /// What goes with each request.
    pub token: Option<String>,
    /// What is shown when a connection is made, and its key.
    pub certificate: Option<(String, String)>,
    /// When both end, in seconds of the Unix time, if that is known.
    pub ends_at: Option<i64>,
}

/// Who we say we are, beside any certificate.
pub enum Login {
    /// Nobody.
    Nobody,
    /// User name and password.
    Basic(String, String),
    /// A token that never changes.
    Token(String),
    /// A token in a file, which is read again when it changes.
    File {
        /// Where it lies.
        path: PathBuf,
        /// The token until the file can be read.
        before: Option<String>,
    },
    /// What a plugin gave, which is run again.
    Plugin(Arc<ExecPlugin>, Issued),
}

/// The header of all requests, and where a new one comes from.
pub struct Credentials {
    source: Source,
    header: RefCell<Option<HeaderValue>>,
    /// Grows whenever the header changes.
    generation: Cell<u64>,
    /// When the source was looked at, or asked.
    looked_at: Cell<Stamp>,
    trouble: RefCell<Option<String>>,
}

enum Source {
    Fixed,
    File { path: PathBuf, seen: Cell<Option<(SystemTime, u64)>> },
    Plugin(Box<Renewed>),
}

/// A plugin, and what it gave last.
struct Renewed {
    plugin: Arc<ExecPlugin>,
    /// When that is to be renewed, in seconds of the Unix time.
    due_at: Cell<Option<i64>>,
    /// How long to wait with the next renewal.
    pause: Cell<Duration>,
    renewal: RefCell<Option<Renewal>>,
    certificate: RefCell<Option<(String, String)>>,
    /// A certificate that nobody has taken yet.
    fresh: RefCell<Option<(String, String)>>,
}

/// A plugin that is running again.
struct Renewal {
    answer: Arc<Mutex<Option<Result<Issued, String>>>>,
    _task: JoinSet<()>,
}

impl Credentials {
    /// Takes a login.
    ///
    /// # Errors
    /// When its file cannot be read, or holds no token.
    pub fn new(login: Login) -> Result<Self, TokenError> {
        let (source, header) = match login {
            Login::Nobody => (Source::Fixed, None),
            Login::Basic(user, password) => {
                let pair = STANDARD.encode(format!("{user}:{password}"));
                (Source::Fixed, Some(header(&format!("Basic {pair}"), "the kubeconfig")?))
            }
            Login::Token(token) => (Source::Fixed, Some(bearer(&token, "the kubeconfig")?)),
            Login::File { path, before } => {
                let seen = Cell::new(mark(&path));
                let header = match (read(&path), before) {
                    (Ok(header), _) => header,
                    (Err(_), Some(token)) => bearer(&token, "the kubeconfig")?,
                    (Err(error), None) => return Err(error),
                };
                (Source::File { path, seen }, Some(header))
            }
            Login::Plugin(plugin, issued) => {
                let header = of_plugin(&issued)?;
                let renewed = Renewed {
                    plugin,
                    due_at: Cell::new(due_at(&issued)),
                    pause: Cell::new(BETWEEN_LOOKS),
                    renewal: RefCell::new(None),
                    certificate: RefCell::new(issued.certificate),
                    fresh: RefCell::new(None),
                };
                (Source::Plugin(Box::new(renewed)), header)
            }
        };
        Ok(Self {
            source,
            header: RefCell::new(header),
            generation: Cell::new(0),
            looked_at: Cell::new(clock::now()),
            trouble: RefCell::new(None),
        })
    }

    /// The header as it is now.
    pub fn header(&self) -> Option<HeaderValue> {
        self.header.borrow().clone()
    }

    /// Grows whenever the header changes; each step is a renewal.
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// What came could not be used.
    pub fn complain(&self, what: String) {
        *self.trouble.borrow_mut() = Some(what);
    }

    /// What went wrong with the latest renewal.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// A certificate and its key that came since the last time; new connections show it.
    pub fn fresh_certificate(&self) -> Option<(String, String)> {
        let Source::Plugin(renewed) = &self.source else { return None };
        renewed.fresh.borrow_mut().take()
    }

    /// Whether there is anything to send.
    pub fn is_some(&self) -> bool {
        self.header.borrow().is_some()
    }

    /// Looks whether a new one is due. Costs nothing where it cannot be, and a look at a file once a second where it can.
    pub fn refresh(&self, now: Stamp) {
        match &self.source {
            Source::Fixed => {}
            Source::File { .. } => {
                if now.since(self.looked_at.get()) >= BETWEEN_LOOKS {
                    self.look_at_file(now);
                }
            }
            Source::Plugin(renewed) => {
                if renewed.renewal.borrow().is_some() {
                    self.take_renewal(renewed);
                } else if now.since(self.looked_at.get()) >= renewed.pause.get()
                    && renewed.due_at.get().is_some_and(|due| due <= clock::wall_now().unix_seconds())
                {
                    self.renew(renewed, now);
                }
            }
        }
    }

    /// The server refused it: whatever brings a new one is asked now.
    pub fn rejected(&self, now: Stamp) {
        match &self.source {
            Source::Fixed => {}
            Source::File { .. } => self.look_at_file(now),
            Source::Plugin(renewed) if now.since(self.looked_at.get()) >= BETWEEN_RENEWALS => self.renew(renewed, now),
            Source::Plugin(_) => {}
        }
    }

    fn look_at_file(&self, now: Stamp) {
        let Source::File { path, seen } = &self.source else { return };
        self.looked_at.set(now);
        let is = mark(path);
        if is == seen.get() {
            return;
        }
        seen.set(is);
        match read(path) {
            Ok(header) => self.replace_all(Some(header), false),
            // It may be in the middle of being written; it is looked at again when it changes.
            Err(error) => *self.trouble.borrow_mut() = Some(error.to_string()),
        }
    }

    fn replace_all(&self, header: Option<HeaderValue>, has_certificate: bool) {
        self.trouble.borrow_mut().take();
        let previous = self.header.replace(header);
        if previous != *self.header.borrow() || has_certificate {
            self.generation.set(self.generation.get() + 1);
        }
    }

    fn renew(&self, renewed: &Renewed, now: Stamp) {
        if renewed.renewal.borrow().is_some() {
            return;
        }
        self.looked_at.set(now);
        let answer = Arc::new(Mutex::new(None));
        let (plugin, place) = (Arc::clone(&renewed.plugin), Arc::clone(&answer));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let issued = plugin.ask().await.map_err(|error| error.to_string());
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(issued);
        });
        renewed.renewal.replace(Some(Renewal { answer, _task: task }));
    }

    fn take_renewal(&self, renewed: &Renewed) {
        let answer = renewed
            .renewal
            .borrow()
            .as_ref()
            .and_then(|renewal| renewal.answer.try_lock().ok().and_then(|mut answer| answer.take()));
        let Some(answer) = answer else { return };
        renewed.renewal.replace(None);
        let taken = answer.and_then(|issued| {
            let header = of_plugin(&issued).map_err(|error| error.to_string())?;
            Ok((header, issued))
        });
        renewed.pause.set(BETWEEN_RENEWALS);
        match taken {
            Ok((header, issued)) => {
                let due = due_at(&issued);
                // One that gives what has ended already is not asked once a second.
                if due.is_none_or(|due| due > clock::wall_now().unix_seconds()) {
                    renewed.pause.set(BETWEEN_LOOKS);
                }
                renewed.due_at.set(due);
                let is_new = issued.certificate.is_some() && *renewed.certificate.borrow() != issued.certificate;
                if is_new {
                    renewed.certificate.borrow_mut().clone_from(&issued.certificate);
                    *renewed.fresh.borrow_mut() = issued.certificate;
                }
                self.replace_all(header, is_new);
            }
            Err(error) => *self.trouble.borrow_mut() = Some(error),
        }
    }
}

/// The header of what a plugin gave; none where it is only a certificate.
fn of_plugin(issued: &Issued) -> Result<Option<HeaderValue>, TokenError> {
    issued.token.as_deref().map(|token| bearer(token, "the answer of the plugin")).transpose()
}

/// When to ask for the next.
fn due_at(issued: &Issued) -> Option<i64> {
    let end = issued.ends_at?;
    let life = end.saturating_sub(clock::wall_now().unix_seconds());
    Some(end.saturating_sub((life / 2).clamp(LEAST_AHEAD, AHEAD)))
}

/// What shows that a file has changed. A pipe never does: what was read from it is gone.
fn mark(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: &Path) -> Result<HeaderValue, TokenError> {
    let place = format!("the token file `{}`", path.display());
    let text = file::read_text(path, LONGEST_TOKEN).map_err(|source| match source.kind() {
        io::ErrorKind::FileTooLarge => {
            TokenError::Content { place: place.clone(), what: "it is longer than any token" }
        }
        _ => TokenError::File { path: path.to_owned(), source },
    })?;
    bearer(&text, &place)
}

fn bearer(token: &str, place: &str) -> Result<HeaderValue, TokenError> {
    match token.trim() {
        "" => Err(TokenError::Content { place: place.to_owned(), what: "it is empty" }),
        token => header(&format!("Bearer {token}"), place),
    }
}

fn header(text: &str, place: &str) -> Result<HeaderValue, TokenError> {
    let wrong = |_| TokenError::Content { place: place.to_owned(), what: "it has characters that no header may hold" };
    let mut value = HeaderValue::from_str(text).map_err(wrong)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(seconds: u64) -> Stamp {
        clock::now() + Duration::from_secs(seconds)
    }

    fn of_file(path: &Path) -> Login {
        Login::File { path: path.to_owned(), before: None }
    }

    #[test]
    fn a_token_file_is_read_again_when_it_changes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "first\n").unwrap();
        let credentials = Credentials::new(of_file(file.path())).unwrap();
        assert_eq!(credentials.header().unwrap(), "Bearer first");
        fs::write(file.path(), "the second\n").unwrap();
        credentials.refresh(clock::now());
        assert_eq!(credentials.generation(), 0, "it is looked at once a second");
        credentials.refresh(later(2));
        assert_eq!(
            (credentials.header().unwrap(), credentials.generation()),
            ("Bearer the second".parse().unwrap(), 1)
        );
        fs::write(file.path(), "").unwrap();
        credentials.rejected(clock::now());
        assert_eq!(credentials.header().unwrap(), "Bearer the second", "an empty file replaces nothing");
        assert!(credentials.trouble().unwrap().contains("it is empty"));
    }

    #[test]
    fn a_token_beside_its_file_is_for_the_time_without_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let login = |before: &str| Login::File { path: path.clone(), before: Some(before.to_owned()) };
        let credentials = Credentials::new(login("written")).unwrap();
        assert_eq!(credentials.header().unwrap(), "Bearer written");
        fs::write(&path, "\u{feff}fresh\n").unwrap();
        credentials.refresh(later(2));
        assert_eq!(credentials.header().unwrap(), "Bearer fresh");
        assert_eq!(Credentials::new(login("written")).unwrap().header().unwrap(), "Bearer fresh", "the file wins");
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_shown() {
        let error = |login| Credentials::new(login).err().unwrap().to_string();
        assert!(error(Login::Token(" \n".into())).contains("it is empty"));
        let text = error(Login::Token("se\ncret".into()));
        assert!(text.contains("no header may hold") && !text.contains("cret"), "{text}");
        assert!(error(of_file(Path::new("/nonexistent/token"))).contains("/nonexistent/token"));
    }

    #[test]
    fn a_password_becomes_a_basic_header() {
        let credentials = Credentials::new(Login::Basic("user".into(), "password".into())).unwrap();
        assert_eq!(credentials.header().unwrap(), "Basic dXNlcjpwYXNzd29yZA==");
        assert!(credentials.header().unwrap().is_sensitive());
    }
}
