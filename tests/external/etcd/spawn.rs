//! Clusters that `bench etcd` starts itself: compared in turns, and gone afterwards.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::cluster::Bare;
use super::series;
use crate::host::{path_of, turn, wait_until};
use crate::program::{Ended, OFFLOADCTL, call, findings};

/// A call with its temporary files in `folder`, interrupted after `seconds`.
#[track_caller]
fn bench_within(folder: &TempDir, seconds: &str, line: &str) -> Ended {
    let temporary = format!("TMPDIR={}", folder.path().display());
    let fixed = ["env", &temporary, "timeout", "--preserve-status", "--signal=INT", seconds, OFFLOADCTL];
    let words = fixed.into_iter().chain("bench etcd --json --no-save".split(' ')).chain(line.split_whitespace());
    call(&words.map(str::to_owned).collect::<Vec<_>>())
}

/// Nothing of ours is left: neither a folder nor a process that has it open.
#[track_caller]
fn expect_clean(folder: &TempDir) {
    let left: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
    for process in fs::read_dir("/proc").unwrap() {
        // A process that ends while we look has no command line any more, and is as gone as it should be.
        let words = fs::read(process.unwrap().path().join("cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&words).into_owned();
        assert!(!text.contains(folder.path().to_str().unwrap()), "{text}");
    }
}

/// Where the clusters with their data in `folder` serve clients.
fn client_urls(folder: &TempDir) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap();
    let lines = all.filter_map(|process| fs::read(process.ok()?.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    let ours = lines.filter(|line| line.contains(folder.path().to_str().unwrap()));
    ours.filter_map(|line| {
        line.split('\0').find_map(|word| word.strip_prefix("--listen-client-urls=")).map(str::to_owned)
    })
    .collect()
}

/// How many keys there are; none where nobody serves yet.
fn keys_at(url: &str) -> usize {
    let mut command = Command::new(path_of("etcdctl", "etcd-client"));
    command.env("ETCDCTL_API", "3").args(["--endpoints", url, "get", "", "--prefix", "--keys-only"]);
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.is_empty()).count()
}

#[test]
fn settings_are_compared_in_turns_and_nothing_stays() {
    let _turn = turn();
    let folder = TempDir::new().unwrap();
    let line = "--spawn snapshot-count=1000,100000 --workload put,range --count 600 --rounds 6 --clients 4";
    let run = bench_within(&folder, "120", line).run(0);
    for setting in ["snapshot-count=1000", "snapshot-count=100000"] {
        let label = format!("setting={setting},");
        for name in ["etcd.put", "etcd.range"] {
            let counts = &series(&run, name, &label).counts;
            assert_eq!((counts.attempt_count, counts.ok_count), (600, 600), "{name} {setting}");
        }
    }
    let differences = findings(&run, "etcd_setting");
    assert_eq!(differences.len(), 2, "{differences:?}");
    assert!(differences[0].starts_with("snapshot-count=100000 against snapshot-count=1000, put"), "{differences:?}");
    expect_clean(&folder);
}

#[test]
fn a_cluster_of_three_writes_through_its_majority_and_its_log_lies_where_it_should() {
    let _turn = turn();
    let (folder, log) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let line = format!("--spawn wal-dir={} --members 3 --count 60 --rounds 2", log.path().display());
    let run = bench_within(&folder, "120", &line).run(0);
    assert_eq!(series(&run, "etcd.put", "setting=wal-dir=").counts.ok_count, 60);
    let synced = run.scalars.iter().filter(|scalar| scalar.name == "etcd.server.wal_fsync_mean");
    assert_eq!(synced.filter(|scalar| scalar.value.is_some_and(|ns| ns > 0.0)).count(), 3);
    assert_eq!(log.path().read_dir().unwrap().count(), 0);
    expect_clean(&folder);
}

#[test]
fn an_interruption_keeps_what_was_measured_and_stops_the_clusters() {
    let _turn = turn();
    let folder = TempDir::new().unwrap();
    let place = TempDir::new().unwrap();
    let temporary = format!("TMPDIR={}", folder.path().display());
    let line = "bench etcd --json --no-save --spawn snapshot-count=1000,100000 --duration 60s";
    let words = ["env", &temporary, OFFLOADCTL].into_iter().chain(line.split(' '));
    let bench = Bare::start(&words.map(str::to_owned).collect::<Vec<_>>(), place.path());
    wait_until("it writes to a cluster", || client_urls(&folder).iter().any(|url| keys_at(url) > 500));
    bench.signal(Signal::SIGHUP);
    let run = bench.end(place.path()).run(130);
    assert!(!run.complete);
    assert!(series(&run, "etcd.put", "setting=snapshot-count=1000,").counts.ok_count > 0);
    expect_clean(&folder);
}

#[test]
fn the_folders_of_a_killed_run_are_removed_by_the_next() {
    let _turn = turn();
    let (folder, place) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let temporary = format!("TMPDIR={}", folder.path().display());
    let line = "bench etcd --json --no-save --spawn --duration 60s";
    let words = ["env", &temporary, OFFLOADCTL].into_iter().chain(line.split(' '));
    let bench = Bare::start(&words.map(str::to_owned).collect::<Vec<_>>(), place.path());
    wait_until("it writes to a cluster", || client_urls(&folder).iter().any(|url| keys_at(url) > 100));
    bench.signal(Signal::SIGKILL);
    bench.end(place.path());
    assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    let run = bench_within(&folder, "120", "--spawn --count 20 --rounds 1").run(0);
    let told = run.warnings.iter().find(|warning| warning.id == "leftover");
    assert!(told.is_some_and(|warning| warning.text.contains("was removed: process ")), "{:?}", run.warnings);
    expect_clean(&folder);
}

#[test]
fn a_flag_that_etcd_does_not_know_says_what_etcd_said() {
    let _turn = turn();
    let folder = TempDir::new().unwrap();
    let ended = bench_within(&folder, "120", "--spawn snapshot-cuont=1000 --count 1");
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("etcd with snapshot-cuont=1000 does not run"), "{}", ended.stderr);
    assert!(ended.stderr.contains("flag provided but not defined: -snapshot-cuont"), "{}", ended.stderr);
    expect_clean(&folder);

    let ended = bench_within(&folder, "120", "--spawn --etcd no-such-etcd --count 1");
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("there is no program `no-such-etcd`"), "{}", ended.stderr);
}

