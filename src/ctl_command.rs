//! `sluice ctl`: what each of its commands asks the broker, and how the answer is shown.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sluicemq::logging::console;
use sluicemq::run::signals::Signals;
use ureq::http::Method;

use crate::command_line::Layers;
use crate::command_line::ctl::{
    CtlCommand, CtlOptions, DelayedCommand, ListPart, PubCommand, QueueCommand, RetainedCommand,
    TraceCommand,
};
use crate::ctl::api::{Api, ApiPath};
use crate::ctl::columns::{
    CLIENTS, CONFIG, DELAYED, GROUPS, KEEPS, LISTENERS, LOSSES, QUEUE, QUEUED, QUEUES, RECEIVERS,
    RETAINED, STATUS, SUBSCRIPTIONS,
};
use crate::ctl::failure::CtlFailure;
use crate::ctl::feed::FeedEvent;
use crate::ctl::interrupt::until_interrupted;
use crate::ctl::list::{self, list};
use crate::ctl::output::CtlOutput;
use crate::ctl::sheet::sheet;
use crate::ctl::target::CtlTarget;
use crate::ctl::units::shown;
use crate::ctl::visible::{unseen_escaped, visible};
use crate::ctl::{ledger, streams, top, why};

/// Does it; the exit code says how it went.
pub fn run(
    layers: &Layers,
    options: &CtlOptions,
    command: &CtlCommand,
    signals: &Signals,
) -> ExitCode {
    let done = CtlTarget::find(layers, options)
        .and_then(Api::new)
        .and_then(|api| Ctl { api, out: CtlOutput::new(options.json), signals }.carry_out(command));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.to_string().lines() {
                console::complain(format_args!("sluice: {line}"));
            }
            failure.exit_code()
        }
    }
}

/// A broker, and where its answers go.
struct Ctl<'a> {
    api: Api,
    out: CtlOutput,
    signals: &'a Signals,
}

type Done = Result<(), CtlFailure>;

