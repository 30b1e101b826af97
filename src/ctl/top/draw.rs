//! How `top` looks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table};
use serde_json::Value;

use super::watched::TopState;
use crate::command_line::ctl::ClientOrder;
use crate::ctl::units::{is_number, label, shown};

/// Fields of a client, with the width of their column.
const FIELDS: [(&str, Constraint); 8] = [
    ("client_id", Constraint::Fill(3)),
    ("user", Constraint::Fill(1)),
    ("address", Constraint::Fill(2)),
    ("connected", Constraint::Length(9)),
    ("queue_messages", Constraint::Length(14)),
    ("queue_bytes", Constraint::Length(11)),
    ("inflight_messages", Constraint::Length(17)),
    ("lost_messages", Constraint::Length(13)),
];

/// Figures of a point, in a graph each.
const GRAPHS: [(&str, &str, Color); 3] = [
    ("received", "received_per_second", Color::Green),
    ("sent", "sent_per_second", Color::Cyan),
    ("lost", "lost_per_second", Color::Red),
];

/// Draws the whole terminal.
pub fn draw(frame: &mut Frame<'_>, watched: &TopState, sort: ClientOrder) {
    let rows =
        [Constraint::Length(2), Constraint::Length(5), Constraint::Fill(1), Constraint::Length(1)];
    let [head, graphs, clients, foot] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(Paragraph::new(head_lines(watched)), head);
    let columns = Layout::horizontal([Constraint::Fill(1); GRAPHS.len()]).split(graphs);
    for ((name, field, colour), area) in GRAPHS.into_iter().zip(columns.iter()) {
        graph(frame, *area, watched, (name, field, colour));
    }
    frame.render_widget(client_table(watched, sort), clients);
    let foot_line = match &watched.problem {
        Some(problem) => Line::styled(problem.clone(), Style::new().fg(Color::Red)),
        None => Line::from(format!("q: end   s: sort (by {})", label(sort.name()))),
    };
    frame.render_widget(foot_line, foot);
}

fn head_lines(watched: &TopState) -> Vec<Line<'static>> {
    let status = &watched.status;
    let of = |field: &str| shown(field, &status[field]);
    let level = status["level"].as_u64().unwrap_or_default();
    let colour = if level == 0 { Color::Green } else { Color::Red };
    let pressed = match &status["cause"] {
        Value::Null => format!("level {level}"),
        cause => format!("level {level} ({})", shown("cause", cause)),
    };
    let ready = match status["ready"].as_bool() {
        Some(false) => format!("not ready: {}", of("not_ready")),
        _ => "ready".to_owned(),
    };
    let commit = watched.points.back().map_or(String::new(), |point| {
        let of = |field: &str| shown(field, &point[field]);
        format!("   commit p50 {} p99 {}", of("commit_p50_seconds"), of("commit_p99_seconds"))
    });
    vec![
        Line::from(vec![
            Span::styled("sluice ", Style::new().add_modifier(Modifier::BOLD)),
            Span::raw(format!(
                "{} on {}, up {}   ",
                of("version"),
                of("node"),
                of("uptime_seconds")
            )),
            Span::styled(pressed, Style::new().fg(colour)),
            Span::raw(format!("   {ready}")),
        ]),
        Line::from(format!(
            "clients {}   sessions {}   subscriptions {}   retained {}   message memory {}{commit}",
            of("clients_connected"),
            of("sessions"),
            of("subscriptions"),
            of("retained_messages"),
            of("message_memory_bytes"),
        )),
    ]
}

/// One figure over time, the newest at the right.
fn graph(
    frame: &mut Frame<'_>,
    area: Rect,
    watched: &TopState,
    (name, field, colour): (&str, &str, Color),
) {
    let values: Vec<f64> = watched.points.iter().map(|point| sum(&point[field])).collect();
    let newest = shown(field, &Value::from(values.last().copied().unwrap_or_default().round()));
    let block = Block::new().borders(Borders::TOP).title(format!(" {name} {newest} "));
    let width = usize::from(area.width);
    let shown: Vec<u64> = values[values.len().saturating_sub(width)..]
        .iter()
        .map(|value| value.ceil() as u64)
        .collect();
    frame.render_widget(
        Sparkline::default().block(block).data(&shown).style(Style::new().fg(colour)),
        area,
    );
}

/// A number, or the sum of those in an object.
fn sum(value: &Value) -> f64 {
    match value {
        Value::Object(fields) => fields.values().filter_map(Value::as_f64).sum(),
        value => value.as_f64().unwrap_or_default(),
    }
}

fn client_table(watched: &TopState, sort: ClientOrder) -> Table<'static> {
    let cell = |field: &str, client: &Value| {
        let value = &client[field];
        let text = Line::from(shown(field, value));
        Cell::from(if is_number(value) { text.right_aligned() } else { text })
    };
    let rows = watched.clients.iter().map(|client| {
        Row::new(FIELDS.iter().map(|(field, _)| cell(field, client)).collect::<Vec<_>>())
    });
    let head = FIELDS.iter().map(|(field, _)| {
        let style = if *field == sort.name() {
            Modifier::BOLD | Modifier::UNDERLINED
        } else {
            Modifier::BOLD
        };
        Cell::from(label(field)).style(Style::new().add_modifier(style))
    });
    Table::new(rows, FIELDS.map(|(_, width)| width))
        .header(Row::new(head.collect::<Vec<_>>()))
        .block(Block::new().borders(Borders::TOP).title(" clients "))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;

    fn screen(watched: &TopState, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, watched, ClientOrder::QueueMessages)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn it_shows_the_broker_its_traffic_and_its_clients() {
        let mut watched = TopState {
            status: json!({
                "version": "1.2.3", "node": "edge", "uptime_seconds": 3600, "level": 2, "cause": "memory",
                "ready": false, "not_ready": ["the store is full"], "clients_connected": 7,
            }),
            clients: vec![json!({
                "client_id": "lamp\u{1b}[2J", "queue_messages": 41, "queue_bytes": 2048, "connected": false,
            })],
            ..TopState::default()
        };
        watched.points.push_back(json!({
            "received_per_second": 12.0, "sent_per_second": 30.4, "lost_per_second": { "expired": 1, "queue_full": 2 },
            "commit_p50_seconds": 0.002,
        }));
        let text = screen(&watched, 120, 14);
        for wanted in [
            "1.2.3 on edge, up 1 h",
            "level 2 (memory)",
            "not ready: the store is full",
            "clients 7",
            "received 12/s",
            "sent 30/s",
            "lost 3/s",
            "commit p50 2 ms",
            "lamp\\u{1b}[2J",
            "41",
            "2.0 KiB",
            "s: sort (by queue messages)",
        ] {
            assert!(text.contains(wanted), "{wanted} is missing:\n{text}");
        }
        watched.problem = Some("the connection has ended".to_owned());
        assert!(screen(&watched, 120, 14).contains("the connection has ended"));
    }

    #[test]
    fn it_can_be_drawn_on_any_terminal() {
        for (width, height) in [(1, 1), (3, 40), (40, 3), (300, 100)] {
            screen(&TopState::default(), width, height);
        }
    }
}
