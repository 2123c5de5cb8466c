//! Servers that a test starts on 127.0.0.1, with their data in a temporary folder, and stops by their process id.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use offloadctl::sys::clock;
use tempfile::TempDir;

use crate::certificate::Identity;
use crate::host::{path_of, wait_until};
use crate::program::OFFLOADCTL;

/// Ports are taken from here: below the range of local ports, where a client's connection could occupy a server's port
/// while the server is down, or connect to itself.
const PORTS: std::ops::Range<u16> = 15_000..30_000;

/// A server process; dropping it kills it, also when its test fails.
pub struct Server {
    words: Vec<String>,
    ready: Ready,
    child: Option<Child>,
    folder: TempDir,
    /// Its port on 127.0.0.1, or in its namespace.
    pub port: u16,
}

/// How a server shows that it listens.
#[derive(Clone, Copy)]
enum Ready {
    /// It accepts a connection.
    Accepts,
    /// It says so; for servers in a namespace, where the test itself cannot connect to.
    Says(&'static str),
}

/// A port of 127.0.0.1 that is free for TCP and UDP.
pub fn free_port() -> u16 {
    let count = u64::from(PORTS.end - PORTS.start);
    let first = clock::entropy() % count;
    let ports = (0..count).map(|step| PORTS.start + ((first + step) % count) as u16);
    let is_free = |port: &u16| {
        let address = (Ipv4Addr::LOCALHOST, *port);
        TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
    };
    ports.into_iter().find(is_free).unwrap()
}

impl Server {
    /// nginx with one page, one process, and a log of every request.
    #[track_caller]
    pub fn nginx() -> Self {
        let program = path_of("nginx", "nginx-light");
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let place = folder.path().display();
        let temporary = ["client_body", "fastcgi", "proxy", "scgi", "uwsgi"];
        let temporary = temporary.map(|kind| format!("{kind}_temp_path {place}/{kind};")).join("\n");
        let settings = format!(
            "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log info;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log {place}/access.log; {temporary}\n\
             server {{ listen 127.0.0.1:{port}; location / {{ return 200 'fine'; }} }} }}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, settings).unwrap();
        let words = [&text(&program), "-e", &format!("{place}/error.log"), "-c", &text(&file)].map(str::to_owned);
        Self::start(words.into(), folder, port, Ready::Accepts)
    }

    /// nginx with TLS and HTTP/2, or the older of them only, one process, and pages of two sizes.
    #[track_caller]
    pub fn nginx_tls(identity: &Identity, speaks_two: bool) -> Self {
        Self::nginx_tls_of(identity, speaks_two, 100)
    }

    /// The same with so many requests to a connection.
    #[track_caller]
    pub fn nginx_tls_of(identity: &Identity, speaks_two: bool, requests: u32) -> Self {
        let program = path_of("nginx", "nginx-light");
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let place = folder.path().display();
        fs::write(folder.path().join("certificate.pem"), &identity.certificate).unwrap();
        fs::write(folder.path().join("key.pem"), &identity.key).unwrap();
        fs::write(folder.path().join("large"), vec![b'x'; 1 << 20]).unwrap();
        let temporary = ["client_body", "fastcgi", "proxy", "scgi", "uwsgi"];
        let temporary = temporary.map(|kind| format!("{kind}_temp_path {place}/{kind};")).join("\n");
        let two = if speaks_two { " http2" } else { "" };
        let settings = format!(
            "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log info;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log {place}/access.log; keepalive_requests {requests}; {temporary}\n\
             server {{ listen 127.0.0.1:{port} ssl{two}; root {place};\n\
             ssl_certificate {place}/certificate.pem; ssl_certificate_key {place}/key.pem;\n\
             location = / {{ return 200 'fine'; }} location /old {{ return 301 /; }} }} }}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, settings).unwrap();
        let words = [&text(&program), "-e", &format!("{place}/error.log"), "-c", &text(&file)].map(str::to_owned);
        Self::start(words.into(), folder, port, Ready::Accepts)
    }

    /// nginx that passes gRPC on to this server and nothing else, so many requests to a connection.
    #[track_caller]
    pub fn nginx_grpc(to: &str, requests: u32) -> Self {
        let program = path_of("nginx", "nginx-light");
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let place = folder.path().display();
        let temporary = ["client_body", "fastcgi", "proxy", "scgi", "uwsgi"];
        let temporary = temporary.map(|kind| format!("{kind}_temp_path {place}/{kind};")).join("\n");
        let to = to.trim_start_matches("http://");
        let settings = format!(
            "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log info;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; keepalive_requests {requests}; client_max_body_size 0; {temporary}\n\
             upstream to {{ server {to}; keepalive 64; }}\n\
             server {{ listen 127.0.0.1:{port} http2; location /etcdserverpb. {{ grpc_pass grpc://to;\n\
             grpc_read_timeout 1h; grpc_send_timeout 1h; }} location / {{ return 404; }} }} }}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, settings).unwrap();
        let words = [&text(&program), "-e", &format!("{place}/error.log"), "-c", &text(&file)].map(str::to_owned);
        Self::start(words.into(), folder, port, Ready::Accepts)
    }

    /// nginx that keeps answers of this server for a second, and leads watches past its cache.
    #[track_caller]
    pub fn nginx_cache(to: &str) -> Self {
        let program = path_of("nginx", "nginx-light");
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let place = folder.path().display();
        let temporary = ["client_body", "fastcgi", "proxy", "scgi", "uwsgi"];
        let temporary = temporary.map(|kind| format!("{kind}_temp_path {place}/{kind};")).join("\n");
        let settings = format!(
            "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log info;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; {temporary}\n\
             proxy_cache_path {place}/kept keys_zone=kept:1m; map $arg_watch $is_watch {{ default 0; '~.' 1; }}\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {to}; proxy_http_version 1.1;\n\
             proxy_set_header Connection ''; proxy_cache kept; proxy_cache_valid 200 1s;\n\
             proxy_ignore_headers Cache-Control; proxy_cache_bypass $is_watch; proxy_no_cache $is_watch; }} }} }}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, settings).unwrap();
        let words = [&text(&program), "-e", &format!("{place}/error.log"), "-c", &text(&file)].map(str::to_owned);
        Self::start(words.into(), folder, port, Ready::Accepts)
    }

    /// Redis without persistence.
    #[track_caller]
    pub fn redis() -> Self {
        let program = path_of("redis-server", "redis-server");
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let (place, number) = (text(folder.path()), port.to_string());
        let words = [&text(&program), "--bind", "127.0.0.1", "--port", &number, "--dir", &place, "--save", ""];
        Self::start(words.map(str::to_owned).into(), folder, port, Ready::Accepts)
    }

    /// The far end of `probe rtt` on 127.0.0.1.
    #[track_caller]
    pub fn echo() -> Self {
        let port = free_port();
        let words = [OFFLOADCTL, "echo", "--listen", &format!("127.0.0.1:{port}")].map(str::to_owned);
        Self::start(words.into(), TempDir::new().unwrap(), port, Ready::Accepts)
    }

    /// The far end of `probe rtt` on every address of a namespace; `prefix` is the command that enters it.
    #[track_caller]
    pub fn echo_inside(prefix: &[String]) -> Self {
        let port = 7777;
        let echo = [OFFLOADCTL, "echo", "--listen", &format!("[::]:{port}")].map(str::to_owned);
        let ready = Ready::Says("echo listening");
        Self::start([prefix, &echo].concat(), TempDir::new().unwrap(), port, ready)
    }

    /// A gateway with its store in this folder, and a token for the node `edge`.
    #[track_caller]
    pub fn gateway(data: &Path) -> Self {
        let (port, folder) = (free_port(), TempDir::new().unwrap());
        let tokens = folder.path().join("tokens");
        fs::write(&tokens, "edge 0123456789abcdef").unwrap();
        let (listen, data, tokens) = (format!("127.0.0.1:{port}"), text(data), text(&tokens));
        let words = [OFFLOADCTL, "gateway", "--listen", &listen, "--data-dir", &data, "--token-file", &tokens];
        Self::start(words.map(str::to_owned).into(), folder, port, Ready::Says("gateway listening"))
    }

    #[track_caller]
    fn start(words: Vec<String>, folder: TempDir, port: u16, ready: Ready) -> Self {
        let mut server = Self { words, ready, child: None, folder, port };
        server.start_again();
        server
    }

    /// Kills the process at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts the same server on the same port, and waits until it listens.
    #[track_caller]
    pub fn start_again(&mut self) {
        let log = File::create(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        wait_until(&format!("{:?} listens", self.words), || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{:?} ended ({ended:?}): {}", self.words, self.read("log"));
            match self.ready {
                Ready::Accepts => TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok(),
                Ready::Says(what) => self.read("log").contains(what),
            }
        });
    }

    /// The text of a file in its folder; nothing where there is no such file.
    pub fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.folder.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Asks Redis for one of its statistics.
    #[track_caller]
    pub fn redis_figure(&self, name: &str) -> u64 {
        let reply = ask(self.port);
        let value = reply.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in {reply}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only where the process is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What is sent to Redis to ask for its statistics.
pub const REDIS_QUESTION: &str = "INFO stats\r\n";

fn ask(port: u16) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(REDIS_QUESTION.as_bytes()).unwrap();
    let mut reply = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).unwrap();
        reply.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&reply);
        // A bulk string: its length on the first line, then that many bytes and a line end.
        let length = text.split_once("\r\n").and_then(|(head, body)| Some((head.strip_prefix('$')?, body.len())));
        let is_whole = length.is_some_and(|(length, body)| length.parse::<usize>().is_ok_and(|n| body >= n + 2));
        if is_whole || read == 0 {
            return text.into_owned();
        }
    }
}

/// Connections to this port of 127.0.0.1 that are established, as the server's side sees them.
pub fn established(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!("0100007F:{port:04X}");
    let is_ours = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1) == Some(&local.as_str()) && fields.get(3) == Some(&"01")
    };
    table.lines().filter(is_ours).count()
}

fn text(path: &Path) -> String {
    PathBuf::from(path).into_os_string().into_string().unwrap()
}
