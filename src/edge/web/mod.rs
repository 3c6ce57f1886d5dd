//! HTTP to the outside, for every door that speaks it: which addresses may be reached, and by which client.
//!
//! Connections are kept and used again; a redirect is an answer and is not followed, for it could carry a token elsewhere; no
//! proxy is taken from the environment. Words about a failure name the address without its query, never what was sent.

pub mod guard;

use std::error::Error;
use std::sync::OnceLock;

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};

use crate::model::reading::Failure;
use crate::model::time::{Span, Wall};

/// The longest time for which a source may ask not to be asked.
const PATIENCE_MAX: Span = Span::secs(3600);

/// Which addresses may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All: the document names a server of its author's own.
    Anywhere,
    /// No address of a private network, whatever the name resolves to.
    Public,
}

/// The one client for this reach. Its trust in authorities is read only for `https`: a machine may have none.
///
/// # Errors
/// That it cannot be made.
pub fn client(reach: Reach, tls: bool) -> Result<&'static Client, String> {
    static CLIENTS: [OnceLock<Client>; 4] = [const { OnceLock::new() }; 4];
    let place = &CLIENTS[usize::from(reach == Reach::Public) * 2 + usize::from(tls)];
    match place.get() {
        Some(client) => Ok(client),
        None => build(reach, tls).map(|client| place.get_or_init(|| client)).map_err(|e| cause(&e)),
    }
}

/// A client whose connections belong to whichever runtime uses it: not the daemon's.
///
/// # Errors
/// That it cannot be made.
#[cfg(feature = "otel")]
pub fn fresh(tls: bool) -> Result<Client, String> {
    build(Reach::Anywhere, tls).map_err(|e| cause(&e))
}

fn build(reach: Reach, tls: bool) -> reqwest::Result<Client> {
    // It refuses only if there is one already, which is as good.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let mut build = Client::builder()
        .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if !tls {
        build = build.tls_certs_only([]);
    }
    if reach == Reach::Public {
        build = build.dns_resolver(guard::Resolver);
    }
    build.build()
}

/// An address as a document writes it.
///
/// # Errors
/// That it is none of `http` or `https`, or has a password in it: secrets are named, not written.
pub fn address(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).map_err(|e| Failure::because(format!("the address is none: {e}")))?;
    if !["http", "https"].contains(&url.scheme()) || url.host().is_none() {
        return Err(Failure::because(format!("{}: only http:// and https:// are asked", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let words = "a user or password in the address is not used, name a file or variable of the secret instead";
        return Err(Failure::because(format!("{}: {words}", shown(&url))));
    }
    Ok(url)
}

/// An address for people: without user, password, query and fragment.
pub fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// A header that is not shown.
///
/// # Errors
/// That it has characters that no header can have.
pub fn sensitive(text: &str) -> Result<HeaderValue, Failure> {
    let unfit = |_| Failure::because("the secret has characters that no header can have, like a line end");
    let mut value = HeaderValue::from_str(text).map_err(unfit)?;
    value.set_sensitive(true);
    Ok(value)
}

/// What lies under an error: the upper ones only say that something failed, and where.
pub fn cause(error: &reqwest::Error) -> String {
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    // Without a source it is its own, which would show the whole address.
    if error.source().is_some() { deepest.to_string() } else { "the request could not be made".to_owned() }
}

/// For how long an answer asks not to be asked again, up to a limit: a wrong clock there must not silence us for a year.
pub fn retry_after(status: StatusCode, headers: &HeaderMap, now: Wall) -> Option<Span> {
    if ![StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE, StatusCode::FORBIDDEN].contains(&status) {
        return None;
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let until = |millis: u64| millis.saturating_sub(now.0.try_into().unwrap_or(0));
    let asked = text(RETRY_AFTER.as_str()).and_then(|text| match text.parse::<u64>() {
        Ok(seconds) => Some(seconds.saturating_mul(1000)),
        Err(_) => httpdate::parse_http_date(text).ok().and_then(epoch_millis).map(until),
    });
    let reset = || {
        let used_up = text("x-ratelimit-remaining") == Some("0");
        let at = text("x-ratelimit-reset").filter(|_| used_up).and_then(|text| text.parse::<u64>().ok());
        at.map(|seconds| until(seconds.saturating_mul(1000)))
    };
    asked.or_else(reset).filter(|millis| *millis > 0).map(|millis| Span::millis(millis).min(PATIENCE_MAX))
}

fn epoch_millis(time: std::time::SystemTime) -> Option<u64> {
    time.duration_since(std::time::UNIX_EPOCH).ok().and_then(|since| since.as_millis().try_into().ok())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;

    use super::*;

    /// 2026-11-21T10:00:00Z.
    const NOW: Wall = Wall(1_795_255_200_000);

    fn after(status: StatusCode, told: &[(&'static str, &str)]) -> Option<u64> {
        let pair =
            |(name, value): &(&'static str, &str)| Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?));
        retry_after(status, &told.iter().filter_map(pair).collect(), NOW).map(|span| span.0)
    }

    #[test]
    fn a_source_says_when_to_come_back() {
        let busy = StatusCode::TOO_MANY_REQUESTS;
        // RFC 9110, 10.2.3: seconds, or a date in any of the three forms.
        assert_eq!(after(busy, &[("retry-after", "17")]), Some(17_000));
        assert_eq!(after(StatusCode::SERVICE_UNAVAILABLE, &[("retry-after", "Sat, 21 Nov 2026 10:01:30 GMT")]), Some(90_000));
        assert_eq!(after(busy, &[("retry-after", "Saturday, 21-Nov-26 10:01:30 GMT")]), Some(90_000));
        assert_eq!(after(busy, &[("retry-after", "Sat Nov 21 10:01:30 2026")]), Some(90_000));
        for past in ["0", "-3", "1.5", "soon", "", "Sat, 21 Nov 2020 10:01:30 GMT"] {
            assert_eq!(after(busy, &[("retry-after", past)]), None, "{past}");
        }
        for far in ["99999", "18446744073709551615", "Sat, 21 Nov 2093 10:00:00 GMT"] {
            assert_eq!(after(busy, &[("retry-after", far)]).unwrap_or(0), 3_600_000, "{far}");
        }
        assert_eq!(after(StatusCode::UNAUTHORIZED, &[("retry-after", "17")]), None);
        assert_eq!(after(busy, &[]), None);
    }

    #[test]
    fn a_rate_limit_says_when_it_ends() {
        let told = |left, at| after(StatusCode::FORBIDDEN, &[("x-ratelimit-remaining", left), ("x-ratelimit-reset", at)]);
        assert_eq!(told("0", "1795255260"), Some(60_000));
        assert_eq!(told("0", "1795999999"), Some(3_600_000));
        assert_eq!(told("0", "1795255100"), None);
        assert_eq!(told("12", "1795255260"), None);
    }

    #[test]
    fn an_address_is_http_and_has_no_secret_in_it() {
        for fine in ["http://localhost:3000", "https://forge.example/sub/", "HTTP://[::1]:1/"] {
            assert!(address(fine).is_ok(), "{fine}");
        }
        for bad in ["", "forge.example", "file:///etc/passwd", "ftp://a/", "gopher://a:70/", "unix:/run/a", "http://", "data:1"] {
            assert!(address(bad).is_err(), "{bad}");
        }
        let words = address("https://user:Tok-3n@forge.example/a?key=Tok-3n#Tok-3n").map_err(|e| e.message);
        assert!(words.is_err_and(|words| words.starts_with("https://forge.example/a: a user") && !words.contains("Tok-3n")));
    }
}
