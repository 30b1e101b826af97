//! A start over many deep filters that strangers have left.

use std::time::Instant;

use crate::Outcome;
use crate::classes::START;
use crate::round::Rounds;
use crate::victim::Victim;

pub fn measure(rounds: &Rounds<'_>) -> Outcome<()> {
    println!("a start with 120,000 filters of 31 levels");
    let class = &START;
    let broker = rounds.broker(class)?;
    say("empty", &broker)?;
    rounds.prepare(&broker, class)?;
    say("parked", &broker)?;
    let folder = broker.kill()?;
    let begun = Instant::now();
    let broker = rounds.broker_over(folder, class)?;
    println!("  ready after {:?}", begun.elapsed());
    say("ready", &broker)
}

fn say(when: &str, broker: &Victim) -> Outcome<()> {
    println!("  {when}: {:?} of CPU, {} MiB", broker.cpu()?, broker.memory()? >> 20);
    Ok(())
}
