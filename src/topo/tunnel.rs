//! A way through an HTTP proxy for programs that know none: connections to a port of this host go on by CONNECT.
//!
//! Separate from emulated links because nothing is delayed here: what a proxy costs is what is asked.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long a proxy may take to open the way.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer of a proxy before the way is open.
const HEAD_LIMIT: usize = 8 * 1024;

/// Connections at a time.
const MOST: usize = 256;

/// Takes connections until it is dropped, and carries each through the proxy at `proxy` (`HOST:PORT`) to `far`. A connection for which
/// the proxy opens no way is closed.
pub async fn through_proxy(listener: TcpListener, proxy: String, far: String) {
    let mut carried = JoinSet::new();
    loop {
        while carried.try_join_next().is_some() {}
        if carried.len() >= MOST {
            carried.join_next().await;
        }
        let Ok((mut near, _)) = listener.accept().await else { continue };
        let (proxy, far) = (proxy.clone(), far.clone());
        carried.spawn(async move {
            if let Ok(Ok(mut way)) = tokio::time::timeout(PATIENCE, open(&proxy, &far)).await {
                // How a connection ends is seen by both of its ends.
                let _ = copy_bidirectional(&mut near, &mut way).await;
            }
        });
    }
}

/// Whether the proxy opens a way, and what it says where it does not.
///
/// # Errors
/// When it cannot be reached, does not answer in time, or refuses.
pub async fn try_proxy(proxy: &str, far: &str) -> io::Result<()> {
    let opened = tokio::time::timeout(PATIENCE, open(proxy, far)).await;
    opened.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the proxy did not answer"))?.map(drop)
}

/// CONNECT as RFC 9110 section 9.3.6 has it: any 2xx opens the way.
async fn open(proxy: &str, far: &str) -> io::Result<TcpStream> {
    let mut way = TcpStream::connect(proxy).await?;
    way.set_nodelay(true)?;
    way.write_all(format!("CONNECT {far} HTTP/1.1\r\nHost: {far}\r\n\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    // Byte by byte: what follows the head is the far end's.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_LIMIT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the proxy's answer does not end"));
        }
        head.push(way.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let line = head.lines().next().unwrap_or_default();
    match line.split(' ').nth(1) {
        Some(status) if line.starts_with("HTTP/1.") && status.starts_with('2') => Ok(way),
        _ => Err(io::Error::other(format!("the proxy refuses: {}", line.escape_debug()))),
    }
}
