//! What other programs read of a report: a page in a real browser, metrics by Prometheus' own reader.

use std::fs;
use std::process::Command;

use crate::support::program::Scene;

const RUN: &str = "probe rtt --emulate local-dc,hybrid --rate 100/s --duration 3s --quiet";

#[test]
fn a_browser_shows_the_page_without_complaint() {
    let scene = Scene::new();
    let ended = scene.run(&format!("{RUN} --label who=<b>me</b> -o page.html -o run.json"));
    assert!(matches!(ended.code, Some(0 | 4)), "{}", ended.stderr);
    let answer = ended.stdout.lines().find(|line| line.contains("hybrid answers in")).unwrap().to_owned();
    // A script of the test's own sorts the first table by its last head, as a reader would, and says what it met.
    let page = fs::read_to_string(scene.path("page.html")).unwrap();
    let asked = "<script>document.querySelector('thead th:nth-child(3) button').click();\
                 document.title = document.querySelectorAll('svg[role=img]').length + ' pictures, sorted ' +\
                 document.querySelector('thead th:nth-child(3)').getAttribute('aria-sort');</script></body>";
    fs::write(scene.path("asked.html"), page.replace("</body>", asked)).unwrap();
    let url = format!("file://{}", scene.path("asked.html").display());
    let mut browser = Command::new("timeout");
    browser.args([
        "60",
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--dump-dom",
    ]);
    let shown = browser.arg(format!("--user-data-dir={}", scene.path("browser").display())).arg(&url).output().unwrap();
    let (dom, said) = (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
    assert!(shown.status.success(), "{said}");
    assert!(!said.contains("CONSOLE"), "{said}");
    assert!(dom.contains(answer.trim_end_matches('.')), "the answer `{answer}` is not in the page");
    assert!(dom.contains("who=&lt;b&gt;me&lt;/b&gt;"), "a label is text");
    let title = dom.split_once("<title>").unwrap().1.split_once("</title>").unwrap().0.to_owned();
    // A histogram, percentiles, and the course of four responses.
    assert_eq!(title, "6 pictures, sorted ascending");
    assert!(page.len() < 300_000, "{} bytes", page.len());
}

#[test]
fn prometheus_reads_the_metrics_back() {
    let scene = Scene::new();
    let ended = scene.run(&format!("{RUN} -o metrics.prom"));
    assert!(matches!(ended.code, Some(0 | 4)), "{}", ended.stderr);
    let promtool = |line: &str| {
        let output = Command::new("promtool").args(line.split(' ')).current_dir(scene.path("")).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    // Its dump asks for a log of writes, which blocks made of a file do not have.
    fs::create_dir_all(scene.path("blocks/wal")).unwrap();
    promtool("tsdb create-blocks-from openmetrics metrics.prom blocks");
    let dump = promtool("tsdb dump blocks");
    let count = |target: &str| {
        let is_it = |line: &&str| {
            line.contains("__name__=\"offloadctl_rtt_echo_seconds_count\"")
                && line.contains(&format!("target=\"{target}\""))
        };
        let line = dump.lines().find(is_it).unwrap_or_else(|| panic!("no count of {target} in {dump}"));
        line.split(' ').rev().nth(1).unwrap().to_owned()
    };
    assert_eq!([count("local-dc"), count("hybrid")], ["300", "300"]);
}
