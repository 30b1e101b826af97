//! Named queues, logs and delayed messages.

use super::{HTTP, Sluice, ctl, done, json, refused};

#[test]
fn named_queues_and_delayed_messages_are_listed_and_one_is_cancelled() {
    let config = "[[named_queue]]\nname = 'jobs'\nbindings = ['jobs/#']\nmessages_max = 77\n\
                  keep = { messages = 77 }";
    let broker = Sluice::start(&format!("{HTTP}\n{config}"));
    assert!(done(&broker, &["delayed", "list"]).contains("no message is delayed"));
    done(&broker, &["pub", "jobs/1", "saw"]);
    let text = done(&broker, &["queues"]);
    let wanted = ["NAME", "jobs", "configuration", "77", "reject", "least_inflight"];
    assert!(wanted.iter().all(|wanted| text.contains(wanted)), "{text}");
    assert!(done(&broker, &["queues", "jobs"]).starts_with("TOPIC   QOS  ATTEMPTS  DUE"));
    assert!(done(&broker, &["keeps"]).starts_with("NAME  SOURCE         KEPT"));
    done(&broker, &["pub", "$delayed/1h/valve", "close"]);
    let listed = json(&broker, &["delayed", "list"]);
    let id = listed["items"][0]["id"].as_str().expect("an id");
    assert_eq!(done(&broker, &["delayed", "cancel", id]), "1 message cancelled\n");
    refused(&mut ctl(&broker, &["delayed", "cancel", id]), 1, &["no delayed message with this id"]);
    assert_eq!(json(&broker, &["delayed", "list"])["items"], json!([]));
}
