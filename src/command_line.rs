//! The command line of `sluice`: commands and options, without what they do.

#[path = "command_line/cluster.rs"]
pub mod cluster;
#[path = "command_line/ctl.rs"] // Also where tools/package reads this file.
pub mod ctl;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::{Args, Parser, Subcommand, ValueEnum};
use sluicemq::auth::file::ITERATIONS_MAX;
use sluicemq::config::LogFormat;
use sluicemq::settings::{self, Settings};

/// An MQTT 3.1.1 and 5 broker for fleets of IoT devices that tells the truth about every message
#[derive(Parser)]
#[command(name = "sluice", version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub layers: Layers,
}

const AFTER_HELP: &str = "\
Without a configuration file, the broker serves MQTT on 127.0.0.1:1883 and MQTT over TLS on
127.0.0.1:8883, with certificates that it makes in certs/. Environment variables SLUICE_SECTION__KEY
override files, --set overrides both. SLUICE_LOG sets the log level.";

/// The command line of this process; where it is wrong, says so and ends the process.
pub fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|mut error| {
        let word = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg].into_iter();
        let word = word.filter_map(|kind| error.get(kind)).find_map(|value| match value {
            ContextValue::String(word) => Some(word.clone()),
            _ => None,
        });
        // A file where a command is expected: how other brokers are started.
        if let Some(word) = word.filter(|word| !word.starts_with('-') && is_file(word)) {
            let tip = format!("to read the configuration file '{word}': sluice --config {word}");
            let tips = ContextValue::StyledStrs(vec![tip.into()]);
            error.insert(ContextKind::Suggested, tips);
        }
        error.exit()
    })
}

fn is_file(word: &str) -> bool {
    word.contains(['.', '/']) || Path::new(word).exists()
}

/// What the program does.
#[derive(Subcommand)]
pub enum Command {
    /// Run the broker (also without any command).
    Run,
    /// Read and check the configuration: exit code 0 if it is valid, 2 if not.
    Check {
        /// Look at what the configuration names too: certificates and keys and their permissions, the password
        /// file, whether the ports are free and the store can be made.
        #[arg(long)]
        files: bool,
        /// Check a running broker instead: connect, subscribe, receive its own message; exit code 0 or 1.
        #[arg(long, conflicts_with = "files")]
        live: bool,
        #[command(flatten)]
        target: LiveTarget,
    },
    /// Print the effective configuration and where each value came from.
    Config,
    /// Ask a running broker, over its HTTP listener: look at clients, queues and losses, change what can be changed.
    #[command(after_help = ctl::AFTER_HELP)]
    Ctl {
        #[command(flatten)]
        options: ctl::CtlOptions,
        #[command(subcommand)]
        command: ctl::CtlCommand,
    },
    /// Look at a cluster of brokers, or run one on this machine to try it.
    #[command(after_help = cluster::AFTER_HELP)]
    Cluster {
        #[command(subcommand)]
        command: cluster::ClusterCommand,
    },
    /// Make a CA, a server certificate and a client certificate.
    Certs {
        /// Directory for the files. An existing CA is used; no file is overwritten.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Host name or address of the server; more than one may be given.
        #[arg(long = "name", value_name = "HOST", required = true, num_args = 1..)]
        names: Vec<String>,
        /// Name of the client.
        #[arg(long, value_name = "NAME", default_value = "client")]
        client: String,
    },
    /// Check, copy or repair the store; only `export` works while a broker has it open.
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Take over what another broker has: exit code 0 if all is as before, 1 if something differs, 2 if
    /// something cannot be read.
    Import {
        #[command(subcommand)]
        command: ImportCommand,
    },
    /// Set, delete, verify or list users in a password file.
    ///
    /// Asks for the password on a terminal, else reads one line from standard input. Several at once are safe: each
    /// waits for the others. A running broker reads the file again at SIGHUP.
    Passwd(PasswordCommand),
    /// Say what the rules of access allow a client: exit code 0 if it is allowed, 1 if not.
    Acl {
        #[command(subcommand)]
        command: AclCommand,
    },
}

