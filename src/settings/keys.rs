//! Every key there is, what kind of value it takes, and the nearest to a misspelt one.

use crate::config::{
    Auth, CertificateIdentity, Class, ClassQueue, ClientCertificate, Config, Egress, Ingress,
    Listener, Priority, QueuePolicy, Shaping, Size, Tls, TopicClass,
};

/// Every key there is, as a tree with an example of each value.
pub struct Keys {
    tree: toml::Table,
    /// Full names, in the order they are declared.
    paths: Vec<String>,
}

/// What kind of value a key takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Text, a span, a size, a file, or one of a few words.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Truth,
    /// A section.
    Section,
    /// `[[listener]]` and the like, or a list of texts.
    List,
}

/// A key of a single value.
#[derive(Clone, Debug)]
pub struct Key {
    path: Vec<String>,
    example: toml::Value,
}

impl Keys {
    /// All keys, the optional ones too: no `..` here, so that a new one cannot be forgotten.
    pub fn all() -> Keys {
        let tls = Tls {
            certificate: "server.pem".into(),
            key: "server.key".into(),
            client_ca: Some("ca.pem".into()),
            client_crl: Some("crl.pem".into()),
            client_certificate: ClientCertificate::None,
            identity: CertificateIdentity::None,
            handshakes_max: 256,
        };
        let listener = Listener {
            name: "local".to_owned(),
            address: "127.0.0.1:1883".to_owned(),
            tls: Some(tls),
            allow_anonymous: Some(true),
            connections_max: 100_000,
            connect_rate_max: 0,
            connect_rate_per_address_max: 0,
            ingress: Ingress::default(),
            ingress_per_address: Ingress::default(),
            egress: Egress::default(),
        };
        let auth = Auth {
            password_file: Some("passwords".into()),
            dead_letter_users: Some("operator-*".to_owned()),
        };
        let class = Class {
            name: "meters".to_owned(),
            listener: Some("*".to_owned()),
            user: Some("*".to_owned()),
            client_id: Some("meter-*".to_owned()),
            certificate: Some("*".to_owned()),
            shaping: Some(Shaping::default()),
            queue: Some(ClassQueue {
                messages_max: Some(1000),
                bytes_max: Some(Size::kib(4 * 1024)),
                policy: Some(QueuePolicy::DropOldest),
                qos0_offline: Some(false),
                dead_letters: Some(false),
            }),
            ingress: Some(Ingress::default()),
        };
        let priority = Priority {
            filter: Some("alarm/#".to_owned()),
            property: Some("urgent=yes".to_owned()),
            band: 3,
        };
        let topic_class =
            TopicClass { name: "metering".to_owned(), filters: vec!["meters/#".to_owned()] };
        let config = Config {
            listener: vec![listener],
            class: vec![class],
            priority: vec![priority],
            topic_class: vec![topic_class],
            auth,
            ..Config::default()
        };
        let text = toml::to_string(&config).expect("every key of ours has a TOML form");
        let tree = toml::Table::try_from(config).expect("every key of ours has a TOML form");
        Keys { tree, paths: paths(&text) }
    }

    /// The tree: sections as tables, those of which there may be many as lists of one.
    pub fn tree(&self) -> &toml::Table {
        &self.tree
    }

    /// The key that a variable of the environment stands for; none if it is none of ours.
    pub fn of_variable(&self, name: &str) -> Result<Option<Key>, String> {
        let Some(rest) = name.strip_prefix("SLUICE_") else {
            return Ok(None);
        };
        if rest.contains("__") {
            return self.find(&rest.to_ascii_lowercase().replace("__", ".")).map(Some);
        }
        // Others may begin so: `SLUICE_LOG`, or what Kubernetes sets for a service `sluice`. But one
        // underscore too few is a mistake.
        let meant = self.paths.iter().find(|path| {
            !path.contains(".0.") && path.replace('.', "_").eq_ignore_ascii_case(rest)
        });
        match meant {
            Some(path) => Err(format!("did you mean {}?", variable(path))),
            None => Ok(None),
        }
    }

    /// The key at `path`, such as `session.qos_max` or `listener.0.tls.key`.
    pub fn find(&self, path: &str) -> Result<Key, String> {
        let unknown = || match nearest(path, self.paths.iter().map(String::as_str)) {
            Some(near) => format!("unknown key '{path}'; did you mean '{near}'?"),
            None => format!("unknown key '{path}'"),
        };
        let segments: Vec<&str> = path.split('.').collect();
        let mut at = None;
        let mut table = Some(&self.tree);
        let mut segments_left = segments.iter();
        while let Some(segment) = segments_left.next() {
            let value = table.and_then(|table| table.get(*segment)).ok_or_else(unknown)?;
            let value = match value {
                toml::Value::Array(list) => {
                    let index = segments_left.next().and_then(|index| index.parse::<u16>().ok());
                    index.and(list.first()).ok_or_else(|| {
                        format!("'{segment}' is a list: say which one, as in '{segment}.0.name'")
                    })?
                }
                value => value,
            };
            table = value.as_table();
            at = Some(value);
        }
        match at {
            Some(value) if !value.is_table() => Ok(Key {
                path: segments.iter().map(|segment| (*segment).to_owned()).collect(),
                example: value.clone(),
            }),
            Some(_) => Err(format!("'{path}' is a section, not a key")),
            None => Err(unknown()),
        }
    }

