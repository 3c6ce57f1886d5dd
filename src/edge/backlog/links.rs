//! What the headers of a page tell about the pages after it, and about the whole list.
//!
//! `Link` is RFC 8288 as GitHub, Gitea and GitLab write it; `X-Next-Page` is GitLab's; the totals are Gitea's and GitLab's.

use reqwest::header::{HeaderMap, LINK};

/// What was told; where nothing is said, nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// There are links, and the one to the next page is this or not among them.
    pub link: Option<Option<String>>,
    /// There is a next page, by number.
    pub more: Option<bool>,
    /// Entries in the whole list.
    pub total: Option<usize>,
}

impl Told {
    /// By these headers.
    pub fn by(headers: &HeaderMap) -> Told {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let mut links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).peekable();
        let link = links.peek().is_some().then(|| links.find_map(next));
        let total = text("x-total-count").or_else(|| text("x-total")).and_then(|total| total.parse().ok());
        Told { link, more: text("x-next-page").map(|page| !page.is_empty()), total }
    }

    /// Is a next page told of?
    pub fn leads_on(&self) -> bool {
        matches!(self.link, Some(Some(_))) || self.more == Some(true)
    }

    /// This, with what an answer that nothing changed tells anew. An old total is not kept: it is not part of the page.
    pub fn renewed(&self, new: Told) -> Told {
        Told { link: new.link.or_else(|| self.link.clone()), more: new.more.or(self.more), total: new.total }
    }
}

/// The target of the first link in a `Link` header that leads to the next page.
fn next(header: &str) -> Option<String> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, after) = after.split_once('>')?;
        // The parameters go up to the next link; a `<` cannot stand in those that matter.
        let parameters = after.split('<').next().unwrap_or_default();
        if parameters.split([';', ',']).any(is_next) {
            return Some(target.trim().to_owned());
        }
        rest = after;
    }
    None
}

/// `rel="next"`, where several relations may be written with spaces between them.
fn is_next(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, value)| {
        let mut relations = value.trim().trim_matches('"').split_whitespace();
        name.trim().eq_ignore_ascii_case("rel") && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_link_is_found_among_others() {
        // As the GitHub documentation shows it, "Using pagination in the REST API".
        let github = r#"<https://api.github.com/r/1/issues?page=2>; rel="prev", <https://api.github.com/r/1/issues?page=4>; rel="next", <https://api.github.com/r/1/issues?page=515>; rel="last""#;
        assert_eq!(next(github).as_deref(), Some("https://api.github.com/r/1/issues?page=4"));
        // As Gitea joins them, without a space after the comma.
        let gitea = r#"<http://h/i?page=2>; rel="next",<http://h/i?page=3>; rel="last""#;
        assert_eq!(next(gitea).as_deref(), Some("http://h/i?page=2"));
        // RFC 8288, 3.3 and 3.5: unquoted, several relations, other parameters, a comma in the target.
        for fine in ["</a,b;c>;rel=next", "</a,b;c> ; title=\"x\" ; REL=\"last Next\"", "<x>; rel=prev, </a,b;c>; rel=next"] {
            assert_eq!(next(fine).as_deref(), Some("/a,b;c"), "{fine}");
        }
        for none in ["", "<", "<a", "<a>", "<a>; rel=\"prev\"", "<a>; rel=nextish", "a; rel=next", "<a>; xrel=next"] {
            assert_eq!(next(none), None, "{none}");
        }
    }

    #[test]
    fn nothing_is_known_that_was_not_said() {
        assert_eq!(Told::by(&HeaderMap::new()), Told::default());
        let headers = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(
                reqwest::header::HeaderName::from_static(name),
                reqwest::header::HeaderValue::from_static(value),
            )])
        };
        assert_eq!(Told::by(&headers("link", "<a>; rel=\"first\"")).link, Some(None));
        assert_eq!(Told::by(&headers("x-next-page", "")).more, Some(false));
        assert_eq!(Told::by(&headers("x-next-page", "3")).more, Some(true));
        assert_eq!(Told::by(&headers("x-total-count", "25")).total, Some(25));
        assert_eq!(Told::by(&headers("x-total", "many")).total, None);
    }
}
