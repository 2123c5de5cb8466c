//! What a report advises to run runs as it stands: it leads to the same server, trusts the same authority, and is the same login.

use std::process::Command;
use std::time::Duration;

use crate::api::api;
use crate::api_fault::finding;
use crate::certificate::Authority;
use crate::support::program::Scene;
use crate::web::{Manner, Web};

#[test]
fn the_command_of_an_advice_runs_as_it_is_printed() {
    let authority = Authority::new("tests");
    let scene = Scene::new();
    scene.write("ca.pem", &authority.pem);
    let hello = Duration::from_millis(60);
    let tls = Some(authority.identity(&["127.0.0.1"]).server(&["h2"]));
    let web = Web::start(Manner { tls, hello, ..Manner::default() });
    let run = api(&scene, &format!("{}/x --path /y?a=b --ca-file ca.pem --count 25 --rate 50/s", web.url()));
    let split = finding(&run, "time_split");
    let verify = split.advice.as_ref().unwrap().verify.clone().unwrap();
    assert!(verify.starts_with("offloadctl probe api ") && verify.ends_with("--path '/y?a=b' --reuse"), "{verify}");

    let program = std::path::Path::new(env!("CARGO_BIN_EXE_offloadctl"));
    let folders = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{verify} --count 3 --no-save --json")]).current_dir(scene.path("."));
    let output = command.env("PATH", folders).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let again = offloadctl::model::Run::parse(&text).unwrap();
    assert_eq!(crate::api::of(&again, "api.request", "/y?a=b").counts.ok_count, 3, "{verify}");
}