/// How much is said.
#[derive(Subcommand)]
pub enum AclCommand {
    /// Say whether it is allowed, and by which rule.
    Test(AclQuestion),
    /// Say also which rules come before that one, and why each does not fit.
    Explain(AclQuestion),
}

/// What a client asks to be allowed, and what is known of it.
#[derive(Args)]
pub struct AclQuestion {
    /// What it wants to do.
    #[arg(value_enum)]
    pub action: AclAction,
    /// The topic, or the Topic Filter.
    pub topic: String,
    /// Its user name.
    #[arg(long)]
    pub user: Option<String>,
    /// Its Client Identifier.
    #[arg(long, value_name = "ID", default_value = "")]
    pub client: String,
    /// Its address.
    #[arg(long)]
    pub address: Option<IpAddr>,
    /// The name of its listener.
    #[arg(long, value_name = "NAME")]
    pub listener: Option<String>,
    /// The identity in its certificate.
    #[arg(long, value_name = "NAME")]
    pub certificate: Option<String>,
    /// A group that its authentication names.
    #[arg(long = "group", value_name = "NAME")]
    pub groups: Vec<String>,
    /// What its authentication says of it.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    pub claims: Vec<String>,
    /// QoS.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// The message is retained.
    #[arg(long)]
    pub retain: bool,
    /// Bytes of its payload.
    #[arg(long, default_value_t = 0)]
    pub bytes: usize,
}

/// What a client wants to do.
#[derive(Clone, Copy, ValueEnum)]
pub enum AclAction {
    /// Publish a message.
    Publish,
    /// Subscribe.
    Subscribe,
    /// Be sent a message.
    Receive,
}

/// What to do with a password file.
#[derive(Args)]
pub struct PasswordCommand {
    /// Password file; made if it is missing, then only its owner may read it.
    pub file: PathBuf,
    /// User name.
    #[arg(required_unless_present_any = ["batch", "list"])]
    pub user: Option<String>,
    /// Delete the user.
    #[arg(short = 'D', long, conflicts_with_all = ["batch", "list"])]
    pub delete: bool,
    /// Say whether the password is the user's: exit code 0 if it is, 2 if not.
    #[arg(long, conflicts_with_all = ["delete", "batch", "list"])]
    pub verify: bool,
    /// Set many users: standard input has a line user:password for each.
    #[arg(short, long, conflicts_with_all = ["user", "list"])]
    pub batch: bool,
    /// List the users.
    #[arg(short, long, conflicts_with = "user")]
    pub list: bool,
    /// How often the password is hashed: what a guess costs, and each login (some 0.4 µs each). 1000 by default,
    /// and 4096 with --scram.
    #[arg(
        short,
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(ITERATIONS_MAX)),
        conflicts_with_all = ["delete", "list", "verify"],
    )]
    pub iterations: Option<u32>,
    /// Hash the password with Argon2id, as mosquitto 2.1 reads it: a guess costs 46 MiB and some 70 ms, and so
    /// does each login.
    #[arg(long, conflicts_with_all = ["delete", "list", "verify", "iterations"])]
    pub argon2id: bool,
    /// Keep keys for SCRAM-SHA-256 (or 512), so that the password need not cross the network: 4096 iterations by
    /// default, which the client spends. The user can log in with the password too.
    #[arg(
        long,
        value_name = "BITS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "256",
        value_parser = scram_bits,
        conflicts_with_all = ["delete", "list", "verify", "argon2id"],
    )]
    pub scram: Option<u16>,
    /// Read the password from standard input, even if that is a terminal.
    #[arg(long, conflicts_with_all = ["delete", "batch", "list"])]
    pub password_stdin: bool,
}

fn scram_bits(text: &str) -> Result<u16, String> {
    let bits = text.parse().ok().filter(|bits| matches!(bits, 256 | 512));
    bits.ok_or_else(|| "expected 256 or 512".to_owned())
}

