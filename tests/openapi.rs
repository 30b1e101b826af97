//! `docs/openapi.json` is what the code of the API says. `UPDATE=1 cargo test --test openapi` writes it anew.

use std::path::Path;

#[test]
fn the_document_of_the_api_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let wanted = sluicemq::http::api::document();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &wanted).expect("a document");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/openapi.json: UPDATE=1 cargo test --test openapi");
}

/// Every operation of the document has a description of what it does and answers, and every key one too.
#[test]
fn everything_in_the_document_is_described() {
    let document: serde_json::Value =
        serde_json::from_str(&sluicemq::http::api::document()).expect("a document");
    let paths = document["paths"].as_object().expect("paths");
    assert!(!paths.is_empty());
    for (path, item) in paths {
        assert!(path.starts_with("/api/v1/"), "{path}");
        for (method, operation) in item.as_object().expect("methods") {
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            assert!(operation["responses"]["4XX"].is_object(), "{method} {path}");
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            assert!(property["description"].is_string(), "{name}.{key} has no text");
        }
    }
}
