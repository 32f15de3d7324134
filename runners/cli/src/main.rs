//! `millrace`.

use clap::Parser;
use millrace_cli::arguments::Arguments;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The sandbox is this program again, in a process of its own without threads.
    millrace_host::sandbox::main_if_asked();
    millrace_cli::run(Arguments::parse())
}
