//! The command line of `sluice-load`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice_load::command::main()
}
