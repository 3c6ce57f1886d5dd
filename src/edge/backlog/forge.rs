//! Open issues or pull requests of a Gitea, Forgejo or GitHub repository.
//!
//! What the forge can filter by name it is asked to; everything is checked again in [`super::issues`], so a filter that it
//! cannot express (a label with a comma in it, a milestone by its title on GitHub) is only slower.

use reqwest::Url;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue};

use super::client;
use super::issues::{List, Pages, Turn};
use crate::model::reading::{Failure, Number};
use crate::model::source::{ForgeCount, ForgeSource};

/// Whose interface is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Gitea.
    Gitea,
    /// Forgejo, which kept Gitea's.
    Forgejo,
    /// GitHub, also as an enterprise server, whose address ends with `/api/v3`.
    GitHub,
}

impl Kind {
    fn home(self) -> &'static str {
        match self {
            Kind::Gitea => "https://gitea.com",
            Kind::Forgejo => "https://codeberg.org",
            Kind::GitHub => "https://api.github.com",
        }
    }
}

/// Counts in one repository.
#[derive(Debug)]
pub struct Forge {
    kind: Kind,
    source: ForgeSource,
    pages: Pages,
}

impl Forge {
    /// For this source.
    pub fn new(kind: Kind, source: ForgeSource) -> Forge {
        Forge { kind, source, pages: Pages::default() }
    }

    /// Ask once.
    ///
    /// # Errors
    /// Why there is no number.
    pub async fn read(&mut self) -> Result<Number, Failure> {
        let list = match self.kind {
            Kind::Gitea | Kind::Forgejo => gitea(&self.source, &self.base()?)?,
            Kind::GitHub => github(&self.source, &self.base()?)?,
        };
        self.pages.count(&list).await
    }

    fn base(&self) -> Result<Url, Failure> {
        let url = client::address(self.source.url.as_deref().unwrap_or(self.kind.home()))?;
        // People name the address they see; the interface of the public GitHub is at another.
        let seen = self.kind == Kind::GitHub && ["github.com", "www.github.com"].contains(&url.host_str().unwrap_or_default());
        if seen { client::address(self.kind.home()) } else { Ok(url) }
    }
}

/// `owner/name`, in its parts.
fn parts(repository: &str) -> Result<(&str, &str), Failure> {
    let fine = |part: &str| !part.is_empty() && ![".", ".."].contains(&part) && !part.contains('/');
    let parts = repository.split_once('/').filter(|(owner, name)| fine(owner) && fine(name));
    parts.ok_or_else(|| Failure::because(format!("the repository {repository} is not owner/name")))
}

/// Names as a forge takes several: with commas between them, so not those that have one.
pub fn joined(names: &[String]) -> Option<String> {
    let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| !name.contains(',')).collect();
    (!names.is_empty()).then(|| names.join(","))
}

fn gitea<'a>(source: &'a ForgeSource, base: &Url) -> Result<List<'a>, Failure> {
    let (owner, name) = parts(&source.repository)?;
    let kind = match source.count {
        ForgeCount::Issues => "issues",
        ForgeCount::PullRequests => "pulls",
    };
    let labels = joined(&source.labels);
    let milestone = source.milestone.as_deref().filter(|name| !name.contains(','));
    let mut query = vec![("state", "open"), ("type", kind), ("limit", "50")];
    query.extend(labels.as_deref().map(|labels| ("labels", labels)));
    query.extend(source.assignee.as_deref().map(|user| ("assigned_by", user)));
    query.extend(milestone.map(|name| ("milestones", name)));
    query.push(("page", "1"));
    let first = client::below(base, &["api", "v1", "repos", owner, name, "issues"], &query);
    let headers = client::headers(AUTHORIZATION, "token ", source.token_from.as_ref())?;
    Ok(List { first, headers, turn: Turn::Number, full: 50, mixed: true, wanted: source })
}

fn github<'a>(source: &'a ForgeSource, base: &Url) -> Result<List<'a>, Failure> {
    let (owner, name) = parts(&source.repository)?;
    let labels = joined(&source.labels);
    let mut query = vec![("state", "open"), ("per_page", "100")];
    query.extend(labels.as_deref().map(|labels| ("labels", labels)));
    query.extend(source.assignee.as_deref().map(|user| ("assignee", user)));
    query.push(("page", "1"));
    let first = client::below(base, &["repos", owner, name, "issues"], &query);
    let mut headers = client::headers(AUTHORIZATION, "Bearer ", source.token_from.as_ref())?;
    headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
    headers.insert(HeaderName::from_static("x-github-api-version"), HeaderValue::from_static("2022-11-28"));
    Ok(List { first, headers, turn: Turn::Link, full: 100, mixed: true, wanted: source })
}
