//! What the listener on the network needs from the state directory: tokens and the key of its certificate, made on first use.
//!
//! Files are 0600 and never followed through a link; one that others may read is not used. Which token may do what is decided
//! by whoever serves. kubectl sends a token over TLS alone, hence the certificate; it vouches for this machine only.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Shortest token that is taken, in bytes.
const TOKEN_BYTES_MIN: usize = 20;
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The access files of a state directory.
#[derive(Clone, Debug)]
pub struct Access {
    dir: PathBuf,
}

/// A role's name and a token that has it.
pub type Grant = (String, String);

impl Access {
    /// Those of a state directory. `token` is made when it is not there.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn open(dir: &Path) -> Result<Access, String> {
        let access = Access { dir: dir.to_owned() };
        if access.read("token")?.is_none() {
            access.make("token", &format!("{}\n", random()?))?;
        }
        access.grants()?;
        Ok(access)
    }

    /// All tokens as they stand in the files now: that of `token`, as `operate`; and those of `tokens`, one `ROLE TOKEN` a line.
    ///
    /// # Errors
    /// A file that cannot be read or trusted, or a line that does not hold.
    pub fn grants(&self) -> Result<Vec<Grant>, String> {
        let own = self.read("token")?.unwrap_or_default();
        let mut all = Vec::new();
        if !own.trim().is_empty() {
            all.push(("operate".into(), self.long_enough("token", 1, own.trim())?));
        }
        for (n, line) in self.read("tokens")?.unwrap_or_default().lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once(char::is_whitespace) {
                Some((role @ ("view" | "submit" | "operate" | "admin"), token)) => {
                    all.push((role.into(), self.long_enough("tokens", n + 1, token.trim())?));
                }
                Some(_) | None => {
                    let at = self.path("tokens");
                    let what = "expected a role (view, submit, operate, admin) and a token";
                    return Err(format!("{}:{}: {what}", at.display(), n + 1));
                }
            }
        }
        Ok(all)
    }

    fn long_enough(&self, file: &str, line: usize, token: &str) -> Result<String, String> {
        if token.len() < TOKEN_BYTES_MIN {
            let why = format!("the token has {} characters, fewer than {TOKEN_BYTES_MIN}", token.len());
            return Err(format!("{}:{line}: {why}", self.path(file).display()));
        }
        Ok(token.into())
    }

    /// How to speak TLS, with a certificate made on first use.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn tls(&self) -> Result<Arc<ServerConfig>, String> {
        let said = |what: &str, e: &dyn std::fmt::Display| format!("{}/{what}: {e}", self.dir.display());
        if self.read("tls.key")?.is_none() || self.read("tls.crt")?.is_none() {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()])
                .map_err(|e| said("tls.crt", &e))?;
            for (name, text) in [("tls.crt", made.cert.pem()), ("tls.key", made.signing_key.serialize_pem())] {
                let _old = std::fs::remove_file(self.path(name));
                self.make(name, &text)?;
            }
        }
        let (cert, key) = (self.read("tls.crt")?.unwrap_or_default(), self.read("tls.key")?.unwrap_or_default());
        let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| said("tls.key", &e))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| said("tls.key", &e))?;
        let config = builder.with_no_client_auth().with_single_cert(certs.map_err(|e| said("tls.crt", &e))?, key);
        Ok(Arc::new(config.map_err(|e| said("tls.crt", &e))?))
    }

    /// Say where the daemon listens; nowhere: take it back.
    ///
    /// # Errors
    /// From the file system.
    pub fn announce(&self, address: Option<&str>) -> Result<(), String> {
        let _old = std::fs::remove_file(self.path("listen"));
        address.map_or(Ok(()), |address| self.make("listen", &format!("{address}\n")))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The text of a file; none where it is not there.
    fn read(&self, name: &str) -> Result<Option<String>, String> {
        let path = self.path(name);
        let said = |e: std::io::Error| format!("{}: {e}", path.display());
        let file =
            match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK).open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(said(e)),
            };
        let meta = file.metadata().map_err(said)?;
        if !meta.is_file() || meta.mode() & 0o077 != 0 {
            return Err(format!("{}: others may read or write it: chmod 600 it, and put another secret into it", path.display()));
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(said)?;
        Ok(Some(text))
    }

    fn make(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.path(name);
        let open = OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&path);
        let written = open.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
        written.map_err(|e| format!("{}: {e}", path.display()))
    }
}

/// 256 bits as text.
fn random() -> Result<String, String> {
    let mut bytes = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|e| format!("/dev/urandom: {e}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where something fails")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_kept_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let grants = Access::open(dir.path()).unwrap().grants().unwrap();
        let token = dir.path().join("token");
        assert_eq!(std::fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!((grants.len(), grants[0].0.as_str(), grants[0].1.len()), (1, "operate", 64));
        assert_eq!(Access::open(dir.path()).unwrap().grants().unwrap(), grants);
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Access::open(dir.path()).unwrap_err().contains("chmod 600"));
        std::fs::remove_file(&token).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &token).unwrap();
        assert!(Access::open(dir.path()).is_err());
    }

    #[test]
    fn more_tokens_are_one_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let access = Access::open(dir.path()).unwrap();
        access.make("tokens", "# people\nview aaaaaaaaaaaaaaaaaaaaaaaa\n\nadmin  bbbbbbbbbbbbbbbbbbbbbbbb\n").unwrap();
        let roles: Vec<String> = access.grants().unwrap().into_iter().map(|(role, _)| role).collect();
        assert_eq!(roles, ["operate", "view", "admin"]);
        for (bad, why) in [
            ("root aaaaaaaaaaaaaaaaaaaaaaaa", "expected a role"),
            ("view short", "the token has 5 characters"),
            ("view", "a role"),
        ] {
            std::fs::remove_file(dir.path().join("tokens")).unwrap();
            access.make("tokens", &format!("# one\n{bad}")).unwrap();
            let said = access.grants().unwrap_err();
            assert!(said.contains("/tokens:2: ") && said.contains(why), "{bad}: {said}");
        }
    }

    #[test]
    fn a_certificate_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let access = Access::open(dir.path()).unwrap();
        access.tls().unwrap();
        let text = access.read("tls.crt").unwrap();
        access.tls().unwrap();
        assert_eq!(access.read("tls.crt").unwrap(), text);
    }
}
