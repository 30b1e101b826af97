//! The exact numbers, below the charts.

use super::markup::Markup;
use super::unit::Unit;
use crate::outcome::{BrokerUse, Latency, Outcome, Smoothness};

/// Every table of one run.
pub fn of_run(outcome: &Outcome) -> Markup {
    let mut to = Markup::new();
    to.raw("<div class=\"tables\">\n");
    pairs(&mut to, "Settings", &settings(outcome));
    pairs(&mut to, "Connections", &connections(outcome));
    pairs(&mut to, "Traffic", &traffic(outcome));
    pairs(&mut to, "Verification", &verification(outcome));
    if let Some(broker) = &outcome.broker {
        pairs(&mut to, "Broker", &broker_use(broker, outcome));
    }
    if let Some(smoothness) = &outcome.smoothness {
        pairs(&mut to, "Smoothness", &evenness(smoothness));
    }
    to.raw("</div>\n");
    latencies(&mut to, outcome);
    examples(&mut to, &outcome.verification.examples);
    to
}

type Row = (String, String);

fn row(name: &str, value: String) -> Row {
    (name.to_owned(), value)
}

fn settings(outcome: &Outcome) -> Vec<Row> {
    let mut rows = vec![row("Broker", outcome.target.clone())];
    rows.extend(outcome.settings.iter().cloned());
    rows.retain(|(name, value)| !(name.is_empty() && value.is_empty()));
    rows
}

fn traffic(outcome: &Outcome) -> Vec<Row> {
    let traffic = &outcome.traffic;
    let (published_bytes, delivered_bytes) = traffic.payload_bytes;
    let mut rows = vec![
        row("Measured", Unit::Seconds.text(outcome.seconds)),
        row("Until all had arrived", Unit::Seconds.text(outcome.drain_seconds)),
        row("Published", count(traffic.published)),
        row("Acknowledged", count(traffic.acknowledged)),
        row("Refused", count(traffic.refused)),
        row("Copies expected", count(traffic.expected)),
        row("Copies delivered", count(traffic.delivered)),
        row("Published a second", Unit::Rate.text(traffic.publish_rate)),
        row("Delivered a second", Unit::Rate.text(traffic.delivery_rate)),
        row("Payload published", Unit::Bytes.text(published_bytes as f64)),
        row("Payload delivered", Unit::Bytes.text(delivered_bytes as f64)),
    ];
    if outcome.own_cpu_seconds > 0.0 {
        let own = Unit::Seconds.text(outcome.own_cpu_seconds);
        rows.push(row("CPU of the generator", own));
    }
    rows
}

fn verification(outcome: &Outcome) -> Vec<Row> {
    let verification = &outcome.verification;
    vec![
        row("Lost", count(verification.lost)),
        row("– of these, QoS 0", count(verification.lost_qos0)),
        row("Arrived again", count(verification.duplicates)),
        row("– of these, allowed", count(verification.duplicates_allowed)),
        row("Out of order", count(verification.reordered)),
        row("Corrupt", count(verification.corrupt)),
        row("Misrouted", count(verification.misrouted)),
    ]
}

fn connections(outcome: &Outcome) -> Vec<Row> {
    let connections = &outcome.connections;
    let mut rows = vec![
        row("Wanted", count(connections.wanted)),
        row("Opened", count(connections.opened)),
        row("Failed", count(connections.failed)),
        row("Lost", count(connections.lost)),
        row("Opened a second", Unit::Rate.text(connections.open_rate)),
    ];
    if let Some(recovery) = &connections.recovery {
        let first = Unit::Micros.text(recovery.down_seconds * 1e6);
        rows.push(row("First one back after", first));
        rows.push(row("All others after", Unit::Micros.text(recovery.all_back_seconds * 1e6)));
    }
    rows
}

/// What the broker's CPU is counted for each of.
pub fn each(outcome: &Outcome) -> &'static str {
    let traffic = &outcome.traffic;
    match (traffic.delivered, traffic.published) {
        (0, 0) => "connection",
        (0, _) => "published message",
        (_, _) => "delivered message",
    }
}

fn broker_use(broker: &BrokerUse, outcome: &Outcome) -> Vec<Row> {
    vec![
        row("Process", broker.pid.to_string()),
        row("CPU", Unit::Seconds.text(broker.cpu_seconds)),
        row(
            &format!("CPU for each {}", each(outcome)),
            Unit::Micros.text(broker.cpu_us_per_message),
        ),
        row("Context switches for each", Unit::Plain.text(broker.switches_per_message)),
        row("Memory before", Unit::Bytes.text(broker.resident_before as f64)),
        row("Memory at most", Unit::Bytes.text(broker.resident_max as f64)),
        row("Memory after", Unit::Bytes.text(broker.resident_after as f64)),
        row("Memory for each connection", Unit::Bytes.text(broker.bytes_per_connection)),
    ]
}

fn evenness(smoothness: &Smoothness) -> Vec<Row> {
    let (fewest, mean, most) = smoothness.messages;
    vec![
        row("Window", Unit::Micros.text(smoothness.window_ms as f64 * 1000.0)),
        row("Windows", count(smoothness.windows)),
        row("Fewest messages", count(fewest)),
        row("Mean", Unit::Plain.text(mean)),
        row("Most messages", count(most)),
        row("Deviation / mean", Unit::Plain.text(smoothness.variation)),
        row("Most payload", Unit::Bytes.text(smoothness.bytes_max as f64)),
    ]
}

fn count(count: u64) -> String {
    Unit::Count.text(count as f64)
}

fn pairs(to: &mut Markup, title: &'static str, rows: &[Row]) {
    to.raw("<div class=\"card\"><h3>").raw(title).raw("</h3><table><tbody>");
    for (name, value) in rows {
        to.raw("<tr><th scope=\"row\">").text(name).raw("</th>").element("td", value).raw("</tr>");
    }
    to.raw("</tbody></table></div>\n");
}

fn latencies(to: &mut Markup, outcome: &Outcome) {
    let rows = [
        ("Delivery", &outcome.latency),
        ("Acknowledgement", &outcome.acknowledgement),
        ("Connect", &outcome.connections.connect),
    ];
    if rows.iter().all(|(_, latency)| latency.count == 0) {
        return;
    }
    to.raw("<div class=\"card\"><h3>Latency</h3><div class=\"scroll\"><table class=\"wide\">");
    to.raw("<thead><tr><td></td>");
    for title in ["min", "mean", "p50", "p90", "p99", "p99.9", "max", "count"] {
        to.raw("<th scope=\"col\">").raw(title).raw("</th>");
    }
    to.raw("</tr></thead><tbody>");
    for (name, latency) in rows.into_iter().filter(|(_, latency)| latency.count > 0) {
        to.raw("<tr><th scope=\"row\">").raw(name).raw("</th>");
        for time in times(latency) {
            to.element("td", Unit::Micros.text(time));
        }
        to.element("td", count(latency.count)).raw("</tr>");
    }
    to.raw("</tbody></table></div></div>\n");
}

fn times(latency: &Latency) -> [f64; 7] {
    [
        latency.min_us,
        latency.mean_us,
        latency.p50_us,
        latency.p90_us,
        latency.p99_us,
        latency.p999_us,
        latency.max_us,
    ]
}

fn examples(to: &mut Markup, examples: &[String]) {
    if examples.is_empty() {
        return;
    }
    to.raw("<div class=\"card examples\"><h3>Examples of what is wrong</h3><ul>");
    for example in examples {
        to.element("li", example);
    }
    to.raw("</ul></div>\n");
}
