//! The cluster that this broker is a node of.

use std::path::PathBuf;

use super::problems::Problems;
use super::section::InForce::Restart;
use super::section::{key, rows};
use super::store::{StoreConfig, StoreKind};
use super::units::{Size, Span};

rows! {
    /// A cluster of brokers around the log of a NATS JetStream. Durable messages of all nodes go into the log, and each
    /// node applies the whole log in its order. A Session follows its client to the node that the client connects to.
    pub struct ClusterConfig {
        /// Servers of NATS, `nats://HOST:PORT` or `tls://HOST:PORT`, in the order in which they are tried. Not set: no
        /// cluster. They must be of version 2.12 or later, with JetStream. It needs a program with the feature `cluster`.
        servers: Option<Vec<String>> = key(Restart, None).example(Some(vec!["nats://127.0.0.1:4222".to_owned()]));
        /// The name of this node: letters, digits, `-` and `_`, up to 64. No two nodes have the same, and a node keeps its
        /// name as long as it keeps its store.
        node: Option<String> = key(Restart, None).example(Some("node-1".to_owned()));
        /// File with the credentials of NATS (`.creds`): a token and the seed of its key.
        credentials: Option<PathBuf> = key(Restart, None).example(Some("sluice.creds".into())).names_file();
        /// The name under which this node logs in to servers that want one, with `cluster.password_file`.
        user: Option<String> = key(Restart, None).example(Some("sluice".to_owned()));
        /// File with the password for `cluster.user`.
        password_file: Option<PathBuf> = key(Restart, None).example(Some("nats-password".into())).names_file();
        /// Certificates that one of each server must descend from, PEM. Not set: those that the system trusts.
        ca: Option<PathBuf> = key(Restart, None).example(Some("nats-ca.pem".into())).names_file();
        /// How many servers keep each part of the log. 3: one of them may fail. Taken when the log is made.
        replicas: u8 = key(Restart, 3).range(1..=5);
        /// Bytes that the log may have. Nodes cut off its beginning once all of them have applied it; when it is full because
        /// one has not, what is published above `QoS` 0 is refused with 0x97. Taken when the log is made.
        log_bytes_max: Size = key(Restart, Size::kib(1024 * 1024)).range(Size::kib(1024)..=Size::TIB);
        /// How long the log keeps what a node has not applied; a node that was away for longer cannot come back with its store.
        /// 0: until it has, or is forgotten. Taken when the log is made.
        log_span: Span = key(Restart, Span::secs(0)).range(Span::secs(0)..=Span::secs(366 * 86_400));
        /// When the log has not answered for so long, the clients of this node are ended, and others are not let in, until
        /// it answers: they are to connect to another node. 0: they stay; what they publish above `QoS` 0 waits.
        ack_timeout: Span = key(Restart, Span::secs(8)).range(Span::secs(0)..=Span::secs(86_400));
        /// Where they are told to connect instead, by the reason Use another server: names of hosts, each with a port if it
        /// has another one than usual, with spaces between them. Not set: they are told that this server is unavailable.
        server_reference: Option<String> = key(Restart, None).example(Some("mqtt-2.example:1883 mqtt-3.example:1883".to_owned()));
        /// How the subjects of the cluster begin; the log is the stream of this name with `_LOG`: letters, digits, `-`
        /// and `_`, up to 32. Clusters that share servers differ in it.
        prefix: String = key(Restart, "sl".to_owned());
    }
}

/// What a section cannot be together with a cluster, in words.
const NOT_YET: &str = "is not possible in a cluster yet";

impl ClusterConfig {
    /// Whether this broker is a node of a cluster.
    pub fn is_on(&self) -> bool {
        !self.servers().is_empty()
    }

    /// The servers of NATS, in the order in which they are tried; none without a cluster.
    pub fn servers(&self) -> &[String] {
        self.servers.as_deref().unwrap_or_default()
    }