/// What to do with the store.
#[derive(Subcommand)]
pub enum StoreCommand {
    /// Look at every byte: exit code 0 if all is as it was written, 1 if not.
    Check,
    /// Print what is in it.
    Stats,
    /// Copy it into one file: for backups, and to change the kind of store. A broker that has it open
    /// goes on meanwhile.
    Export {
        /// The file to write; it must not be there yet.
        file: PathBuf,
    },
    /// Make a store of such a file, where there is none.
    Import {
        /// The file to read.
        file: PathBuf,
    },
    /// End the Session of a client, with all that waits for it, in the store of a broker that has stopped: exit code 0
    /// if there was one, 1 if not. What it had is listed.
    EndSession {
        /// The Client Identifier.
        client_id: String,
    },
    /// Copy what can still be read of a damaged store into a new one, and list what cannot.
    Salvage {
        /// A new folder, for the new store and a file of its rows.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// What is taken over.
#[derive(Subcommand)]
pub enum ImportCommand {
    /// mosquitto's configuration, in the file that --config names, and what that names: line by line it says what
    /// was carried over, what differs and what has no counterpart.
    Mosquitto {
        /// Folder for sluice.toml and what belongs to it; made if it is missing.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Database of mosquitto (mosquitto.db); by default the one that its configuration names. mosquitto must have
        /// stopped.
        #[arg(long, value_name = "FILE")]
        db: Option<PathBuf>,
    },
}

/// Which broker is checked, and as which client.
#[derive(Args)]
pub struct LiveTarget {
    /// Address of that broker, as 127.0.0.1:1883 or broker.example:8883. By default the first listener without
    /// TLS; if all have TLS, the first, which must show the certificate in its configuration.
    #[arg(long, value_name = "ADDRESS", requires = "live", conflicts_with = "listener")]
    pub address: Option<String>,
    /// The listener of that name in the configuration.
    #[arg(long, value_name = "NAME", requires = "live")]
    pub listener: Option<String>,
    /// TLS: the broker's certificate must be of a CA in this file (PEM).
    #[arg(long, value_name = "FILE", requires = "live")]
    pub ca: Option<PathBuf>,
    /// TLS: the name that the broker's certificate must be for; by default that in --address.
    #[arg(long, value_name = "NAME", requires = "ca")]
    pub server_name: Option<String>,
    /// TLS: client certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "live", requires = "key")]
    pub cert: Option<PathBuf>,
    /// TLS: the client certificate's key (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// User name to connect with; the password is taken from SLUICE_CHECK_PASSWORD.
    #[arg(long, value_name = "USER", requires = "live")]
    pub user: Option<String>,
}

/// Where the configuration comes from.
#[derive(Args)]
pub struct Layers {
    /// Configuration file; if there are several, later ones override earlier ones.
    #[arg(short, long = "config", value_name = "FILE", global = true)]
    configs: Vec<PathBuf>,
    /// Set one key, as in --set session.qos_max=1 or --set listener.0.address=127.0.0.1:1884.
    #[arg(short, long = "set", value_name = "KEY=VALUE", global = true)]
    sets: Vec<String>,
}

impl Layers {
    /// The configuration files.
    pub fn files(&self) -> &[PathBuf] {
        &self.configs
    }

    /// Reads the layers, in their order: files, environment, `--set`.
    pub fn load(&self) -> Result<Settings, settings::SettingsError> {
        self.load_with(&self.configs)
    }

    /// The same with other files than those of the command line.
    pub fn load_with(&self, files: &[PathBuf]) -> Result<Settings, settings::SettingsError> {
        let env = std::env::vars_os().map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        });
        settings::load(files, env, &self.sets)
    }

    /// `log.format`, as far as it can be told from layers that may hold mistakes.
    pub fn log_format(&self) -> LogFormat {
        settings::log_format(
            &self.configs,
            std::env::var("SLUICE_LOG__FORMAT").ok().as_deref(),
            &self.sets,
        )
    }
}
