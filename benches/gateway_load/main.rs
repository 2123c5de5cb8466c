//! A load for the gateway: agents that do nothing but send, one frame in flight each, over TLS WebSocket.
//!
//! Separate from the tests because it measures. It speaks the frames of `sync::message` and no more of our own code, so that
//! what it costs is a WebSocket client and not an agent. Prints one line of JSON: frames answered a second, and the p50 and p99
//! of their round trips.
//!
//! `gateway_load ADDRESS CA_FILE TOKEN_FILE heartbeat|report|idle CONNECTIONS SECONDS [PER_SECOND]`
//!
//! `gateway_load store FOLDER TOKEN_FILE WRITERS SECONDS [PER_SECOND]` and `gateway_load log FILE WRITERS SECONDS` do without
//! a wire: see `durable`.

#![allow(clippy::disallowed_methods, clippy::print_stderr, clippy::print_stdout, reason = "a program of its own")]

mod durable;

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use durable::Writers;
use futures_util::{SinkExt as _, StreamExt as _};
use offloadctl::wire::{TlsSpec, Trust};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};

type Failure = Box<dyn Error>;

/// What every connection shares.
struct Load {
    address: String,
    dialer: offloadctl::wire::Dialer,
    kind: String,
    /// The start of these agents: what an earlier run sent to the same gateway is older.
    epoch: u64,
    /// Pause between two frames of a connection; none in a closed loop.
    gap: Option<Duration>,
    from: Instant,
    until: Instant,
    round_trips: RefCell<Vec<u64>>,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["log", file, writers, seconds] => return durable::log(file.as_ref(), parse(writers, seconds, None)?),
        ["store", folder, tokens, writers, seconds, rest @ ..] => {
            let writers = parse(writers, seconds, rest.first().copied())?;
            return durable::gateway(folder.as_ref(), tokens.as_ref(), writers);
        }
        _ => {}
    }
    let [address, ca, tokens, kind, connections, seconds, rest @ ..] = arguments.as_slice() else {
        eprintln!(
            "usage: gateway_load ADDRESS CA_FILE TOKEN_FILE heartbeat|report|idle CONNECTIONS SECONDS [PER_SECOND]"
        );
        return Ok(());
    };
    let tokens = std::fs::read_to_string(tokens)?;
    let nodes: Vec<(String, String)> = tokens
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(node, _)| *node != "*")
        .map(|(node, token)| (node.to_owned(), token.trim().to_owned()))
        .take(connections.parse()?)
        .collect();
    let per_second = rest.first().map(|text| text.parse::<f64>()).transpose()?;
    let gap = per_second.map(|rate| Duration::from_secs_f64(nodes.len() as f64 / rate));
    let trust = Trust::load(&TlsSpec { ca_file: Some(ca.into()), ..TlsSpec::default() })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let span = Duration::from_secs_f64(seconds.parse()?);
    // Everybody is connected before anybody is counted.
    let from = Instant::now() + Duration::from_micros(600) * nodes.len() as u32 + Duration::from_millis(500);
    let load = Rc::new(Load {
        address: address.clone(),
        dialer: trust.dialer(&["http/1.1"]),
        kind: kind.clone(),
        epoch: SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64,
        gap,
        from,
        until: from + span,
        round_trips: RefCell::default(),
    });
    let count = nodes.len();
    LocalSet::new().block_on(&runtime, async {
        let mut lanes = JoinSet::new();
        for (at, (node, token)) in nodes.into_iter().enumerate() {
            lanes.spawn_local(lane(Rc::clone(&load), at as f64 / count as f64, node, token));
        }
        while let Some(ended) = lanes.join_next().await {
            ended?.map_err(|error| error.to_string())?;
        }
        Ok::<(), Failure>(())
    })?;
    print(load.round_trips.take(), span);
    Ok(())
}

fn parse(writers: &str, seconds: &str, per_s: Option<&str>) -> Result<Writers, Failure> {
    let per_s = per_s.map(str::parse).transpose()?;
    Ok(Writers { count: writers.parse()?, span: Duration::from_secs_f64(seconds.parse()?), per_s })
}

/// Prints how many there were a second, and how long they took.
fn print(mut all: Vec<u64>, span: Duration) {
    all.sort_unstable();
    let at = |share: f64| all.get((all.len() as f64 * share) as usize).map_or(0, |ns| ns / 1000);
    let per_s = all.len() as f64 / span.as_secs_f64();
    println!("{{\"per_s\":{per_s:.0},\"p50_us\":{},\"p99_us\":{},\"count\":{}}}", at(0.5), at(0.99), all.len());
}

async fn lane(load: Rc<Load>, phase: f64, node: String, token: String) -> Result<(), Failure> {
    let tcp = TcpStream::connect(&load.address).await?;
    tcp.set_nodelay(true)?;
    let tls = load.dialer.handshake("localhost", tcp).await?;
    let mut request = format!("wss://{}/state", load.address).into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
    let config = WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(0).max_write_buffer_size(1 << 20);
    let (mut socket, _) = client_async_with_config(request, tls, Some(config)).await?;
    tokio::time::sleep_until((load.from + load.gap.unwrap_or_default().mul_f64(phase)).into()).await;
    // A repetition or an older report would be answered without any work.
    let answer = if load.kind == "report" { "\"stored\"" } else { "\"pulse\"" };
    let mut next = Instant::now();
    for number in 1_u64.. {
        if load.kind == "idle" {
            tokio::time::sleep_until(load.until.into()).await;
        }
        if let Some(gap) = load.gap {
            tokio::time::sleep_until(next.into()).await;
            next += gap;
        }
        let sent = Instant::now();
        if sent >= load.until {
            break;
        }
        socket.send(Message::text(frame(&load, &node, number))).await?;
        match socket.next().await {
            Some(Ok(Message::Text(text))) if text.contains(answer) => {}
            other => return Err(format!("{node} {number}: {other:?}").into()),
        }
        // From the plan, where there is one: a gateway that stalls delays what was to be sent meanwhile.
        let began = if load.gap.is_some() { next - load.gap.unwrap_or_default() } else { sent };
        load.round_trips.borrow_mut().push(began.elapsed().as_nanos() as u64);
    }
    Ok(())
}

fn frame(load: &Load, node: &str, number: u64) -> String {
    let epoch = load.epoch;
    if load.kind == "heartbeat" {
        return format!(
            "{{\"heartbeat\":{{\"node_id\":\"{node}\",\"epoch\":{epoch},\"seq\":{number},\"next_interval_ms\":60000}}}}"
        );
    }
    let status = if number.is_multiple_of(2) { "running" } else { "pending" };
    format!(
        "{{\"reports\":{{\"id\":{number},\"reports\":[{{\"task_id\":\"{node}-task\",\"node_id\":\"{node}\",\"status\":\"{status}\",\"timestamp\":\"2026-01-02T03:04:05Z\",\"epoch\":{epoch},\"version\":{number}}}]}}}}"
    )
}
