//! The program: reads the arguments, runs the command, and exits with its verdict.

use std::process::ExitCode;

fn main() -> ExitCode {
    offloadctl::commands::main()
}
