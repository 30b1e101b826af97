//! Variables of the environment that stand for no key.

use crate::{LISTENER, load};

#[test]
fn variables_of_others_are_left_alone() {
    let env = [
        ("SLUICE_LOG", "debug"),
        ("SLUICE_PORT", "tcp://10.0.0.1:1883"),
        ("SLUICE_SERVICE_HOST", "10.0.0.1"),
        ("SLUICE_SERVICE_PORT_MQTT", "1883"),
        ("SLUICE_PORT_1883_TCP_ADDR", "10.0.0.1"),
        ("SLUICE_CHECK_PASSWORD", "x"),
        ("SLUICE_HOME", "/srv"),
    ];
    assert_eq!(load(LISTENER, &env, &[]).unwrap().hints(), [""; 0]);
}

#[test]
fn a_variable_with_almost_the_name_of_one_that_counts_is_hinted_at() {
    let env = [("SLUICE_LOGS", "debug"), ("SLUICE_LOG_LEVL", "x"), ("SLUICE_SESION_QOS_MAX", "1")];
    let settings = load(LISTENER, &env, &[]).unwrap();
    let wanted = [
        "environment SLUICE_LOGS: stands for nothing; did you mean SLUICE_LOG?",
        "environment SLUICE_LOG_LEVL: stands for nothing; did you mean SLUICE_LOG__LEVEL?",
        "environment SLUICE_SESION_QOS_MAX: stands for nothing; did you mean SLUICE_SESSION__QOS_MAX?",
    ];
    let mut found = settings.hints().to_vec();
    found.sort();
    assert_eq!(found, {
        let mut wanted = wanted.map(str::to_owned);
        wanted.sort();
        wanted
    });
    // One that a step names has a meaning.
    let steps = "[[auth.step]]\nkind = 'jwt'\nkeys_env = 'SLUICE_LOGS'\nalgorithms = ['HS256']\n";
    let settings = load(&format!("{LISTENER}{steps}"), &env[..1], &[]).unwrap();
    assert_eq!(settings.hints(), [""; 0]);
}
