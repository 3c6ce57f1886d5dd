//! Counting the open issues or pull requests of a forge, page by page.
//!
//! The pages are the truth: every entry is checked here again, because Gitea answers with everything when it does not know a
//! label or milestone, and GitHub lists pull requests among issues. A total that is told is compared with what was listed,
//! and a list that stays shorter is a failure. Pages keep the mark (`ETag`) of their last answer and are asked whether it
//! changed; on GitHub such a question does not count against the rate limit.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::header::{ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::client::{self, Answer, Reach};
use super::links::Told;
use crate::model::reading::{Failure, Number};
use crate::model::source::{ForgeCount, ForgeSource};

/// Pages that are read before a list counts as endless.
const PAGES_MAX: usize = 1000;

/// How a forge leads from page to page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// By the address it names, which must be its own: its pages may have no numbers.
    Link,
    /// By the next number: the address it names may be how others reach it.
    Number,
}

/// What is to be listed.
#[derive(Debug)]
pub struct List<'a> {
    /// The first page.
    pub first: Url,
    /// The headers of each question.
    pub headers: HeaderMap,
    /// How the next page is found.
    pub turn: Turn,
    /// Entries that a full page has.
    pub full: usize,
    /// Pull requests are issues there, with a mark on them.
    pub mixed: bool,
    /// Which entries count.
    pub wanted: &'a ForgeSource,
}

/// One entry, of any forge. Numbers are unique in a repository; GitLab calls them `iid`.
#[derive(Deserialize)]
struct Entry {
    #[serde(alias = "iid")]
    number: u64,
    state: Option<String>,
    labels: Option<Vec<Label>>,
    assignee: Option<User>,
    assignees: Option<Vec<User>>,
    milestone: Option<Milestone>,
    pull_request: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Label {
    Name(String),
    Whole { name: String },
}

#[derive(Deserialize)]
struct User {
    login: Option<String>,
    username: Option<String>,
}

#[derive(Deserialize)]
struct Milestone {
    title: Option<String>,
    number: Option<u64>,
    id: Option<u64>,
}

/// The same name, as forges compare them: without regard to case.
fn same(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}

impl Entry {
    fn counts(&self, wanted: &ForgeSource, mixed: bool) -> bool {
        let kind = match wanted.count {
            ForgeCount::Issues => self.pull_request.is_none(),
            ForgeCount::PullRequests => self.pull_request.is_some() || !mixed,
        };
        let open = self.state.as_deref().is_none_or(|state| ["open", "opened"].contains(&state));
        let labels = wanted.labels.iter().all(|label| self.labels.iter().flatten().any(|own| own.is(label)));
        let assignee = wanted.assignee.as_ref().is_none_or(|user| self.users().any(|own| own.is(user)));
        let milestone = wanted.milestone.as_ref().is_none_or(|name| self.milestone.as_ref().is_some_and(|own| own.is(name)));
        kind && open && labels && assignee && milestone
    }

    fn users(&self) -> impl Iterator<Item = &User> {
        self.assignee.iter().chain(self.assignees.iter().flatten())
    }
}

impl Label {
    fn is(&self, wanted: &str) -> bool {
        match self {
            Label::Name(name) | Label::Whole { name } => same(name, wanted),
        }
    }
}

impl User {
    fn is(&self, wanted: &str) -> bool {
        [&self.login, &self.username].into_iter().flatten().any(|name| same(name, wanted))
    }
}

impl Milestone {
    fn is(&self, wanted: &str) -> bool {
        let numbered = |number: &Option<u64>| number.is_some_and(|number| number.to_string() == wanted);
        self.title.as_ref().is_some_and(|title| same(title, wanted)) || numbered(&self.number) || numbered(&self.id)
    }
}

/// A page as it was answered last.
#[derive(Clone, Debug)]
struct Page {
    mark: Option<HeaderValue>,
    /// Numbers of entries, and whether each counts.
    entries: Vec<(u64, bool)>,
    told: Told,
}

/// The pages of one list, kept from one question to the next.
#[derive(Debug, Default)]
pub struct Pages {
    kept: BTreeMap<String, Page>,
}

/// What going through all pages once came to.
struct Tally {
    counted: usize,
    listed: usize,
    /// The total that was told last.
    total: Option<usize>,
}

impl Pages {
    /// Count.
    ///
    /// # Errors
    /// Why it cannot be counted.
    pub async fn count(&mut self, list: &List<'_>) -> Result<Number, Failure> {
        let mut tally = self.pass(list).await?;
        if tally.is_short() {
            // Something was closed while the pages were turned, or a kept page is stale: once more from the start.
            self.kept.clear();
            tally = self.pass(list).await?;
        }
        if tally.is_short() {
            let Tally { listed, total, .. } = tally;
            let words = format!("lists {listed} entries, and tells of {}", total.unwrap_or_default());
            return Err(Failure::because(format!("{}: {words}", client::shown(&list.first))));
        }
        client::number(&list.first, tally.counted as f64, &tally.counted.to_string())
    }

