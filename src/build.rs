//! Links `weir-shim`, and only it, statically where the machine can: there is one shim per worker, and without the dynamic
//! loader's relocations each costs about half the memory. Where it cannot (no static C library), the shim is linked like the rest.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    let var = |name: &str| env::var(name).unwrap_or_default();
    let native = var("HOST") == var("TARGET");
    if !native || var("CARGO_CFG_TARGET_ENV") != "gnu" || var("CARGO_CFG_TARGET_FEATURE").contains("crt-static") {
        return;
    }
    let out = var("OUT_DIR");
    let libs = Path::new(&out).join("static");
    if prepare(&libs).is_ok() && links(Path::new(&out), &libs) {
        for flag in ["-static-pie".to_owned(), format!("-L{}", libs.display())] {
            println!("cargo::rustc-link-arg-bin=weir-shim={flag}");
        }
    }
}

/// rustc asks for the shared libraries by name, after `-Bdynamic`. A directory that is searched before the system's answers each
/// name with the static archive; the shared `gcc_s`'s functions are in `gcc_eh`.
fn prepare(libs: &Path) -> std::io::Result<()> {
    fs::create_dir_all(libs)?;
    for (asked, archive) in
        [("gcc_s", "gcc_eh"), ("c", "c"), ("m", "m"), ("dl", "dl"), ("rt", "rt"), ("pthread", "pthread"), ("util", "util")]
    {
        let found = Command::new("cc").arg(format!("-print-file-name=lib{archive}.a")).output()?;
        let path = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        if !Path::new(&path).is_absolute() {
            return Err(std::io::Error::other("no static C library"));
        }
        fs::write(libs.join(format!("lib{asked}.a")), format!("INPUT ( {path} )\n"))?;
    }
    Ok(())
}

/// Whether a static program links, runs, and finds its unwinder.
fn links(out: &Path, libs: &Path) -> bool {
    let (source, program) = (out.join("probe.c"), out.join("probe"));
    let text = "#include <unwind.h>\nint main(void) { return _Unwind_GetIP == 0; }\n";
    let linked = fs::write(&source, text).is_ok_and(|()| {
        let mut compiler = Command::new("cc");
        compiler.arg("-pie").arg(&source).arg("-o").arg(&program).args(["-Wl,-Bdynamic", "-lgcc_s", "-lc"]);
        compiler.arg("-static-pie").arg("-L").arg(libs);
        compiler.output().is_ok_and(|done| done.status.success())
    });
    linked && Command::new(&program).status().is_ok_and(|status| status.success())
}
