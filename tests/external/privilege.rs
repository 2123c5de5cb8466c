//! A user without any privilege: what ICMP needs is missing, said, and asked of nobody who did not ask for ICMP.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use crate::host::{may_administer, path_of, turn};
use crate::namespace::Namespace;
use crate::program::{OFFLOADCTL, call, expect_all_answered, has_series, series};
use crate::server::Server;

#[test]
fn without_privilege_icmp_is_left_out_or_an_error() {
    if !may_administer("privilege::without_privilege_icmp_is_left_out_or_an_error") {
        return;
    }
    let _turn = turn();
    // A namespace has its own setting of who may ping: nobody.
    let namespace = Namespace::new();
    let forbid = ["sh", "-c", "echo 1 0 >/proc/sys/net/ipv4/ping_group_range"].map(str::to_owned);
    assert_eq!(call(&namespace.inside(&forbid)).code, Some(0));
    let echo = Server::echo_inside(&namespace.prefix());
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("offloadctl");
    fs::copy(OFFLOADCTL, &program).unwrap();

    let target = format!("self=127.0.0.1:{}", echo.port);
    let as_nobody = |arguments: &[&str]| {
        let dropped = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];
        let fixed = [program.to_str().unwrap(), "probe", "rtt", "--json", "--no-save", &target, "--duration", "1s"];
        let setpriv = path_of("setpriv", "util-linux");
        let words = [&[setpriv.to_str().unwrap()], &dropped[..], &fixed[..], arguments].concat();
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        call(&namespace.inside(&words))
    };
    let run = as_nobody(&[]).run(0);
    expect_all_answered(series(&run, "rtt.tcp_connect", "self"), 10);
    expect_all_answered(series(&run, "rtt.echo", "self"), 10);
    assert!(!has_series(&run, "rtt.icmp"));
    assert!(run.warnings.iter().any(|warning| warning.id == "icmp_denied"), "{:?}", run.warnings);

    let demanded = as_nobody(&["--channel", "icmp"]);
    assert_eq!((demanded.code, demanded.stdout.as_str()), (Some(3), ""));
    assert!(demanded.stderr.contains("net.ipv4.ping_group_range"), "{}", demanded.stderr);
}
