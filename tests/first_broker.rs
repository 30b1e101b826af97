//! The commands of the README for the first secured broker, as they stand there.

mod installed;
mod process;

use std::path::Path;
use std::process::{Command, Stdio};

use process::{Process, Sluice, new_folder};

/// The blocks of code below a heading of the README.
fn blocks(heading: &str) -> Vec<String> {
    let readme = include_str!("../README.md");
    let (_, section) = readme.split_once(heading).expect("the heading");
    let end = section.find("\n## ").expect("another heading");
    let fences = section[..end].split("```").enumerate();
    let code = fences.filter(|(number, _)| number % 2 == 1).map(|(_, code)| code);
    code.map(|code| code.strip_prefix("sh\n").expect("commands").to_owned()).collect()
}

/// A shell that knows `sluice`, in `folder`.
fn shell(folder: &Path, text: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_sluice")).parent().expect("a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command.current_dir(folder).args(["-e", "-c", text]).stdin(Stdio::null());
    command.env("PATH", format!("{}:{path}", program.display()));
    // The port of the README may be taken here.
    command.env("SLUICE_LISTENER__0__ADDRESS", "127.0.0.1:0");
    command
}

#[test]
fn the_first_secured_broker_takes_five_commands() {
    if !installed::all(&["mosquitto_pub", "mosquitto_sub"]) {
        return;
    }
    let [make, try_it] = &blocks("### The first secured broker in five commands")[..] else {
        panic!("two blocks");
    };
    let folder = new_folder();
    let (before, serve) = make.trim_end().rsplit_once('\n').expect("more than one command");
    let (code, lines) = Process::start(&mut shell(folder.path(), before)).end();
    assert_eq!(code, Some(0), "{lines:?}");
    let place = folder.path().to_owned();
    let broker = Sluice::start_as(&mut shell(&place, &format!("exec {serve}")), folder);
    let ready = broker.printed().last().expect("the ready line");
    let port = process::listeners(ready)[0].1.port().to_string();
    let said = |command: &str| {
        let command = command.replace("8883", &port);
        Process::start(&mut shell(&place, &command)).end()
    };
    let commands: Vec<&str> = try_it.trim_end().lines().collect();
    assert_eq!(commands.len(), 3);
    let (code, lines) = said(commands[0]);
    assert_eq!((code, lines), (Some(0), Vec::new()));
    let (code, lines) = said(commands[1]);
    assert_eq!((code, lines), (Some(0), vec!["devices/device-1/state on".to_owned()]));
    let (_, lines) = said(commands[2]);
    assert!(lines.iter().any(|line| line.contains("Not authorized")), "{lines:?}");
}
