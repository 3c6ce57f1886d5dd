//! Open issues or merge requests of a GitLab project.
//!
//! GitLab filters by everything that can be wanted; what it lists is still checked in [`super::issues`]. It tells no total of
//! more than 10 000 entries, and leads from page to page by number.

use reqwest::header::HeaderName;

use super::client;
use super::forge;
use super::issues::{List, Pages, Turn};
use crate::model::reading::{Failure, Number};
use crate::model::source::{ForgeCount, ForgeSource};

/// Counts in one project.
#[derive(Debug)]
pub struct Gitlab {
    source: ForgeSource,
    pages: Pages,
}

impl Gitlab {
    /// For this source.
    pub fn new(source: ForgeSource) -> Gitlab {
        Gitlab { source, pages: Pages::default() }
    }

    /// Ask once.
    ///
    /// # Errors
    /// Why there is no number.
    pub async fn read(&mut self) -> Result<Number, Failure> {
        let list = list(&self.source)?;
        self.pages.count(&list).await
    }
}

fn list(source: &ForgeSource) -> Result<List<'_>, Failure> {
    let base = client::address(source.url.as_deref().unwrap_or("https://gitlab.com"))?;
    // A project may be in groups of groups.
    let path = &source.repository;
    if !path.contains('/') || path.split('/').any(|part| ["", ".", ".."].contains(&part)) {
        return Err(Failure::because(format!("the project {path} is not group/name")));
    }
    let kind = match source.count {
        ForgeCount::Issues => "issues",
        ForgeCount::PullRequests => "merge_requests",
    };
    let labels = forge::joined(&source.labels);
    let mut query = vec![("state", "opened"), ("scope", "all"), ("per_page", "100")];
    query.extend(labels.as_deref().map(|labels| ("labels", labels)));
    query.extend(source.assignee.as_deref().map(|user| ("assignee_username", user)));
    query.extend(source.milestone.as_deref().map(|title| ("milestone", title)));
    query.push(("page", "1"));
    let first = client::below(&base, &["api", "v4", "projects", path, kind], &query);
    let headers = client::headers(HeaderName::from_static("private-token"), "", source.token_from.as_ref())?;
    Ok(List { first, headers, turn: Turn::Number, full: 100, mixed: false, wanted: source })
}
