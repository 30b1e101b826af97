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

/// `found` is what the fixture has; `UPDATE=1` writes it.
#[track_caller]
fn is_fixture(found: &str, fixture: &str) {
    let wanted = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import").join(fixture);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&wanted, found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(wanted).unwrap());
}

#[test]
fn a_used_configuration_is_told_line_by_line() {
    let imported = import_fixture("used.conf");
    is_fixture(&(imported.lines.join("\n") + "\n"), "used.report");
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

#[test]
fn websockets_and_unix_sockets_are_carried_over() {
    let imported = import_text(
        "listener 9001 127.0.0.1\nprotocol websockets\nwebsockets_origin https://app.example\n\
         allow_anonymous true\nmax_packet_size 100000000\n\
         listener 9002 127.0.0.1\nprotocol websockets\nallow_anonymous true\n\
         listener 0 /run/mosquitto/m.sock\nallow_anonymous true\n",
    );
    imported.is_sound();
    let text = imported.text("sluice.toml");
    for part in [
        "transport = \"websocket\"\n",
        "[listener.websocket]\npath = \"*\"\norigins = [\"https://app.example\"]\n",
        "[listener.websocket]\npath = \"*\"\norigins = [\"*\"]\n",
        "name = \"mqtt-unix\"\naddress = \"/run/mosquitto/m.sock\"\ntransport = \"unix\"\n",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    imported.says(&["websockets_origin", "0660: listener.unix.mode"]);
}

/// No listener is served with less than it asked of its clients.
#[test]
fn a_listener_that_cannot_be_as_before_is_not_served() {
    for (options, why) in [
        ("psk_hint hint\n", "pre-shared keys"),
        ("protocol http_api\n", "does not speak MQTT"),
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
    is_fixture(&imported.text("rules.toml"), "list.rules");
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

/// Roles come in the order in which mosquitto looks: by priority, then by name, those of the client first.
#[test]
fn dynamic_security_is_rules_and_a_password_file() {
    let imported = import_fixture("dynsec.conf");
    is_fixture(&(imported.lines.join("\n") + "\n"), "dynsec.report");
    is_fixture(&imported.text("rules.toml"), "dynsec.rules");
    let passwords = imported.text("passwords");
    let users: Vec<&str> =
        passwords.lines().filter_map(|line| Some(line.split_once(":$7$101$")?.0)).collect();
    assert_eq!(users, ["admin", "meter-1", "bound"]);
    imported.is_sound();
}

/// mosquitto 2.0 puts nothing in the place of `%u`.
#[test]
fn places_of_dynamic_security_are_text_before_2_1() {
    let folder = new_folder();
    let file = folder.path().join("dynsec.json");
    let role = r#"{"rolename": "r", "acls": [
        {"acltype": "publishClientSend", "topic": "a/%u", "allow": true}]}"#;
    let client = r#"{"username": "u", "roles": [{"rolename": "r"}]}"#;
    std::fs::write(&file, format!(r#"{{"clients": [{client}], "roles": [{role}]}}"#)).unwrap();
    let imported = import_text(&format!(
        "plugin mosquitto_dynamic_security.so\nplugin_opt_config_file {}\nlistener 1885 ::1\n",
        file.display()
    ));
    assert!(imported.text("rules.toml").contains("a/%%u"));
    imported.is_sound();
    std::fs::write(&file, "{\n  \"clients\": 5\n}").unwrap();
    let imported = import_text(&format!(
        "plugin mosquitto_dynamic_security.so\nplugin_opt_config_file {}\n",
        file.display()
    ));
    assert_eq!(imported.code, Some(2));
    imported.says(&["dynsec.json: invalid type: integer `5`", "at line 2 column"]);
}

/// A user of a password file, with the password `right`.
const HASH: &str = "$7$101$SW/4TtBNHagDXD5I$u2obeQ+85hO/CuktsfY8yJyjvh7RErMD5mOBU2eDWQcngRNA8traHVLsbbEdF6YEysRCdQpIdhsUBqJet+ADsQ==";

/// With several password files each listener has steps of its own.
#[test]
fn several_password_files_are_steps() {
    let folder = new_folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("one"), format!("anna:{HASH}\n")).unwrap();
    std::fs::write(at("two"), format!("otto:{HASH}\n")).unwrap();
    let [one, two] = ["one", "two"].map(at);
    for text in [
        format!(
            "per_listener_settings true\nlistener 1884 ::1\npassword_file {one}\nlistener 1885 ::1\n\
             password_file {two}\nallow_anonymous true\nlistener 1886 ::1\nallow_anonymous true\n"
        ),
        // As mosquitto 2.1 has it.
        format!(
            "plugin_load first /usr/lib/mosquitto_password_file.so\nplugin_opt_password_file {one}\n\
             plugin_load second /usr/lib/mosquitto_password_file.so\nplugin_opt_password_file {two}\n\
             listener 1884 ::1\nlistener_allow_anonymous false\nplugin_use first\n\
             listener 1885 ::1\nlistener_allow_anonymous true\nplugin_use second\n\
             listener 1886 ::1\nlistener_allow_anonymous true\n"
        ),
    ] {
        let imported = import_text(&text);
        imported.is_sound();
        let config: toml::Table = imported.text("sluice.toml").parse().unwrap();
        let steps = config["auth"]["step"].as_array().unwrap();
        let said = |step: &toml::Value| {
            let text = |key: &str| step.get(key).and_then(|v| v.as_str()).unwrap_or("-").to_owned();
            format!("{} {} {}", step["listeners"][0].as_str().unwrap(), text("kind"), text("file"))
        };
        let steps: Vec<String> = steps.iter().map(said).collect();
        let wanted = [
            "mqtt-1884 password passwords",
            "mqtt-1885 password passwords-2",
            "mqtt-1885 anonymous -",
            "mqtt-1886 anonymous -",
        ];
        assert_eq!(steps, wanted, "{:#?}", imported.lines);
        assert_eq!(imported.text("passwords-2"), format!("otto:{HASH}\n"));
    }
}

/// The plugins that mosquitto 2.1 ships are what the options of the same name are.
#[test]
fn plugins_for_files_are_their_options() {
    let folder = new_folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("users"), format!("anna:{HASH}\n")).unwrap();
    std::fs::write(at("list"), "user anna\ntopic read a/#\n").unwrap();
    let [users, list] = ["users", "list"].map(at);
    let plugins = format!(
        "global_plugin /usr/lib/mosquitto_password_file.so\nplugin_opt_password_file {users}\n\
         global_plugin /usr/lib/mosquitto_acl_file.so\nplugin_opt_acl_file {list}\n\
         plugin /usr/lib/mosquitto_persist_sqlite.so\nplugin_opt_sync normal\n"
    );
    let options = format!("password_file {users}\nacl_file {list}\n");
    let made = |text: &str| {
        let imported = import_text(text);
        imported.is_sound();
        let [config, rules] = ["sluice.toml", "rules.toml"].map(|name| imported.text(name));
        (config, rules, imported)
    };
    let listener = "listener 1884 127.0.0.1\n";
    let (config, rules, _) = made(&format!("{options}{listener}"));
    let (of_plugins, rules_of_plugins, imported) = made(&format!("{plugins}{listener}"));
    assert_eq!((of_plugins, rules_of_plugins), (config, rules));
    imported.says(&[
        "mosquitto.conf:1: carried over: global_plugin /usr/lib/mosquitto_password_file.so",
        "mosquitto.conf:2: carried over: plugin_opt_password_file",
        "mosquitto.conf:5: no counterpart: plugin /usr/lib/mosquitto_persist_sqlite.so",
        "mosquitto.conf:6: no counterpart: plugin_opt_sync normal",
    ]);
    // They hold for a listener too that says what else it asks.
    let (config, ..) =
        made(&format!("per_listener_settings true\n{plugins}{listener}allow_anonymous true\n"));
    assert!(config.contains("password_file = \"passwords\""), "{config}");
}

/// A listener whose clients are asked for certificates of a folder.
fn with_capath(folder: &Path, more: &str) -> Imported {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import");
    import_text(&format!(
        "listener 8883 127.0.0.1\ncertfile {0}/server.pem\nkeyfile {0}/server.key\ncapath {1}\n{more}",
        fixtures.display(),
        folder.display()
    ))
}

#[test]
fn the_certificates_of_capath_are_one_file() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import");
    let authority = std::fs::read_to_string(fixtures.join("ca.pem")).unwrap();
    let folder = new_folder();
    let asked = "require_certificate true\nuse_identity_as_username true\n";
    let imported = with_capath(folder.path(), asked);
    imported.says(&["no file is named by a hash"]);
    assert!(!imported.text("sluice.toml").contains("8883"));
    for name in ["0123abcd.0", "0123abcd.1"] {
        std::fs::write(folder.path().join(name), &authority).unwrap();
    }
    std::fs::write(folder.path().join("other.pem"), "nothing").unwrap();
    let imported = with_capath(folder.path(), asked);
    imported.says(&["conf:4: carried over: capath", "is client_ca of [listener.tls]"]);
    assert_eq!(imported.text("client-ca-mqtt-8883.pem"), format!("{authority}\n{authority}\n"));
    let config = imported.text("sluice.toml");
    assert!(config.contains("client_ca = \"client-ca-mqtt-8883.pem\""), "{config}");
    assert!(config.contains("identity = \"cn\""), "{config}");
    imported.is_sound();
}

#[test]
fn names_of_certificates_need_certificates() {
    let folder = new_folder();
    for option in ["use_identity_as_username", "use_subject_as_username"] {
        let imported =
            with_capath(folder.path(), &format!("{option} true\nallow_anonymous true\n"));
        imported.says(&[&format!("not served: {option} without require_certificate")]);
        assert!(!imported.text("sluice.toml").contains("8883"));
        let imported =
            with_capath(folder.path(), &format!("{option} false\nallow_anonymous true\n"));
        assert!(imported.text("sluice.toml").contains("8883"));
    }
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import");
    let authority = fixtures.join("ca.pem");
    std::fs::copy(authority, folder.path().join("0123abcd.0")).unwrap();
    let imported =
        with_capath(folder.path(), "require_certificate true\nuse_subject_as_username true\n");
    imported.says(&["no counterpart: use_subject_as_username true"]);
    assert!(!imported.text("sluice.toml").contains("identity"));
    imported.is_sound();
}
