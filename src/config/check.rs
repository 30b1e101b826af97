//! Whether a configuration is sound: every value in its range, and the keys agree with each other.

use super::access::{NAMES_UNCHECKED, check_rules};
use super::dedup::DedupConfig;
use super::group::GROUPS_MAX;
use super::http_listener::HTTP_NAME;
use super::keep::Keep;
use super::listener::Listener;
use super::login_step::{LoginKind, LoginStep};
use super::named_queue::NamedQueue;
use super::problems::{Problem, Problems};
use super::section::Section;
use super::topic_class::TopicClassConfig;
use super::whole::Config;

impl Config {
    /// Whether every value is in its range and the keys agree with each other.
    pub fn check(&self) -> Result<(), Vec<Problem>> {
        let mut found = Problems::default();
        self.check_ranges("", &mut found);
        self.limits.check(&mut found);
        self.check_totals(&mut found);
        self.shaping.check("shaping", &mut found);
        self.check_classes(&mut found);
        for (index, priority) in self.priority.iter().enumerate() {
            priority.check(&format!("priority.{index}"), &mut found);
        }
        let over = (&self.queue, &self.limits, &self.totals);
        NamedQueue::check_all(&self.named_queue, over, &mut found);
        DedupConfig::check_all(&self.dedup, &mut found);
        self.check_sharing(&mut found);
        let logs = (self.keep.as_slice(), self.named_queue.as_slice());
        Keep::check_all(logs, (&self.store, &self.totals), &mut found);
        TopicClassConfig::check_all(&self.topic_class, &mut found);
        self.store.check(&mut found);
        self.log.check(&mut found);
        self.auth.check(&mut found);
        self.access.check(self.checks_names(), &mut found);
        check_rules(&self.rule, self.checks_names(), &mut found);
        self.check_names(&mut found);
        self.check_steps(&mut found);
        self.check_listener_names(&mut found);
        self.broker.egress.check("broker.egress", &mut found);
        Listener::check_all(&self.listener, &self.auth, &mut found);
        self.http.check(&self.listener, &mut found);
        self.check_cluster(&mut found);
        self.otel.check(&mut found);
        found.into_result()
    }

    /// The values that are out of their range.
    pub fn out_of_range(&self) -> Vec<Problem> {
        let mut found = Problems::default();
        self.check_ranges("", &mut found);
        found.into_result().err().unwrap_or_default()
    }

    /// Whether any client is known by a user name that was checked. Where none is, no user name of CONNECT
    /// is believed.
    pub fn checks_names(&self) -> bool {
        if !self.auth.step.is_empty() {
            return self.auth.step.iter().any(LoginStep::checks_names);
        }
        self.auth.password_file.is_some() || self.listener.iter().any(Listener::names_users)
    }

    /// What is given to a name must be given to a name that is checked.
    fn check_names(&self, found: &mut Problems) {
        if self.checks_names() {
            return;
        }
        let problem = NAMES_UNCHECKED;
        if self.auth.dead_letter_users.is_some() {
            found.add("auth.dead_letter_users", problem);
        }
        for (index, class) in self.class.iter().enumerate() {
            if class.user.is_some() {
                found.add(format!("class.{index}.user"), problem);
            }
        }
    }

    /// Steps of a login that nothing can reach.
    fn check_steps(&self, found: &mut Problems) {
        for (index, step) in self.auth.step.iter().enumerate() {
            let (names, problem): (fn(&Listener) -> bool, _) = match step.kind {
                LoginKind::Certificate => (
                    Listener::names_users_by_certificate,
                    "no listener that it is for names users by certificates: set identity in its [listener.tls]",
                ),
                LoginKind::Unix => (
                    Listener::names_users_by_peer,
                    "no listener that it is for names users by the system: set identity in its [listener.unix]",
                ),
                _ => continue,
            };
            let is_reached =
                |listener: &&Listener| names(listener) && step.is_for(Some(listener.called()));
            if !self.listener.iter().any(|listener| is_reached(&listener)) {
                found.add(format!("auth.step.{index}.kind"), problem);
            }
        }
    }

