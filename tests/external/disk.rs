//! A full disk: the result is not lost, nothing half-written stays, and the exit code says so.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use offloadctl::sync::record::Change;
use offloadctl::sync::store::embedded::EmbeddedStore;
use offloadctl::sync::store::{HISTORY, MetadataStore as _, StoreError};
use tempfile::TempDir;

use crate::host::{may_administer, path_of, turn, wait_until};
use crate::program::{call, expect_all_answered, probe, series};
use crate::server::Server;

/// A tiny disk; dropping it unmounts it.
struct TinyDisk(TempDir);

const FILLER: &str = "filler";

impl TinyDisk {
    #[track_caller]
    fn mount(size: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut mount = Command::new(path_of("mount", "mount"));
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path());
        let output = mount.output().unwrap();
        assert!(output.status.success(), "mount: {}", String::from_utf8_lossy(&output.stderr));
        Self(folder)
    }

    /// A disk with one page of memory left.
    #[track_caller]
    fn full() -> Self {
        let disk = Self::mount("64k");
        disk.fill();
        disk
    }

    /// Leaves one page of memory.
    fn fill(&self) {
        let mut filler = File::create(self.path().join(FILLER)).unwrap();
        // The last write fails because the disk is full, which is what it is for.
        while filler.write_all(&[0; 4096]).is_ok() {}
        let length = filler.metadata().unwrap().len();
        filler.set_len(length - 4096).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Everything on it apart from what fills it.
    fn files(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path => all.push(path.file_name().unwrap().to_string_lossy().into_owned()),
                }
            }
        }
        all.retain(|name| name != FILLER);
        all
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        // Nothing can be done in a destructor about a disk that stays; its folder is then left behind and shows it.
        let _ = Command::new("umount").arg(self.path()).output();
    }
}

#[test]
fn an_output_on_a_full_disk_fails_whole_and_stdout_still_has_the_run() {
    if !may_administer("disk::an_output_on_a_full_disk_fails_whole_and_stdout_still_has_the_run") {
        return;
    }
    let _turn = turn();
    let disk = TinyDisk::full();
    let file = disk.path().join("run.json");
    expect_refusal(&disk, &["--no-save", "--output", file.to_str().unwrap()]);
}

#[test]
fn a_run_folder_on_a_full_disk_fails_whole_and_stdout_still_has_the_run() {
    if !may_administer("disk::a_run_folder_on_a_full_disk_fails_whole_and_stdout_still_has_the_run") {
        return;
    }
    let _turn = turn();
    let disk = TinyDisk::full();
    let folder = disk.path().join("runs");
    expect_refusal(&disk, &["--runs-dir", folder.to_str().unwrap()]);
}

#[test]
fn a_store_whose_disk_fills_up_says_so_and_keeps_what_it_acknowledged() {
    if !may_administer("disk::a_store_whose_disk_fills_up_says_so_and_keeps_what_it_acknowledged") {
        return;
    }
    let _turn = turn();
    let disk = TinyDisk::mount("8m");
    let folder = disk.path().join("data");
    let change = |revision| Change::TaskForgotten { task_id: format!("{revision:05000}"), revision };
    let mut store = EmbeddedStore::open_or_create(&folder, HISTORY).unwrap();
    (1..=50).for_each(|revision| store.commit(&[change(revision)]).unwrap());
    disk.fill();
    let (acknowledged, error) = (51..).find_map(|n| Some((n - 1, store.commit(&[change(n)]).err()?))).unwrap();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(error.to_string().contains(folder.to_str().unwrap()), "{error}");
    assert!(matches!(store.commit(&[change(acknowledged + 1)]), Err(StoreError::Reopen { .. })));
    drop(store);
    let refused = EmbeddedStore::open(&folder, HISTORY);
    assert!(matches!(refused, Ok(_) | Err(StoreError::Full { .. })), "{refused:?}");
    drop(refused);
    fs::remove_file(disk.path().join(FILLER)).unwrap();
    let mut store = EmbeddedStore::open(&folder, HISTORY).unwrap();
    let found = store.load().unwrap().revision;
    assert!(found == acknowledged || found == acknowledged + 1, "{acknowledged} acknowledged, {found} found");
    store.commit(&[change(found + 1)]).unwrap();
}

#[test]
fn a_gateway_whose_disk_fills_up_says_when_to_come_again_and_takes_reports_when_there_is_room() {
    if !may_administer(
        "disk::a_gateway_whose_disk_fills_up_says_when_to_come_again_and_takes_reports_when_there_is_room",
    ) {
        return;
    }
    let _turn = turn();
    let disk = TinyDisk::mount("8m");
    let data = disk.path().join("data");
    let gateway = Server::gateway(&data);
    let report = |version: u64| report(&gateway, &data, version);
    let is_acknowledged = |version| report(version).starts_with("200");
    assert!((1..=20).all(is_acknowledged));
    disk.fill();
    let (last, refused) =
        (21..2_000).map(|version| (version, report(version))).find(|(_, told)| !told.starts_with("200")).unwrap();
    assert!(refused.starts_with("503") && refused.contains("store_unavailable"), "{refused}");
    fs::remove_file(disk.path().join(FILLER)).unwrap();
    wait_until("the gateway takes reports again", || is_acknowledged(last + 1));
    // What was acknowledged before is there: an older version is older still.
    assert!(report(last - 1).contains("stale"));
}

/// Reports a version of a task; the status of the answer, and its body.
fn report(gateway: &Server, data: &Path, version: u64) -> String {
    let body = format!(
        r#"{{"task_id":"t","node_id":"edge","status":"running","timestamp":"2026-01-02T03:04:05Z","version":{version}}}"#
    );
    let mut curl = Command::new(path_of("curl", "curl"));
    curl.args(["--noproxy", "*", "--silent", "--max-time", "30", "--write-out", " %{http_code}", "--cacert"])
        .arg(data.join("certificate.pem"));
    curl.args(["-H", "Authorization: Bearer 0123456789abcdef", "-H", "Content-Type: application/json", "-d", &body]);
    let output = curl.arg(format!("https://localhost:{}/v1/status", gateway.port)).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = told.rsplit_once(' ').unwrap();
    format!("{status} {body}")
}

#[test]
fn a_store_on_a_full_disk_is_not_made_by_half() {
    if !may_administer("disk::a_store_on_a_full_disk_is_not_made_by_half") {
        return;
    }
    let _turn = turn();
    let disk = TinyDisk::full();
    let refused = EmbeddedStore::open_or_create(disk.path(), HISTORY);
    assert!(matches!(refused, Err(StoreError::Full { .. })), "{refused:?}");
    assert_eq!(disk.files(), [""; 0]);
}

#[track_caller]
fn expect_refusal(disk: &TinyDisk, arguments: &[&str]) {
    let echo = Server::echo();
    let target = format!("dc=127.0.0.1:{}", echo.port);
    let ended = call(&probe(&[&[target.as_str(), "--duration", "1s"], arguments].concat()));
    let run = ended.run(3);
    expect_all_answered(series(&run, "rtt.echo", "dc"), 10);
    assert!(ended.stderr.contains("cannot write"), "{}", ended.stderr);
    assert!(ended.stderr.contains(disk.path().to_str().unwrap()), "{}", ended.stderr);
    assert_eq!(disk.files(), [""; 0]);
}
