//! Programs of other projects that some tests run. A test without its programs is skipped and says
//! so; `tools/test` installs them and skips nothing.

use std::io::Write;
use std::path::Path;

/// Set by `tools/test`: a program that is missing is a failure.
const ALL: &str = "SLUICE_TEST_ALL";

/// Where Debian keeps servers, which `PATH` may lack.
const SERVERS: &str = "/usr/sbin";

/// Whether all of `programs` are installed. If not, says that this test is skipped, past the capture
/// of what tests print.
///
/// # Panics
///
/// If one is missing and `SLUICE_TEST_ALL` is set.
pub fn all(programs: &[&str]) -> bool {
    let Some(missing) = programs.iter().find(|program| !is_installed(program)) else { return true };
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let why = format!("{test} because {missing} is not installed: tools/test installs it");
    assert!(std::env::var_os(ALL).is_none(), "cannot run {why}");
    writeln!(std::io::stderr(), "skipped: {why}").expect("an open standard error");
    false
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path);
    folders.any(|folder| folder.join(program).is_file())
        || Path::new(SERVERS).join(program).is_file()
}
