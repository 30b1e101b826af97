//! `sluice import mosquitto`: what becomes of each line of its files.

#[path = "process/mod.rs"]
mod process;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use process::{Process, new_folder, program};

/// What an import of a configuration printed, with its exit code, and its folder.
struct Imported {
    code: Option<i32>,
    lines: Vec<String>,
    out: PathBuf,
    _folder: tempfile::TempDir,
}

/// Imports a file of `tests/fixtures/import`.
fn import_fixture(name: &str) -> Imported {
    import(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import").join(name))
}

/// Imports a configuration that has `text`.
fn import_text(text: &str) -> Imported {
    let folder = new_folder();
    let config = folder.path().join("mosquitto.conf");
    std::fs::write(&config, text).unwrap();
    import(&config)
}

fn import(config: &Path) -> Imported {
    let folder = new_folder();
    let out = folder.path().join("sluice");
    let mut command = program();
    command.args(["import", "mosquitto", "--config"]).arg(config).arg("--out").arg(&out);
    let (code, lines) = Process::start(command.stdin(Stdio::null())).end();
    let fixtures = format!("{}/", config.parent().unwrap().display());
    let out_name = format!("{}/", out.display());
    let short = |line: String| line.replace(&out_name, "OUT/").replace(&fixtures, "");
    Imported { code, lines: lines.into_iter().map(short).collect(), out, _folder: folder }
}

impl Imported {
    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.out.join(name)).unwrap()
    }

    /// `sluice check` finds nothing wrong.
    #[track_caller]
    fn is_sound(&self) {
        let mut command = program();
        command.arg("check").arg("--config").arg(self.out.join("sluice.toml"));
        let (code, lines) = Process::start(command.stdin(Stdio::null())).end();
        assert_eq!(code, Some(0), "{lines:?}\n{}", self.text("sluice.toml"));
    }

    #[track_caller]
    fn says(&self, wanted: &[&str]) {
        for wanted in wanted {
            assert!(
                self.lines.iter().any(|line| line.contains(wanted)),
                "{wanted}\n{:#?}",
                self.lines
            );
        }
    }
}

#[test]
fn a_used_configuration_is_told_line_by_line() {
    let imported = import_fixture("used.conf");
    let wanted = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import/used.report");
    let found = imported.lines.join("\n") + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&wanted, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(wanted).unwrap());
    assert_eq!(imported.code, Some(1));
    imported.is_sound();
}

#[test]
fn nothing_at_all_is_a_broker_for_this_machine() {
    let imported = import_text("");
    assert_eq!(imported.code, Some(0), "{:#?}", imported.lines);
    imported.is_sound();
    assert!(imported.text("sluice.toml").contains("address = \"127.0.0.1:1883\""));
}

#[test]
fn what_is_the_same_has_exit_code_0() {
    let imported = import_text("listener 1884 127.0.0.1\nallow_anonymous true\npersistence true\n");
    assert_eq!(imported.code, Some(1), "user names are not believed");
    let imported = import_text("persistence false\nmax_queued_messages 50\n");
    assert_eq!(imported.code, Some(0), "{:#?}", imported.lines);
    assert!(imported.text("sluice.toml").contains("messages_max = 50"));
}

#[test]
fn what_cannot_be_read_has_exit_code_2() {
    let imported = import(Path::new("/nowhere/mosquitto.conf"));
    assert_eq!(imported.code, Some(2));
    imported.says(&["cannot read", "No such file"]);
    let imported = import_text("password_file /nowhere/passwords\n");
    assert_eq!(imported.code, Some(2));
    let imported = import_text("include_dir /nowhere\n");
    assert_eq!(imported.code, Some(2));
}

#[test]
fn what_is_there_is_not_written_over() {
    let folder = new_folder();
    let config = folder.path().join("mosquitto.conf");
    std::fs::write(&config, "").unwrap();
    for code in [0, 2] {
        let mut command = program();
        command.args(["import", "mosquitto", "--config"]).arg(&config);
        command.arg("--out").arg(folder.path().join("sluice"));
        let (ended, lines) = Process::start(command.stdin(Stdio::null())).end();
        assert_eq!(ended, Some(code), "{lines:?}");
    }
}

