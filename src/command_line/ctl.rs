//! The command line of `sluice ctl`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Ends the help of `sluice ctl`.
pub const AFTER_HELP: &str = "\
The broker is found through its configuration: the files of --config, or the one that SLUICE_CONFIG names, or, where a
start without a file has left http-token in this folder, what such a start has, or /etc/sluice/sluice.toml. The token is
in the file that http.token_file names there; SLUICE_TOKEN overrides it. Exit code 0: done; 1: refused, or not found;
2: the command or the configuration is wrong; 3: the broker cannot be reached.";

/// Which broker is asked, and how it is answered.
#[derive(Args)]
pub struct CtlOptions {
    /// Where the broker is, scheme, host and port, instead of where its configuration says. It wants
    /// --token-file or SLUICE_TOKEN.
    #[arg(long, value_name = "URL", global = true)]
    pub url: Option<String>,
    /// File with a token, instead of the broker's own.
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
    /// The broker's certificate must be of a CA in this file (PEM). By default: of one that the system trusts.
    #[arg(long, value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,
    /// JSON instead of tables: one document, or, of what goes on, one in each line.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What is asked of the broker.
#[derive(Subcommand)]
pub enum CtlCommand {
    /// The broker in a few numbers.
    Status,
    /// Watch the broker: traffic, losses, and the clients with the longest queues. q ends it, s sorts otherwise.
    Top,
    /// List clients.
    Clients {
        /// Only those with this text in the Client Identifier.
        search: Option<String>,
        /// What to sort by.
        #[arg(long, value_enum, default_value_t = ClientOrder::ClientId)]
        sort: ClientOrder,
        /// The largest first.
        #[arg(long)]
        descending: bool,
        /// Only those that are connected (true), or only the others (false).
        #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        connected: Option<bool>,
        #[command(flatten)]
        part: ListPart,
    },
    /// Show all of one client: its terms, subscriptions, window, queue, losses and Will.
    Client {
        /// The Client Identifier.
        client_id: String,
    },
    /// Disconnect a client. It may come back; its Session stays.
    Kick {
        /// The Client Identifier.
        client_id: String,
    },
    /// End the Session of a client, with all that waits for it.
    End {
        /// The Client Identifier.
        client_id: String,
    },
    /// Look into the queue of a client, or empty it.
    Queue {
        #[command(subcommand)]
        command: QueueCommand,
    },
    /// Retained messages.
    Retained {
        #[command(subcommand)]
        command: RetainedCommand,
    },
    /// List subscriptions.
    Subscriptions {
        /// Only of this client.
        #[arg(long, value_name = "ID")]
        client: Option<String>,
        /// Only of this filter.
        #[arg(long, value_name = "FILTER")]
        filter: Option<String>,
        #[command(flatten)]
        part: ListPart,
    },
    /// List the groups of shared subscriptions.
    Groups {
        #[command(flatten)]
        part: ListPart,
    },
    /// List the named queues, or what waits in one of them.
    Queues {
        /// Its name: lists its messages.
        name: Option<String>,
        #[command(flatten)]
        part: ListPart,
    },
    /// List the logs of kept messages.
    Keeps {
        #[command(flatten)]
        part: ListPart,
    },
    /// Delayed messages.
    Delayed {
        #[command(subcommand)]
        command: DelayedCommand,
    },
    /// Say who would get a message.
    Receivers {
        /// Its topic.
        topic: String,
        #[command(flatten)]
        part: ListPart,
    },
    /// Publish a message; exit code 0 once it is durable.
    Pub(PubCommand),
    /// Print the messages that are published to a filter from now on. They are seen through a trace, which shows the
    /// first 4096 bytes of a payload and ends by itself, after an hour at the latest; mosquitto_sub is a client, with a
    /// Session, rights and retained messages.
    Sub {
        /// The filter.
        filter: String,
        /// End after so many messages.
        #[arg(short = 'C', long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
        /// End after so many seconds.
        #[arg(long, value_name = "NUMBER")]
        seconds: Option<u64>,
    },
    /// Say why a message would reach a client, or why not, and which ones of that topic it lost lately.
    Why {
        /// The Client Identifier.
        client_id: String,
        /// The topic of the message.
        topic: String,
        /// Its QoS; 1 if nothing is said.
        #[arg(short, long, value_parser = clap::value_parser!(u8).range(0..=2))]
        qos: Option<u8>,
        /// Bytes of its payload; 0 if nothing is said.
        #[arg(long, value_name = "NUMBER")]
        bytes: Option<u64>,
        /// The client that publishes it.
        #[arg(long, value_name = "ID")]
        publisher: Option<String>,
    },
    /// Follow the packets of a client, or the messages of a filter, step by step. It ends by itself.
    Trace(TraceCommand),
    /// What was lost and refused, by reason, with what to change.
    Ledger {
        /// Each loss, as it happens, instead of how many there were.
        #[arg(short, long, conflicts_with = "recent")]
        follow: bool,
        /// The latest losses, the newest first.
        #[arg(long)]
        recent: bool,
        /// Only losses of this client.
        #[arg(long, value_name = "ID")]
        client: Option<String>,
        /// Only losses of this topic.
        #[arg(long, value_name = "TOPIC")]
        topic: Option<String>,
    },
    /// Show the level of the log, or set it until the broker ends or reloads.
    Log {
        /// The level, as log.level has it.
        level: Option<String>,
    },
    /// Have the broker read its configuration again.
    Reload,
    /// Show the listeners.
    Listeners,
    /// Show how hard the broker is pressed, and by what.
    Overload,
    /// Show figures of the store.
    Store,
    /// Show the configuration in force, and where each value came from.
    Config {
        /// Only keys that begin so, as in session.
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Print the description of the API, in JSON.
    Openapi,
}

/// How much of a list is shown.
#[derive(Args)]
pub struct ListPart {
    /// List at most so many.
    #[arg(short = 'n', long, value_name = "NUMBER", default_value = "100")]
    pub limit: NonZeroUsize,
}

/// What clients are sorted by.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ClientOrder {
    /// Client Identifier.
    ClientId,
    /// Messages that wait.
    QueueMessages,
    /// Their bytes.
    QueueBytes,
    /// Messages that are sent and not acknowledged.
    InflightMessages,
    /// Messages lost.
    LostMessages,
}

impl ClientOrder {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            ClientOrder::ClientId => "client_id",
            ClientOrder::QueueMessages => "queue_messages",
            ClientOrder::QueueBytes => "queue_bytes",
            ClientOrder::InflightMessages => "inflight_messages",
            ClientOrder::LostMessages => "lost_messages",
        }
    }
}

