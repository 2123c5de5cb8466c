//! A played API server with one list of nodes: reads through etcd and from a cache that lags, watches with bookmarks, closed
//! watches, forgotten versions and rights, each with the delay that it was told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use offloadctl::model::Stamp;
use offloadctl::sys::clock;

/// Pause between two looks of a watch at what has happened.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// How the server behaves.
#[derive(Clone, Default)]
pub struct Manner {
    /// What a read through etcd takes.
    pub quorum: Duration,
    /// What a read from the cache takes.
    pub cached: Duration,
    /// How long after a change the cache, and with it every watch, knows of it.
    pub lag: Duration,
    /// How long a watch lives.
    pub watch: Option<Duration>,
    /// How often a watch has a bookmark.
    pub bookmark: Option<Duration>,
    /// A verb that the user has not.
    pub forbidden: Option<&'static str>,
    /// Whether a watch is answered with a list.
    pub ignores_watch: bool,
    /// Whether a watch is refused.
    pub refuses_watch: bool,
    /// The only token that it takes; it can be changed meanwhile.
    pub token: Option<Arc<Mutex<String>>>,
    /// Whether answers have no `Audit-Id`.
    pub is_silent: bool,
}

/// A change, and when it was made.
struct Entry {
    revision: u64,
    at: Stamp,
    name: String,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    kind: &'static str,
}

#[derive(Default)]
struct State {
    revision: u64,
    log: Vec<Entry>,
    /// Versions below it are forgotten.
    oldest: u64,
    asked: BTreeMap<&'static str, u64>,
    answer_count: u64,
}

/// A running server; its threads end with the process.
pub struct Cluster {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Cluster {
    /// Begins to behave so, with some nodes.
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { revision: 100, ..State::default() }));
        let cluster = Self { address, state: Arc::clone(&state) };
        for name in ["a", "b", "c"] {
            cluster.touch(name);
        }
        // They have been there for long.
        for entry in &mut lock(&state).log {
            entry.at = Stamp::from_nanos(0);
        }
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (manner, state) = (manner.clone(), Arc::clone(&state));
                thread::spawn(move || converse(stream, &manner, &state));
            }
        });
        cluster
    }

    /// Its address.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes a node, or makes it.
    pub fn touch(&self, name: &str) {
        let mut state = lock(&self.state);
        let is_there =
            state.log.iter().rev().find(|entry| entry.name == name).is_some_and(|last| last.kind != "DELETED");
        state.happen(name, if is_there { "MODIFIED" } else { "ADDED" });
    }

    /// Removes a node.
    pub fn remove(&self, name: &str) {
        lock(&self.state).happen(name, "DELETED");
    }

    /// Something else changes: the version moves, and no node.
    pub fn move_on(&self) {
        lock(&self.state).revision += 10;
    }

    /// Forgets all versions: a watch goes on only after a list.
    pub fn forget(&self) {
        let mut state = lock(&self.state);
        state.oldest = state.revision + 1;
        state.revision += 1;
    }

    /// How often it was asked: `quorum`, `cached`, `watch`.
    pub fn asked(&self, what: &str) -> u64 {
        lock(&self.state).asked.get(what).copied().unwrap_or(0)
    }
}

impl State {
    fn happen(&mut self, name: &str, kind: &'static str) {
        self.revision += 1;
        self.log.push(Entry { revision: self.revision, at: clock::now(), name: name.to_owned(), kind });
    }

    /// The list as it is for who knows of changes so late.
    fn list(&self, lag: Duration) -> String {
        let now = clock::now();
        let is_known = |entry: &&Entry| now.since(entry.at) >= lag;
        let mut nodes = BTreeMap::new();
        let known = self.log.iter().take_while(is_known);
        let mut version = if self.log.last().is_none_or(|last| is_known(&last)) { self.revision } else { 0 };
        for entry in known {
            version = version.max(entry.revision);
            match entry.kind {
                "DELETED" => nodes.remove(&entry.name),
                _ => nodes.insert(&entry.name, entry.revision),
            };
        }
        let items: Vec<String> = nodes.into_iter().map(|(name, revision)| node(name, revision)).collect();
        format!(
            r#"{{"kind":"NodeList","apiVersion":"v1","metadata":{{"resourceVersion":"{version}"}},"items":[{}]}}"#,
            items.join(",")
        )
    }
}

fn node(name: &str, revision: u64) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","resourceVersion":"{revision}"}},"status":{{"conditions":[{{"type":"Ready","message":"{}"}}]}}}}"#,
        "x".repeat(500)
    )
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

