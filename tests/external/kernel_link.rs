//! A link that the kernel emulates: what it needs is said where it is missing, and nothing of it is left, however it ends.
//!
//! Not every kernel has netem. Where it is missing, a stand-in for `tc` that accepts everything lets the rest be tried: the
//! namespaces, the link, the command, its end. Where it is there, the delay is measured.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::host::{may_administer, path_of, turn, wait_until};
use crate::program::{Ended, OFFLOADCTL};

const PROFILE: &str = "[profile.slow]\nrtt_mean = \"20ms\"\nrtt_p95 = \"20ms\"\njitter = \"0ms\"\n";

/// Writes down what it was told, and whether the table of delays was there, and sends its caller the signal `TC_SIGNAL`.
/// Refuses what holds the word `TC_REFUSES`.
const STAND_IN: &str = r#"#!/bin/sh
echo "$* table=$(wc -l <"$TC_LIB_DIR/offloadctl.dist")" >>"$TC_LOG"
case " $* " in *" ${TC_REFUSES:-no such word} "*) echo "Error: refused" >&2; exit 2 ;; esac
[ -z "$TC_SIGNAL" ] || kill -s "$TC_SIGNAL" $PPID
"#;

/// A folder with a profile, a place for temporary files, and a stand-in for `tc`.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("own.toml"), PROFILE).unwrap();
        for name in ["tmp", "bin"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let program = folder.path().join("bin/tc");
        fs::write(&program, STAND_IN).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command over a link of this profile; with the stand-in, if `pretend`.
    fn start(&self, profile: &str, pretend: bool, command: &[&str]) -> Child {
        self.call(profile, pretend, command).spawn().unwrap()
    }

    fn call(&self, profile: &str, pretend: bool, command: &[&str]) -> Command {
        let mut call = Command::new(OFFLOADCTL);
        call.args(["topology", "emulate", profile, "--topology", "own.toml", "--kernel", "--"]).args(command);
        if pretend {
            call.env("PATH", self.with_stand_in());
        }
        call.current_dir(self.folder.path()).env("TMPDIR", self.path("tmp")).env("TC_LOG", self.path("tc.log"));
        call.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        call
    }

    /// A path on which the stand-in is found first.
    fn with_stand_in(&self) -> String {
        format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap_or_default())
    }

    fn run(&self, profile: &str, pretend: bool, command: &[&str]) -> Ended {
        ended(self.start(profile, pretend, command))
    }
}

