//! `ctl kubeconfig`: what kubectl needs to find the daemon, from the files that the daemon leaves in its state directory.
//!
//! The token and the certificate stand in the output, so that it works from anywhere on this machine: keep it as safe as them.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::ctl::error::Failure;
use crate::ctl::print::emit;
use crate::ctl::state::of_listener;
use crate::model::document::to_yaml;

/// Print it.
///
/// # Errors
/// No daemon that listens, or files that cannot be read.
pub fn run(state: &Path) -> Result<(), Failure> {
    let read = |name: &str| of_listener(state, name);
    let (address, token, certificate) = (read("listen")?, read("token")?, read("tls.crt")?);
    let cluster = json!({
        "server": format!("https://{}", address),
        "certificate-authority-data": STANDARD.encode(certificate),
        "tls-server-name": "localhost",
    });
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "weir", "cluster": cluster}],
        "users": [{"name": "weir", "user": {"token": token}}],
        "contexts": [{"name": "weir", "context": {"cluster": "weir", "user": "weir", "namespace": "default"}}],
        "current-context": "weir",
    });
    emit(&to_yaml(&config))
}
