//! What a store answers, as plain data.

/// Why the store takes nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// It cannot keep up: what it has taken is not written yet. It makes room by itself, soon.
    Slow,
    /// No room now; deliveries and deletions, or the owner of the disk, make some.
    Full,
    /// It cannot write now for another reason, which may pass: no descriptor, no right, a fault.
    Trouble,
    /// It has failed for good.
    Failed,
}

/// How far a batch has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// Not yet on stable storage.
    Pending,
    /// On stable storage.
    Durable,
    /// It will never be.
    Failed,
}