fn ended(child: Child) -> Ended {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Whether a process is in the network namespace of this name; where none is, nobody holds it.
fn is_inhabited(namespace: &str) -> bool {
    let mut processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path().join("ns/net"));
    processes.any(|path| fs::read_link(path).is_ok_and(|name| name == Path::new(namespace)))
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn a_link_of_the_kernel_delays_or_says_what_is_missing() {
    if !may_administer("kernel_link::a_link_of_the_kernel_delays_or_says_what_is_missing") {
        return;
    }
    let _turn = turn();
    let scene = Scene::new();
    let ping = path_of("ping", "iputils-ping");
    let words = [ping.to_str().unwrap(), "-q", "-c", "10", "-i", "0.05", "198.18.0.2"];
    let ended = scene.run("slow", false, &words);
    if ended.code == Some(0) {
        let figures = ended.stdout.lines().find_map(|line| line.strip_prefix("rtt min/avg/max/mdev = ")).unwrap();
        let least: f64 = figures.split('/').next().unwrap().parse().unwrap();
        assert!((20.0..30.0).contains(&least), "{}", ended.stdout);
    } else {
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{}", ended.stderr);
        assert!(ended.stderr.starts_with("error: the kernel has no netem for us: `tc qdisc add"), "{}", ended.stderr);
        assert!(ended.stderr.contains("\n hint: load it with `modprobe sch_netem`"), "{}", ended.stderr);
    }
    assert!(is_empty(&scene.path("tmp")), "the table of delays was left behind");
}

#[test]
fn a_command_runs_at_one_end_of_a_link_and_its_code_is_passed_on() {
    if !may_administer("kernel_link::a_command_runs_at_one_end_of_a_link_and_its_code_is_passed_on") {
        return;
    }
    let _turn = turn();
    let scene = Scene::new();
    let script = format!(
        "{OFFLOADCTL} probe rtt v4=$OFFLOADCTL_FAR:7777 v6=[$OFFLOADCTL_FAR_V6]:7777 --count 5 --rate 50/s --no-save --quiet --json
        nsenter --net=$OFFLOADCTL_FAR_NETNS cat /proc/net/dev >&2; readlink /proc/self/ns/net >&2; exit 7"
    );
    let ended = scene.run("hybrid", true, &["sh", "-c", &script]);
    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    let run = offloadctl::model::Run::parse(&ended.stdout).unwrap();
    for name in ["rtt.tcp_connect", "rtt.icmp", "rtt.echo", "rtt.echo_udp"] {
        let all = run.series.iter().filter(|series| series.name == name);
        assert_eq!(all.map(|series| series.counts.ok_count).collect::<Vec<_>>(), [5, 5], "{name} of both families");
    }
    assert!(ended.stderr.contains("emulating hybrid by the kernel: RTT mean 25.4 ms"), "{}", ended.stderr);
    assert!(ended.stderr.contains("link0:") && !ended.stderr.contains("eth0:"), "the far namespace: {}", ended.stderr);
    let told = fs::read_to_string(scene.path("tc.log")).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    for line in lines {
        assert!(line.contains(" root netem limit ") && line.ends_with(" table=4096"), "{line}");
    }
    assert!(["far0", "near0"].iter().all(|port| told.contains(&format!("qdisc add dev {port} "))), "{told}");
    let namespace = ended.stderr.lines().last().unwrap();
    assert!(namespace.starts_with("net:[") && !is_inhabited(namespace), "{namespace}");
    assert!(is_empty(&scene.path("tmp")));
}

#[test]
fn nothing_of_a_link_is_left_however_it_ends() {
    if !may_administer("kernel_link::nothing_of_a_link_is_left_however_it_ends") {
        return;
    }
    let _turn = turn();
    // The command hears what we hear; killed, we cannot tell it, and the kernel does.
    for (signal, code) in [(Signal::SIGINT, Some(130)), (Signal::SIGTERM, Some(143)), (Signal::SIGKILL, None)] {
        let scene = Scene::new();
        let script = "setsid sleep 600 >&- 2>&- & echo $$ $! $(readlink /proc/self/ns/net); exec sleep 600";
        let mut child = scene.start("slow", true, &["sh", "-c", script]);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let [command, started, namespace] = line.split_whitespace().collect::<Vec<_>>().try_into().unwrap();
        let [command, started] = [command, started].map(|id| Pid::from_raw(id.parse().unwrap()));
        assert!(is_inhabited(namespace), "{line}");
        assert_ne!(fs::read_link("/proc/self/ns/net").unwrap(), Path::new(namespace), "it is our own");
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), code, "{signal}");
        wait_until("all of it has ended", || [command, started].iter().all(|id| kill(*id, None).is_err()));
        wait_until("nobody is inside", || !is_inhabited(namespace));
        assert!(is_empty(&scene.path("tmp")), "{signal}");
    }
}

#[test]
fn a_signal_while_the_link_is_made_ends_it_though_no_step_fails() {
    if !may_administer("kernel_link::a_signal_while_the_link_is_made_ends_it_though_no_step_fails") {
        return;
    }
    let _turn = turn();
    for signal in ["INT", "TERM", "HUP"] {
        let scene = Scene::new();
        let mut call = scene.call("slow", true, &["touch", "begun"]);
        let ended = ended(call.env("TC_SIGNAL", signal).spawn().unwrap());
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(130), ""), "{signal}");
        assert!(!scene.path("begun").exists(), "the command began after {signal}");
        assert_eq!(fs::read_to_string(scene.path("tc.log")).unwrap().lines().count(), 2, "{signal}");
        assert!(is_empty(&scene.path("tmp")), "{signal}");
    }
}

