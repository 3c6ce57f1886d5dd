//! Values as YAML: status files, `-o yaml`, and new documents.
//!
//! Written so that every reader agrees: what YAML 1.1 would take for a boolean, a number or a time is quoted, and long lines
//! are not folded, so that two versions of a file can be compared line by line.

use serde::Serialize;

/// A value as one YAML document, without a `---` line, ending with a newline.
///
/// # Panics
/// If the value cannot be written, which plain data with text keys always can.
pub fn to_yaml(value: &impl Serialize) -> String {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false, folded_wrap_chars: 1_000_000 };
    let mut text = serde_saphyr::to_string_with_options(value, options).expect("plain data with text keys can be written");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
