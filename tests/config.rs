//! Configuration from the outside: the shipped files, the layers, what is said when one is wrong.

#[path = "config/numbers.rs"]
mod numbers;
#[path = "config/variables.rs"]
mod variables;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sluicemq::config::{Config, ConfigEntry, InForce, Listener};
use sluicemq::settings::{self, Settings, SettingsError};

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

/// Loads `text` as the file `t.toml`, with variables and sets.
fn load(text: &str, env: &[(&str, &str)], sets: &[&str]) -> Result<Settings, SettingsError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.toml");
    fs::write(&path, text).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    settings::load(&[path], env, &sets)
}

const LISTENER: &str = "[[listener]]\naddress = \"127.0.0.1:1883\"\n";

#[test]
fn the_shipped_file_holds_every_key_at_its_default() {
    let text = fs::read_to_string(shipped("sluice.toml")).unwrap();
    let mut config: Config = toml::from_str(&text).unwrap();
    let listener = Listener { address: "127.0.0.1:1883".to_owned(), ..Listener::default() };
    assert_eq!(config.listener, [listener]);
    config.listener.clear();
    assert_eq!(config, Config::default());

    // With the commented keys too, it has all there are, and those of TLS at their defaults.
    let all: String = text
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect();
    let present = paths(&toml::from_str(&all).unwrap());
    let mut known = settings::key_names();
    known.sort();
    assert_eq!(present, known);
    let all: Config = toml::from_str(&all).unwrap();
    let tls = all.listener[0].tls.clone().unwrap();
    let default = sluicemq::config::Tls::default();
    assert_eq!(tls.client_certificate, default.client_certificate);
    assert_eq!(tls.identity, default.identity);
    assert_eq!(tls.handshakes_max, default.handshakes_max);
}

fn paths(table: &toml::Table) -> Vec<String> {
    fn walk(path: &str, value: &toml::Value, into: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => {
                table.iter().for_each(|(key, value)| walk(&format!("{path}.{key}"), value, into));
            }
            // The first item stands for all: a list of texts and tables is one key.
            toml::Value::Array(list) => {
                list.iter().take(1).for_each(|value| walk(&format!("{path}.0"), value, into));
            }
            _ => into.push(path.trim_start_matches('.').to_owned()),
        }
    }
    let mut paths = Vec::new();
    walk("", &toml::Value::Table(table.clone()), &mut paths);
    paths.sort();
    paths
}

#[test]
fn the_examples_are_good() {
    let mut seen = 0;
    let folders = ["examples", "../deploy/deb", "../deploy/container"];
    let files = folders.map(|folder| fs::read_dir(shipped(folder)).unwrap()).into_iter().flatten();
    for path in files.map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        settings::load(std::slice::from_ref(&path), [], &[])
            .unwrap_or_else(|error| panic!("{error}"));
        seen += 1;
    }
    assert!(seen >= 9, "only {seen}");
    settings::load(&[shipped("sluice.toml")], [], &[]).unwrap();
}

