//! What goes on: traces, messages, losses.

use serde_json::{Value, json};
use sluicemq::logging::console;

use super::api::{Api, ApiPath};
use super::failure::CtlFailure;
use super::feed::FeedEvent;
use super::output::CtlOutput;
use super::units::{label, shown};

/// Prints events of the feed at `path` until it ends, its reader has gone, or `print` says that it is enough.
///
/// # Errors
///
/// The broker refuses, or the connection is lost.
pub fn follow(
    api: &Api,
    path: &ApiPath,
    mut print: impl FnMut(&FeedEvent) -> bool,
) -> Result<(), CtlFailure> {
    let mut feed = api.feed(path)?;
    loop {
        match feed.next() {
            Ok(Some(event)) if event.name == "end" => {
                print(&event);
                return Ok(());
            }
            Ok(Some(event)) if print(&event) => {}
            Ok(Some(_)) => return Ok(()),
            Ok(None) => return Err(api.lost("it was closed")),
            Err(error) => return Err(api.lost(&error.to_string())),
        }
    }
}

/// One event of a feed in a line of its own.
pub fn print(out: CtlOutput, event: &FeedEvent) -> bool {
    out.line(&named(event), |_| match event.name.as_str() {
        "loss" => words(&event.data, &["time", "client_id", "topic", "reason"]),
        "packet" => words(&event.data, &["time", "direction", "client_id", "packet"]),
        "journey" => words(&event.data, &["time", "message", "topic", "stage"]),
        "end" => format!("ended: {}", shown("why", &event.data["why"])),
        "missed" => format!("missed: {}", shown("missed", &event.data["missed"])),
        name => format!("{name}  {}", words(&event.data, &[])),
    })
}

/// What an event says, with its name.
fn named(event: &FeedEvent) -> Value {
    let mut data = event.data.clone();
    if let Some(fields) = data.as_object_mut() {
        fields.insert("event".to_owned(), json!(event.name));
    }
    data
}

/// The fields in `first` as they are, the others with their names.
fn words(data: &Value, first: &[&str]) -> String {
    let mut words: Vec<_> = first.iter().map(|field| shown(field, &data[*field])).collect();
    for (field, value) in data.as_object().into_iter().flatten() {
        match value {
            _ if first.contains(&field.as_str()) => {}
            Value::Null => {}
            // What is in it says by itself what it is.
            Value::Object(_) => words.push(words_of(value)),
            value => {
                words.push(format!("{}={}", label(field).replace(' ', "_"), shown(field, value)))
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words.join("  ")
}

fn words_of(data: &Value) -> String {
    words(data, &[])
}

/// Prints the message that an event is about, if it is about one that is published; whether it is, and whether there
/// is use in more.
pub fn print_message(out: CtlOutput, event: &FeedEvent) -> (bool, bool) {
    let data = &event.data;
    if event.name == "end" {
        console::complain(format_args!("sluice: ended: {}", shown("why", &data["why"])));
    }
    let field = "payload_base64";
    // Of a message that is refused there is no payload.
    if event.name != "journey" || data["stage"] != "published" || data[field].is_null() {
        return (false, true);
    }
    let goes_on = out.line(data, |data| {
        let cut = if data["payload_is_cut"] == true { "…" } else { "" };
        format!("{} {}{cut}", shown("topic", &data["topic"]), shown(field, &data[field]))
    });
    (true, goes_on)
}
