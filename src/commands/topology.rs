//! `offloadctl topology`: the link profiles, built in and of a file, and links that behave so.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{emulate, matrix};
use crate::console;
use crate::error::{Exit, Failure};
use crate::model::LinkProfile;
use crate::report::{duration_text, plain_table, ratio_text};
use crate::sys::file::read_text;
use crate::topo::{BUILT_IN, TopologyFile};

/// Largest topology file that is read.
const FILE_LIMIT: u64 = 1 << 20;

#[derive(Debug, Subcommand)]
pub enum TopologyCommand {
    /// Show the link profiles
    List(ListArgs),
    /// Measure topologies by intervals or rates, and find the cheapest that is good enough
    Run(Box<matrix::MatrixArgs>),
    /// Emulate a link between other programs, or run a command over one that the kernel emulates
    Emulate(emulate::EmulateArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Show the profiles of this file too
    #[arg(long, value_name = "FILE.toml")]
    topology: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs one of them.
///
/// # Errors
/// When a file cannot be read, stdout not be written, or a link not be made.
pub fn run(command: TopologyCommand) -> Result<Exit, Failure> {
    match command {
        TopologyCommand::List(args) => list(&args),
        TopologyCommand::Run(args) => matrix::run(&args),
        TopologyCommand::Emulate(args) => emulate::run(&args),
    }
}

fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let mut profiles: Vec<(String, String, LinkProfile)> = BUILT_IN
        .iter()
        .map(|profile| (profile.name.to_owned(), profile.description.to_owned(), profile.link()))
        .collect();
    if let Some(path) = &args.topology {
        let own = read_topology(path)?.profiles.into_iter();
        profiles.extend(own.map(|(name, link)| (name, format!("from {}", path.display()), link)));
    }
    let text = if args.json { json(&profiles)? } else { table(&profiles) };
    console::data(&text)?;
    Ok(Exit::Fine)
}

/// Reads and checks a topology file.
///
/// # Errors
/// When it cannot be read or holds a mistake.
pub fn read_topology(path: &Path) -> Result<TopologyFile, Failure> {
    let text = read_text(path, FILE_LIMIT).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => {
            Failure::plain(Exit::Usage, format!("`{}` is too long for a topology file: {error}", path.display()))
        }
        _ => Failure::file("cannot read the topology", path, &error),
    })?;
    TopologyFile::parse(&text).map_err(|error| {
        Failure::plain(Exit::Usage, format!("{}: {}", path.display(), error.to_string().trim_end()))
            .hint("see docs/guide/probe-rtt.md for the keys of a topology file")
    })
}

/// The profile of this name, of a file or built in.
///
/// # Errors
/// When neither has it, or the file cannot be used.
pub fn find_profile(name: &str, path: Option<&Path>) -> Result<LinkProfile, Failure> {
    let file = path.map_or_else(|| Ok(TopologyFile::default()), read_topology)?;
    file.profile(name).ok_or_else(|| unknown_profile(name, path))
}

/// What to say of a profile that nobody knows.
#[must_use]
pub fn unknown_profile(name: &str, file: Option<&Path>) -> Failure {
    let place = file.map_or_else(String::new, |path| format!(" and not in `{}`", path.display()));
    Failure::plain(Exit::Usage, format!("the link profile `{name}` is not built in{place}"))
        .hint("`offloadctl topology list` shows the profiles")
}

/// What a link is like, in words.
#[must_use]
pub fn link_text(link: &LinkProfile) -> String {
    let loss = if link.loss_ratio > 0.0 { format!(", loss {}", ratio_text(link.loss_ratio)) } else { String::new() };
    format!(
        "RTT mean {}, p95 {}, jitter {}{loss}, {}",
        duration_text(link.rtt_mean_ns),
        duration_text(link.rtt_p95_ns),
        duration_text(link.jitter_ns),
        bandwidth_text(link),
    )
}

fn bandwidth_text(link: &LinkProfile) -> String {
    link.bandwidth_bits_per_s.map_or_else(|| "unlimited".to_owned(), bandwidth)
}

fn json(profiles: &[(String, String, LinkProfile)]) -> Result<String, Failure> {
    let list: Vec<_> = profiles
        .iter()
        .map(|(name, description, link)| serde_json::json!({ "name": name, "description": description, "link": link }))
        .collect();
    serde_json::to_string_pretty(&list).map(|text| text + "\n").map_err(Failure::unable)
}

fn table(profiles: &[(String, String, LinkProfile)]) -> String {
    let header = ["profile", "RTT mean", "RTT p95", "jitter", "loss", "bandwidth", "what it is"];
    let rows = profiles.iter().map(|(name, description, link)| {
        vec![
            name.clone(),
            duration_text(link.rtt_mean_ns),
            duration_text(link.rtt_p95_ns),
            duration_text(link.jitter_ns),
            ratio_text(link.loss_ratio),
            bandwidth_text(link),
            description.clone(),
        ]
    });
    let notes = "Delays are log-normal round trips, correlated so that the mean |IPDV| is the jitter.\n\
                 Delay and jitter of the built-in profiles are published figures; their bandwidth is our assumption.\n";
    format!("{}\n\n{notes}", plain_table(&header, rows))
}

fn bandwidth(bits_per_s: u64) -> String {
    match bits_per_s {
        bits if bits % 1_000_000_000 == 0 => format!("{} Gbit/s", bits / 1_000_000_000),
        bits if bits % 1_000_000 == 0 => format!("{} Mbit/s", bits / 1_000_000),
        bits => format!("{} kbit/s", bits / 1_000),
    }
}
