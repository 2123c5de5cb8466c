//! The gateway's gRPC as a client finds it that another language's tools made of the published interface.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use crate::gateway::Gateway;
use crate::host::path_of;

/// What the client is made with and speaks through, in these versions.
const PACKAGES: [&str; 2] = ["grpcio==1.85.3", "grpcio-tools==1.85.1"];

/// Where it is installed: beside what the compiler makes, once.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/grpcio-1.85");

/// Installs the packages unless they are there; why not, where that cannot be.
fn install() -> Result<(), String> {
    let done = Path::new(FOLDER).join("installed");
    if done.exists() {
        return Ok(());
    }
    let pip = path_of("pip3", "python3-pip");
    let words =
        ["install", "--quiet", "--disable-pip-version-check", "--root-user-action", "ignore", "--target", FOLDER];
    let ended = Command::new(pip).args(words).args(PACKAGES).output().unwrap();
    if !ended.status.success() {
        return Err(String::from_utf8_lossy(&ended.stderr).trim().to_owned());
    }
    std::fs::write(done, "").unwrap();
    Ok(())
}

#[test]
fn a_client_of_python_made_of_the_published_interface_is_served_and_refused_as_it_says() {
    if let Err(why) = install() {
        let line = format!("cannot run here: the client of Python's grpcio: pip3 does not get {PACKAGES:?}: {why}\n");
        return std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    let gateway = Gateway::start("");
    let port = gateway.address.rsplit_once(':').unwrap().1;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ended = Command::new(path_of("python3", "python3"))
        .arg(here.join("tests/external/grpcio.py"))
        .arg(format!("localhost:{port}"))
        .arg(gateway.scene.path("data/certificate.pem"))
        .arg(here.join("docs/reference"))
        .env("PYTHONPATH", FOLDER)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && ended.stdout.ends_with(b"all as published\n"), "{said}");
    let tasks = gateway.read("/v1/tasks?limit=100");
    assert_eq!(tasks["items"].as_array().unwrap().len(), 21, "{tasks}");
    assert_eq!(gateway.read("/v1/nodes/one")["node_id"], "one");
}