#[test]
fn a_mistake_in_a_file_is_named_by_place_and_with_the_nearest_key() {
    for (text, wanted) in [
        (
            "[session]\nqos_mx = 1",
            "t.toml:2:1: unknown key 'qos_mx' in [session]; did you mean 'qos_max'?",
        ),
        ("[sesion]\nqos_max = 1", "t.toml:1:2: unknown section 'sesion'; did you mean 'session'?"),
        ("qos_max = 1", "t.toml:1:1: unknown key 'qos_max'; there is one in [session]"),
        (
            "[log]\nqos_max = 1",
            "t.toml:2:1: unknown key 'qos_max' in [log]; there is one in [session]",
        ),
        (
            "[log]\nxyzzy = 1",
            "t.toml:2:1: unknown key 'xyzzy' in [log]; known: file, file_bytes_max, format, level, old_files_max, output",
        ),
        (
            "[[listener]]\n adress = \"x\"",
            "t.toml:2:2: unknown key 'adress' in [[listener]]; did you mean 'address'?",
        ),
        (
            "[[listener]]\n[listener.tls]\ncertifcate = \"x\"",
            "t.toml:3:1: unknown key 'certifcate' in [listener.tls]; did you mean 'certificate'?",
        ),
        (
            "[limits]\nconnect_timeout = 10",
            "t.toml:2:19: limits.connect_timeout: expected a string such as \"10s\", found an integer",
        ),
        (
            "[limits]\npacket_bytes_max = 1048576",
            "t.toml:2:20: limits.packet_bytes_max: expected a string such as \"4MiB\", found an integer",
        ),
        (
            "[session]\nqos_max = \"1\"",
            "t.toml:2:11: session.qos_max: expected an integer such as 2, found a string",
        ),
        (
            "[session]\nretain_available = 1",
            "t.toml:2:20: session.retain_available: expected true or false, found an integer",
        ),
        (
            "[[topic_class]]\nfilter = [\"a\"]",
            "t.toml:2:1: unknown key 'filter' in [[topic_class]]; did you mean 'filters'?",
        ),
        (
            "[topic_clas]\nname = \"a\"",
            "t.toml:1:2: unknown section 'topic_clas'; did you mean 'topic_class'?",
        ),
        (
            "[log]\nfilters = 1",
            "t.toml:2:1: unknown key 'filters' in [log]; there is one in [[topic_class]]",
        ),
        (
            "[[topic_class]]\nfilters = \"a\"",
            "t.toml:2:11: topic_class.filters: expected a list such as [\"meters/#\"], found a string",
        ),
        (
            "[[topic_class]]\nfilters = [\"a\", 1]",
            "t.toml:2:17: topic_class.filters: expected a string such as \"meters/#\", found an integer",
        ),
        (
            "[[topic_class]]\nname = \"a\"\nfilters = [\"a\",\n\"b#\"]",
            "t.toml:4:1: topic_class.0.filters.1: \"b#\" is not a Topic Filter",
        ),
        ("session = 1", "t.toml:1:11: session: expected a section [session], found an integer"),
        (
            "[listener]\naddress = \"127.0.0.1:1\"",
            "t.toml:1:1: listener: expected a list of sections [[listener]], found a section",
        ),
        (
            "[limits]\nconnect_timeout = \"10\"",
            "t.toml:2:19: limits.connect_timeout: expected a length of time such as \"10s\" (units: ms, s, m, h, d), found \"10\"",
        ),
        (
            "[limits]\npacket_bytes_max = \"1MB\"",
            "t.toml:2:20: limits.packet_bytes_max: expected a size such as \"64KiB\" (units: B, KiB, MiB, GiB), found \"1MB\"",
        ),
        (
            "[session]\ninflight_max = 70000",
            "t.toml:2:16: session.inflight_max: 70000 is out of range: 1 to 65535",
        ),
        (
            "[session]\ninflight_max = -1",
            "t.toml:2:16: session.inflight_max: -1 is out of range: 1 to 65535",
        ),
        (
            "[store]\nkind = \"disk\"",
            "t.toml:2:8: store.kind: expected one of \"sled\", \"redb\", \"memory\", found \"disk\"",
        ),
        ("[session]\nqos_max = 1\nqos_max = 2", "t.toml:3:1: duplicate key 'qos_max'"),
        ("[session\n", "t.toml:1:9: "),
        ("[session]\nqos_max = 3", "t.toml:2:11: session.qos_max: 3 is out of range: 0 to 2"),
    ] {
        // A listener at the end leaves the places alone.
        let end = if text.starts_with("[listener]") { "" } else { LISTENER };
        let error = load(&format!("{text}\n{end}"), &[], &[]).unwrap_err();
        let line = &error.lines()[0];
        let at = line.find("t.toml").unwrap_or_else(|| panic!("{line}"));
        assert!(line[at..].starts_with(wanted), "{text}\n{line}\nis not\n{wanted}");
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_from_its_top_to_its_end() {
    let error =
        load("[session]\nz = 1\na = 2\n[queue]\nmessages_max = \"x\"", &[], &[]).unwrap_err();
    let lines: Vec<_> =
        error.lines().iter().map(|line| line.rsplit("t.toml:").next().unwrap()).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with("2:1: unknown key 'z'"), "{lines:?}");
    assert!(lines[1].starts_with("3:1: unknown key 'a'"), "{lines:?}");
    assert!(lines[2].starts_with("5:16: queue.messages_max: expected an integer"), "{lines:?}");
}

#[test]
fn a_problem_with_a_key_left_out_is_told_where_its_section_is() {
    let error = load("[[listener]]\naddress = \"0.0.0.0:1883\"", &[], &[]).unwrap_err().to_string();
    assert!(
        error.contains("t.toml:2:11: listener.0.allow_anonymous: 0.0.0.0:1883 is not a loopback"),
        "{error}"
    );
}

#[test]
fn a_mistake_in_the_environment_or_the_command_line_is_named() {
    for (name, value, wanted) in [
        (
            "SLUICE_SESSION__QOS_MX",
            "1",
            "unknown key 'session.qos_mx'; did you mean 'session.qos_max'?",
        ),
        ("SLUICE_SESSION_QOS_MAX", "1", "did you mean SLUICE_SESSION__QOS_MAX?"),
        ("SLUICE_SESSION__QOS_MAX", "one", "session.qos_max: expected an integer, found \"one\""),
        (
            "SLUICE_SESSION__INFLIGHT_MAX",
            "70000",
            "session.inflight_max: 70000 is out of range: 1 to 65535",
        ),
        (
            "SLUICE_SESSION__RETAIN_AVAILABLE",
            "yes",
            "session.retain_available: expected true or false, found \"yes\"",
        ),
        (
            "SLUICE_LIMITS__CONNECT_TIMEOUT",
            "10",
            "limits.connect_timeout: expected a length of time such as \"10s\"",
        ),
        (
            "SLUICE_STORE__KIND",
            "disk",
            "store.kind: expected one of \"sled\", \"redb\", \"memory\", found \"disk\"",
        ),
        (
            "SLUICE_LISTENER__ADDRESS",
            "x",
            "'listener' is a list: say which one, as in 'listener.0.name'",
        ),
        ("SLUICE_LISTENER__1__ADDRESS", "x", "there is 1 [[listener]], counted from 0"),
        ("SLUICE_LISTENER__0__TLS", "x", "'listener.0.tls' is a section, not a key"),
        ("SLUICE_SESSION__QOS_MAX", "3", "session.qos_max: 3 is out of range: 0 to 2"),
    ] {
        let error = load(LISTENER, &[(name, value)], &[]).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("environment {name}: {wanted}")),
            "{error}\nis not\n{wanted}"
        );
        if let Some((section, key)) = name["SLUICE_".len()..].split_once("__") {
            let key = format!("{section}.{key}").replace("__", ".").to_lowercase();
            let error = load(LISTENER, &[], &[&format!("{key}={value}")]).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("--set {key}: {wanted}")),
                "{error}\nis not\n{wanted}"
            );
        }
    }
    let error = load(LISTENER, &[], &["session.qos_max"]).unwrap_err().to_string();
    assert_eq!(error, "--set session.qos_max: expected section.key=value");
}

