//! The dashboard in a real browser: headless Chromium drives the page of a real daemon, as a person would.
//!
//! `page.py` holds the cases and speaks the browser's own protocol over two pipes; each case has a daemon, a browser and a
//! profile of its own, on loopback, and ends both by the pid that it started.

use std::path::Path;
use std::process::{Command, Stdio};

fn page(case: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web/page.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(case).arg("--weir").arg(env!("CARGO_BIN_EXE_weir")).stdin(Stdio::null());
    let ran = command.output().unwrap_or_else(|e| panic!("python3: {e} (tests/run installs it)"));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(ran.status.success(), "{case}: {}\n{}{}", ran.status, said(&ran.stdout), said(&ran.stderr));
}

#[test]
fn a_change_of_size_is_seen_live_and_explained() {
    page("size");
}

#[test]
fn the_past_of_a_pool_is_drawn_as_far_as_it_is_known() {
    page("past");
}

#[test]
fn tasks_are_submitted_cancelled_and_retried() {
    page("tasks");
}

#[test]
fn what_is_in_no_table_is_told_beside_it() {
    page("told");
}

#[test]
fn a_workers_log_is_followed_and_a_worker_restarted() {
    page("workers");
}

#[test]
fn a_policy_has_its_mode_set_and_shows_what_is_expected() {
    page("policies");
}

#[test]
fn text_of_strangers_stays_text() {
    page("hostile");
}

#[test]
fn a_daemon_that_comes_back_is_found_again() {
    page("reconnect");
}

#[test]
fn a_wrong_token_asks_for_another() {
    page("token");
}

#[test]
fn names_and_contrast_serve_everyone_in_light_and_dark() {
    page("access");
}

#[test]
fn a_page_of_another_site_gets_and_changes_nothing() {
    page("stranger");
}