/// No listener is served with less than it asked of its clients.
#[test]
fn a_listener_that_cannot_be_as_before_is_not_served() {
    for (options, why) in [
        ("psk_hint hint\n", "pre-shared keys"),
        ("protocol websockets\n", "protocol websockets"),
        ("certfile a.pem\n", "belong together"),
        ("certfile a.pem\nkeyfile a.key\nrequire_certificate true\n", "there is no cafile"),
        ("enable_proxy_protocol 2\n", "proxy protocol"),
    ] {
        let imported =
            import_text(&format!("listener 1885 0.0.0.0\n{options}allow_anonymous true\n"));
        assert_eq!(imported.code, Some(1));
        imported.says(&[why]);
        assert!(!imported.text("sluice.toml").contains("1885"), "{options}");
        imported.is_sound();
    }
}

#[test]
fn a_broker_that_refused_all_clients_still_does() {
    let imported = import_text("listener 1885 0.0.0.0\n");
    assert_eq!(imported.code, Some(1));
    imported.says(&["no client can connect"]);
    assert!(imported.text("sluice.toml").contains("allow_anonymous = false"));
    assert_eq!(imported.text("passwords"), "");
    imported.is_sound();
}

#[test]
fn files_of_an_included_folder_come_in_their_order() {
    let folder = new_folder();
    let more = folder.path().join("conf.d");
    std::fs::create_dir(&more).unwrap();
    std::fs::write(more.join("b.conf"), "max_inflight_messages 2\n").unwrap();
    std::fs::write(more.join("a.conf"), "max_inflight_messages 1\ninclude_dir /nowhere\n").unwrap();
    std::fs::write(more.join("c.txt"), "max_inflight_messages 3\n").unwrap();
    let imported = import_text(&format!("include_dir {}\n", more.display()));
    assert_eq!(imported.code, Some(0), "{:#?}", imported.lines);
    assert!(imported.text("sluice.toml").contains("inflight_max = 2"));
    imported.says(&["b.conf:1: carried over: max_inflight_messages 2"]);
}

/// Rules of mosquitto's list come in the order in which it looks: what is denied first, users before patterns.
#[test]
fn an_access_list_is_rules() {
    let imported = import_fixture("list.conf");
    imported.says(&[
        "list:2: carried over: allow receive public/# for clients without a user",
        "list:6: carried over: allow publish, receive 100%/# for user anna",
        "list:8: no counterpart: allow receive any/# for user *",
        "list:10: carried over: allow publish, receive users/%u/# for all clients",
        "list:12: differs: topic read a/#/b: not understood",
    ]);
    let wanted = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import/list.rules");
    let found = imported.text("rules.toml");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&wanted, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(wanted).unwrap());
    imported.is_sound();
}

#[test]
fn what_a_plugin_allowed_is_denied() {
    let imported =
        import_text("listener 1885 127.0.0.1\nallow_anonymous true\nplugin /usr/lib/some.so\n");
    imported.says(&[
        "mosquitto.conf:3: no counterpart: plugin",
        "mosquitto.conf:3: differs: access.default",
    ]);
    assert!(imported.text("sluice.toml").contains("[access]\ndefault = \"deny\""));
    imported.is_sound();
}

/// Where nothing checks user names, rules for users would be for those that take the name.
#[test]
fn a_list_for_users_that_are_not_checked_is_no_rules() {
    let text = "allow_anonymous true\nlistener 1885 127.0.0.1\nacl_file FOLDER\n";
    let folder = new_folder();
    let list = folder.path().join("list");
    std::fs::write(&list, "topic read a/#\nuser anna\ntopic b/#\n").unwrap();
    let imported = import_text(&text.replace("FOLDER", &list.display().to_string()));
    imported.says(&["list:3: no counterpart: allow publish, receive b/# for user anna"]);
    assert!(!imported.text("rules.toml").contains("b/#"));
    imported.is_sound();
}
