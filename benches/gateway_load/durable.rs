//! Durable changes without a wire: writers in one process that wait for the disk, at the gateway's own service and at a bare log.
//!
//! Separate from the load over connections because it answers another question: what deciding and storing cost beside what the
//! disk alone costs. On both sides each writer is a task that hands over one record and waits until a flush has covered it; a
//! thread takes whatever waits and flushes once.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use offloadctl::sync::gateway::access::{Access, Caller};
use offloadctl::sync::gateway::machine::Settings;
use offloadctl::sync::gateway::service::Service;
use offloadctl::sync::message::StatusReport;
use offloadctl::sync::record::Status;
use offloadctl::sync::store::embedded::EmbeddedStore;
use offloadctl::sync::store::{HISTORY, MetadataStore};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use super::{Failure, print};

/// How many write, for how long, and how many changes a second all of them together; none in a closed loop.
#[derive(Clone, Copy)]
pub struct Writers {
    /// How many.
    pub count: usize,
    /// For how long.
    pub span: Duration,
    /// Changes a second.
    pub per_s: Option<f64>,
}

/// Reports to a gateway's service over a store in `folder`; `tokens` is any token file.
pub fn gateway(folder: &Path, tokens: &Path, writers: Writers) -> Result<(), Failure> {
    let day = Duration::from_hours(24);
    let settings = Settings {
        detector: "missed:3".parse()?,
        retain_completed: day,
        retain_left: day,
        retain_unreachable: day,
        most_tasks: 1_000_000,
        most_nodes: 100_000,
        history: HISTORY as usize,
    };
    let place = folder.to_owned();
    let open = move || Ok(Box::new(EmbeddedStore::open_or_create(&place, HISTORY)?) as Box<dyn MetadataStore>);
    let voice = Arc::new(|text: String| eprintln!("{text}"));
    let service = Service::start(settings, Box::new(open), Access::read(tokens)?, 4_000_000, voice)?;
    let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros() as u64;
    let shared = Arc::clone(&service);
    measure(writers, move |writer| {
        let service = Arc::clone(&shared);
        let node_id = format!("node-{writer}");
        let caller = Caller::Node(node_id.clone());
        let mut version = 0;
        async move || {
            version += 1;
            let status = if version % 2 == 0 { Status::Running } else { Status::Pending };
            let report = StatusReport {
                task_id: format!("{node_id}-task"),
                status,
                node_id: node_id.clone(),
                timestamp: offloadctl::sys::clock::wall_now(),
                version: Some(version),
                epoch: Some(epoch),
                payload: None,
                trace: None,
            };
            let kept = service.keep(&caller, vec![report], offloadctl::sys::clock::now());
            let answers = kept.await.map_err(|refusal| format!("{refusal:?}"))?;
            // A repetition or an older report would be answered without any work.
            let text = serde_json::to_string(&answers)?;
            if text.contains("stored") { Ok(()) } else { Err(text.into()) }
        }
    })?;
    service.close();
    Ok(())
}

/// Records of 200 bytes to a file that is flushed for all that wait: the least that durability costs.
pub fn log(file: &Path, writers: Writers) -> Result<(), Failure> {
    let (queue, waiting) = sync_channel::<[u8; 200]>(65_536);
    let (durable, _) = watch::channel(0_u64);
    let mut file = File::create(file)?;
    let seen = durable.clone();
    let thread = std::thread::spawn(move || flush(&mut file, &waiting, &seen));
    let queue = Rc::new(std::cell::RefCell::new((queue, 0_u64)));
    let handed = Rc::clone(&queue);
    measure(writers, move |writer| {
        let (queue, durable) = (Rc::clone(&handed), durable.clone());
        async move || {
            let place = hand_over(&mut queue.borrow_mut(), writer)?;
            durable.subscribe().wait_for(|durable| *durable >= place).await?;
            Ok(())
        }
    })?;
    drop(queue);
    thread.join().map_err(|_| "the log's thread panicked")??;
    Ok(())
}

fn hand_over((queue, count): &mut (SyncSender<[u8; 200]>, u64), writer: usize) -> Result<u64, Failure> {
    queue.send([b'a' + (writer % 26) as u8; 200])?;
    *count += 1;
    Ok(*count)
}

fn flush(file: &mut File, waiting: &Receiver<[u8; 200]>, durable: &watch::Sender<u64>) -> std::io::Result<()> {
    let mut batch = Vec::new();
    while let Ok(first) = waiting.recv() {
        batch.clear();
        batch.extend_from_slice(&first);
        waiting.try_iter().for_each(|record| batch.extend_from_slice(&record));
        file.write_all(&batch)?;
        file.sync_data()?;
        durable.send_modify(|durable| *durable += batch.len() as u64 / 200);
    }
    Ok(())
}

/// Lets writers write and prints how many a second and how long each waited, from the planned moment where there is a plan.
fn measure<W>(writers: Writers, make: impl Fn(usize) -> W) -> Result<(), Failure>
where
    W: AsyncFnMut() -> Result<(), Failure> + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let gap = writers.per_s.map(|rate| Duration::from_secs_f64(writers.count as f64 / rate));
    let begin = Instant::now();
    let until = begin + writers.span;
    LocalSet::new().block_on(&runtime, async {
        let mut lanes = JoinSet::new();
        for at in 0..writers.count {
            let phase = at as f64 / writers.count as f64;
            lanes.spawn_local(lane(make(at), begin + gap.unwrap_or_default().mul_f64(phase), gap, until));
        }
        let mut all = Vec::new();
        while let Some(ended) = lanes.join_next().await {
            all.extend(ended??);
        }
        print(all, begin.elapsed());
        Ok(())
    })
}

/// One writer, and how long each of its changes took.
async fn lane<W>(mut write: W, first: Instant, gap: Option<Duration>, until: Instant) -> Result<Vec<u64>, String>
where
    W: AsyncFnMut() -> Result<(), Failure>,
{
    let mut waits = Vec::new();
    let mut planned = first;
    while planned < until {
        if gap.is_some() {
            tokio::time::sleep_until(planned.into()).await;
        }
        write().await.map_err(|error| error.to_string())?;
        waits.push(planned.elapsed().as_nanos() as u64);
        planned = gap.map_or_else(Instant::now, |gap| planned + gap);
    }
    Ok(waits)
}