/// What to do with the queue of a client.
#[derive(Subcommand)]
pub enum QueueCommand {
    /// List what waits for the client, the oldest first.
    Show {
        /// The Client Identifier.
        client_id: String,
        /// The payloads too. The broker's log says so.
        #[arg(long)]
        payload: bool,
        #[command(flatten)]
        part: ListPart,
    },
    /// Delete what waits for the client. The ledger counts it.
    Purge {
        /// The Client Identifier.
        client_id: String,
    },
}

/// What to do with delayed messages.
#[derive(Subcommand)]
pub enum DelayedCommand {
    /// List them in the order in which they are due.
    List {
        #[command(flatten)]
        part: ListPart,
    },
    /// Have one never published.
    Cancel {
        /// Its id in the list.
        id: String,
    },
}

/// What to do with retained messages.
#[derive(Subcommand)]
pub enum RetainedCommand {
    /// List them.
    List {
        /// Those whose topic this filter matches.
        #[arg(default_value = "#")]
        filter: String,
        /// The payloads too. The broker's log says so.
        #[arg(long)]
        payload: bool,
        #[command(flatten)]
        part: ListPart,
    },
    /// Print the payload of one: as it is where the output is no terminal. The broker's log says so.
    Get {
        /// Its topic.
        topic: String,
    },
    /// Delete them.
    Delete {
        /// Those whose topic this filter matches.
        filter: String,
    },
}

/// The message to publish.
#[derive(Args)]
pub struct PubCommand {
    /// Its topic.
    pub topic: String,
    /// Its payload; without one and without --file it is empty.
    pub payload: Option<String>,
    /// File that has the payload; -: standard input.
    #[arg(short, long, conflicts_with = "payload")]
    pub file: Option<PathBuf>,
    /// QoS.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Retain it; an empty payload deletes the retained message.
    #[arg(short, long)]
    pub retain: bool,
    /// It expires after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub expiry: Option<u32>,
    /// Its Content Type.
    #[arg(long, value_name = "TEXT")]
    pub content_type: Option<String>,
    /// A User Property; more than one may be given.
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = property)]
    pub properties: Vec<(String, String)>,
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// What to trace.
#[derive(Args)]
pub struct TraceCommand {
    /// The packets of this client.
    #[arg(long, value_name = "ID", required_unless_present = "filter")]
    pub client: Option<String>,
    /// The messages to topics that this filter matches.
    #[arg(long, value_name = "FILTER", conflicts_with = "client")]
    pub filter: Option<String>,
    /// The payloads too. The broker's log says so.
    #[arg(long)]
    pub payload: bool,
    /// End after so many seconds.
    #[arg(long, value_name = "NUMBER")]
    pub seconds: Option<u64>,
    /// End after so many events.
    #[arg(long, value_name = "NUMBER")]
    pub events: Option<u64>,
}
