//! Far ends of programmed behaviour: threads that speak the echo's frames, each in its own way.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use offloadctl::echo::{FRAME_LENGTH, answer, bind_pair};
use offloadctl::model::Stamp;
use offloadctl::sys::clock;

/// What a far end does with what it receives.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// Answers each frame this long after it came.
    Delay(Duration),
    /// Answers at once, but nothing for `length` from frame number `frame` on.
    Stall {
        /// The first frame that has to wait, counted from 0 over all connections.
        frame: u64,
        /// For how long.
        length: Duration,
    },
    /// Answers over TCP in pairs: the first waits for the second, and both are one write.
    InPairs,
    /// Answers each frame with this instead, and goes on reading.
    Answer(&'static [u8]),
    /// Says this first, and goes on reading.
    Greet(&'static [u8]),
    /// Closes each connection at once.
    Close,
    /// Closes each connection when so many frames of it were answered.
    CloseAfter(u64),
    /// Closes the first connection when so many frames of it were answered, and every later one at once.
    DieAfter(u64),
    /// Accepts and never reads.
    Deaf,
}

/// A running far end; dropping it ends it.
#[derive(Debug)]
pub struct FarEnd {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    manner: Manner,
    /// Frames received, over TCP and UDP.
    frames: AtomicU64,
    stopping: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl FarEnd {
    /// Begins to behave so, on TCP and UDP.
    pub fn start(manner: Manner) -> Self {
        let (tcp, udp) = bind_pair("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = tcp.local_addr().unwrap();
        let shared = Arc::new(Shared {
            manner,
            frames: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let (for_tcp, for_udp) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            std::thread::spawn(move || accept(&tcp, &for_tcp)),
            std::thread::spawn(move || answer_datagrams(&udp, &for_udp)),
        ];
        Self { address, shared, threads }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Frames that it has received.
    pub fn frames(&self) -> u64 {
        self.shared.frames.load(Ordering::SeqCst)
    }

    /// Connections that it has accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.lock().unwrap().len()
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for connection in self.shared.connections.lock().unwrap().iter() {
            // It may be closed already.
            let _ = connection.shutdown(Shutdown::Both);
        }
        TcpStream::connect(self.address).unwrap();
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[], self.address).unwrap();
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Shared {
    /// When the frame that came at `at` is to be answered.
    fn due(&self, at: Stamp) -> Stamp {
        let number = self.frames.fetch_add(1, Ordering::SeqCst);
        match self.manner {
            Manner::Delay(delay) => at + delay,
            Manner::Stall { frame, length } if number == frame => at + length,
            _ => at,
        }
    }

    /// The answer to a frame.
    fn words(&self, frame: &[u8]) -> Vec<u8> {
        let now = clock::now();
        match self.manner {
            Manner::Answer(words) => words.to_vec(),
            _ => answer(frame, now, now).expect("only PINGs are sent here").to_vec(),
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopping.load(Ordering::SeqCst) {
            break;
        }
        stream.set_nodelay(true).unwrap();
        let kept = stream.try_clone().unwrap();
        if matches!(shared.manner, Manner::Close) {
            kept.shutdown(Shutdown::Both).unwrap();
        }
        shared.connections.lock().unwrap().push(kept);
        let shared = Arc::clone(shared);
        threads.push(std::thread::spawn(move || converse(&stream, &shared)));
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Reads frames, and lets another thread answer each when it is due: what waits does not keep the next from being read.
fn converse(stream: &TcpStream, shared: &Arc<Shared>) {
    match shared.manner {
        Manner::Close | Manner::Deaf => return,
        Manner::DieAfter(_) if shared.connections.lock().unwrap().len() > 1 => {
            // The peer may have closed it already.
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
        Manner::Greet(words) => (&mut &*stream).write_all(words).unwrap(),
        _ => {}
    }
    let (due_at, waiting) = mpsc::channel::<(Stamp, Vec<u8>)>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut held = Vec::new();
            for (due, words) in waiting {
                std::thread::sleep(due.since(clock::now()));
                held.extend(words);
                if matches!(shared.manner, Manner::InPairs) && held.len() == FRAME_LENGTH {
                    continue;
                }
                if (&mut &*stream).write_all(&held).is_err() {
                    return;
                }
                held.clear();
            }
        });
        let mut frame = [0; FRAME_LENGTH];
        let mut number = 0;
        while (&mut &*stream).read_exact(&mut frame).is_ok() {
            let due = shared.due(clock::now());
            if !matches!(shared.manner, Manner::Greet(_)) && due_at.send((due, shared.words(&frame))).is_err() {
                return;
            }
            number += 1;
            if matches!(shared.manner, Manner::CloseAfter(frames) | Manner::DieAfter(frames) if number == frames) {
                break;
            }
        }
        drop(due_at);
    });
    // The peer may have closed it already.
    let _ = stream.shutdown(Shutdown::Both);
}

fn answer_datagrams(socket: &UdpSocket, shared: &Shared) {
    let (due_at, waiting) = mpsc::channel::<(Stamp, Vec<u8>, SocketAddr)>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for (due, words, peer) in waiting {
                std::thread::sleep(due.since(clock::now()));
                socket.send_to(&words, peer).unwrap();
            }
        });
        // Owned here, so that the other thread ends when this one does.
        let due_at = due_at;
        let mut frame = [0; 2048];
        while let Ok((length, peer)) = socket.recv_from(&mut frame) {
            if shared.stopping.load(Ordering::SeqCst) {
                return;
            }
            let due = shared.due(clock::now());
            if !matches!(shared.manner, Manner::Deaf | Manner::Close) {
                due_at.send((due, shared.words(&frame[..length]), peer)).unwrap();
            }
        }
    });
}