#[test]
fn steps_of_a_login_are_shown() {
    let steps = "[[auth.step]]\nkind = 'password'\nfile = 'a'\n[[auth.step]]\nkind = 'anonymous'\n";
    let settings = load(&format!("{LISTENER}{steps}"), &[], &[]).unwrap();
    let shown = settings.show();
    let again: Config = toml::from_str(&shown).unwrap_or_else(|error| panic!("{error}\n{shown}"));
    assert_eq!(again, *settings.config());
    assert_eq!(again.auth.step.len(), 2, "{shown}");
}

#[test]
fn each_layer_goes_over_the_one_before() {
    let text = format!("[queue]\nmessages_max = 1\nqos0_offline = true\n{LISTENER}");
    let env = [("SLUICE_QUEUE__MESSAGES_MAX", "2"), ("SLUICE_SESSION__QOS_MAX", "1")];
    let settings =
        load(&text, &env, &["session.qos_max=0", "listener.0.address=127.0.0.1:0"]).unwrap();
    let config = settings.config();
    assert!(config.queue.qos0_offline);
    assert_eq!((config.queue.messages_max, config.session.qos_max), (2, 0));
    assert_eq!(config.listener[0].address, "127.0.0.1:0");
    assert_eq!(config.session.inflight_max, 32);
    for (key, wanted) in [
        ("queue.qos0_offline", "t.toml:3"),
        ("queue.messages_max", "environment SLUICE_QUEUE__MESSAGES_MAX"),
        ("session.qos_max", "--set session.qos_max"),
        ("listener.0.address", "--set listener.0.address"),
        ("session.inflight_max", "built-in"),
    ] {
        assert!(
            settings.origin(key).unwrap().ends_with(wanted),
            "{key}: {:?}",
            settings.origin(key)
        );
    }
    let shown = settings.show();
    let again: Config = toml::from_str(&shown).unwrap_or_else(|error| panic!("{error}\n{shown}"));
    assert_eq!(again, *settings.config());
    assert!(shown.contains("# environment SLUICE_QUEUE__MESSAGES_MAX\n"), "{shown}");
}

