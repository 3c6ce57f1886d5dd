//! Is a delivery from whoever knows the secret? HMAC-SHA256 over the body as it was sent, nothing else.
//!
//! Each provider signs in a header of its own, and only that one is read: what another forge would have sent proves nothing.
//! Digests are compared by `verify_slice`, in constant time; no digest is ever compared with `==`. SHA-1 is never enough.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::model::hook::{Delivery, ForgeKind, Refusal};

/// Characters that a secret must have: 32, as 16 random bytes in hex have at least.
pub const SECRET_MIN: usize = 32;

/// The secrets that are good now.
#[derive(Clone)]
pub struct Secrets {
    current: String,
    previous: Option<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// The secret, and the one before it while both are good. One of before that is too short does not count.
    ///
    /// # Errors
    /// That the secret is too short to keep anybody out.
    pub fn new(current: String, previous: Option<String>) -> Result<Secrets, String> {
        if current.chars().count() < SECRET_MIN {
            return Err(format!("has less than {SECRET_MIN} characters: make one with `openssl rand -hex 32`"));
        }
        Ok(Secrets { current, previous: previous.filter(|secret| secret.chars().count() >= SECRET_MIN) })
    }
}

/// The headers that a provider signs in: the first that is there is the one that counts.
const fn headers(kind: ForgeKind) -> &'static [&'static str] {
    match kind {
        // Forgejo sends both with the same value. (services/webhook/shared/payloader.go, AddDefaultHeaders)
        ForgeKind::Forgejo => &["x-forgejo-signature", "x-gitea-signature"],
        // Gitea: services/webhook/deliver.go. It sends X-Hub-Signature-256 too, for receivers made for GitHub.
        ForgeKind::Gitea => &["x-gitea-signature"],
        // https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
        ForgeKind::Github => &["x-hub-signature-256"],
    }
}

const fn prefix(kind: ForgeKind) -> &'static str {
    match kind {
        ForgeKind::Forgejo | ForgeKind::Gitea => "",
        ForgeKind::Github => "sha256=",
    }
}

/// The signature of a delivery, 64 hex digits, when it is good.
///
/// # Errors
/// That there is none, or that it is wrong.
pub fn verify(kind: ForgeKind, secrets: &Secrets, delivery: &Delivery<&[u8]>) -> Result<String, Refusal> {
    let header = headers(kind).iter().find_map(|name| delivery.headers.get(*name));
    let hex = header.filter(|text| !text.is_empty()).ok_or(Refusal::Unsigned(kind))?;
    let hex = hex.strip_prefix(prefix(kind)).ok_or(Refusal::BadSignature)?;
    let digest = bytes(hex).ok_or(Refusal::BadSignature)?;
    // Both are always tried: how long it takes does not tell which of them was good.
    let current = is_good(&secrets.current, delivery.body, &digest);
    let previous = secrets.previous.as_ref().is_some_and(|secret| is_good(secret, delivery.body, &digest));
    if current | previous { Ok(hex.to_owned()) } else { Err(Refusal::BadSignature) }
}

fn is_good(secret: &str, body: &[u8], digest: &[u8; 32]) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
    mac.update(body);
    mac.verify_slice(digest).is_ok()
}

/// 64 lower-case hex digits, as every forge writes them: one digest has one spelling.
fn bytes(hex: &str) -> Option<[u8; 32]> {
    let digit = |c: u8| if c.is_ascii_uppercase() { None } else { char::from(c).to_digit(16) };
    let mut digest = [0; 32];
    if hex.len() != 64 {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(digest)
}

/// What a forge would put into the header of this provider.
#[cfg(test)]
pub fn sign(kind: ForgeKind, secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}{hex}", prefix(kind))
}
