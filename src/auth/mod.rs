//! Who may come in: password files.