    /// The full names of all keys as they are declared, with `0` for the number in a list.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }
}

impl Key {
    /// As the `config` crate writes it: `listener[0].address`.
    pub fn expression(&self) -> String {
        let mut expression = String::new();
        for segment in &self.path {
            if segment.bytes().all(|b| b.is_ascii_digit()) {
                expression.push_str(&format!("[{segment}]"));
            } else {
                expression.push_str(if expression.is_empty() { "" } else { "." });
                expression.push_str(segment);
            }
        }
        expression
    }

    /// The value that `text` without quotes stands for. Nothing is bent into shape: a number is
    /// digits, a truth is `true` or `false`, and the whole must suit the key.
    pub fn value(&self, text: &str) -> Result<toml::Value, String> {
        let value = match Kind::of(&self.example) {
            Kind::Number => text.parse().ok().map(toml::Value::Integer),
            Kind::Truth => text.parse().ok().map(toml::Value::Boolean),
            Kind::Text | Kind::Section | Kind::List => Some(toml::Value::String(text.to_owned())),
        };
        let value = value.ok_or_else(|| {
            format!("expected {}, found {text:?}", Kind::of(&self.example).wanted())
        })?;
        // A document of this one value, for the messages that files get.
        let document = self.path.iter().rev().fold(value.clone(), |inner, segment| {
            if segment.bytes().all(|b| b.is_ascii_digit()) {
                return toml::Value::Array(vec![inner]);
            }
            toml::Value::Table(toml::Table::from_iter([(segment.clone(), inner)]))
        });
        document
            .try_into::<Config>()
            .map(|_| value)
            .map_err(|error| super::file::plain(error.message()))
    }
}

impl Kind {
    /// The kind of value that a key with this example takes.
    pub fn of(example: &toml::Value) -> Kind {
        match example {
            toml::Value::Integer(_) | toml::Value::Float(_) => Kind::Number,
            toml::Value::Boolean(_) => Kind::Truth,
            toml::Value::Array(_) => Kind::List,
            toml::Value::Table(_) => Kind::Section,
            toml::Value::String(_) | toml::Value::Datetime(_) => Kind::Text,
        }
    }

    /// What was expected, in words.
    pub fn wanted(self) -> &'static str {
        match self {
            Kind::Text => "a string",
            Kind::Number => "an integer",
            Kind::Truth => "true or false",
            Kind::Section => "a section",
            Kind::List => "a list",
        }
    }
}

/// The full names in a document that has one of everything: a table would lose their order.
fn paths(document: &str) -> Vec<String> {
    let mut section = String::new();
    let mut paths = Vec::new();
    for line in document.lines() {
        if let Some(head) = line.strip_prefix('[') {
            section = numbered(head.trim_matches(['[', ']']));
        } else if let Some((key, value)) = line.split_once(" = ") {
            let number = if value.starts_with('[') { ".0" } else { "" };
            paths.push(format!("{section}.{key}{number}"));
        }
    }
    paths
}

/// A section's name with the number 0 for the list it is in, if it is in one.
fn numbered(section: &str) -> String {
    let (first, rest) = section.split_once('.').unwrap_or((section, ""));
    match (LISTS.contains(&first), rest) {
        (false, _) => section.to_owned(),
        (true, "") => format!("{first}.0"),
        (true, rest) => format!("{first}.0.{rest}"),
    }
}

/// Sections of which there may be many.
pub const LISTS: [&str; 4] = ["listener", "class", "priority", "topic_class"];

/// The name in the environment of the key at `path`.
fn variable(path: &str) -> String {
    format!("SLUICE_{}", path.replace('.', "__").to_ascii_uppercase())
}

/// The name nearest to `word`, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, name) = names.into_iter().map(|name| (distance(word, name), name)).min()?;
    (distance <= (word.len() / 3).max(1)).then_some(name)
}

/// Levenshtein's: single characters put in, left out or changed.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, c) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, d) in other.iter().enumerate() {
            let changed = diagonal + usize::from(c != *d);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (one, other, wanted) in [
            ("", "", 0),
            ("a", "", 1),
            ("kitten", "sitting", 3),
            ("qos_mx", "qos_max", 1),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(one, other), wanted, "{one} {other}");
            assert_eq!(distance(other, one), wanted, "{other} {one}");
        }
    }

    #[test]
    fn every_key_is_found_by_its_name() {
        let keys = Keys::all();
        let paths = keys.paths();
        assert!(paths.len() > 50, "{paths:?}");
        assert_eq!(paths[0], "listener.0.name");
        assert!(paths.contains(&"listener.0.tls.client_crl".to_owned()), "{paths:?}");
        for path in paths {
            assert!(keys.find(path).is_ok(), "{path}");
            assert!(keys.of_variable(&variable(path)).unwrap().is_some(), "{path}");
        }
    }
}
