//! The bearer token or password that goes with each request, and its renewal while the run goes on.
//!
//! Separate because a token may expire in the middle: a file is read again when it changes, a plugin is run again before
//! its token ends, and both at once when the server answers 401. Nothing of that is waited for by a request.

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

/// How long before its end a token is renewed, as the official client does.
const AHEAD: i64 = 60;

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

/// A token and its end, in seconds of the Unix time.
#[derive(Clone)]
pub struct Token {
    /// The token itself.
    pub text: String,
    /// When it ends, if that is known.
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
    /// A token of a plugin, which is run again.
    Plugin(Arc<ExecPlugin>, Token),
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
    Plugin { plugin: Arc<ExecPlugin>, ends_at: Cell<Option<i64>>, renewal: RefCell<Option<Renewal>> },
}

/// A plugin that is running again.
struct Renewal {
    answer: Arc<Mutex<Option<Result<Token, String>>>>,
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
            Login::Plugin(plugin, token) => {
                let header = bearer(&token.text, "the answer of the plugin")?;
                let ends_at = Cell::new(token.ends_at);
                (Source::Plugin { plugin, ends_at, renewal: RefCell::new(None) }, Some(header))
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

    /// What went wrong with the latest renewal.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
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
            Source::Plugin { ends_at, renewal, .. } => {
                if renewal.borrow().is_some() {
                    self.take_renewal();
                } else if now.since(self.looked_at.get()) >= BETWEEN_LOOKS
                    && ends_at.get().is_some_and(|end| end - clock::wall_now().unix_seconds() < AHEAD)
                {
                    self.renew(now);
                }
            }
        }
    }

    /// The server refused it: whatever brings a new one is asked now.
    pub fn rejected(&self, now: Stamp) {
        match &self.source {
            Source::Fixed => {}
            Source::File { .. } => self.look_at_file(now),
            Source::Plugin { .. } => self.renew(now),
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
            Ok(header) => self.replace(header),
            // It may be in the middle of being written; it is looked at again when it changes.
            Err(error) => *self.trouble.borrow_mut() = Some(error.to_string()),
        }
    }

    fn replace(&self, header: HeaderValue) {
        self.trouble.borrow_mut().take();
        let previous = self.header.borrow_mut().replace(header);
        if previous != *self.header.borrow() {
            self.generation.set(self.generation.get() + 1);
        }
    }

    fn renew(&self, now: Stamp) {
        let Source::Plugin { plugin, renewal, .. } = &self.source else { return };
        if renewal.borrow().is_some() || now.since(self.looked_at.get()) < BETWEEN_RENEWALS {
            return;
        }
        self.looked_at.set(now);
        let answer = Arc::new(Mutex::new(None));
        let (plugin, place) = (Arc::clone(plugin), Arc::clone(&answer));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let token = plugin.token().await.map_err(|error| error.to_string());
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        });
        renewal.replace(Some(Renewal { answer, _task: task }));
    }

    fn take_renewal(&self) {
        let Source::Plugin { ends_at, renewal, .. } = &self.source else { return };
        let answer = renewal
            .borrow()
            .as_ref()
            .and_then(|renewal| renewal.answer.try_lock().ok().and_then(|mut answer| answer.take()));
        let Some(answer) = answer else { return };
        renewal.replace(None);
        let taken = answer.and_then(|token| {
            let header = bearer(&token.text, "the answer of the plugin").map_err(|error| error.to_string())?;
            Ok((header, token.ends_at))
        });
        match taken {
            Ok((header, end)) => {
                ends_at.set(end);
                self.replace(header);
            }
            Err(error) => *self.trouble.borrow_mut() = Some(error),
        }
    }
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