#[test]
fn a_list_of_texts_has_its_layers_too_and_is_shown_as_a_whole() {
    let class = |name: &str, filters: &str| {
        format!("[[topic_class]]\nname = \"{name}\"\nfilters = [{filters}]\n")
    };
    let text = class("a", "\"a/#\", \"b\"") + &class("c", "\"c/#\", \"d\"") + LISTENER;
    let env = [("SLUICE_TOPIC_CLASS__0__FILTERS__1", "e")];
    let settings = load(&text, &env, &["topic_class.1.filters.0=f/#"]).unwrap();
    let filters: Vec<_> = settings.config().topic_class.iter().map(|c| c.filters.clone()).collect();
    assert_eq!(filters, [["a/#", "e"], ["f/#", "d"]]);
    let shown = settings.show();
    let again: Config = toml::from_str(&shown).unwrap_or_else(|error| panic!("{error}\n{shown}"));
    assert_eq!(again, *settings.config());
    let error = load(&text, &[], &["topic_class.0.filters.5=f"]).unwrap_err();
    let wanted = "--set topic_class.0.filters.5: topic_class.0.filters has no such place";
    assert!(error.to_string().starts_with(wanted), "{error}");
}

#[test]
fn a_later_file_goes_over_an_earlier_one_and_files_are_beside_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("one.toml"), dir.path().join("sub/other.toml"));
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(&one, format!("[queue]\nmessages_max = 1\n[session]\nqos_max = 1\n{LISTENER}"))
        .unwrap();
    let tls =
        "[listener.tls]\ncertificate = \"c.pem\"\nkey = \"/k\"\n[auth]\npassword_file = \"../p\"";
    fs::write(&other, format!("[queue]\nmessages_max = 2\n{LISTENER}{tls}")).unwrap();
    let config = settings::load(&[one, other], [], &[]).unwrap().config().clone();
    assert_eq!((config.queue.messages_max, config.session.qos_max), (2, 1));
    let tls = config.listener[0].tls.as_ref().unwrap();
    assert_eq!(tls.certificate, dir.path().join("sub/c.pem"));
    assert_eq!(tls.key, Path::new("/k"));
    assert_eq!(config.auth.password_file, Some(dir.path().join("sub/../p")));
}

