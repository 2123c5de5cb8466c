//! What every detector must do, and the figures that were published for some of them.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// All kinds, with margins small enough to matter.
const ALL: [&str; 9] = [
    "missed:1",
    "missed:3/margin=200ms/check=1s",
    "overdue:3s",
    "phi:8",
    "phi-akka:8/pause=0s",
    "phi-exp:8",
    "chen:1s",
    "k8s-lease",
    "k8s-lease/grace=40s/check=1s",
];

fn spec(text: &str) -> DetectorSpec {
    text.parse().unwrap()
}

fn at(millis: u64) -> Stamp {
    Stamp::from_nanos(millis * 1_000_000)
}

fn beat(sequence: u64, millis: u64, promised: Duration) -> Beat {
    Beat { at: at(millis), sequence, promised }
}

/// A detector of one-second heartbeats that came on time, the last at `n` seconds.
fn steady(text: &str, n: u64) -> Detector {
    let mut detector = Detector::new(&spec(text), at(0), SECOND, at(0));
    (1..=n).for_each(|n| detector.heartbeat(beat(n, n * 1000, SECOND)));
    detector
}

#[test]
fn fixed_rules_suspect_where_their_formula_says() {
    for (text, millis) in [
        ("missed:1", 21_000),
        ("missed:3", 23_000),
        ("missed:3/margin=200ms", 23_200),
        ("missed:3/margin=200ms/check=1s", 24_000),
        ("overdue:3s", 24_000),
        ("chen:1s", 22_000),
        ("phi-exp:8", 38_420),
        ("k8s-lease", 70_000),
        ("k8s-lease/grace=40s", 60_000),
    ] {
        let deadline = steady(text, 20).deadline().as_nanos() / 1_000_000;
        assert_eq!(deadline, millis, "{text}");
    }
}

#[test]
fn the_lease_is_seen_and_judged_at_the_controllers_looks() {
    // Looks at 2, 7, 12, ...: a renewal at 20 s is seen at 22 s, and the grace of 50 s has passed at 72 s.
    let mut lease = Detector::new(&spec("k8s-lease"), at(0), SECOND * 10, at(2_000));
    lease.heartbeat(beat(1, 20_000, SECOND * 10));
    assert_eq!(lease.deadline(), at(72_000));
    lease.heartbeat(beat(2, 22_000, SECOND * 10));
    assert_eq!(lease.deadline(), at(72_000), "an arrival at the very look is seen by it");
}

#[test]
fn a_tie_is_won_by_the_arrival() {
    let mut detector = steady("missed:1", 20);
    assert!(detector.suspicion(at(21_000)) && !detector.suspicion(at(20_999)));
    detector.heartbeat(beat(21, 21_000, SECOND));
    assert!(!detector.suspicion(at(21_000)));
}

#[test]
fn an_agent_that_slowed_down_as_it_said_is_not_accused() {
    for text in ALL {
        let mut detector = steady(text, 20);
        detector.heartbeat(beat(21, 21_000, SECOND * 30));
        assert!(!detector.suspicion(at(50_999)), "{text}");
    }
}

#[test]
fn what_is_no_detector_says_what_one_looks_like() {
    let error = |text: &str| text.parse::<DetectorSpec>().unwrap_err().to_string();
    assert!(error("ping:3").contains("is no detector"));
    assert!(error("k8s-lease:3").contains("is no detector"));
    assert!(error("missed:0").contains("a whole number above zero is needed after `missed`"));
    assert!(error("overdue:3").contains("a time with its unit"));
    assert!(error("phi:-1").contains("a number above 0"));
    assert!(error("phi:nan").contains("a number above 0"));
    assert!(error("missed:3/pause=1s").contains("no option `pause`; its options are margin=TIME and check=TIME"));
    assert!(error("k8s-lease/check=0s").contains("a time above zero"));
    assert!(error("missed:3/quickly").contains("no option `quickly`"));
}

#[test]
fn the_margin_of_the_network_is_taken_where_none_was_given() {
    let margin = |text: &str| match spec(text).with_margin(SECOND).rule {
        Rule::Missed { margin, .. } => Some(margin),
        _ => None,
    };
    assert_eq!(margin("missed:3"), Some(SECOND));
    assert_eq!(margin("missed:3/margin=0s"), Some(Duration::ZERO));
    assert_eq!(margin("overdue:3s"), None);
}

/// How long after its last heartbeat the node is suspected, in ms.
fn patience(detector: &Detector, last: u64) -> u64 {
    detector.deadline().since(at(last)).as_millis() as u64
}

