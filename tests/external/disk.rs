//! A full disk: the result is not lost, nothing half-written stays, and the exit code says so.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::host::{may_administer, path_of, turn};
use crate::program::{call, expect_all_answered, probe, series};
use crate::server::Server;

/// A tiny disk with one page of memory left; dropping it unmounts it.
struct FullDisk(TempDir);

const FILLER: &str = "filler";

impl FullDisk {
    #[track_caller]
    fn mount() -> Self {
        let folder = TempDir::new().unwrap();
        let mut mount = Command::new(path_of("mount", "mount"));
        mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(folder.path());
        let output = mount.output().unwrap();
        assert!(output.status.success(), "mount: {}", String::from_utf8_lossy(&output.stderr));
        let disk = Self(folder);
        let mut filler = File::create(disk.path().join(FILLER)).unwrap();
        // The last write fails because the disk is full, which is what it is for.
        while filler.write_all(&[0; 4096]).is_ok() {}
        let length = filler.metadata().unwrap().len();
        filler.set_len(length - 4096).unwrap();
        disk
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

impl Drop for FullDisk {
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
    let disk = FullDisk::mount();
    let file = disk.path().join("run.json");
    expect_refusal(&disk, &["--no-save", "--output", file.to_str().unwrap()]);
}

#[test]
fn a_run_folder_on_a_full_disk_fails_whole_and_stdout_still_has_the_run() {
    if !may_administer("disk::a_run_folder_on_a_full_disk_fails_whole_and_stdout_still_has_the_run") {
        return;
    }
    let _turn = turn();
    let disk = FullDisk::mount();
    let folder = disk.path().join("runs");
    expect_refusal(&disk, &["--runs-dir", folder.to_str().unwrap()]);
}

#[track_caller]
fn expect_refusal(disk: &FullDisk, arguments: &[&str]) {
    let echo = Server::echo();
    let target = format!("dc=127.0.0.1:{}", echo.port);
    let ended = call(&probe(&[&[target.as_str(), "--duration", "1s"], arguments].concat()));
    let run = ended.run(3);
    expect_all_answered(series(&run, "rtt.echo", "dc"), 10);
    assert!(ended.stderr.contains("cannot write"), "{}", ended.stderr);
    assert!(ended.stderr.contains(disk.path().to_str().unwrap()), "{}", ended.stderr);
    assert_eq!(disk.files(), [""; 0]);
}
