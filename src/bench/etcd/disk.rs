//! The disks behind given folders: how long one small synced write takes on each.
//!
//! Separate from the cluster, because it answers before any etcd is there where its write-ahead log should lie.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::EtcdError;
use crate::model::shell::word;
use crate::model::{Advice, Finding, Histogram, Labels, Measured, Moments, Series, Severity};
use crate::sys::clock;
use crate::sys::disk::fdatasync_times;
use crate::sys::shutdown::Shutdown;

/// Where etcd's documentation draws the line for the p99 of a synced write.
const P99_LIMIT_NS: u64 = 10_000_000;

/// Times the disk of each folder, one after another.
///
/// # Errors
/// When a folder cannot be written.
pub async fn measure(folders: &[PathBuf], shutdown: &Shutdown) -> Result<Measured, EtcdError> {
    let mut measured = Measured::default();
    let began = clock::now();
    for folder in folders {
        let is_over = Arc::new(AtomicBool::new(false));
        let (path, over) = (folder.clone(), Arc::clone(&is_over));
        let timing = tokio::task::spawn_blocking(move || fdatasync_times(&path, || over.load(Ordering::Relaxed)));
        let mut timing = std::pin::pin!(timing);
        let times = tokio::select! {
            times = &mut timing => times,
            () = shutdown.requested() => {
                is_over.store(true, Ordering::Relaxed);
                timing.await
            }
        };
        let failed = |source| EtcdError::Disk { folder: folder.clone(), source };
        let times = times.map_err(|error| failed(error.into()))?.map_err(failed)?;
        let series = series(folder, &times);
        measured.findings.push(finding(folder, &series, folders));
        measured.series.push(series);
    }
    measured.elapsed = clock::now().since(began);
    Ok(measured)
}

fn series(folder: &Path, times: &[u64]) -> Series {
    let (mut histogram, mut moments) = (Histogram::new(), Moments::default());
    for time in times {
        histogram.record(*time);
        moments.push(*time);
    }
    let labels = Labels::new().with("folder", &folder.display().to_string());
    Series::of_spans("disk.fdatasync", labels, histogram, &moments)
}

fn finding(folder: &Path, series: &Series, all: &[PathBuf]) -> Finding {
    let summary = &series.summary;
    let text = |ns: Option<u64>| ns.map_or_else(|| "unknown".to_owned(), |ns| format!("{:.2} ms", ns as f64 / 1e6));
    let is_slow = summary.p99_ns.or(summary.max_ns).is_some_and(|p99| p99 >= P99_LIMIT_NS);
    let folder = folder.display();
    let verdict = match is_slow {
        true => format!("the disk of `{folder}` is too slow for the write-ahead log of an etcd"),
        false => format!("the disk of `{folder}` is fast enough for the write-ahead log of an etcd"),
    };
    let figures = format!(
        "{} synced writes of 2300 bytes: p50 {}, p99 {}, max {}; below 10 ms at p99 is what etcd asks for",
        series.counts.ok_count,
        text(summary.p50_ns),
        text(summary.p99_ns),
        text(summary.max_ns)
    );
    let advice = is_slow.then(|| {
        // A comparison needs another disk, which nobody but the user knows.
        let verify = (all.len() > 1).then(|| {
            let folders: Vec<String> = all.iter().map(|folder| folder.display().to_string()).collect();
            format!("offloadctl bench etcd --spawn {}", word(format_args!("wal-dir={}", folders.join(","))))
        });
        Advice::new("put the write-ahead log on a disk of its own, an SSD, with --wal-dir", verify)
    });
    let severity = if is_slow { Severity::Problem } else { Severity::Info };
    Finding::new("disk_fdatasync", severity, verdict).with_evidence(vec![figures]).with_advice(advice)
}
