//! The echo against peers of every behaviour: a good peer is served whatever the others do, and nobody gets more bytes
//! than it sent.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::Duration;

use offloadctl::echo::{EchoLimits, EchoServer, FRAME_LENGTH, Frame, Kind, bind_pair};
use offloadctl::model::Stamp;
use offloadctl::sys::clock;

use crate::support::program::poll;

/// Until then something must have happened that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);

const FIRST_PING: Duration = Duration::from_millis(400);
const IDLE: Duration = Duration::from_millis(600);

/// An echo with short limits, and a peer that is served all the while.
struct Place {
    address: SocketAddr,
    server: EchoServer,
}

impl Place {
    fn new(connections: usize) -> Self {
        Self::within(EchoLimits { connections, first_ping: FIRST_PING, idle: IDLE, write: IDLE })
    }

    fn within(limits: EchoLimits) -> Self {
        let (tcp, udp) = bind_pair("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = tcp.local_addr().unwrap();
        Self { address, server: EchoServer::start(tcp, udp, limits).unwrap() }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Asks and is answered, over TCP on a new connection and over UDP.
    #[track_caller]
    fn serves(&self) {
        assert_eq!(ask(&mut self.connect(), 1).map(|pong| pong.sequence), Some(1));
        let socket = self.datagrams();
        socket.send(&ping(2)).unwrap();
        let mut buffer = [0; 2 * FRAME_LENGTH];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(Frame::decode(&buffer[..length]).map(|pong| (pong.kind, pong.sequence)), Some((Kind::Pong, 2)));
    }

    fn datagrams(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn foreign(&self) -> u64 {
        self.server.statistics().foreign.load(Ordering::Relaxed)
    }
}

fn ping(sequence: u64) -> [u8; FRAME_LENGTH] {
    Frame::ping(42, sequence, Stamp::from_nanos(9)).encode()
}

/// Sends a PING and reads its PONG; `None` if the connection is closed instead.
fn ask(stream: &mut TcpStream, sequence: u64) -> Option<Frame> {
    let mut pong = [0; FRAME_LENGTH];
    stream.write_all(&ping(sequence)).ok()?;
    stream.read_exact(&mut pong).ok()?;
    Frame::decode(&pong).filter(|frame| frame.kind == Kind::Pong && frame.session == 42)
}

/// Everything that comes until the peer closes or resets.
#[track_caller]
fn rest(stream: &mut TcpStream) -> usize {
    let (mut bytes, mut buffer) = (0, [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return bytes,
            Ok(read) => bytes += read,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return bytes,
            Err(error) => panic!("it was not closed: {error}"),
        }
    }
}

#[test]
fn garbage_is_cut_off_and_not_answered() {
    let place = Place::new(16);
    let mut pong = ping(1);
    pong[5] = 2;
    let cases: [&[u8]; 6] =
        [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"x", &[0; 4096], b"OFLE\x07", &pong, b"\x16\x03\x01\x02\x00\x01\x00"];
    for (number, words) in cases.into_iter().enumerate() {
        let mut peer = place.connect();
        peer.write_all(words).unwrap();
        assert_eq!(rest(&mut peer), 0, "{words:?} was answered");
        let expected = number as u64 + 1;
        poll("the count of foreign peers", PATIENCE, || (place.foreign() >= expected).then_some(()));
        place.serves();
    }
    assert_eq!(place.foreign(), 6);
}

#[test]
fn garbage_after_a_ping_is_cut_off_too() {
    let place = Place::new(16);
    let mut peer = place.connect();
    assert!(ask(&mut peer, 1).is_some());
    peer.write_all(&[7; FRAME_LENGTH]).unwrap();
    assert_eq!(rest(&mut peer), 0);
    poll("the count of foreign peers", PATIENCE, || (place.foreign() == 1).then_some(()));
    place.serves();
}

#[test]
fn a_peer_that_drips_bytes_gains_no_time() {
    let place = Place::new(16);
    let mut peer = place.connect();
    let began = clock::now();
    // At 20 ms a byte the frame would take a second and a half.
    let sent = ping(1).into_iter().take_while(|byte| {
        std::thread::sleep(Duration::from_millis(20));
        peer.write_all(&[*byte]).is_ok()
    });
    let sent = sent.count();
    assert!(sent < FRAME_LENGTH, "the whole frame was taken, after {:?}", clock::now().since(began));
    assert!(clock::now().since(began) >= FIRST_PING, "it was closed early");
    assert_eq!(rest(&mut peer), 0);
    place.serves();
}

#[test]
fn a_silent_peer_is_closed_when_its_time_is_up() {
    let place = Place::new(16);
    for (asks, patience) in [(false, FIRST_PING), (true, IDLE)] {
        let mut peer = place.connect();
        assert!(!asks || ask(&mut peer, 1).is_some());
        let began = clock::now();
        assert_eq!(rest(&mut peer), 0);
        let waited = clock::now().since(began);
        // Slack below: the server's time runs from its own last read, which is before ours.
        assert!(waited + Duration::from_millis(100) >= patience && waited < PATIENCE / 2, "closed after {waited:?}");
    }
    place.serves();
}

#[test]
fn datagrams_that_are_no_ping_are_dropped() {
    let place = Place::new(16);
    let socket = place.datagrams();
    let mut long = [0; 1400];
    long[..FRAME_LENGTH].copy_from_slice(&ping(1));
    let mut pong = ping(1);
    pong[5] = 2;
    let cases: [&[u8]; 6] = [&long, &long[..=FRAME_LENGTH], &ping(1)[..FRAME_LENGTH - 1], &pong, b"", &[0; 60_000]];
    for words in cases {
        socket.send(words).unwrap();
    }
    poll("the count of foreign datagrams", PATIENCE, || (place.foreign() == 6).then_some(()));
    // Datagrams on a loopback keep their order: the first answer is to the first PING.
    socket.send(&ping(77)).unwrap();
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(Frame::decode(&buffer[..length]).map(|pong| pong.sequence), Some(77));
    place.serves();
}

#[test]
fn who_comes_too_many_is_turned_away_until_there_is_room() {
    let place = Place::new(2);
    let mut admitted = [place.connect(), place.connect()];
    for peer in &mut admitted {
        assert!(ask(peer, 1).is_some());
    }
    for number in 1..=5 {
        assert_eq!(rest(&mut place.connect()), 0);
        assert_eq!(place.server.statistics().turned_away.load(Ordering::Relaxed), number);
    }
    assert!(admitted.iter_mut().all(|peer| ask(peer, 2).is_some()), "those inside are not disturbed");
    let [leaves, mut stays] = admitted;
    drop(leaves);
    poll("room for another", PATIENCE, || {
        assert!(ask(&mut stays, 3).is_some());
        ask(&mut place.connect(), 4)
    });
}

#[test]
fn a_flood_that_is_never_read_is_closed_and_the_others_are_served() {
    let place = Place::new(16);
    let mut flood = place.connect();
    flood.set_write_timeout(Some(PATIENCE)).unwrap();
    let frames: Vec<u8> = (0..1000).flat_map(ping).collect();
    let mut good = place.connect();
    let (mut sent, mut answered) = (0_usize, 0);
    // The answers fill both sockets' buffers, then the server waits to write, gives up and closes.
    let deadline = clock::now() + PATIENCE;
    flood.set_nonblocking(true).unwrap();
    loop {
        match flood.write(&frames) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(10)),
            Err(_) => break,
        }
        answered += 1;
        assert!(ask(&mut good, answered).is_some(), "the good peer was not answered");
        assert!(clock::now() < deadline, "the flood was not closed");
    }
    let answered = place.server.statistics().answered.load(Ordering::Relaxed) as usize - answered as usize;
    assert!(answered * FRAME_LENGTH <= sent, "{answered} answers to {sent} bytes");
    place.serves();
}

#[test]
fn a_flood_that_is_read_gets_an_answer_to_each_and_no_byte_more() {
    // However long a busy machine keeps the reader from reading.
    let place = Place::within(EchoLimits { write: PATIENCE, idle: PATIENCE, first_ping: PATIENCE, connections: 16 });
    let peer = place.connect();
    let count = 20_000;
    let received = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let frames: Vec<u8> = (0..count).flat_map(ping).collect();
            // Odd pieces: frames come torn.
            frames.chunks(1009).for_each(|piece| (&peer).write_all(piece).unwrap());
            peer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        (&peer).read_to_end(&mut received).unwrap();
        writer.join().unwrap();
        received
    });
    assert_eq!(received.len(), count as usize * FRAME_LENGTH);
    let sequences = received.chunks(FRAME_LENGTH).map(|bytes| Frame::decode(bytes).unwrap().sequence);
    assert!(sequences.eq(0..count));
    place.serves();
}

#[test]
fn an_echo_that_is_dropped_closes_its_connections_at_once() {
    let place = Place::new(16);
    let mut peers: Vec<TcpStream> = (0..8).map(|_| place.connect()).collect();
    peers.iter_mut().for_each(|peer| assert!(ask(peer, 1).is_some()));
    let began = clock::now();
    drop(place.server);
    assert!(clock::now().since(began) < IDLE.max(Duration::from_secs(5)));
    peers.iter_mut().for_each(|peer| assert_eq!(rest(peer), 0));
}
