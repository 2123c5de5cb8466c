//! Where a gateway's store on etcd is, and copies of what gateways keep: backup, restore and migration.
//!
//! Separate from the gateway as a service: here nothing is served, and everything is read or written once.

use std::path::PathBuf;

use clap::Args;

use super::event_loop::event_loop;
use super::password::login;
use crate::console;
use crate::error::{Exit, Failure};
use crate::sync::store::backup::{self, BackupError, Summary};
use crate::sync::store::embedded::EmbeddedStore;
use crate::sync::store::etcd::{EtcdSpec, EtcdStore, EtcdStoreError, PREFIX};
use crate::sync::store::{HISTORY, MetadataStore as _, Snapshot, StoreError};
use crate::sys::clock;
use crate::wire::{TlsSpec, Url};

/// Where a store on etcd is, and who asks.
#[derive(Debug, Args)]
#[command(next_help_heading = "etcd")]
pub struct EtcdArgs {
    /// Members of the cluster, scheme included
    #[arg(long, value_name = "URL,...", value_delimiter = ',')]
    endpoints: Vec<Url>,
    /// All keys begin with this
    #[arg(long, value_name = "TEXT", default_value = PREFIX, requires = "endpoints")]
    etcd_prefix: String,
    /// Log in as this user
    #[arg(long, value_name = "NAME", requires = "endpoints")]
    etcd_user: Option<String>,
    /// The user's password is the first line of this file [else: the environment variable OFFLOADCTL_ETCD_PASSWORD]
    #[arg(long, value_name = "FILE", requires = "etcd_user")]
    etcd_password_file: Option<PathBuf>,
    /// Trust the certificate authorities in this PEM file instead of the host's
    #[arg(long, value_name = "FILE", requires = "endpoints")]
    etcd_ca_file: Option<PathBuf>,
    /// Show this certificate (PEM) to the members
    #[arg(long, value_name = "FILE", requires = "etcd_client_key")]
    etcd_client_cert: Option<PathBuf>,
    /// The key of --etcd-client-cert (PEM)
    #[arg(long, value_name = "FILE", requires = "etcd_client_cert")]
    etcd_client_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CopyArgs {
    /// Folder of the store
    #[arg(long, value_name = "DIR", required_unless_present = "endpoints")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    etcd: EtcdArgs,
    /// The file; one that is there is not replaced
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Folder of the store that is copied; it stays as it is
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    #[command(flatten)]
    etcd: EtcdArgs,
}

/// Writes a store to a file, or makes one of it.
///
/// # Errors
/// When either cannot be read or written; nothing is left over then.
pub fn copy(args: &CopyArgs, is_backup: bool) -> Result<Exit, Failure> {
    let (file, now) = (&args.file, clock::wall_now());
    let failed = |error: BackupError| Failure::unable(&error).hinted(error.hint());
    let summary = match (&args.data_dir, is_backup) {
        (Some(folder), true) => backup::save(folder, file, now).map_err(failed)?,
        (Some(folder), false) => backup::restore(file, folder).map_err(failed)?,
        (None, true) => {
            let snapshot = args.etcd.with(async |store| store.save().await)?;
            backup::write(&snapshot, file, now).map_err(failed)?
        }
        (None, false) => {
            let (snapshot, created_at) = backup::read(file).map_err(failed)?;
            args.etcd.with(async |store| store.restore(&snapshot).await)?;
            Summary { created_at, ..summary_of(&snapshot) }
        }
    };
    say(if is_backup { "written" } else { "restored" }, &summary);
    Ok(Exit::Fine)
}

/// Copies a store in a folder to etcd.
///
/// # Errors
/// When it cannot be read, or there are keys already; nothing is a store there then.
pub fn migrate(args: &MigrateArgs) -> Result<Exit, Failure> {
    let failed = |error: StoreError| Failure::unable(&error).hinted(error.hint());
    let mut store = EmbeddedStore::open(&args.data_dir, HISTORY).map_err(failed)?;
    let snapshot = store.load().map_err(failed)?;
    args.etcd.with(async |store| store.restore(&snapshot).await)?;
    say("copied", &summary_of(&snapshot));
    Ok(Exit::Fine)
}

/// A store on etcd that cannot be used, as a failure of the command.
pub fn unstored(error: &EtcdStoreError) -> Failure {
    Failure::unable(error).hinted(error.hint())
}

impl EtcdArgs {
    /// Connects to it.
    ///
    /// # Errors
    /// When no endpoint is given or can be reached.
    pub async fn connect(&self) -> Result<EtcdStore, Failure> {
        EtcdStore::connect(&self.spec()?).await.map_err(|error| unstored(&error))
    }

    fn spec(&self) -> Result<EtcdSpec, Failure> {
        if self.endpoints.is_empty() {
            return Err(Failure::plain(Exit::Usage, "a store on etcd needs the members of its cluster")
                .hint("give --endpoints http://HOST:2379,..."));
        }
        if self.etcd_prefix.trim_matches('/').is_empty() || !self.etcd_prefix.is_ascii() {
            return Err(Failure::plain(Exit::Usage, "the prefix of a store on etcd is ASCII text that is not empty")
                .hint("leave --etcd-prefix out, or give a name"));
        }
        Ok(EtcdSpec {
            endpoints: self.endpoints.clone(),
            tls: TlsSpec {
                ca_file: self.etcd_ca_file.clone(),
                client_cert: self.etcd_client_cert.clone(),
                client_key: self.etcd_client_key.clone(),
                insecure: false,
            },
            login: login(self.etcd_user.as_deref(), self.etcd_password_file.as_deref(), "--etcd-password-file")?,
            prefix: self.etcd_prefix.clone(),
        })
    }

    /// Does something with it.
    fn with<R>(&self, work: impl AsyncFnOnce(&EtcdStore) -> Result<R, EtcdStoreError>) -> Result<R, Failure> {
        event_loop()?.block_on(async {
            let store = self.connect().await?;
            work(&store).await.map_err(|error| unstored(&error))
        })
    }
}

fn summary_of(snapshot: &Snapshot) -> Summary {
    let (revision, tasks, nodes) = (snapshot.revision, snapshot.tasks.len(), snapshot.nodes.len());
    Summary { created_at: clock::wall_now(), revision, tasks, nodes }
}

fn say(done: &str, Summary { revision, tasks, nodes, created_at }: &Summary) {
    console::say(format!("{done}: {tasks} tasks and {nodes} nodes at revision {revision}, as of {created_at}"));
}
