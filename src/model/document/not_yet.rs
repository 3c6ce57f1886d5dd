//! What reads well but is not built yet: refused with its path, never ignored.
//!
//! One row for each field. Whoever builds a field deletes its row, and nothing else here needs to change.

/// Fields of a `WorkerPool` that are refused, as paths from the document's root; `*` is each item of a list.
pub const FIELDS: &[&[&str]] = &[&["spec", "template", "recycle", "maxTasks"], &["spec", "template", "recycle", "maxMemory"]];

/// What is said about them.
pub const MESSAGE: &str = "not supported yet";
