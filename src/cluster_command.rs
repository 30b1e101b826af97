//! `sluice cluster`: looks at a cluster of brokers, stops a node of it or gives it up, or runs one on this machine to try it.

mod child;
mod dev;
mod files;
mod ports;
mod report;
mod status;

use std::process::ExitCode;

use sluicemq::logging::console;
use sluicemq::run::signals::Signals;

use crate::command_line::Layers;
use crate::command_line::cluster::ClusterCommand;
use crate::ctl::failure::CtlFailure;
use dev::DevOptions;

/// Does it; the exit code says how it went.
pub fn run(layers: &Layers, command: &ClusterCommand, signals: &Signals) -> ExitCode {
    match command {
        ClusterCommand::Status { servers, json } => end(status::run(layers, servers, *json)),
        ClusterCommand::Drain { node, servers } => {
            end(status::drain_node(layers, servers, node.as_deref()))
        }
        ClusterCommand::Forget { node, servers } => end(status::forget_node(layers, servers, node)),
        ClusterCommand::Dev { dir, nodes, port, nats_server } => {
            let nats_server = nats_server.as_deref();
            let options = DevOptions { dir, nodes: *nodes, port: *port, nats_server };
            match dev::run(&options, signals) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    complain(&error);
                    ExitCode::FAILURE
                }
            }
        }
    }
}

/// What a process does that `sluice cluster dev` has just started: it becomes the program that it is told. None: this is
/// no such process.
pub fn run_as_child() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != child::MARK {
        return None;
    }
    complain(&child::become_program(arguments));
    Some(ExitCode::from(127))
}

fn end(result: Result<(), CtlFailure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            failure.exit_code()
        }
    }
}

fn complain(error: &dyn std::error::Error) {
    for line in error.to_string().lines() {
        console::complain(format_args!("sluice: {line}"));
    }
}