#[test]
fn the_disk_of_a_folder_is_timed_first() {
    let _turn = turn();
    let (folder, log) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = log.path().display();
    let run = bench_within(&folder, "120", &format!("--spawn --count 20 --rounds 1 --wal-dir {path}")).run(0);
    let disk = series(&run, "disk.fdatasync", "folder=");
    assert!(disk.counts.ok_count >= 1_000 && disk.summary.min_ns.is_some_and(|ns| ns > 1_000), "{:?}", disk.counts);
    let said = findings(&run, "disk_fdatasync");
    assert!(said.len() == 1 && said[0].contains(log.path().to_str().unwrap()), "{said:?}");
    assert_eq!(log.path().read_dir().unwrap().count(), 0);

    let ended = bench_within(&folder, "120", "--spawn --count 1 --wal-dir /no/such/folder");
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot time writes in `/no/such/folder`"), "{}", ended.stderr);
}

#[test]
fn keys_are_spread_over_shards_and_one_cluster_is_set_against_them() {
    let _turn = turn();
    let (folder, place) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let temporary = format!("TMPDIR={}", folder.path().display());
    let line = "bench etcd --json --no-save --spawn --shard 2 --key-space 100 --duration 3s --rounds 6 --clients 8 --batch 1,10 --connections 2";
    let words = ["env", &temporary, OFFLOADCTL].into_iter().chain(line.split(' '));
    let bench = Bare::start(&words.map(str::to_owned).collect::<Vec<_>>(), place.path());
    // Before anything is read, the second has its half of the keys and the mark of the run.
    wait_until("both have all that they will have", || {
        let mut counts: Vec<usize> = client_urls(&folder).iter().map(|url| keys_at(url)).collect();
        counts.sort_unstable();
        counts == [51, 101]
    });
    let run = bench.end(place.path()).run(0);
    for shards in ["shards=1,", "shards=2,"] {
        for batch in ["batch=1,", "batch=10,"] {
            let is_it = |labels: String| labels.contains(shards) && labels.contains(batch);
            let found: Vec<_> = run.responses().filter(|one| is_it(one.labels.to_string())).collect();
            assert!(
                matches!(found[..], [one] if one.counts.ok_count > 100 && one.counts.error_count == 0),
                "{found:?}"
            );
        }
    }
    let differences = findings(&run, "etcd_setting");
    assert_eq!(differences.len(), 2, "{differences:?}");
    assert!(differences.iter().all(|text| text.starts_with("shards=2 against shards=1, ")), "{differences:?}");
    let told = run.findings.iter().find(|finding| finding.id == "etcd_setting").unwrap();
    assert!(told.evidence[0].contains("times as many") && told.evidence[1].starts_with("p99 "), "{told:?}");
    assert_eq!(findings(&run, "etcd_shards_apart").len(), 1);
    expect_clean(&folder);
}
