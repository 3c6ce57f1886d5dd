//! Tests that hold nothing where they run, for want of a program or of rights.
//!
//! libtest counts them as passed and hides what they print. `tests/run` names a file in `WEIR_TESTS_SKIPPED` and counts its lines.

use std::io::Write;

/// Whether the test that asks is to end now, because something is wanting. It is written down then.
pub fn without(there: bool, wanted: &str) -> bool {
    if !there {
        println!("skipped: {wanted} is wanting");
        if let Some(file) = std::env::var_os("WEIR_TESTS_SKIPPED") {
            // A thread of libtest has its test's name.
            let name = std::thread::current().name().unwrap_or("a test").to_owned();
            let file = std::fs::File::options().create(true).append(true).open(file);
            let written = file.and_then(|mut file| file.write_all(format!("{name}: {wanted} is wanting\n").as_bytes()));
            written.expect("what is skipped is written down");
        }
    }
    !there
}