    /// How groups and the consumers of named queues share.
    fn check_sharing(&self, found: &mut Problems) {
        let has_priorities = !self.priority.is_empty();
        for (index, queue) in self.named_queue.iter().enumerate() {
            queue.check_sharing(
                &format!("named_queue.{index}"),
                &self.queue,
                has_priorities,
                found,
            );
        }
        let count = self.group.len();
        if count > GROUPS_MAX {
            found.add("group", format!("{count} of them are more than {GROUPS_MAX}"));
        }
        for (index, group) in self.group.iter().enumerate() {
            let at = format!("group.{index}");
            group.check(&at, self.queue.policy, has_priorities, found);
        }
    }

    /// What a node of a cluster cannot have.
    fn check_cluster(&self, found: &mut Problems) {
        let lists = [
            ("named_queue", self.named_queue.is_empty()),
            ("keep", self.keep.is_empty()),
            ("dedup", self.dedup.is_empty()),
            ("group", self.group.is_empty()),
        ];
        self.cluster.check(&self.store, lists, found);
    }

    fn check_totals(&self, found: &mut Problems) {
        let (limits, totals) = (&self.limits, &self.totals);
        self.queue.check("queue", limits, totals, found);
        let buffered = ("totals.connection_bytes_max", totals.connection_bytes_max);
        found.at_most("limits.packet_bytes_max", limits.packet_bytes_max, buffered);
        if self.session.retain_available && totals.retained_max > 0 {
            let retained = ("totals.retained_bytes_max", totals.retained_bytes_max);
            found.at_most("limits.packet_bytes_max", limits.packet_bytes_max, retained);
        }
    }

    /// Conditions that name a listener that is not there. A pattern may be for some that are not there yet.
    fn check_listener_names(&self, found: &mut Problems) {
        let mut names: Vec<&str> = self.listener.iter().map(Listener::called).collect();
        names.extend(self.http.carries_mqtt().then_some(HTTP_NAME));
        let mut check = |key: String, name: &str| {
            if !name.contains(['*', '?']) && !names.contains(&name) {
                let problem =
                    format!("no listener is called {name:?}; known: {}", names.join(", "));
                found.add(key, problem);
            }
        };
        for (index, class) in self.class.iter().enumerate() {
            class.listener.iter().for_each(|name| check(format!("class.{index}.listener"), name));
        }
        for (index, rule) in self.rule.iter().enumerate() {
            rule.listener.iter().for_each(|name| check(format!("rule.{index}.listener"), name));
        }
        for (index, step) in self.auth.step.iter().enumerate() {
            for (number, name) in step.listeners.iter().enumerate() {
                check(format!("auth.step.{index}.listeners.{number}"), name);
            }
        }
    }

