//! `offloadctl completions` and `offloadctl man`: what a package wants to install beside the binary.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::console;
use crate::error::{Exit, Failure};

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Of which command, such as `probe rtt` [default: the whole program]
    command: Vec<String>,
    /// Write the pages of all commands into this folder instead
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    output_dir: Option<PathBuf>,
}

/// Prints the completions of one shell.
///
/// # Errors
/// When stdout cannot be written.
pub fn completions(args: &CompletionsArgs, mut program: Command) -> Result<Exit, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut program, "offloadctl", &mut text);
    print(&text)
}

/// Prints the manual page of a command, or writes all of them.
///
/// # Errors
/// When there is no such command, or stdout or the folder cannot be written.
pub fn man(args: &ManArgs, mut program: Command) -> Result<Exit, Failure> {
    if let Some(folder) = &args.output_dir {
        let written = clap_mangen::generate_to(program.disable_help_subcommand(true), folder);
        written.map_err(|error| Failure::file("cannot write the pages into", folder, &error))?;
        return Ok(Exit::Fine);
    }
    program.build();
    let mut page = &program;
    for name in &args.command {
        page = page
            .find_subcommand(name)
            .ok_or_else(|| Failure::plain(Exit::Usage, format!("there is no command `{}`", args.command.join(" "))))?;
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(page.clone())
        .render(&mut text)
        .map_err(|error| Failure::plain(Exit::Unable, format!("the page cannot be rendered: {error}")))?;
    print(&text)
}

fn print(text: &[u8]) -> Result<Exit, Failure> {
    console::data(&String::from_utf8_lossy(text))?;
    Ok(Exit::Fine)
}
