//! What surrounds a measurement: the run's header, the folder of stored runs, and the output files.
//!
//! Files appear whole or not at all: each is written beside its place and renamed, and what was there before stays until
//! then. Places are tried before measuring starts, so a bad path fails in the first second and not after a day.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::error::{Exit, Failure};
use crate::model::span::nanos;
use crate::model::{Environment, Measured, RUN_SCHEMA, Run, Validity, WallTime, Warning};
use crate::sys::{clock, host};

/// Largest run file that is read: a thousand targets over a day are under 100 MB.
const RUN_FILE_LIMIT: u64 = 512 << 20;

/// What is known about a run before it is measured.
#[derive(Clone, Debug)]
pub struct Header {
    id: String,
    command: &'static str,
    spec: Value,
    spec_hash: String,
    seed: Option<u64>,
    started_at: WallTime,
    labels: BTreeMap<String, String>,
    environment: Environment,
}

impl Header {
    /// The header of a run that begins now; without a seed where nothing is drawn.
    ///
    /// # Errors
    /// When the spec does not serialise, which is a bug.
    pub fn new<S: Serialize>(
        command: &'static str,
        spec: &S,
        seed: impl Into<Option<u64>>,
        labels: BTreeMap<String, String>,
    ) -> Result<Self, Failure> {
        let spec = serde_json::to_value(spec).map_err(Failure::unable)?;
        let started_at = clock::wall_now();
        let digest = Sha256::digest(format!("{command}\n{spec}"));
        let id = format!("{}-{}-{:04x}", started_at.compact(), command.replace(' ', "-"), clock::entropy() as u16);
        Ok(Self {
            id,
            command,
            spec,
            spec_hash: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            seed: seed.into(),
            started_at,
            labels,
            environment: host::environment(),
        })
    }

    /// The document of this run as it stands. Why it is bad is not in it: that is for the exit code.
    #[must_use]
    pub fn run(&self, measured: Measured) -> Run {
        let mut warnings = measured.warnings;
        if self.environment.build == "debug" {
            warnings.push(Warning::new("debug_build", "this is a debug build: it measures itself too; use --release"));
        }
        Run {
            schema: RUN_SCHEMA.to_owned(),
            id: self.id.clone(),
            command: self.command.to_owned(),
            spec: self.spec.clone(),
            spec_hash: self.spec_hash.clone(),
            started_at: self.started_at,
            elapsed_ns: nanos(measured.elapsed),
            complete: !measured.interrupted,
            answer: None,
            validity: Validity::default(),
            seed: self.seed,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: self.labels.clone(),
            merged_from: Vec::new(),
            environment: self.environment.clone(),
            self_cost: host::self_cost(),
            warnings,
            series: measured.series,
            scalars: measured.scalars,
            findings: measured.findings,
        }
    }
}