    fn check_classes(&self, found: &mut Problems) {
        for (index, class) in self.class.iter().enumerate() {
            let at = format!("class.{index}");
            class.check(&at, &self.class[..index], found);
            if let Some(queue) = &class.queue {
                let queue = queue.over(&self.queue);
                queue.check(&format!("{at}.queue"), &self.limits, &self.totals, found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::listener::Listener;

    /// `edit` on top of the built-in configuration gives problems that begin so.
    fn check(toml: &str, wanted: &[&str]) {
        let config: Config = toml::from_str(toml).unwrap();
        let found: Vec<String> =
            config.check().err().unwrap_or_default().iter().map(Problem::to_string).collect();
        assert_eq!(found.len(), wanted.len(), "{toml}\n{found:#?}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(found.contains(wanted), "{toml}\n{found}\nis not\n{wanted}");
        }
    }

    /// The same with a harmless listener.
    fn check_with(toml: &str, wanted: &[&str]) {
        check(&format!("{toml}\n[[listener]]\naddress = \"127.0.0.1:1883\""), wanted);
    }

    #[test]
    fn the_built_in_configuration_is_sound() {
        assert_eq!(Config::development().check(), Ok(()));
    }

    #[test]
    fn values_out_of_range_are_named() {
        check_with("session.qos_max = 3", &["session.qos_max: 3 is out of range: 0 to 2"]);
        check_with(
            "session.inflight_max = 0",
            &["session.inflight_max: 0 is out of range: 1 to 65535"],
        );
        check_with("limits.client_id_bytes_max = 22", &["22 is out of range: 23 to 65535"]);
        check_with("limits.connect_timeout = \"0s\"", &["0s is out of range: 100ms to 1h"]);
        check_with("broker.sys_interval = \"10ms\"", &["10ms is out of range: 1s to 1d"]);
        check_with("broker.sys_interval = \"0s\"", &[]);
        check_with("broker.workers = 1025", &["broker.workers: 1025 is out of range: 0 to 1024"]);
    }

    #[test]
    fn keys_must_agree_with_each_other() {
        check_with(
            "limits.packet_bytes_max = \"32KiB\"",
            &[
                "limits.connect_bytes_max: 64KiB is more than limits.packet_bytes_max, which is 32KiB",
            ],
        );
        check_with(
            "limits.packet_bytes_max = \"16MiB\"",
            &["16MiB is more than queue.bytes_max, which is 8MiB"],
        );
        check_with(
            "totals.retained_bytes_max = \"1KiB\"",
            &["4MiB is more than totals.retained_bytes_max"],
        );
        check_with("totals.retained_bytes_max = \"1KiB\"\nsession.retain_available = false", &[]);
        check_with("totals.queued_bytes_max = \"1MiB\"", &["more than totals.queued_bytes_max"]);
        let keep =
            "[[keep]]\nname = \"a\"\nbindings = [\"a\"]\nbytes = \"900GiB\"\n[store]\nkind = ";
        check_with(&format!("{keep}\"memory\""), &["more than totals.queued_bytes_max"]);
        check_with(
            "store.unwritten_bytes_max = \"32MiB\"",
            &["store.unwritten_bytes_low: is not below store.unwritten_bytes_max"],
        );
        check_with(
            "store.pending_bytes_low = \"1GiB\"",
            &["store.pending_bytes_low: is not below store.pending_bytes_max"],
        );
    }

    #[test]
    fn classes_have_names_of_their_own_and_sound_rates() {
        let class = |keys: &str| format!("[[class]]\n{keys}\n");
        check_with(&class("name = \"a\"\nclient_id = \"a-*\""), &[]);
        check_with(&class(""), &["class.0.name: a class needs a name"]);
        let twice = class("name = \"a\"").repeat(2);
        check_with(&twice, &["class.1.name: \"a\" is the name of another class"]);
        check_with(
            &class("name = \"a\"\nqueue = { messages_max = 0, bytes_max = \"64KiB\" }"),
            &[
                "class.0.queue.messages_max: 0 is out of range",
                "4MiB is more than class.0.queue.bytes_max, which is 64KiB",
            ],
        );
        check_with("shaping.messages_burst = 5", &["is of no use without messages_rate"]);
        check_with(
            &class("name = \"a\"\nshaping = { bytes_rate = \"1KiB\", qos0_age_max = \"8d\" }"),
            &["class.0.shaping.qos0_age_max: 8d is out of range"],
        );
    }

    #[test]
    fn a_condition_names_a_listener_that_is_there() {
        let listener = "[[listener]]\nname = \"tcp\"\naddress = \"127.0.0.1:1\"\n";
        for (text, key) in [
            ("[[class]]\nname = \"a\"\nlistener = NAME", "class.0.listener"),
            ("[[rule]]\nallow = [\"all\"]\nlistener = NAME", "rule.0.listener"),
            (
                "[[auth.step]]\nkind = \"anonymous\"\n[[auth.step]]\nkind = \"anonymous\"\nlisteners = [NAME]",
                "auth.step.1.listeners.0",
            ),
        ] {
            for good in ["tcp", "t*", "later-*"] {
                check(&format!("{listener}{}", text.replace("NAME", &format!("{good:?}"))), &[]);
            }
            let wrong = format!("{listener}{}", text.replace("NAME", "\"tpc\""));
            check(&wrong, &[&format!("{key}: no listener is called \"tpc\"; known: tcp")]);
        }
    }

    #[test]
    fn ingress_has_sound_rates_wherever_it_stands() {
        let wanted = "publishes_burst: is of no use without publishes_rate";
        let keys = "{ publishes_burst = 5, subscribes_rate = 1, action = \"reject\" }";
        check_with(&format!("limits.client = {keys}"), &[&format!("limits.client.{wanted}")]);
        let class = format!("[[class]]\nname = \"a\"\ningress = {keys}");
        check_with(&class, &[&format!("class.0.ingress.{wanted}")]);
        let listener = "[[listener]]\naddress = \"127.0.0.1:1\"";
        for key in ["ingress", "ingress_per_address"] {
            check(&format!("{listener}\n{key} = {keys}"), &[&format!("listener.0.{key}.{wanted}")]);
        }
        check_with(
            "broker.egress.bytes_burst = \"1KiB\"",
            &["broker.egress.bytes_burst: is of no use without bytes_rate"],
        );
        check_with("limits.connects_rate = 1_000_001", &["limits.connects_rate: 1000001 is out"]);
    }

    #[test]
    fn priorities_say_what_they_are_for() {
        let priority = |keys: &str| format!("[[priority]]\n{keys}\n");
        for good in ["a", "a/+/b", "#", "+", "$SYS/#", "/"] {
            check_with(&priority(&format!("filter = \"{good}\"\nband = 3")), &[]);
        }
        for bad in ["", "a/#/b", "a#", "a/b+", "$share/g/t"] {
            let text = priority(&format!("filter = \"{bad}\""));
            check_with(&text, &["is not a Topic Filter of its own"]);
        }
        check_with(&priority("band = 2"), &["priority.0.filter: a priority needs"]);
        check_with(&priority("property = \"a\""), &["priority.0.property: expected"]);
        check_with(&priority("property = \"a=b\"\nband = 4"), &["priority.0.band: 4 is out of"]);
        check_with("queue.lower_band_share = 26", &["lower_band_share: 26 is out of range"]);
    }

    #[test]
    fn rules_of_deduplication_say_what_they_compare() {
        let rule = |filter: &str, keys: &str| {
            format!("[[dedup]]\nfilter = \"{filter}\"\nkey = \"payload\"\n{keys}\n")
        };
        let other = |key: &str| rule("a/#", "").replace("payload", key);
        for good in ["property:id", "property:a:b", "correlation_data", "payload"] {
            check_with(&other(good), &[]);
        }
        for bad in ["", "property:", "property", "Payload"] {
            check_with(&other(bad), &["dedup.0.key: expected \"property:<name>\", \"corr"]);
        }
        check_with(&rule("$share/g/t", ""), &["dedup.0.filter: "]);
        let twice = rule("a", "") + &rule("b", "") + &rule("a", "scope = \"topic\"");
        check_with(&twice, &["dedup.2.filter: \"a\" counts where it stands first"]);
        check_with(&rule("a", "window = \"8d\""), &["dedup.0.window: 8d is out of range"]);
        let more = rule("a", "keys_max = 9\nkeys_total_max = 8");
        check_with(&more, &["dedup.0.keys_max: 9 is more than dedup.0.keys_total_max"]);
        let all = (0..65).map(|index| rule(&index.to_string(), "")).collect::<String>();
        check_with(&all, &["dedup: 65 of them are more than 64"]);
    }

    #[test]
    fn topic_classes_have_usable_names_and_filters_of_their_own() {
        let class = |name: &str, filters: &str| {
            format!("[[topic_class]]\nname = \"{name}\"\nfilters = [{filters}]\n")
        };
        check_with(&(class("a", "'a/#', '+/b'") + &class("$b c", "'#', '$dead/#'")), &[]);
        let least = |count: usize| {
            (0..count).map(|n| class(&n.to_string(), &format!("'{n}'"))).collect::<String>()
        };
        check_with(&least(64), &[]);
        check_with(&least(65), &["topic_class: 65 of them are more than 64"]);
        check_with(
            "[[topic_class]]",
            &["topic_class.0.name: a topic class needs a name", "topic_class.0.filters: 0 filters"],
        );
        for bad in ["a/b", "+", "a#", "a\\u0001", &"x".repeat(65)] {
            let text = class(bad, "'a'");
            check_with(&text, &["topic_class.0.name: expected one level of a topic"]);
        }
        for own in ["other", "unread"] {
            check_with(&class(own, "'a'"), &["is the name of a class of its own"]);
        }
        let twice = class("a", "'a'") + &class("a", "'b'");
        check_with(&twice, &["topic_class.1.name: \"a\" is the name of another topic class"]);
        let twice = class("a", "'a', 'b'") + &class("b", "'a'");
        check_with(&twice, &["topic_class.1.filters.0: \"a\" counts where it stands first"]);
        for bad in ["", "a/#/b", "a#", "$share/g/t"] {
            let text = class("a", &format!("'ok', '{bad}'"));
            check_with(&text, &["filters.1: "]);
        }
    }

    #[test]
    fn named_queues_have_names_and_bindings() {
        let queue = |name: &str, bindings: &str| {
            format!("[[named_queue]]\nname = \"{name}\"\nbindings = [{bindings}]\n")
        };
        let table = "{ filter = 'a', where = { x = '1' } }";
        for name in ["a", "A-b_9", &"x".repeat(64)] {
            check_with(&queue(name, &format!("'a/#', {table}")), &[]);
        }
        for name in ["", "a/b", "a b", "+", "$a", "ä", &"x".repeat(65)] {
            check_with(&queue(name, "'a'"), &["named_queue.0.name: expected 1 to 64 letters"]);
        }
        let twice = queue("a", "'a'") + &queue("a", "'b'");
        check_with(&twice, &["named_queue.1.name: \"a\" is the name of another named queue"]);
        check_with(&queue("a", ""), &["named_queue.0.bindings: 0 of them: expected 1 to 100"]);
        let many = ["'a'"; 101].join(",");
        check_with(&queue("a", &many), &["named_queue.0.bindings: 101 of them"]);
        for filter in ["", "a#", "$share/g/a", "$queue/b", "$exclusive/b"] {
            let both = format!("'{filter}', {{ filter = '{filter}' }}");
            let wanted = ["named_queue.0.bindings.0: ", "named_queue.0.bindings.1.filter: "];
            check_with(&queue("a", &both), &wanted);
        }
        let properties = (0..17).map(|n| format!("x{n} = 'y'")).collect::<Vec<_>>().join(", ");
        let table = format!("{{ filter = 'a', where = {{ {properties} }} }}");
        check_with(&queue("a", &table), &["named_queue.0.bindings.0.where: 17 User Properties"]);
        let small = queue("a", "'a'") + "bytes_max = '16KiB'";
        check_with(&small, &["4MiB is more than named_queue.0.bytes_max, which is 16KiB"]);
        check_with(&(queue("a", "'a'") + "ttl = '0s'"), &["ttl: 0s is out of range"]);
    }

    #[test]
    fn what_a_transport_does_not_read_is_named() {
        let tcp = |keys: &str| format!("[[listener]]\naddress = '127.0.0.1:1'\n{keys}");
        let proxies = "trusted_proxies = ['10.0.0.1']\n";
        let unread = "listener.0.trusted_proxies: is set, and nothing that a proxy says is read";
        check(&tcp(proxies), &[unread]);
        check(&tcp(&format!("{proxies}proxy_protocol = true")), &[]);
        check(&tcp(&format!("{proxies}transport = 'websocket'")), &[]);
        check(&tcp("proxy_protocol = true"), &["trusted_proxies names no proxy"]);
        check(&tcp("websocket.path = '/x'"), &["say transport = \"websocket\""]);
        check(&tcp("transport = 'websocket'\nwebsocket.path = 'x'"), &["expected a path"]);
        let origin = "transport = 'websocket'\nwebsocket.origins = ['https://a/b']";
        check(&tcp(origin), &["expected an origin"]);
        let unix = "[[listener]]\naddress = '/run/a'\ntransport = 'unix'\n";
        check(
            &format!("{unix}{proxies}"),
            &["listener.0.trusted_proxies: is not for a unix socket"],
        );
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_module() {
        check_with(
            "log.level = \"inof\"",
            &["log.level: unknown level \"inof\"; expected one of off, error"],
        );
        check_with("log.level = \"info,sluicemq::net=debog\"", &["unknown level \"debog\""]);
        check_with("log.level = \"\"", &["log.level: is empty"]);
        check_with("log.level = \"WARN,sluicemq::net=trace\"", &[]);
    }

    #[test]
    fn listeners_need_an_address_of_their_own() {
        check("", &["listener: there is no [[listener]]"]);
        check("[[listener]]", &["expected an address and a port such as"]);
        check("[[listener]]\naddress = \"localhost:1883\"", &["found \"localhost:1883\""]);
        let two = |one: &str, other: &str| {
            format!(
                "[[listener]]\naddress = \"{one}\"\n[[listener]]\naddress = \"{other}\"\nallow_anonymous = true"
            )
        };
        check(&two("127.0.0.1:1", "127.0.0.1:1"), &["listener.1.address: 127.0.0.1:1 is taken"]);
        check(&two("127.0.0.1:1", "0.0.0.0:1"), &["listener.1.address: 0.0.0.0:1 is taken"]);
        check(&two("127.0.0.1:0", "127.0.0.1:0"), &[]);
        check(&two("127.0.0.1:1", "[::1]:1"), &[]);
    }

    #[test]
    fn an_open_door_to_a_network_must_be_said_in_words() {
        let open = "[[listener]]\naddress = \"0.0.0.0:1883\"\n";
        check(open, &["listener.0.allow_anonymous: 0.0.0.0:1883 is not a loopback address"]);
        check(&format!("{open}allow_anonymous = true"), &[]);
        check(&format!("{open}allow_anonymous = false"), &["nothing checks who comes in"]);
        check(&format!("auth.password_file = \"p\"\n{open}"), &[]);
        let tls = "[listener.tls]\ncertificate = \"c\"\nkey = \"k\"\nclient_ca = \"a\"\nclient_certificate";
        check(&format!("{open}{tls} = \"required\""), &[]);
        check(&format!("{open}{tls} = \"optional\""), &["anyone could come in"]);
    }

    #[test]
    fn steps_of_a_login_say_all_that_is_needed_and_nothing_else_does() {
        let step = |keys: &str| format!("[[auth.step]]\n{keys}\n");
        let open = "[[listener]]\nname = \"net\"\naddress = \"0.0.0.0:1883\"\n";
        let password = step("kind = \"password\"\nfile = \"p\"");
        let anyone = step("kind = \"anonymous\"\nlisteners = [\"n*\"]");
        check(&format!("{password}{open}"), &[]);
        check(&format!("{password}{anyone}{open}"), &[]);
        check(&format!("auth.password_file = \"p\"\n{password}{open}"), &["is not looked at"]);
        check(&format!("{password}{open}allow_anonymous = true"), &["is not looked at"]);
        let elsewhere = anyone.replace("n*", "x*");
        check(&format!("{elsewhere}{open}"), &["listener.0: no [[auth.step]] is for \"net\""]);
        check(&format!("{}{open}", step("kind = \"password\"")), &["auth.step.0.file: is missing"]);
        check(&format!("{}{open}", step("kind = \"scram\"")), &["auth.step.0.file: is missing"]);
        let file = "auth.step.0.file: is set, and a step of this kind reads none";
        check(&format!("{}{open}", step("kind = \"anonymous\"\nfile = \"p\"")), &[file]);
        let token = |keys: &str| step(&format!("kind = \"jwt\"\nkeys = \"k\"\n{keys}")) + open;
        check(&token("algorithms = [\"ES256\", \"ES384\"]"), &[]);
        check(&token(""), &["auth.step.0.algorithms: names none"]);
        check(
            &token("algorithms = [\"none\"]"),
            &["unknown algorithm \"none\"; expected one of HS256, "],
        );
        check(&token("algorithms = [\"HS256\", \"RS256\"]"), &["are of several families"]);
        check(
            &format!("{}{open}", step("kind = \"jwt\"\nalgorithms = [\"EdDSA\"]")),
            &["auth.step.0.keys: is missing"],
        );
        let named = "kind = \"anonymous\"\nclient_id_is_user = true";
        check(&format!("{}{open}", step(named)), &["client_id_is_user: is set"]);
        // Nothing checks names there.
        let class = "[[class]]\nname = \"a\"\nuser = \"a\"\n";
        check(&format!("{anyone}{class}{open}"), &["class.0.user: is for user names"]);
        check(&format!("{password}{class}{open}"), &[]);
        let certificates = step("kind = \"certificate\"");
        check(&format!("{certificates}{open}"), &["auth.step.0.kind: no listener"]);
    }

    #[test]
    fn what_is_for_user_names_needs_somebody_who_checks_them() {
        let (letters, class) =
            ("auth.dead_letter_users = \"*\"", "[[class]]\nname = \"a\"\nuser = \"a\"");
        let plain = "[[listener]]\naddress = \"127.0.0.1:1\"\n";
        let tls = |keys: &str| {
            let files = "certificate = \"c\"\nkey = \"k\"\nclient_ca = \"a\"\n";
            format!("[[listener]]\naddress = \"127.0.0.1:2\"\n[listener.tls]\n{files}{keys}")
        };
        let required = "client_certificate = \"required\"";
        let unnamed = tls(required);
        let named = tls(&format!("{required}\nidentity = \"cn\""));
        for right in [letters, class] {
            let key = if right == letters { "auth.dead_letter_users: " } else { "class.0.user: " };
            let wanted = format!("{key}is for user names, and nothing here checks those");
            check(&format!("{right}\n{plain}"), &[&wanted]);
            check(&format!("{right}\n{plain}{unnamed}"), &[&wanted]);
            check(&format!("{right}\n{plain}{named}"), &[]);
            check(&format!("auth.password_file = \"p\"\n{right}\n{plain}"), &[]);
        }
        check(&tls(&format!("{required}\nidentity = \"san\"")), &[]);
        let closed = unnamed.replace("[listener.tls]", "allow_anonymous = false\n[listener.tls]");
        check(
            &closed,
            &["listener.0.allow_anonymous: is false, and no client has a user name here"],
        );
    }

    #[test]
    fn anonymous_clients_come_in_only_where_nothing_else_is_said() {
        let mut config = Config { listener: vec![Listener::default()], ..Config::default() };
        assert!(config.listener[0].admits_anonymous(&config.auth));
        config.auth.password_file = Some("p".into());
        assert!(!config.listener[0].admits_anonymous(&config.auth));
        config.listener[0].allow_anonymous = Some(true);
        assert!(config.listener[0].admits_anonymous(&config.auth));
    }

    #[test]
    fn tls_needs_its_files_and_client_certificates_their_ca() {
        let tls =
            |keys: &str| format!("[[listener]]\naddress = \"127.0.0.1:1\"\n[listener.tls]\n{keys}");
        check(
            &tls(""),
            &["listener.0.tls.certificate: a file name", "listener.0.tls.key: a file name"],
        );
        let pair = "certificate = \"c\"\nkey = \"k\"\n";
        check(&tls(pair), &[]);
        check(&tls(&format!("{pair}client_certificate = \"required\"")), &["needs client_ca"]);
        check(&tls(&format!("{pair}client_ca = \"a\"")), &["listener.0.tls.client_ca: is set but"]);
        check(&tls(&format!("{pair}identity = \"cn\"")), &["listener.0.tls.identity: needs"]);
        check(
            &tls(&format!("{pair}client_crl = \"r\"")),
            &["listener.0.tls.client_crl: is set but"],
        );
    }
}
