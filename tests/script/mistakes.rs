//! Mistakes in a script that must be told, with file and line.

use crate::script::parse::parse;
use crate::script::report::Report;

/// A script's text, and what is said of it.
const MISTAKES: &[(&str, &str)] = &[
    ("A > CONNECT client=a", "t.mqtt:1: names no statement it proves"),
    ("proves X\nA > CONECT", "t.mqtt:2: packet CONECT?"),
    ("proves X\nA > CONNECT clent=a", "t.mqtt:2: CONNECT has no field clent"),
    ("proves X\nA > CONNECT keep_alive=65536", "t.mqtt:2: keep_alive: 65536 is more than 65535"),
    ("proves X\nA > CONNECT clean=maybe", "t.mqtt:2: clean: flag maybe?"),
    ("proves X\nA < CONNACK reason=Sucess", "t.mqtt:2: reason: reason Sucess?"),
    ("proves X\nA < SUBACK", "t.mqtt:2: SUBACK needs its reasons"),
    (
        "proves X\nA > CONNECT expiry=5",
        "t.mqtt:2: expiry is of version 5: write expiry@5=, or `versions 5`",
    ),
    ("proves X\nA < DISCONNECT", "t.mqtt:2: 3.1.1 has no such DISCONNECT: end the line with @5"),
    ("proves X\nA > PINGREQ\nversions 5", "t.mqtt:3: `versions` belongs to the top"),
    ("proves X\nA > hex 0", "t.mqtt:2: half a byte"),
    ("proves X\n\n# a comment\na > PINGREQ", "t.mqtt:4: cannot read `a > PINGREQ`"),
    ("proves X\nA < unordered {\nPINGRESP", "t.mqtt:2: `{` without its end"),
    ("proves X\nfor n in 1 2 {\nA > PINGREQ", "t.mqtt:2: `for` without its end"),
    ("proves X\nA > PUBLISH topic=\"a", "t.mqtt:2: quote without its end"),
    ("proves X\n+ 3", "t.mqtt:2: span 3?"),
];

/// Reports one case for each.
pub fn tell(report: &mut Report) {
    for (text, said) in MISTAKES {
        report.case(&format!("mistake: {said}"), text, || match parse("t.mqtt", text) {
            Ok(_) => Err("it is taken".to_owned()),
            Err(error) if error == *said => Ok(String::new()),
            Err(error) => Err(format!("it says: {error}")),
        });
    }
}
