//! Writes the manual pages and the completions of bash, zsh and fish for `sluice` and `sluice-load`,
//! made of their command lines.
//!
//! usage: manual DIR. The files are DIR/man/*.1, DIR/bash/*, DIR/zsh/_* and DIR/fish/*.fish.

#![forbid(unsafe_code)]

// Of the program, which has no library: only what it can be asked for.
#[allow(dead_code)]
#[path = "../../../src/command_line.rs"]
mod command_line;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: manual DIR");
        return ExitCode::from(2);
    };
    let commands = [command_line::Cli::command(), sluice_load::command::command_line()];
    for command in commands {
        if let Err(error) = write(&command, Path::new(&folder)) {
            eprintln!("manual: {}: {error}", folder.display());
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Writes the pages and the completions of one program.
fn write(command: &Command, folder: &Path) -> io::Result<()> {
    let made = |name: &str| -> io::Result<PathBuf> {
        let folder = folder.join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    };
    // A page for the program, and one for each of its commands.
    clap_mangen::generate_to(command.clone(), made("man")?)?;
    for (shell, name) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        let program = command.get_name().to_owned();
        let file = match shell {
            Shell::Zsh => format!("_{program}"),
            Shell::Fish => format!("{program}.fish"),
            _ => program.clone(),
        };
        let mut file = File::create(made(name)?.join(file))?;
        clap_complete::generate(shell, &mut command.clone(), program, &mut file);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `version` of the command line is the version of the package that it is compiled in.
    #[test]
    fn the_pages_have_the_version_of_the_broker() {
        let manifest = include_str!("../../../Cargo.toml");
        let version = concat!("version = \"", env!("CARGO_PKG_VERSION"), "\"");
        assert!(manifest.lines().any(|line| line == version), "{version}");
    }

    #[test]
    fn every_command_has_a_page_and_every_shell_its_completions() {
        let folder = tempfile::tempdir().expect("a folder");
        write(&command_line::Cli::command(), folder.path()).expect("written");
        let made = |name: &str| folder.path().join(name).is_file();
        for name in ["man/sluice.1", "bash/sluice", "zsh/_sluice", "fish/sluice.fish"] {
            assert!(made(name), "{name}");
        }
        pages(&command_line::Cli::command(), "sluice", &made);
    }

    /// A page for each command, and for those of these.
    fn pages(command: &Command, before: &str, made: &dyn Fn(&str) -> bool) {
        for command in command.get_subcommands() {
            let name = format!("{before}-{}", command.get_name());
            assert!(made(&format!("man/{name}.1")), "{name}");
            pages(command, &name, made);
        }
    }
}