#[test]
fn a_pattern_for_certificates_is_no_file() {
    let text = format!("[[class]]\nname = \"a\"\ncertificate = \"*.example\"\n{LISTENER}");
    let config = load(&text, &[], &[]).unwrap().config().clone();
    assert_eq!(config.class[0].certificate.as_deref(), Some("*.example"));
}

#[test]
fn without_a_file_the_development_configuration_is_in_force() {
    let settings = settings::load(&[], [], &[]).unwrap();
    assert!(settings.is_development());
    assert_eq!(*settings.config(), Config::development());
    let sets = ["listener.1.address=127.0.0.1:9999".to_owned()];
    let changed = settings::load(&[], [], &sets).unwrap().config().clone();
    assert_eq!(changed.listener[1].address, "127.0.0.1:9999");
    assert_eq!(changed.listener[1].tls, settings.config().listener[1].tls);
}

fn sluice(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluice")).current_dir(dir).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn check_says_good_or_bad_by_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad.toml"), "[session]\nqos_mx = 1").unwrap();
    fs::write(dir.path().join("good.toml"), LISTENER).unwrap();
    let lacking = format!("{LISTENER}[listener.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"");
    fs::write(dir.path().join("lacking.toml"), lacking).unwrap();
    for (arguments, code, wanted) in [
        (&["check"][..], 0, "the configuration is good\n"),
        (&["check", "--config", "good.toml"], 0, "the configuration is good\n"),
        (
            &["check", "--config", "bad.toml"],
            2,
            "sluice: bad.toml:2:1: unknown key 'qos_mx' in [session]; did you mean 'qos_max'?\n",
        ),
        (
            &["check", "--config", "none.toml"],
            2,
            "sluice: cannot read configuration file none.toml: No such file or directory",
        ),
        (
            &["check", "--set", "session.qos_max=3"],
            2,
            "sluice: --set session.qos_max: session.qos_max: 3 is out",
        ),
        (&["check", "--config", "lacking.toml"], 0, "the configuration is good\n"),
        (
            &["check", "--files", "--config", "lacking.toml"],
            2,
            "sluice: cannot read certificate c.pem: No such file",
        ),
        (
            &["--set", "log.level=loud"],
            2,
            "sluice: --set log.level: log.level: unknown level \"loud\"",
        ),
    ] {
        let output = sluice(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {}", said(&output));
        assert!(said(&output).starts_with(wanted), "{arguments:?} {}", said(&output));
    }
    assert!(!dir.path().join("certs").exists());
}

#[test]
fn config_prints_what_it_would_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let output = sluice(dir.path(), &["config", "--set", "session.qos_max=1"]);
    let shown = said(&output);
    assert!(output.status.success(), "{shown}");
    assert!(
        shown
            .lines()
            .any(|line| line.starts_with("qos_max = 1 ")
                && line.ends_with("# --set session.qos_max"))
    );
    let config: Config = toml::from_str(&shown).unwrap();
    assert_eq!(config.session.qos_max, 1);
}

#[test]
fn certs_makes_a_set_and_never_overwrites_it() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["certs", "--out", "set", "--name", "broker.example.com", "--name", "::1"];
    let output = sluice(dir.path(), &arguments);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output).lines().count(), 6);
    let output = sluice(dir.path(), &arguments);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(said(&output), "sluice: set/server.key is there already and is not overwritten\n");
}

#[test]
fn every_key_is_reloaded_or_named() {
    let (mut reloaded, mut named) = (0, 0);
    let entries = Config::entries();
    let table: BTreeMap<_, _> = entries
        .iter()
        .filter_map(|entry| match entry {
            ConfigEntry::Key(key) => Some((key.name.as_str(), key.reload)),
            ConfigEntry::Section(_) => None,
        })
        .collect();
    for key in settings::key_names() {
        let (old, new) = (all_keys(), changed(&key));
        assert_eq!(old.differences(&new), std::slice::from_ref(&key));
        let in_force = old.reloaded(&new);
        let left = in_force.differences(&new);
        // A list of texts is one key.
        let in_force_at = table.get(key.as_str()).or_else(|| table.get(key.strip_suffix(".0")?));
        if in_force_at == Some(&InForce::Live) {
            assert_eq!((&in_force, left), (&new, vec![]), "{key}");
            reloaded += 1;
        } else {
            assert_eq!((&in_force, left), (&old, vec![key.clone()]), "{key}");
            named += 1;
        }
    }
    assert!(reloaded > 50 && named > 50, "{reloaded} {named}");
}

