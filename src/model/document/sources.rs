//! What makes a source impossible to ask: addresses, patterns and queries that can be seen to be wrong before they are used.
//!
//! An address may hold a secret by mistake, so none is ever repeated here. What only the world knows (a host that is not
//! there, a column that is not) is told when the source is asked.

use glob::Pattern;

use super::tree::{Broken, at};
use crate::model::meta::quoted;
use crate::model::source::Source;

/// The broken rules of a source whose fields are at this path.
pub(super) fn source(source: &Source, path: &str, broken: &mut Vec<Broken>) {
    let mut check = |field: &str, result: Result<(), String>| {
        broken.extend(result.err().map(|message| (at(&format!("{path}.{field}")), message)));
    };
    for (name, forge) in
        [("gitea", &source.gitea), ("forgejo", &source.forgejo), ("github", &source.github), ("gitlab", &source.gitlab)]
    {
        if let Some(url) = forge.as_ref().and_then(|forge| forge.url.as_deref()) {
            check(&format!("{name}.url"), address(url, "give the token by tokenFrom"));
        }
    }
    if let Some(http) = &source.http {
        check("http.url", address(&http.url, "give a bearer token by tokenFrom"));
        let pointer = http.pointer.is_empty() || http.pointer.starts_with('/');
        let words = || format!("found {}, expected a JSON pointer: empty, or beginning with '/'", quoted(&http.pointer));
        check("http.pointer", if pointer { Ok(()) } else { Err(words()) });
    }
    if let Some(prometheus) = &source.prometheus {
        check("prometheus.url", address(&prometheus.url, "give a bearer token by tokenFrom"));
    }
    if let Some(rabbit) = &source.rabbitmq {
        check("rabbitmq.url", address(&rabbit.url, "give them by credentialsFrom"));
    }
    if let Some(nats) = &source.nats {
        check("nats.url", address(&nats.url, "the monitoring endpoint asks for none"));
    }
    if let Some(redis) = &source.redis {
        check("redis.address", host_and_port(&redis.address));
    }
    if let Some(files) = &source.files {
        check("files.glob", pattern(&files.glob));
    }
    if let Some(sqlite) = &source.sqlite {
        check("sqlite.query", query(&sqlite.query));
    }
    for (name, database) in [("postgres", &source.postgres), ("mysql", &source.mysql)] {
        if let Some(database) = database {
            check(&format!("{name}.query"), query(&database.query));
        }
    }
}

/// `http://host…` or `https://host…`, without a user in it.
fn address(url: &str, instead: &str) -> Result<(), String> {
    let expected = "expected an address like https://host/path";
    if url.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(format!("holds a space or another character that no address has, {expected}"));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(format!("begins with neither http:// nor https://, {expected}"));
    };
    if !["http", "https"].iter().any(|good| scheme.eq_ignore_ascii_case(good)) {
        return Err(format!("found the scheme {}, {expected}", quoted(scheme)));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(format!("holds a user or password, which everyone would see: {instead}"));
    }
    if authority.is_empty() || authority.starts_with(':') {
        return Err(format!("names no host, {expected}"));
    }
    Ok(())
}

fn host_and_port(address: &str) -> Result<(), String> {
    let expected = "expected host:port";
    if address.contains("://") || address.contains(['@', '/']) {
        return Err(format!("is a URL, {expected}: give a password by passwordFrom"));
    }
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(()),
        Some(_) | None => Err(format!("found {}, {expected}", quoted(address))),
    }
}

/// Each part of a pattern is matched for itself, so each must be a pattern.
fn pattern(glob: &str) -> Result<(), String> {
    if glob.ends_with('/') || glob.is_empty() {
        return Err(format!("found {}, which names no files", quoted(glob)));
    }
    let wrong = glob.split('/').find_map(|part| Pattern::new(part).err());
    wrong.map_or(Ok(()), |e| Err(format!("found {}: not a pattern: {}", quoted(glob), e.msg)))
}

/// One statement that only reads.
fn query(text: &str) -> Result<(), String> {
    let statements = statements(text);
    let first = statements.first().map_or("", String::as_str).trim_start_matches(['(', ' ']);
    let word: String = first.chars().take_while(char::is_ascii_alphabetic).collect();
    if !["select", "with"].iter().any(|good| word.eq_ignore_ascii_case(good)) {
        return Err("is not a query: expected one that begins with select or with".into());
    }
    match statements.len() {
        1 => Ok(()),
        count => Err(format!("holds {count} statements, expected one")),
    }
}

