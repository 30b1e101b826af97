//! The language of the conformance scripts and the player that plays them. The text is described
//! in `tests/conformance/README.md`; each test binary brings its own driver.

pub mod check;
pub mod conn;
pub mod decode;
pub mod driver;
pub mod language;
pub mod parse;
pub mod play;
pub mod report;
pub mod value;
pub mod wire;
pub mod witness;