#[test]
fn doctor_says_whether_a_whole_link_can_be_made() {
    if !may_administer("kernel_link::doctor_says_whether_a_whole_link_can_be_made") {
        return;
    }
    let _turn = turn();
    let scene = Scene::new();
    for (refused, able) in [("no-such-word", 1.0), ("distribution", 0.0)] {
        let mut call = Command::new(OFFLOADCTL);
        call.args(["doctor", "--json", "--quiet", "--runs-dir", "runs"]).current_dir(scene.folder.path());
        call.env("PATH", scene.with_stand_in()).env("TC_LOG", scene.path("tc.log")).env("TC_REFUSES", refused);
        let output = call.env("TMPDIR", scene.path("tmp")).output().unwrap();
        let run = offloadctl::model::Run::parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
        let links = run.scalars.iter().find(|scalar| scalar.labels.value("what") == Some("kernel_links")).unwrap();
        assert_eq!(links.value, Some(able), "where `{refused}` is refused");
        assert!(is_empty(&scene.path("tmp")));
    }
}

#[test]
fn an_interrupt_at_the_terminal_is_heard_once() {
    if !may_administer("kernel_link::an_interrupt_at_the_terminal_is_heard_once") {
        return;
    }
    let _turn = turn();
    let scene = Scene::new();
    // It goes on for longer than anything that would pass the interrupt on late.
    let command = "trap 'echo heard' INT; echo ready; read line; for i in 1 2 3 4; do sleep 0.4; done; echo $line";
    let line = format!(
        "exec {OFFLOADCTL} topology emulate slow --topology own.toml --kernel --quiet -- sh -c \"{}\"",
        command.replace('$', "\\$")
    );
    let mut call = Command::new(path_of("script", "bsdutils"));
    call.args(["-qec", &line, "/dev/null"]).current_dir(scene.folder.path());
    // Whichever shell the machine names, one that waited for us would end of the interrupt itself.
    call.env("SHELL", "/bin/sh")
        .env("PATH", scene.with_stand_in())
        .env("TMPDIR", scene.path("tmp"))
        .env("TC_LOG", scene.path("tc.log"));
    let mut child = call.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut shown = String::new();
    for (keys_pressed, answer) in [("\u{3}", "ready"), ("end\n", "heard")] {
        while !shown.contains(answer) {
            assert_ne!(screen.read_line(&mut shown).unwrap(), 0, "{shown}");
        }
        keys.write_all(keys_pressed.as_bytes()).unwrap();
    }
    screen.read_to_string(&mut shown).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{shown}");
    assert_eq!(shown.matches("heard").count(), 1, "{shown}");
}

#[test]
fn what_a_link_needs_is_said() {
    if !may_administer("kernel_link::what_a_link_needs_is_said") {
        return;
    }
    let _turn = turn();
    let scene = Scene::new();
    let ended = scene.run("slow", true, &["no-such-program-anywhere"]);
    assert_eq!(ended.code, Some(3));
    assert!(ended.stderr.contains("cannot run `no-such-program-anywhere`: "), "{}", ended.stderr);

    fs::set_permissions(scene.folder.path(), Permissions::from_mode(0o755)).unwrap();
    let program = scene.path("offloadctl");
    fs::copy(OFFLOADCTL, &program).unwrap();
    let setpriv = path_of("setpriv", "util-linux");
    let dropped = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];
    let mut call = Command::new(setpriv);
    call.args(dropped).arg(program).args(["topology", "emulate", "hybrid", "--kernel", "--", "true"]);
    let output = call.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.starts_with("error: no network namespace can be made here: "), "{stderr}");
    assert!(stderr.contains("\n hint: run it as root"), "{stderr}");
}