impl Ctl<'_> {
    fn carry_out(&self, command: &CtlCommand) -> Done {
        match command {
            CtlCommand::Status => self.sheet("/status", STATUS),
            CtlCommand::Listeners => {
                let answer = self.api.get(&ApiPath::of("/listeners"))?;
                list::show(self.out, &answer, LISTENERS, "there is no listener");
                Ok(())
            }
            CtlCommand::Overload => self.sheet("/overload", &["level", "cause"]),
            CtlCommand::Store => self.sheet("/store", &[]),
            CtlCommand::Top if self.out.is_json() => self.follow(&ApiPath::of("/feeds/figures")),
            CtlCommand::Top => top::run(&self.api, self.signals),
            CtlCommand::Clients { .. }
            | CtlCommand::Subscriptions { .. }
            | CtlCommand::Groups { .. }
            | CtlCommand::Queues { .. }
            | CtlCommand::Keeps { .. }
            | CtlCommand::Receivers { .. } => self.list_of(command),
            CtlCommand::Client { client_id } => self.client(client_id),
            CtlCommand::Kick { client_id } => self.kick(client_id),
            CtlCommand::End { client_id } => {
                let path = ApiPath::of("/clients").part(client_id);
                let said = format!("the Session of {} has ended", visible(client_id));
                self.change(Method::DELETE, &path, &said)
            }
            CtlCommand::Delayed { command } => self.delayed(command),
            CtlCommand::Queue { command } => self.queue(command),
            CtlCommand::Retained { command } => self.retained(command),
            CtlCommand::Pub(message) => self.publish(message),
            CtlCommand::Sub { filter, count, seconds } => self.subscribe(filter, *count, *seconds),
            CtlCommand::Why { client_id, topic, qos, bytes, publisher } => {
                let path = ApiPath::of("/why")
                    .with("client", client_id)
                    .with("topic", topic)
                    .with_some("qos", *qos)
                    .with_some("payload_bytes", *bytes)
                    .with_some("publisher", publisher.as_deref());
                why::show(self.out, &self.api.get(&path)?);
                Ok(())
            }
            CtlCommand::Trace(command) => self.trace(command),
            CtlCommand::Ledger { follow, recent, client, topic } => {
                let (client, topic) = (client.as_deref(), topic.as_deref());
                self.ledger(*follow, *recent, (client, topic))
            }
            CtlCommand::Log { level } => self.log(level.as_deref()),
            CtlCommand::Reload => self.reload(),
            CtlCommand::Config { prefix } => self.config(prefix),
            CtlCommand::Openapi => {
                let text = self.api.text(Method::GET, &ApiPath::of("/openapi.json"), None)?;
                console::print(unseen_escaped(&text));
                Ok(())
            }
        }
    }

    /// An answer in full; these fields first.
    fn sheet(&self, path: &str, first: &[&str]) -> Done {
        let answer = self.api.get(&ApiPath::of(path))?;
        self.out.show(&answer, |answer| sheet(answer, first, self.out.width()));
        Ok(())
    }

    /// A list as a table.
    fn table(&self, path: &ApiPath, part: &ListPart, fields: &[&str], none: &str) -> Done {
        list::show(self.out, &list(&self.api, path, part.limit.get())?, fields, none);
        Ok(())
    }

    /// A change that answers nothing; what has become of it.
    fn change(&self, method: Method, path: &ApiPath, said: &str) -> Done {
        self.api.ask(method, path, None)?;
        self.out.show(&json!({ "done": said }), |_| format!("{said}\n"));
        Ok(())
    }

    fn list_of(&self, command: &CtlCommand) -> Done {
        match command {
            CtlCommand::Clients { search, sort, descending, connected, part } => {
                let path = ApiPath::of("/clients")
                    .with_some("search", search.as_deref())
                    .with("sort", sort.name())
                    .with("order", if *descending { "desc" } else { "asc" })
                    .with_some("connected", *connected);
                self.table(&path, part, CLIENTS, "there is no such client")
            }
            CtlCommand::Subscriptions { client, filter, part } => {
                let path = ApiPath::of("/subscriptions")
                    .with_some("client", client.as_deref())
                    .with_some("filter", filter.as_deref());
                self.table(&path, part, SUBSCRIPTIONS, "there is no such subscription")
            }
            CtlCommand::Groups { part } => {
                self.table(&ApiPath::of("/groups"), part, GROUPS, "there is no group")
            }
            CtlCommand::Queues { name: None, part } => {
                self.table(&ApiPath::of("/queues"), part, QUEUES, "there is no named queue")
            }
            CtlCommand::Queues { name: Some(name), part } => {
                let path = ApiPath::of("/queues").part(name).part("messages");
                self.table(&path, part, QUEUED, "nothing waits")
            }
            CtlCommand::Keeps { part } => {
                self.table(&ApiPath::of("/keeps"), part, KEEPS, "there is no log of kept messages")
            }
            CtlCommand::Receivers { topic, part } => {
                let path = ApiPath::of("/receivers").with("topic", topic);
                self.table(&path, part, RECEIVERS, "nothing would get it")
            }
            _ => Ok(()),
        }
    }

    fn client(&self, client_id: &str) -> Done {
        let answer = self.api.get(&ApiPath::of("/clients").part(client_id))?;
        self.out.show(&answer, |answer| sheet(answer, CLIENTS, self.out.width()));
        Ok(())
    }

    fn kick(&self, client_id: &str) -> Done {
        let path = ApiPath::of("/clients").part(client_id).part("connection");
        self.change(Method::DELETE, &path, &format!("{} is disconnected", visible(client_id)))
    }

    fn delayed(&self, command: &DelayedCommand) -> Done {
        let path = ApiPath::of("/delayed");
        match command {
            DelayedCommand::List { part } => {
                self.table(&path, part, DELAYED, "no message is delayed")
            }
            DelayedCommand::Cancel { id } => {
                let answer = self.api.ask(Method::DELETE, &path.part(id), None)?;
                self.counted(&answer, "cancelled_messages", "cancelled");
                Ok(())
            }
        }
    }

    fn queue(&self, command: &QueueCommand) -> Done {
        match command {
            QueueCommand::Show { client_id, payload, part } => {
                let path = ApiPath::of("/clients").part(client_id).part("queue");
                self.table(&path.with("payload", payload), part, QUEUE, "nothing waits")
            }
            QueueCommand::Purge { client_id } => {
                let path = ApiPath::of("/clients").part(client_id).part("queue");
                let answer = self.api.ask(Method::DELETE, &path, None)?;
                self.counted(&answer, "purged_messages", "deleted from the queue");
                Ok(())
            }
        }
    }

    fn retained(&self, command: &RetainedCommand) -> Done {
        let matching = |filter: &str| ApiPath::of("/retained").with("filter", filter);
        match command {
            RetainedCommand::List { filter, payload, part } => {
                let path = matching(filter).with("payload", payload);
                self.table(&path, part, RETAINED, "there is no such message")
            }
            RetainedCommand::Get { topic } if topic.contains(['+', '#']) => Err(CtlFailure::Usage(
                format!("{topic} is a filter: sluice ctl retained list --payload {topic}"),
            )),
            RetainedCommand::Get { topic } => {
                let answer = list(&self.api, &matching(topic).with("payload", true), 1)?;
                let Some(message) = answer["items"].get(0) else {
                    let text = format!("there is no retained message at {}", visible(topic));
                    return Err(CtlFailure::Refused(text));
                };
                self.payload(message);
                Ok(())
            }
            RetainedCommand::Delete { filter } => {
                let answer = self.api.ask(Method::DELETE, &matching(filter), None)?;
                self.counted(&answer, "deleted_messages", "deleted");
                Ok(())
            }
        }
    }

    /// Prints the payload of a message: as it is, but on a terminal.
    fn payload(&self, message: &Value) {
        let field = "payload_base64";
        let decoded = BASE64_STANDARD.decode(message[field].as_str().unwrap_or_default());
        match decoded {
            Ok(bytes) if !self.out.is_json() && !io::stdout().is_terminal() => {
                console::print_bytes(&bytes);
            }
            _ => self.out.show(message, |message| format!("{}\n", shown(field, &message[field]))),
        }
    }

    /// How many messages a change was about.
    fn counted(&self, answer: &Value, field: &str, done: &str) {
        self.out.show(answer, |answer| {
            let count = &answer[field];
            let noun = if *count == json!(1) { "message" } else { "messages" };
            format!("{} {noun} {done}\n", shown(field, count))
        });
    }

    fn publish(&self, message: &PubCommand) -> Done {
        let payload = match (&message.file, &message.payload) {
            (Some(file), _) => read(file)?,
            (None, Some(payload)) => payload.clone().into_bytes(),
            (None, None) => Vec::new(),
        };
        let mut body = json!({
            "topic": message.topic,
            "payload_base64": BASE64_STANDARD.encode(payload),
            "qos": message.qos,
            "retain": message.retain,
        });
        if let Some(expiry) = message.expiry {
            body["expiry_seconds"] = json!(expiry);
        }
        if let Some(content_type) = &message.content_type {
            body["content_type"] = json!(content_type);
        }
        if !message.properties.is_empty() {
            body["user_properties"] = json!(message.properties);
        }
        let answer = self.api.ask(Method::POST, &ApiPath::of("/publish"), Some(&body))?;
        let reason = shown("reason", &answer["reason"]);
        if answer["reason_code"].as_u64().is_some_and(|code| code >= 0x80) {
            return Err(CtlFailure::Refused(format!("it was not published: {reason}")));
        }
        self.out.show(&answer, |answer| {
            let receivers = shown("receivers", &answer["receivers"]);
            format!("published: {reason}; receivers: {receivers}\n")
        });
        Ok(())
    }

    fn subscribe(&self, filter: &str, count: Option<u64>, seconds: Option<u64>) -> Done {
        let path = ApiPath::of("/feeds/trace")
            .with("filter", filter)
            .with("payload", true)
            .with("seconds", seconds.unwrap_or(TRACE_SECONDS_MAX))
            .with("events", TRACE_EVENTS_MAX);
        let mut left = count.unwrap_or(u64::MAX);
        self.follow_with(&path, |event| {
            let (is_message, goes_on) = streams::print_message(self.out, event);
            left -= u64::from(is_message);
            goes_on && left > 0
        })
    }

    fn trace(&self, command: &TraceCommand) -> Done {
        let path = ApiPath::of("/feeds/trace")
            .with_some("client", command.client.as_deref())
            .with_some("filter", command.filter.as_deref())
            .with("payload", command.payload)
            .with_some("seconds", command.seconds)
            .with_some("events", command.events);
        self.follow(&path)
    }

    fn ledger(
        &self,
        follow: bool,
        recent: bool,
        (client, topic): (Option<&str>, Option<&str>),
    ) -> Done {
        let narrowed =
            |path: &str| ApiPath::of(path).with_some("client", client).with_some("topic", topic);
        if follow {
            return self.follow(&narrowed("/feeds/ledger"));
        }
        if recent || client.is_some() || topic.is_some() {
            let path = narrowed("/ledger/recent");
            let answer = list(&self.api, &path, RECENT_MAX)?;
            list::show(self.out, &answer, LOSSES, "nothing was lost lately");
            return Ok(());
        }
        ledger::show(self.out, &self.api.get(&ApiPath::of("/ledger"))?);
        Ok(())
    }

    /// Prints the events of a feed, until Ctrl-C.
    fn follow(&self, path: &ApiPath) -> Done {
        self.follow_with(path, |event| streams::print(self.out, event))
    }

    /// The same, printed by `print`.
    fn follow_with(&self, path: &ApiPath, print: impl FnMut(&FeedEvent) -> bool) -> Done {
        let followed = until_interrupted(self.signals, || streams::follow(&self.api, path, print));
        followed.map_err(|error| CtlFailure::Usage(format!("cannot catch signals: {error}")))?
    }

    fn log(&self, level: Option<&str>) -> Done {
        let path = ApiPath::of("/log");
        let answer = match level {
            Some(level) => {
                let set = self.api.ask(Method::PUT, &path, Some(&json!({ "level": level })))?;
                if set.is_null() { self.api.get(&path)? } else { set }
            }
            None => self.api.get(&path)?,
        };
        self.out.show(&answer, |answer| sheet(answer, &["level"], self.out.width()));
        Ok(())
    }

    fn reload(&self) -> Done {
        let answer = self.api.ask(Method::POST, &ApiPath::of("/reload"), None)?;
        let messages = answer["messages"].as_array().into_iter().flatten();
        let messages: Vec<_> = messages.map(|message| shown("message", message)).collect();
        if answer["reloaded"] == json!(false) {
            let text = format!("the configuration was not reloaded\n{}", messages.join("\n"));
            return Err(CtlFailure::Refused(text));
        }
        self.out.show(&answer, |_| {
            let lines = messages.iter().map(|message| format!("{message}\n"));
            format!("the configuration was reloaded\n{}", lines.collect::<String>())
        });
        Ok(())
    }

    fn config(&self, prefix: &str) -> Done {
        let mut answer = list(&self.api, &ApiPath::of("/config"), usize::MAX)?;
        if let Some(items) = answer["items"].as_array_mut() {
            items.retain(|item| item["key"].as_str().is_some_and(|key| key.starts_with(prefix)));
        }
        list::show(self.out, &answer, CONFIG, "there is no such key");
        Ok(())
    }
}

/// A file, or `-`: standard input.
fn read(file: &Path) -> Result<Vec<u8>, CtlFailure> {
    let mut bytes = Vec::new();
    let read = match file == Path::new("-") {
        true => io::stdin().lock().read_to_end(&mut bytes).map(drop),
        false => fs::read(file).map(|read| bytes = read),
    };
    read.map_err(|error| CtlFailure::Usage(format!("cannot read {}: {error}", file.display())))?;
    Ok(bytes)
}

/// Latest losses that are listed.
const RECENT_MAX: usize = 1000;

/// The longest trace that there can be: `sub` is to go on.
const TRACE_SECONDS_MAX: u64 = 3600;
const TRACE_EVENTS_MAX: u64 = 1_000_000;