/// The folder of stored runs.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The folder given, else `$XDG_STATE_HOME/offloadctl/runs`, else `~/.local/state/offloadctl/runs`.
    ///
    /// # Errors
    /// When nothing says where that is.
    pub fn locate(given: Option<PathBuf>) -> Result<Self, Failure> {
        let xdg = || Some(PathBuf::from(std::env::var_os("XDG_STATE_HOME").filter(|v| !v.is_empty())?));
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
        let default = || Some(xdg().or_else(home)?.join("offloadctl/runs"));
        match given.or_else(default) {
            Some(folder) => Ok(Self { folder }),
            None => Err(Failure::plain(Exit::Unable, "nothing says where runs are kept: HOME is not set")
                .hint("give --runs-dir DIR, or --no-save")),
        }
    }

    /// Makes the folder if needed and shows that it can be written.
    ///
    /// # Errors
    /// When it cannot.
    pub fn prepare(&self) -> Result<(), Failure> {
        fs::create_dir_all(&self.folder).and_then(|()| beside(&self.folder.join("run")).map(drop)).map_err(|error| {
            Failure::file("cannot keep runs in", &self.folder, &error).hint("give --runs-dir DIR, or --no-save")
        })
    }

    /// Writes the document of the run of this name, replacing its earlier checkpoint.
    ///
    /// # Errors
    /// When the disk is full or the folder is gone; the earlier checkpoint is then still there.
    pub fn save(&self, id: &str, document: &impl Serialize) -> Result<PathBuf, Failure> {
        let path = self.folder.join(format!("{id}.json"));
        // Never whole in memory: that of a thousand targets is longer than everything else that a run holds.
        let written = replace(&path, |file| {
            let mut buffered = BufWriter::new(file);
            serde_json::to_writer(&mut buffered, document)?;
            buffered.flush()
        });
        written.map_err(|error| Failure::file("cannot write the run", &path, &error))?;
        Ok(path)
    }

    /// The stored files, newest first.
    ///
    /// # Errors
    /// When the folder cannot be read; one that does not exist holds nothing.
    pub fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::file("cannot read the runs in", &self.folder, &error)),
        };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut files: Vec<PathBuf> = paths.filter(|path| is_run_file(path)).collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        Ok(files)
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Whether a file is named as runs are, `20261123T071049.123Z-….json`: others in the folder are not ours to read or delete.
fn is_run_file(path: &Path) -> bool {
    const FORM: &[u8] = b"00000000T000000.000Z-";
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let fits = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
    name.len() > FORM.len() && name.iter().zip(FORM).all(fits) && name.ends_with(b".json")
}

/// Reads one run document.
///
/// # Errors
/// When the file cannot be read, or is not a run of this schema.
pub fn read_run(path: &Path) -> Result<Run, Failure> {
    let unreadable = |error: io::Error| Failure::file("cannot read the run", path, &error);
    let file = File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    let length = file.take(RUN_FILE_LIMIT + 1).read_to_string(&mut text).map_err(unreadable)?;
    if length as u64 > RUN_FILE_LIMIT {
        return Err(Failure::plain(Exit::Unable, format!("`{}` is longer than any run", path.display())));
    }
    Run::parse(&text).map_err(|error| {
        let what = format!("cannot use the run `{}`: {error}", path.display());
        Failure::plain(Exit::Unable, what).hinted(error.hint())
    })
}

/// A file to be written at the end, whose place has been shown to be writable.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    /// The file itself where it is a device or a pipe, which cannot be replaced.
    direct: Option<File>,
}

impl OutputFile {
    /// Shows that the place can be written. Nothing stays there until the end: a killed run leaves no trace.
    ///
    /// # Errors
    /// When the folder does not exist or cannot be written, or the path is a folder.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::file("cannot write", path, &error);
        // Behind a link, the file it leads to is replaced and not the link.
        let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let direct = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Err(failed(io::ErrorKind::IsADirectory.into())),
            Ok(metadata) if !metadata.is_file() => Some(OpenOptions::new().write(true).open(path).map_err(failed)?),
            _ => beside(path).map(|_| None).map_err(failed)?,
        };
        Ok(Self { path: path.clone(), direct })
    }

    /// Writes the whole text and puts the file in its place.
    ///
    /// # Errors
    /// When the disk is full; whatever was there before is still there.
    pub fn write(self, text: &str) -> Result<(), Failure> {
        let written = match self.direct {
            Some(mut file) => file.write_all(text.as_bytes()),
            None => replace(&self.path, |file| file.write_all(text.as_bytes())),
        };
        written.map_err(|error| Failure::file("cannot write", &self.path, &error))
    }
}

/// Writes a file whole beside its place and renames it.
fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut temporary = beside(path)?;
    write(temporary.as_file_mut())?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map(drop).map_err(|error| error.error)
}

fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut builder = tempfile::Builder::new();
    // As a file made in place would be: the umask decides, not the private mode of temporary files.
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.prefix(".offloadctl-").suffix(".tmp").tempfile_in(folder).map_err(unwrapped)
}

/// The system's own word, without the name of the temporary file that nobody asked for.
fn unwrapped(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => io::Error::from_raw_os_error(nix::Error::ENOENT as i32),
        kind => kind.into(),
    }
}
