//! Numbers, whole and with a fraction, and the section that has one of these.

use super::{LISTENER, load};

#[test]
fn numbers_may_be_written_in_every_way_toml_has() {
    let text = format!("[queue]\nmessages_max = 0x10\n[session]\ninflight_max = +1_0\n{LISTENER}");
    let config = load(&text, &[], &[]).unwrap().config().clone();
    assert_eq!((config.queue.messages_max, config.session.inflight_max), (16, 10));
    for (text, env, wanted) in [
        ("sample = 1", None, 1.0),
        ("sample = 2.5e-1", None, 0.25),
        ("sample = 1", Some(("SLUICE_OTEL__SAMPLE", "0.5")), 0.5),
        ("", Some(("SLUICE_OTEL__SAMPLE", "1")), 1.0),
    ] {
        let config = load(&format!("[otel]\n{text}\n{LISTENER}"), env.as_slice(), &[]).unwrap();
        assert_eq!(config.config().otel.sample, wanted, "{text} {env:?}");
    }
}

#[test]
fn a_fraction_that_is_wrong_is_named_by_place_and_so_is_one_for_a_whole_number() {
    for (text, wanted) in [
        ("[otel]\nsample = 1.5", "t.toml:2:10: otel.sample: 1.5 is out of range: 0 to 1"),
        ("[otel]\nsample = -0.1", "t.toml:2:10: otel.sample: -0.1 is out of range: 0 to 1"),
        ("[otel]\nsample = nan", "t.toml:2:10: otel.sample: NaN is out of range: 0 to 1"),
        (
            "[otel]\nsample = \"0.1\"",
            "t.toml:2:10: otel.sample: expected a number such as 0.01, found a string",
        ),
        (
            "[session]\nqos_max = 1.0",
            "t.toml:2:11: session.qos_max: expected an integer such as 2, found a fraction",
        ),
    ] {
        let error = load(&format!("{text}\n{LISTENER}"), &[], &[]).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}\n{error}");
    }
}

#[test]
fn a_url_of_a_collector_that_is_none_is_named_by_place_and_so_is_a_build_without_it() {
    let load = |url: &str| load(&format!("[otel]\nendpoint = \"{url}\"\n{LISTENER}"), &[], &[]);
    for wrong in ["", "collector:4318", "http://", "http://user:secret@collector/", "grpc://c:4317"]
    {
        let error = load(wrong).unwrap_err().to_string();
        assert!(error.contains("t.toml:2:12: otel.endpoint: "), "{error}");
    }
    let good = load("http://127.0.0.1:4318/v1/traces");
    if cfg!(feature = "otel") {
        good.unwrap();
    } else {
        let error = good.unwrap_err().to_string();
        let wanted = "t.toml:2:12: otel.endpoint: this program was built without the feature otel";
        assert!(error.contains(wanted), "{error}");
    }
}
