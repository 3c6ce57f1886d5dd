//! Real RQ and real Celery as pools, fed through a real redis-server: every job runs exactly once, while the pool grows to its
//! ceiling and shrinks to its floor.
//!
//! `drive.py` runs the folders of `examples/` as they are, and prints figures; what it needs is put into a virtual environment
//! below `target/` once. `WEIR_JOBS=2000` is the full size: jobs of 50 to 500 ms in place of 300 of 20 to 100 ms.

mod venv;

use std::path::Path;
use std::process::Command;

use venv::{environment, run};

/// What pip installs; a change here makes the environment anew.
const PACKAGES: &[&str] = &["rq>=2,<4", "celery[redis]>=5.5,<6", "redis>=5"];

fn drive(kind: &str, venv: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/queues/drive.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(kind).arg("--weir").arg(env!("CARGO_BIN_EXE_weir")).arg("--venv").arg(venv);
    if let Ok(jobs) = std::env::var("WEIR_JOBS") {
        command.args(["--jobs", &jobs, "--ms", "50", "500"]);
    }
    run(&mut command);
}

/// One test, as both want all cores: side by side each would only take longer.
#[test]
fn every_job_runs_once_while_the_pool_grows_and_shrinks() {
    let venv = environment("queues", PACKAGES);
    for kind in ["rq", "celery"] {
        drive(kind, &venv);
    }
}
