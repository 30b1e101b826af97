//! Refuses what one of a script's versions cannot say.

use sluicemq::codec::Version;

use super::language::{Action, Field, Script, Sent, counts, version_text};
use super::parse::Failed;
use super::wire;

/// Every line must make sense on `run`, unless it says that it counts on the other version only.
pub fn check(script: &Script, run: Version) -> Result<(), Failed> {
    for (step, version) in script.steps.iter().zip(script.step_versions(run)) {
        if version == Version::V5 || !counts(step.only, version) {
            continue;
        }
        match &step.action {
            Action::Send { sent, .. } => {
                for one in sent {
                    let Sent::Packet { name, fields } = one else { continue };
                    packet(name, true, fields, version).map_err(|what| (step.line, what))?;
                }
            }
            Action::Expect { wanted, .. } => {
                for one in wanted {
                    packet(one.name, false, &one.fields, version)
                        .map_err(|what| (one.line, what))?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn packet<T>(
    name: &str,
    sending: bool,
    fields: &[Field<T>],
    version: Version,
) -> Result<(), String> {
    if name == "AUTH" || name == "DISCONNECT" && !sending {
        let text = version_text(version);
        return Err(format!("{text} has no such {name}: end the line with @5"));
    }
    for field in fields.iter().filter(|field| counts(field.only, version)) {
        let key = field.key;
        if wire::field(name, key, sending).is_some_and(|(_, _, only5)| only5) {
            return Err(format!("{key} is of version 5: write {key}@5=, or `versions 5`"));
        }
    }
    Ok(())
}
