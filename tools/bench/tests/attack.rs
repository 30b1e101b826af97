//! Every class of attack still runs, against the broker and against the sink: a little of each, and how long
//! it takes does not matter.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn every_class_of_attack_runs() {
    let attack = Path::new(env!("CARGO_BIN_EXE_attack"));
    let sluice = attack.with_file_name("sluice");
    if !sluice.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--locked", "--quiet", "--package", "sluicemq", "--bin", "sluice"]);
        assert!(build.status().expect("cargo").success());
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (json, markdown) = (folder.path().join("json"), folder.path().join("markdown"));
    let mut command = Command::new(attack);
    command.args(["--small", "--rounds", "1", "--seconds", "60", "--sluice"]).arg(sluice);
    command.arg("--json").arg(&json).arg("--markdown").arg(&markdown);
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let all = std::fs::read_to_string(json).expect("figures");
    let all: Value = serde_json::from_str(&all).expect("JSON");
    let classes = all["classes"].as_array().expect("classes");
    assert!(classes.len() >= 30, "{}", classes.len());
    let table = std::fs::read_to_string(markdown).expect("a table");
    for class in classes {
        let name = class["class"].as_str().expect("a name");
        for of in ["attacked", "control"] {
            let load = class[of][0]["load_per_s"].as_f64();
            assert!(load.is_some_and(|load| load > 0.0), "{name}: {of}: {load:?}");
        }
        assert!(table.contains(&format!("\n| {name} | ")), "{name} is not in the table");
    }
}
