//! The Raft cluster of the echo: three real members that lose their leader, their quorum, and come back from their logs.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use offloadctl::echo::raft::{Cluster, MEMBERS, Refused, Reply, Request, encode, read_frame};
use offloadctl::wire::{Dialer, Trust, TrustPem};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::certificate::Authority;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(20);

/// Long enough for a commit and an election, on a busy machine.
const LONG: Duration = Duration::from_secs(5);

struct Client {
    stream: TlsStream<TcpStream>,
    buffer: BytesMut,
}

impl Client {
    async fn connect(dialer: &Dialer, port: u16) -> Self {
        let stream = TcpStream::connect((HERE, port)).await.unwrap();
        Self { stream: dialer.handshake("localhost", stream).await.unwrap(), buffer: BytesMut::new() }
    }

    async fn ask(&mut self, number: u64, request: &Request) -> Reply {
        self.stream.write_all(&encode(number, request)).await.unwrap();
        let (answered, reply) = read_frame(&mut self.stream, &mut self.buffer).await.unwrap();
        assert_eq!(answered, number);
        reply
    }
}

fn run<R>(work: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(60), work).await.expect("within a minute") })
}

async fn cluster(folder: &Path) -> (Cluster, Dialer) {
    let authority = Authority::new("raft test");
    let tls = authority.identity(&["localhost"]).server(&["h2", "http/1.1"]);
    let pem = TrustPem { ca: Some(authority.pem.clone().into_bytes()), ..TrustPem::default() };
    let cluster = Cluster::start(HERE, None, tls, folder).await.unwrap();
    (cluster, Trust::from_pem(&pem).unwrap().dialer(&[]))
}

/// The length of everything that a member has on disk.
fn length_of(folder: &Path, member: usize) -> u64 {
    let files = std::fs::read_dir(folder.join(format!("member-{}", member + 1))).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn what_is_proposed_is_on_disk_at_a_majority_before_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let (cluster, dialer) = cluster(folder.path()).await;
        cluster.settled(PATIENCE).await.unwrap();
        let (leader, _) = cluster.next_leader(None, PATIENCE).await.unwrap();
        let before: Vec<u64> = (0..usize::from(MEMBERS)).map(|member| length_of(folder.path(), member)).collect();
        let mut client = Client::connect(&dialer, cluster.ports()[leader]).await;
        let reply = client.ask(1, &Request::Propose(vec![7; 100_000])).await;
        assert!(matches!(reply, Reply::Committed), "{reply:?}");
        let grown =
            (0..usize::from(MEMBERS)).filter(|at| length_of(folder.path(), *at) >= before[*at] + 100_000).count();
        assert!(grown >= 2, "on disk at {grown}");
        // Another member takes none, and answers heartbeats of this term alone.
        let other = (leader + 1) % usize::from(MEMBERS);
        let mut client = Client::connect(&dialer, cluster.ports()[other]).await;
        let reply = client.ask(2, &Request::Propose(vec![1])).await;
        assert!(matches!(reply, Reply::Refused(Refused::NotLeader)), "{reply:?}");
        let Reply::Status { term, leader: Some(known) } = client.ask(3, &Request::Status).await else { panic!() };
        assert_eq!(known, leader as u64 + 1);
        let reply = client.ask(4, &Request::Heartbeat { leader: known, term }).await;
        assert!(matches!(&reply, Reply::Append(answer) if answer.is_success()), "{reply:?}");
        let reply = client.ask(5, &Request::Heartbeat { leader: known, term: term - 1 }).await;
        assert!(matches!(&reply, Reply::Append(answer) if !answer.is_success()), "{reply:?}");
    });
}

#[test]
fn a_lost_leader_is_replaced_and_comes_back_from_its_log() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let (mut cluster, dialer) = cluster(folder.path()).await;
        for round in 0..2 {
            cluster.settled(PATIENCE).await.unwrap();
            let (old, _) = cluster.next_leader(None, PATIENCE).await.unwrap();
            cluster.stop_member(old);
            let (new, _) = cluster.next_leader(Some(old), PATIENCE).await.unwrap();
            assert_ne!(old, new, "round {round}");
            let mut client = Client::connect(&dialer, cluster.ports()[new]).await;
            let reply = timeout(LONG, client.ask(1, &Request::Propose(vec![1]))).await.unwrap();
            assert!(matches!(reply, Reply::Committed), "two of three agree: {reply:?}");
            cluster.start_member(old).unwrap();
        }
    });
}

#[test]
fn without_a_majority_nothing_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let (mut cluster, dialer) = cluster(folder.path()).await;
        cluster.settled(PATIENCE).await.unwrap();
        let (leader, _) = cluster.next_leader(None, PATIENCE).await.unwrap();
        let others: Vec<usize> = (0..usize::from(MEMBERS)).filter(|at| *at != leader).collect();
        others.iter().for_each(|at| cluster.stop_member(*at));
        let mut client = Client::connect(&dialer, cluster.ports()[leader]).await;
        let asked = timeout(Duration::from_secs(1), client.ask(1, &Request::Propose(vec![1]))).await;
        assert!(!matches!(asked, Ok(Reply::Committed)), "{asked:?}");
        for at in others {
            cluster.start_member(at).unwrap();
        }
        cluster.settled(PATIENCE).await.unwrap();
        let (leader, _) = cluster.next_leader(None, PATIENCE).await.unwrap();
        let mut client = Client::connect(&dialer, cluster.ports()[leader]).await;
        let reply = timeout(LONG, client.ask(2, &Request::Propose(vec![1]))).await.unwrap();
        assert!(matches!(reply, Reply::Committed), "{reply:?}");
    });
}

/// More proposals than a log keeps.
const MANY: u64 = 12_000;

/// Proposes so many at once; how many were committed.
async fn propose(client: &mut Client, count: u64) -> u64 {
    let all: Vec<u8> = (0..count).flat_map(|number| encode(number, &Request::Propose(vec![1; 100])).to_vec()).collect();
    client.stream.write_all(&all).await.unwrap();
    let mut committed = 0;
    for _ in 0..count {
        let (_, reply): (u64, Reply) = read_frame(&mut client.stream, &mut client.buffer).await.unwrap();
        committed += u64::from(matches!(reply, Reply::Committed));
    }
    committed
}

#[test]
fn logs_are_cut_and_a_member_that_was_away_gets_what_it_missed() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let (mut cluster, dialer) = cluster(folder.path()).await;
        cluster.settled(PATIENCE).await.unwrap();
        let (leader, _) = cluster.next_leader(None, PATIENCE).await.unwrap();
        let away = (leader + 1) % usize::from(MEMBERS);
        cluster.stop_member(away);
        // More than is kept: what the member missed is not in the log any more.
        let mut committed = 0;
        while committed < MANY {
            // A busy leader may lose its place.
            let (leader, _) = cluster.next_leader(None, PATIENCE).await.unwrap();
            committed += propose(&mut Client::connect(&dialer, cluster.ports()[leader]).await, 400).await;
        }
        cluster.start_member(away).unwrap();
        cluster.settled(PATIENCE).await.unwrap();
        let kept = length_of(folder.path(), leader);
        assert!(kept < MANY * 100, "the log was never cut: {kept} bytes");
        // It takes part again: with the third away, it is needed for a majority.
        cluster.stop_member(3 - leader - away);
        let mut committed = 0;
        while committed == 0 {
            let (leader, _) = cluster.next_leader(None, PATIENCE).await.unwrap();
            committed = propose(&mut Client::connect(&dialer, cluster.ports()[leader]).await, 1).await;
        }
    });
}