    async fn pass(&mut self, list: &List<'_>) -> Result<Tally, Failure> {
        let failed = |words: &str| Failure::because(format!("{}: {words}", client::shown(&list.first)));
        let (mut seen, mut asked, mut total) = (BTreeMap::new(), BTreeSet::new(), None);
        let mut url = list.first.clone();
        if self.kept.len() > 2 * PAGES_MAX {
            // Passes that fail leave their pages, which may have other addresses each time.
            self.kept.clear();
        }
        while asked.len() < PAGES_MAX {
            if !asked.insert(url.to_string()) {
                return Err(failed("its pages lead in a circle"));
            }
            let page = self.page(list, &url).await?;
            seen.extend(page.entries.iter().copied());
            total = page.told.total.or(total);
            let next = list.next(&url, &page, seen.len())?;
            self.kept.insert(url.to_string(), page);
            match next {
                Some(next) => url = next,
                None => {
                    self.kept.retain(|url, _| asked.contains(url));
                    let counted = seen.values().filter(|counts| **counts).count();
                    return Ok(Tally { counted, listed: seen.len(), total });
                }
            }
        }
        self.kept.clear();
        Err(failed(&format!("has more than {PAGES_MAX} pages, which are not counted")))
    }

    async fn page(&self, list: &List<'_>, url: &Url) -> Result<Page, Failure> {
        let mut headers = list.headers.clone();
        // A full page that was the last may have got one after it without changing itself.
        let settled = |page: &&Page| page.told.leads_on() || page.entries.len() < list.full;
        let kept = self.kept.get(url.as_str()).filter(|page| page.mark.is_some()).filter(settled);
        if let Some(mark) = kept.and_then(|page| page.mark.clone()) {
            headers.insert(IF_NONE_MATCH, mark);
        }
        let answer = client::get(Reach::Anywhere, url, headers).await?;
        match kept {
            Some(kept) if answer.status() == StatusCode::NOT_MODIFIED => {
                Ok(Page { told: kept.told.renewed(Told::by(answer.headers())), ..kept.clone() })
            }
            Some(_) | None => list.fresh(answer).await,
        }
    }
}

impl Tally {
    fn is_short(&self) -> bool {
        self.total.is_some_and(|total| self.listed < total)
    }
}

impl List<'_> {
    async fn fresh(&self, answer: Answer) -> Result<Page, Failure> {
        let (mark, told) = (answer.headers().get(ETAG).cloned(), Told::by(answer.headers()));
        let entries: Vec<Entry> = answer.json("JSON list of issues").await?;
        let entries = entries.iter().map(|entry| (entry.number, entry.counts(self.wanted, self.mixed))).collect();
        Ok(Page { mark, entries, told })
    }

    /// The page after this one, when `seen` entries are known.
    fn next(&self, url: &Url, page: &Page, seen: usize) -> Result<Option<Url>, Failure> {
        let here = page.entries.len();
        let more = match (self.turn, &page.told.link) {
            (Turn::Link, Some(Some(next))) => return self.follow(url, next).map(Some),
            (Turn::Link, Some(None)) => false,
            // One page needs no links; but something on the way may have taken them off.
            (Turn::Link, None) => here >= self.full,
            (Turn::Number, link) => {
                let told = link.as_ref().map(Option::is_some).or(page.told.more);
                let missing = page.told.total.map(|total| seen < total);
                let silent = told.is_none() && missing.is_none();
                here > 0 && (told == Some(true) || missing == Some(true) || silent)
            }
        };
        Ok(more.then(|| numbered(url)))
    }

    fn follow(&self, url: &Url, next: &str) -> Result<Url, Failure> {
        let failed = |words| Failure::because(format!("{}: {words}", client::shown(&self.first)));
        let next = url.join(next).map_err(|_| failed("names a next page that is no address"))?;
        if next.origin() != self.first.origin() || !next.username().is_empty() || next.password().is_some() {
            return Err(failed("names a next page elsewhere, where the token does not belong"));
        }
        Ok(next)
    }
}

/// The same address with the next `page`.
fn numbered(url: &Url) -> Url {
    let number = url.query_pairs().find(|(name, _)| name == "page").and_then(|(_, page)| page.parse().ok()).unwrap_or(1_u64);
    let mut next = url.clone();
    let others = url.query_pairs().filter(|(name, _)| name != "page");
    next.query_pairs_mut().clear().extend_pairs(others).append_pair("page", &number.saturating_add(1).to_string());
    next
}