/// A configuration with every key.
fn all_keys() -> Config {
    let text = fs::read_to_string(shipped("sluice.toml")).unwrap();
    let key = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).is_some();
    let all = text.lines().map(|line| if key(line) { &line[1..] } else { line });
    toml::from_str(&all.collect::<Vec<_>>().join("\n")).unwrap()
}

/// The same with another value of one key.
fn changed(key: &str) -> Config {
    let old = all_keys();
    let words = "reject conflate optional cn redb os json file scram allow all publish unix operator peer \
         topic hash skip";
    let words: Vec<&str> = words.split(' ').collect();
    for attempt in 0..words.len() + 2 {
        let mut table = toml::Value::try_from(&old).unwrap();
        let value = key.split('.').fold(&mut table, |value, part| match part.parse::<usize>() {
            Ok(index) => &mut value[index],
            Err(_) => &mut value[part],
        });
        match value {
            toml::Value::Boolean(truth) => *truth = !*truth,
            toml::Value::Integer(number) => *number += 1,
            toml::Value::Float(number) => *number /= 2.0,
            // A length of time or a size, text, or one of a few words.
            toml::Value::String(text) => match attempt {
                0 => text.insert(0, '1'),
                1 => text.push('1'),
                _ => words[attempt - 2].clone_into(text),
            },
            other => panic!("{key}: {other:?}"),
        }
        if let Ok(new) = table.try_into::<Config>()
            && new != old
        {
            return new;
        }
    }
    panic!("{key} has no other value");
}

#[test]
fn a_listener_is_the_one_of_its_name_wherever_it_stands_and_no_other_is_ignored() {
    let of = |names: &[(&str, &str, u32)]| {
        let listener = names.iter().map(|(name, address, rate)| {
            let mut listener = Listener {
                name: (*name).to_owned(),
                address: (*address).to_owned(),
                ..Listener::default()
            };
            listener.ingress.publishes_rate = *rate;
            listener
        });
        Config { listener: listener.collect(), ..Config::default() }
    };
    for (old, new, rates, left) in [
        (
            of(&[("a", "x", 1), ("b", "y", 2)]),
            of(&[("b", "y", 3), ("a", "x", 4)]),
            vec![4, 3],
            vec![],
        ),
        (
            of(&[("a", "x", 1), ("b", "y", 2)]),
            of(&[("b", "y", 3)]),
            vec![1, 3],
            vec!["[[listener]] \"a\" (is gone)"],
        ),
        (
            of(&[("", "x", 1)]),
            of(&[("", "x", 2), ("", "y", 3)]),
            vec![2],
            vec!["[[listener]] \"y\" (is new)"],
        ),
        (of(&[("", "x", 1)]), of(&[("", "z", 2)]), vec![2], vec!["listener.0.address"]),
        (
            of(&[("a", "x", 1), ("b", "y", 2)]),
            of(&[("b", "z", 3), ("c", "x", 4)]),
            vec![1, 3],
            vec![
                "[[listener]] \"a\" (is gone)",
                "[[listener]] \"c\" (is new)",
                "listener.0.address",
            ],
        ),
    ] {
        let in_force = old.reloaded(&new);
        let found: Vec<_> = in_force.listener.iter().map(|l| l.ingress.publishes_rate).collect();
        assert_eq!(
            (found, in_force.differences(&new)),
            (rates, left.iter().map(|l| (*l).to_owned()).collect())
        );
    }
}
