//! `sluice acl`: what the rules of access allow a client, and why.

use std::error::Error;
use std::process::ExitCode;

use sluicemq::auth::{Explanation, Rights};
use sluicemq::codec::QoS;
use sluicemq::logging::console;
use sluicemq::message::{Circumstances, ClientId, Identity, Meter, Standing};
use sluicemq::run::{read_rules, rule_set};
use sluicemq::session::{Asked, Policy, reserved};
use sluicemq::settings::Settings;
use sluicemq::topic::{TopicFilter, TopicName};

use crate::command_line::{AclAction, AclCommand, AclQuestion, Layers};

/// Answers a question; exit code 0 if it is allowed, 1 if not.
///
/// # Errors
///
/// The configuration, the rules or the topic are wrong.
pub fn run(layers: &Layers, command: &AclCommand) -> Result<ExitCode, Box<dyn Error>> {
    let settings = layers.load()?;
    let (question, explains) = match command {
        AclCommand::Test(question) => (question, false),
        AclCommand::Explain(question) => (question, true),
    };
    let found = answer(&settings, question)?;
    let allowed = found.decision.is_allowed();
    let word = if allowed { "allowed" } else { "denied" };
    console::say(format_args!("{word}: {}", found.rule));
    if explains {
        for passed in &found.passed_over {
            console::say(format_args!("  passed over: {}: {}", passed.rule, passed.why));
        }
    }
    Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn answer(settings: &Settings, question: &AclQuestion) -> Result<Explanation, Box<dyn Error>> {
    let config = settings.from_here();
    let rules = read_rules(&config, settings)?;
    let rights = Rights::new(&rule_set(&config, &rules));
    let policy = Policy::new(&config.limits, &config.session);
    let user = question.user.as_deref().map(Into::into);
    let identity = Identity::new(ClientId::new(&question.client), user, Meter::forever());
    identity.set_standing(Standing::Of(circumstances(question)?));
    let qos = QoS::from_bits(question.qos).unwrap_or_default();
    let (text, retain, bytes) = (question.topic.as_str(), question.retain, question.bytes);
    let topic = || {
        TopicName::parse(text, &policy.topic).map_err(|error| format!("topic {text:?}: {error}"))
    };
    Ok(match question.action {
        AclAction::Publish if reserved(text) => return Ok(of_the_broker()),
        AclAction::Publish => {
            rights.explain(&identity, &Asked::Publish { topic: topic()?, qos, retain, bytes })
        }
        AclAction::Receive => {
            rights.explain(&identity, &Asked::Receive { topic: topic()?, qos, retain, bytes })
        }
        AclAction::Subscribe => {
            let filter = TopicFilter::parse(text, &policy.topic)
                .map_err(|error| format!("filter {text:?}: {error}"))?;
            rights.explain(&identity, &Asked::Subscribe { filter: &filter, qos })
        }
    })
}

/// No rule gives a client a topic of the broker's own.
fn of_the_broker() -> Explanation {
    Explanation {
        decision: sluicemq::session::Decision::of(false),
        rule: "the topic is the broker's own: no client may publish to it".to_owned(),
        passed_over: Vec::new(),
    }
}

fn circumstances(question: &AclQuestion) -> Result<Circumstances, String> {
    let claim = |claim: &String| {
        let (name, value) = claim.split_once('=').ok_or("--claim: expected NAME=VALUE")?;
        Ok((name.into(), value.into()))
    };
    Ok(Circumstances {
        listener: question.listener.as_deref().map(Into::into),
        address: question.address,
        certificate: question.certificate.as_deref().map(Into::into),
        groups: question.groups.iter().map(|group| group.as_str().into()).collect(),
        claims: question.claims.iter().map(claim).collect::<Result<_, String>>()?,
    })
}
