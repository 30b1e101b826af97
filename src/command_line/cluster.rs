//! The command line of `sluice cluster`.

use std::path::PathBuf;

use clap::Subcommand;

/// Ends the help of `sluice cluster`.
pub const AFTER_HELP: &str = "\
A program has this command with the feature cluster: the packages do, and what `cargo build --release --features full`
makes.";

/// Ends the help of `sluice cluster status`.
const AFTER_STATUS: &str = "\
The servers, and the TLS and the login for them, are in the section [cluster] of a node's configuration: that of
--config, or the one that SLUICE_CONFIG names, or /etc/sluice/sluice.toml. It takes a second. Listed are the nodes that
answer, and those that read the log within the last half minute and do not. Exit code 0: the log answers; 1: it does not,
and the rest is printed; 2: the command or the configuration is wrong; 3: no server can be reached.";

/// Ends the help of `sluice cluster drain`.
const AFTER_DRAIN: &str = "\
The node lets no client in any more and sends those that are connected away: by Use another server with
cluster.server_reference, if that is set, else because it shuts down. Each Session that lasts goes to another node that
serves, with all that waits for it; then the process ends, as SIGTERM ends it. What supervises it may start it again: so
is a node restarted, and nothing waits for it meanwhile. Exit code 0: it has ended; 2: there is no such node, or no other
one, or it goes on because a Session does not leave; 3: no server can be reached.";

/// Ends the help of `sluice cluster forget`.
const AFTER_FORGET: &str = "\
For a node that is lost with its disk, or is not to come back. Its Sessions are begun anew by whichever node their clients
come to: what waited for them there is lost, unless the node comes back before that with the log since. The log no
longer keeps what only that node has not applied. A node that is up is not forgotten: drain it. Exit code 0: it is forgotten;
2: it is up, or the log does not know it; 3: no server can be reached, or no node serves.";

/// Ends the help of `sluice cluster dev`.
const AFTER_DEV: &str = "\
It starts three servers of the engine (nats-server 2.12 or later) and so many brokers, on 127.0.0.1, and prints where they
are. The folder has their data, configurations and logs: a start with the same folder goes on with the same data, and
writes the configurations anew. Ctrl-C or SIGTERM ends all of them, the brokers first.";

/// What is done with a cluster.
#[derive(Subcommand)]
pub enum ClusterCommand {
    /// Show the nodes of a cluster, the servers of its engine and its log.
    #[command(after_help = AFTER_STATUS)]
    Status {
        /// A server of the engine, as nats://127.0.0.1:4222, instead of those of the configuration; more than one may be
        /// given.
        #[arg(long = "server", value_name = "URL")]
        servers: Vec<String>,
        /// JSON instead of tables, in one line.
        #[arg(long)]
        json: bool,
    },
    /// Send the clients and Sessions of a node to the other nodes, and stop it.
    #[command(after_help = AFTER_DRAIN)]
    Drain {
        /// The node, instead of the one of the configuration.
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
        /// A server of the engine, as nats://127.0.0.1:4222, instead of those of the configuration; more than one may be
        /// given.
        #[arg(long = "server", value_name = "URL")]
        servers: Vec<String>,
    },
    /// Give up a node that does not come back.
    #[command(after_help = AFTER_FORGET)]
    Forget {
        /// The node.
        #[arg(value_name = "NODE")]
        node: String,
        /// A server of the engine, as nats://127.0.0.1:4222, instead of those of the configuration; more than one may be
        /// given.
        #[arg(long = "server", value_name = "URL")]
        servers: Vec<String>,
    },
    /// Run a cluster on this machine, to try it.
    #[command(after_help = AFTER_DEV)]
    Dev {
        /// Folder for its data, configurations and logs; made if it is missing.
        #[arg(long, value_name = "FOLDER", default_value = "sluice-cluster")]
        dir: PathBuf,
        /// How many brokers.
        #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
        nodes: u8,
        /// Where ports begin, instead of at the usual ones: MQTT here, HTTP 10 above, the engine 20 and 30 above. By
        /// default: MQTT at 1883, HTTP at 18090, the engine at 4222 and 6222. Those that are taken are left out.
        #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
        port: Option<u16>,
        /// The program of the engine. By default: nats-server in PATH.
        #[arg(long, value_name = "PATH")]
        nats_server: Option<PathBuf>,
    },
}
