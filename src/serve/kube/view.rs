//! Resources as Kubernetes has them, each over one kind of the board: pools and workers as they are, workers as Pods, events
//! in the two shapes that clients ask for.
//!
//! A view renders objects and says what can be selected by; it filters and sends nothing itself.

use serde_json::Value;

use super::{events, pods};
use crate::engine::handle::Handle;
use crate::model::status::{API_VERSION, Kind, Object};
use crate::serve::wire::NAMESPACE;

/// A resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Objects as they are: `weir.dev/v1`.
    Plain(Kind),
    /// Workers as `v1` Pods.
    Pod,
    /// Events; those about workers may be asked for as about the worker or about its Pod.
    Event {
        /// `v1` rather than `events.k8s.io/v1`.
        core: bool,
        /// About Pods.
        of_pods: bool,
    },
}

impl View {
    /// The kind on the board.
    pub fn kind(self) -> Kind {
        match self {
            View::Plain(kind) => kind,
            View::Pod => Kind::Worker,
            View::Event { .. } => Kind::Event,
        }
    }

    /// Of its objects.
    pub fn api_version(self) -> &'static str {
        match self {
            View::Plain(_) => API_VERSION,
            View::Pod | View::Event { core: true, .. } => "v1",
            View::Event { core: false, .. } => "events.k8s.io/v1",
        }
    }

    /// Of its objects.
    pub fn kind_name(self) -> &'static str {
        match self {
            View::Plain(kind) => kind.name(),
            View::Pod => "Pod",
            View::Event { .. } => "Event",
        }
    }

    /// The resource's name in a URL.
    pub fn plural(self) -> &'static str {
        match self {
            View::Plain(kind) => kind.plural(),
            View::Pod => "pods",
            View::Event { .. } => "events",
        }
    }

    /// Fields that can be selected by.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            View::Plain(_) => &["metadata.name"],
            View::Pod => &["metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "status.phase"],
            View::Event { .. } => events::FIELDS,
        }
    }

    /// An object as this resource.
    pub fn render(self, handle: &Handle, object: &Object) -> Value {
        match (self, object) {
            (View::Pod, Object::Worker(worker)) => pods::pod(worker, handle),
            (View::Event { core, of_pods }, Object::Event(event)) => events::event(event, handle, (core, of_pods)),
            (View::Plain(_) | View::Pod | View::Event { .. }, object) => crate::serve::app::value(object),
        }
    }
}

/// What is asked for, and where.
#[derive(Clone, Debug)]
pub struct Place {
    /// The resource.
    pub view: View,
    /// The namespace; none: all of them.
    pub namespace: Option<String>,
}

impl Place {
    /// Everywhere.
    pub fn all(view: View) -> Place {
        Place { view, namespace: None }
    }

    /// Whether anything can be there.
    pub fn is_there(&self) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| namespace == NAMESPACE)
    }
}
