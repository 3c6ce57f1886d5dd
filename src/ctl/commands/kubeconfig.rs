//! `ctl kubeconfig`: what kubectl needs to find the daemon, from the files that the daemon leaves in its state directory, or from
//! the address and the token that were given.
//!
//! The token and the certificate stand in the output, so that it works from anywhere on this machine: keep it as safe as them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::Context;
use crate::ctl::error::Failure;
use crate::ctl::print::{emit, note};
use crate::ctl::state::of_listener;
use crate::model::document::to_yaml;

/// Print it.
///
/// # Errors
/// No daemon that listens, or files that cannot be read.
pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let (address, token) = context.listener().await?;
    let server = format!("https://{address}");
    let cluster = if context.client.is_elsewhere() {
        // The address is on loopback, where the token goes in the clear as well.
        note("note: the daemon's certificate is not known here, so kubectl is told not to check it: with --state it is");
        json!({"server": server, "insecure-skip-tls-verify": true})
    } else {
        let certificate = STANDARD.encode(of_listener(&context.state, "tls.crt")?);
        json!({"server": server, "certificate-authority-data": certificate, "tls-server-name": "localhost"})
    };
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
