//! `PING` of a Redis, measured with the pieces that every command of ours stands on: an operation, a catalogue, a layout.
//!
//!     cargo run --release --example redis -- 127.0.0.1:6379
//!
//! ## Question
//! How long does this Redis take to answer the smallest request, and how much of that is waiting for earlier ones?
//!
//! ## Timed
//! From the planned start of a `PING` (`redis.ping`) and from its real one (`.service`) to the last byte of its answer.
//! Connecting is before the run.
//!
//! ## Needs
//! A Redis that asks for no password.
//!
//! ## Blind spots
//! One connection: requests wait for each other in this process, not in the server. The wake-up of this process is inside.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use offloadctl::context::Header;
use offloadctl::load::{Answer, Arrival, Lane, LaneRecord, Length, LoadSpec, Operation, Session, Spacing, judge};
use offloadctl::model::figure::duration;
use offloadctl::model::layout::{Answer as Said, Block, Cell, Column, Histogram, Table, load_text, notes_on};
use offloadctl::model::{Labels, Layout, Measured, Measurement, Metric, Outcome, Role, Run};
use offloadctl::report::{Format, Page, Report};
use offloadctl::sys::shutdown::Shutdown;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// What is measured, declared once: reports, gates and references would read it here.
const MEASUREMENT: Measurement = Measurement {
    command: "example redis",
    metrics: &[&[Metric::series("redis.ping", Role::Response, &["address"], "a PING and its PONG")]],
    layout,
};

/// What was meant; the run document holds it.
#[derive(Serialize)]
struct Spec {
    address: String,
    load: LoadSpec,
}

/// One attempt. It knows neither rate nor clock nor output.
struct Ping(Mutex<TcpStream>);

impl Operation for Ping {
    async fn attempt(&self) -> Answer {
        let mut stream = self.0.lock().await;
        let mut answer = [0; 64];
        if stream.write_all(b"PING\r\n").await.is_err() {
            return Answer::new(Outcome::Failed("connection_lost"));
        }
        Answer::new(match stream.read(&mut answer).await {
            Ok(length) if answer[..length].starts_with(b"+PONG") => Outcome::Ok,
            // Redis says no with a line that begins so.
            Ok(length) if answer[..length].starts_with(b"-") => Outcome::Error("redis_error"),
            _ => Outcome::Failed("connection_lost"),
        })
    }
}

/// Measures until the end of the spec, or until the user stops it.
async fn measure(spec: &Spec, session: &mut Session<'_>) -> Result<Measured, Box<dyn Error>> {
    let Some(stream) = session.prepare(TcpStream::connect(&spec.address)).await else { return Ok(Measured::default()) };
    let stream = stream?;
    stream.set_nodelay(true)?;
    let lane = Lane {
        operation: Ping(Mutex::new(stream)),
        name: "redis.ping",
        labels: Labels::new().with("address", &spec.address),
        floor: false,
        reference: None,
    };
    let load = session.drive(&[lane], &spec.load).await?;
    let series = load.lanes.into_iter().flat_map(LaneRecord::into_series).collect();
    Ok(Measured { series, ..Measured::default() })
}

/// What a run looks like: an answer, one table, one picture.
fn layout(run: &Run) -> Layout<'_> {
    let all: Vec<_> = run.series.iter().filter(|series| series.name.starts_with("redis.ping")).collect();
    let mut table = Table::new(["", "n", "lost", "p50", "p95", "p99", "max"].map(Column::figure).to_vec());
    table.columns[0].is_name = true;
    for series in &all {
        table.push(vec![
            Cell::text(series.name.rsplit('.').next().unwrap_or_default()),
            Cell::Count(series.counts.attempt_count),
            Cell::lost(series),
            Cell::quantile(series, "p50"),
            Cell::quantile(series, "p95"),
            Cell::quantile(series, "p99"),
            Cell::span(series.summary.max_ns),
        ]);
    }
    let ping = all.first().copied();
    let answer = match ping.and_then(|ping| ping.summary.p95_ns) {
        Some(p95) => format!("Redis answers a PING in {} (p95).", duration(p95)),
        None => "Too few PINGs were answered to say how long one takes.".to_owned(),
    };
    let columns = ping.map(|ping| (String::new(), std::borrow::Cow::Borrowed(ping))).into_iter().collect();
    Layout {
        subject: load_text(&run.spec).into_iter().collect(),
        answer: Said::new(answer),
        blocks: vec![Block::Table(table), Block::Histogram(Histogram { title: "redis.ping".to_owned(), columns })],
        notes: notes_on(&ping.into_iter().collect::<Vec<_>>()),
        ..Layout::default()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:6379".to_owned());
    let load = LoadSpec {
        arrival: Arrival::Open { rate: "500/s".parse()?, spacing: Spacing::Constant, slack: Duration::ZERO },
        length: Length::Duration(Duration::from_secs(2)),
        warmup: Duration::ZERO,
        timeout: Duration::from_secs(1),
        max_in_flight: 64,
        seed: 0,
    };
    let spec = Spec { address, load };
    let header =
        Header::new(MEASUREMENT.command, &spec, None, BTreeMap::new()).map_err(|failure| failure.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let measured = runtime.block_on(async {
        let (shutdown, mut nobody) = (Shutdown::listen()?, ());
        let mut session = Session::new(&mut nobody, &shutdown);
        let measured = measure(&spec, &mut session).await?;
        Ok::<_, Box<dyn Error>>(session.finish(measured))
    })?;
    let mut run = header.run(measured);
    run.validity = judge(&run, &spec.load).validity;
    let pages = [Page { run: &run, layout: (MEASUREMENT.layout)(&run) }];
    let report = Report { pages: &pages, width: 100, ..Report::default() };
    offloadctl::console::data(&Format::Table.reporter().render(&report)).map_err(|failure| failure.to_string())?;
    Ok(())
}