/// The path of the next request, and who its client says it is.
fn read_request(reader: &mut impl BufRead) -> Option<(String, String)> {
    let (mut first, mut login) = (String::new(), String::new());
    reader.read_line(&mut first).ok().filter(|length| *length > 0)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        if line.trim().is_empty() {
            return first.split(' ').nth(1).map(|path| (path.to_owned(), login));
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("authorization: bearer ") {
            value.trim().clone_into(&mut login);
        }
    }
}

fn converse(stream: TcpStream, manner: &Manner, state: &Mutex<State>) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some((path, login)) = read_request(&mut reader) {
        let is_known = manner.token.as_ref().is_none_or(|token| *token.lock().unwrap() == login);
        let answered = if is_known {
            answer(&mut writer, &path, manner, state)
        } else {
            *lock(state).asked.entry("refused").or_default() += 1;
            plain(&mut writer, manner, state, 401, r#"{"kind":"Status","code":401,"message":"Unauthorized"}"#)
        };
        if answered.is_none() {
            return;
        }
    }
}

fn answer(writer: &mut TcpStream, path: &str, manner: &Manner, state: &Mutex<State>) -> Option<()> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    if path != "/api/v1/nodes" {
        return plain(
            writer,
            manner,
            state,
            404,
            r#"{"kind":"Status","code":404,"message":"there is no such resource"}"#,
        );
    }
    let is_watch = query.split('&').any(|pair| pair == "watch=true");
    let verb = if is_watch { "watch" } else { "list" };
    if manner.forbidden == Some(verb) {
        let text = format!(
            r#"{{"kind":"Status","code":403,"message":"nodes is forbidden: User \"eve\" cannot {verb} resource \"nodes\" in API group \"\" at the cluster scope"}}"#
        );
        return plain(writer, manner, state, 403, &text);
    }
    if is_watch && manner.refuses_watch {
        let text = r#"{"kind":"Status","code":405,"message":"the server does not allow this method on the requested resource"}"#;
        return plain(writer, manner, state, 405, text);
    }
    if is_watch && !manner.ignores_watch {
        *lock(state).asked.entry("watch").or_default() += 1;
        let version = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="))?.parse().ok()?;
        return watch(writer, version, manner, state);
    }
    let is_cached = query.split('&').any(|pair| pair.starts_with("resourceVersion="));
    *lock(state).asked.entry(if is_cached { "cached" } else { "quorum" }).or_default() += 1;
    thread::sleep(if is_cached { manner.cached } else { manner.quorum });
    let text = lock(state).list(if is_cached { manner.lag } else { Duration::ZERO });
    plain(writer, manner, state, 200, &text)
}

fn plain(writer: &mut TcpStream, manner: &Manner, state: &Mutex<State>, status: u16, text: &str) -> Option<()> {
    let number = {
        let mut state = lock(state);
        state.answer_count += 1;
        state.answer_count
    };
    let mark = if manner.is_silent { String::new() } else { format!("Audit-Id: {number:08x}-0000\r\n") };
    let head = format!(
        "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncache-control: no-cache, private\r\n{mark}content-length: {}\r\n\r\n",
        text.len()
    );
    writer.write_all(format!("{head}{text}").as_bytes()).ok()
}

/// Tells of changes after this version, each as late as it was told, until its time is over.
fn watch(writer: &mut TcpStream, mut version: u64, manner: &Manner, state: &Mutex<State>) -> Option<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    writer.write_all(head.as_bytes()).ok()?;
    let (began, mut marked) = (clock::now(), clock::now());
    while manner.watch.is_none_or(|long| clock::now().since(began) < long) {
        let lines: Vec<String> = {
            let state = lock(state);
            if version < state.oldest {
                let gone =
                    r#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old resource version"}}"#;
                chunk(writer, gone)?;
                return writer.write_all(b"0\r\n\r\n").ok();
            }
            let now = clock::now();
            let from = version;
            let news = state.log.iter().filter(|entry| entry.revision > from && now.since(entry.at) >= manner.lag);
            let lines = news.map(|entry| {
                version = entry.revision;
                format!(r#"{{"type":"{}","object":{}}}"#, entry.kind, node(&entry.name, entry.revision))
            });
            lines.collect()
        };
        for line in lines {
            chunk(writer, &line)?;
        }
        if manner.bookmark.is_some_and(|often| clock::now().since(marked) >= often) {
            marked = clock::now();
            let text = format!(
                r#"{{"type":"BOOKMARK","object":{{"kind":"Node","metadata":{{"resourceVersion":"{version}"}}}}}}"#
            );
            chunk(writer, &text)?;
        }
        thread::sleep(BETWEEN_LOOKS);
    }
    writer.write_all(b"0\r\n\r\n").ok()
}

fn chunk(writer: &mut TcpStream, line: &str) -> Option<()> {
    writer.write_all(format!("{:x}\r\n{line}\n\r\n", line.len() + 1).as_bytes()).ok()
}