/// The statements of a text, without comments, and without what is quoted in them.
fn statements(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        // What begins here, and what ends it.
        let end = match c {
            '\'' | '"' | '`' => Some(c.to_string()),
            '-' if rest.starts_with("--") => Some("\n".into()),
            '/' if rest.starts_with("/*") => Some("*/".into()),
            '$' => dollar(rest).map(str::to_owned),
            _ => None,
        };
        let Some(statement) = all.last_mut() else { break };
        let Some(end) = end else {
            match c {
                ';' => all.push(String::new()),
                c if c.is_whitespace() => statement.push(' '),
                c => statement.push(c),
            }
            rest = &rest[c.len_utf8()..];
            continue;
        };
        let begun = if c == '$' {
            end.len()
        } else if matches!(c, '-' | '/') {
            2
        } else {
            1
        };
        let inside = &rest[begun..];
        rest = inside.find(&end).map_or("", |at| &inside[at + end.len()..]);
        if !matches!(c, '-' | '/') {
            statement.push('?');
        }
    }
    all.retain(|statement| !statement.trim().is_empty());
    all.iter().map(|statement| statement.trim().to_owned()).collect()
}

/// `$tag$`, with which a text begins that PostgreSQL ends at the next one.
fn dollar(text: &str) -> Option<&str> {
    let end = text[1..].find('$')? + 2;
    let tag = &text[1..end - 1];
    let good = tag.chars().all(|c| c.is_alphanumeric() || c == '_') && !tag.starts_with(|c: char| c.is_ascii_digit());
    good.then(|| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_no_user() {
        for good in ["http://h", "HTTPS://h:8/p?q=a@b#c", "http://[::1]:80/", "https://h/@x", "https://h?x=://"] {
            assert_eq!(address(good, "x"), Ok(()), "{good}");
        }
        for (bad, words) in [
            ("", "neither"),
            ("h:80/p", "neither"),
            ("file:///etc/passwd", "scheme \"file\""),
            ("ftp://u:sesame@h", "scheme \"ftp\""),
            ("https://u:sesame@h/p", "holds a user"),
            ("http://sesame@h?x", "holds a user"),
            ("http://a b", "a space"),
            ("http://h\\@evil", "a space or another"),
            ("http:///p", "no host"),
            ("http://:80", "no host"),
        ] {
            let said = address(bad, "x").expect_err(bad);
            assert!(said.contains(words) && !said.contains("sesame"), "{bad}: {said}");
        }
    }

    #[test]
    fn a_query_is_one_that_reads() {
        for good in [
            "select 1",
            " SELECT count(*) from t where a = 'x; drop' ; ",
            "-- how many; really\nwith x as (select 1) select * from x",
            "/* ; */ (select 1) union (select 2)",
            "select \"a;b\", `c;d`, 'it''s; fine' from t -- ;",
            "select $$a;b$$, $t$;$t$, $1;",
        ] {
            assert_eq!(query(good), Ok(()), "{good}");
        }
        for (bad, words) in [
            ("", "not a query"),
            (";", "not a query"),
            ("delete from t", "not a query"),
            ("-- select\ndrop table t", "not a query"),
            ("selection", "not a query"),
            ("pragma user_version", "not a query"),
            ("select 1; drop table t", "2 statements"),
            ("select 1;;select 2;select 3", "3 statements"),
        ] {
            let said = query(bad).expect_err(bad);
            assert!(said.contains(words), "{bad}: {said}");
        }
    }

    #[test]
    fn any_text_is_looked_at() {
        for text in ["'", "$", "$$", "--", "/*", "\"ü", "$ü$;$ü$", "é$é", "/*/", "`;"] {
            let _said = query(text);
        }
        assert!(pattern("/a/[").is_err() && pattern("/a/***").is_err() && pattern("a/").is_err());
        assert!(pattern("/a/**/[!b]?*.json").is_ok());
        assert!(host_and_port("h:0").is_err() && host_and_port("redis://h:1").is_err() && host_and_port("[::1]:6379").is_ok());
    }
}