    /// Adds what is wrong with the section, with the store, and with the lists that no node of a cluster has: each with
    /// whether it is empty.
    pub(super) fn check(
        &self,
        store: &StoreConfig,
        lists: [(&'static str, bool); 4],
        found: &mut Problems,
    ) {
        if !self.is_on() {
            return;
        }
        if !cfg!(feature = "cluster") {
            found.add("cluster.servers", "this program was built without the feature cluster");
        }
        for (index, server) in self.servers().iter().enumerate() {
            if !is_address(server) {
                let problem = format!(
                    "expected an address such as \"nats://127.0.0.1:4222\", found {server:?}"
                );
                found.add(format!("cluster.servers.{index}"), problem);
            }
        }
        match &self.node {
            None => found.add("cluster.node", "is not set, but cluster.servers is"),
            Some(node) if !is_word(node, 64) => found.add("cluster.node", word_problem(node, 64)),
            Some(_) => {}
        }
        if !is_word(&self.prefix, 32) {
            found.add("cluster.prefix", word_problem(&self.prefix, 32));
        }
        if let Some(text) = &self.server_reference
            && !(1..=65_535).contains(&text.len())
        {
            let problem = format!("expected 1 to 65535 bytes, found {}", text.len());
            found.add("cluster.server_reference", problem);
        }
        self.check_login(found);
        if store.kind == StoreKind::Memory {
            found.add("store.kind", "a node of a cluster needs a store on disk, with a store.path");
        }
        for (name, _) in lists.into_iter().filter(|(_, is_empty)| !is_empty) {
            found.add(name, NOT_YET);
        }
    }

    fn check_login(&self, found: &mut Problems) {
        if self.user.is_some() != self.password_file.is_some() {
            found.add("cluster.user", "cluster.user and cluster.password_file go together");
        }
        if self.user.is_some() && self.credentials.is_some() {
            found.add("cluster.user", "either this or cluster.credentials");
        }
    }
}

/// Whether it is `nats://` or `tls://`, a host, and perhaps a port.
fn is_address(text: &str) -> bool {
    let rest = text.strip_prefix("nats://").or_else(|| text.strip_prefix("tls://"));
    rest.is_some_and(|rest| {
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_:[]%".contains(c);
        !rest.is_empty() && rest.chars().all(fits)
    })
}

/// Whether it is a name of 1 to `max` letters, digits, `-` and `_`.
fn is_word(text: &str, max: usize) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=max).contains(&text.len()) && text.bytes().all(fits)
}

fn word_problem(found: &str, max: usize) -> String {
    format!("expected 1 to {max} letters, digits, \"-\" and \"_\", found {found:?}")
}

#[cfg(test)]
mod tests {
    use super::super::whole::Config;
    use super::*;

    fn problems(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::development();
        config.cluster.servers = Some(vec!["nats://a:4222".to_owned()]);
        config.cluster.node = Some("n-1".to_owned());
        change(&mut config);
        let found = config.check().err().unwrap_or_default();
        let is_of_build = |text: &String| text.contains("without the feature");
        found
            .iter()
            .map(|problem| format!("{problem:?}"))
            .filter(|text| !is_of_build(text))
            .collect()
    }

    #[test]
    fn a_node_has_a_name_a_store_and_no_section_that_is_not_possible_yet() {
        assert_eq!(problems(|_| {}), [""; 0]);
        let wrong = |change: fn(&mut Config), words: &str| {
            let found = problems(change);
            assert!(found.iter().any(|problem| problem.contains(words)), "{found:?}");
        };
        wrong(|config| config.cluster.node = None, "is not set");
        wrong(|config| config.cluster.node = Some("a b".to_owned()), "cluster.node");
        wrong(|config| config.cluster.node = Some("n".repeat(65)), "cluster.node");
        wrong(|config| config.cluster.prefix = "a.b".to_owned(), "cluster.prefix");
        wrong(|config| config.cluster.prefix = String::new(), "cluster.prefix");
        wrong(|config| config.cluster.user = Some("u".to_owned()), "go together");
        wrong(
            |config| config.cluster.servers.get_or_insert_default().push("a:4222".to_owned()),
            "cluster.servers.1",
        );
        wrong(|config| config.store.kind = StoreKind::Memory, "store.kind");
        wrong(|config| config.keep.push(Default::default()), NOT_YET);
        wrong(|config| config.group.push(Default::default()), NOT_YET);
        wrong(|config| config.dedup.push(Default::default()), NOT_YET);
        wrong(|config| config.named_queue.push(Default::default()), NOT_YET);
    }
}
