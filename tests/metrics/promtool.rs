//! Prometheus' own opinion, where its program is installed.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::installed;

/// Runs `promtool` with these arguments and the file.
pub fn run(arguments: &[&str], file: &Path) {
    if installed::all(&["promtool"]) {
        let output = Command::new("promtool").args(arguments).arg(file).output();
        let output = output.expect("it is installed");
        assert!(output.status.success(), "{arguments:?} {}: {:?}", file.display(), said(&output));
    }
}

/// No fault is found in a text, not even of style.
pub fn check_metrics(text: &str) {
    if !installed::all(&["promtool"]) {
        return;
    }
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it is installed");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
}

/// A text is OpenMetrics to the strict parser of the command that fills a database, which wants times.
pub fn check_open_metrics(text: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = text.lines().map(|line| match line.starts_with('#') {
        true => format!("{line}\n"),
        false => format!("{line} 1800000000\n"),
    });
    let path = folder.path().join("metrics.txt");
    std::fs::write(&path, lines.collect::<String>()).expect("room");
    let out = folder.path().join("out");
    let out = out.to_str().expect("a name");
    // The file comes first here.
    let file = path.to_str().expect("a name");
    run(&["tsdb", "create-blocks-from", "openmetrics", file], Path::new(out));
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said)).concat()
}