#[test]
fn a_silence_that_was_an_outage_is_not_learnt_whether_the_agent_stood_still_or_the_network() {
    for text in ["phi:8", "phi-akka:8", "phi-exp:8", "chen:500ms"] {
        let usual = patience(&steady(text, 60), 60_000);
        // Stopped for a minute, it sends one heartbeat when it goes on, and then keeps to its grid.
        let mut stopped = steady(text, 60);
        stopped.heartbeat(beat(61, 121_300, SECOND));
        assert!(!stopped.suspicion(at(121_300)));
        (0..10).for_each(|n| {
            assert!(!stopped.suspicion(at(122_000 + n * 1000)), "{text} {n}");
            stopped.heartbeat(beat(62 + n, 122_000 + n * 1000, SECOND));
        });
        let after = patience(&stopped, 131_000);
        assert!(after.abs_diff(usual) <= 100 + usual / 100, "{text}: {after} for {usual}");
        // Cut off for a minute by a network that keeps what it does not deliver, it sent all the time.
        let mut cut = steady(text, 60);
        (61..=120).for_each(|n| cut.heartbeat(beat(n, 120_300 + n, SECOND)));
        (121..=131).for_each(|n| {
            assert!(!cut.suspicion(at(n * 1000)), "{text} {n}");
            cut.heartbeat(beat(n, n * 1000, SECOND));
        });
        let after = patience(&cut, 131_000);
        assert!(after.abs_diff(usual) <= 100 + usual / 100, "{text}: {after} for {usual}");
    }
}

#[test]
fn what_a_monitor_missed_while_it_was_away_is_nobodys_silence() {
    for text in ALL {
        let mut detector = steady(text, 60);
        let usual = detector.deadline().since(at(60_000));
        detector.excuse(at(100_000), SECOND);
        let after = detector.deadline().since(at(100_000));
        assert!(after + SECOND / 2 >= usual && after <= usual + SECOND * 5, "{text}: {after:?} for {usual:?}");
        // What waited meanwhile comes at once, and is no repetition.
        (61..=100).for_each(|n| detector.heartbeat(beat(n, 100_000 + n - 60, SECOND)));
        (101..=110).for_each(|n| {
            assert!(!detector.suspicion(at(n * 1000 - 1)), "{text} {n}");
            detector.heartbeat(beat(n, n * 1000, SECOND));
        });
        let after = detector.deadline().since(at(110_000));
        assert!(after <= usual + SECOND / 10, "{text}: {after:?} for {usual:?}");
    }
}

proptest! {
    /// Receipts of one history that differ only in the last one: the later it came, the later the suspicion. A silence that was
    /// suspected is not learnt, so that this holds on either side of the suspicion and not across it.
    #[test]
    fn a_later_heartbeat_never_makes_suspicion_earlier(
        which in 0..ALL.len(),
        gaps in prop::collection::vec(1_u64..3_000, 1..40),
        earlier in 1_u64..5_000,
        more in 0_u64..5_000,
    ) {
        let mut detector = Detector::new(&spec(ALL[which]), at(0), SECOND, at(700));
        let mut now = 0;
        for (n, gap) in gaps.iter().enumerate() {
            now += gap;
            detector.heartbeat(beat(n as u64 + 1, now, SECOND));
        }
        let next = gaps.len() as u64 + 1;
        let limit = detector.deadline();
        prop_assume!((at(now + earlier) > limit) == (at(now + earlier + more) > limit));
        let (mut early, mut late) = (detector.clone(), detector);
        early.heartbeat(beat(next, now + earlier, SECOND));
        late.heartbeat(beat(next, now + earlier + more, SECOND));
        prop_assert!(late.deadline() >= early.deadline());
    }

    /// A repeated or overtaken heartbeat says nothing new.
    #[test]
    fn an_old_heartbeat_changes_nothing(which in 0..ALL.len(), old in 0_u64..=20, millis in 20_000_u64..30_000) {
        let mut detector = steady(ALL[which], 20);
        let before = detector.deadline();
        detector.heartbeat(beat(old, millis, SECOND * 9));
        prop_assert_eq!(detector.deadline(), before);
    }

    /// No detector accuses before the promise of the last heartbeat has passed.
    #[test]
    fn nobody_is_accused_before_the_next_heartbeat_is_due(which in 0..ALL.len(), n in 1_u64..40) {
        prop_assert!(steady(ALL[which], n).deadline() >= at((n + 1) * 1000));
    }
}
