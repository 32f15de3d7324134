//! Lists as programs are given them: `{"builds": […], "next": …}`, where `next` is what `after` takes.

use crate::build::BuildView;
use crate::find::ListPart;
use crate::platform::PlatformView;
use crate::push::{PackageView, PushView};
use crate::queue::{RunnerView, WaitingView};
use serde::Serialize;

/// Builds, the newest first.
#[derive(Debug, Serialize)]
pub struct BuildList {
    /// This part of them.
    pub builds: Vec<BuildView>,
    /// Where the next part begins.
    pub next: Option<String>,
}

/// Pushes, the newest first.
#[derive(Debug, Serialize)]
pub struct PushList {
    /// This part of them.
    pub pushes: Vec<PushView>,
    /// Where the next part begins.
    pub next: Option<String>,
}

/// Packages by name.
#[derive(Debug, Serialize)]
pub struct PackageList {
    /// This part of them.
    pub packages: Vec<PackageView>,
    /// Where the next part begins.
    pub next: Option<String>,
}

/// Platforms by name, all of them.
#[derive(Debug, Serialize)]
pub struct PlatformList {
    pub platforms: Vec<PlatformView>,
}

/// The queue and the runners.
#[derive(Debug, Serialize)]
pub struct QueueView {
    /// Tasks in the order in which they are taken.
    pub waiting: Vec<WaitingView>,
    /// Runners that have asked for work.
    pub runners: Vec<RunnerView>,
}

impl From<ListPart<BuildView>> for BuildList {
    fn from(part: ListPart<BuildView>) -> Self {
        Self {
            builds: part.entries,
            next: part.next,
        }
    }
}

impl From<ListPart<PushView>> for PushList {
    fn from(part: ListPart<PushView>) -> Self {
        Self {
            pushes: part.entries,
            next: part.next,
        }
    }
}

impl From<ListPart<PackageView>> for PackageList {
    fn from(part: ListPart<PackageView>) -> Self {
        Self {
            packages: part.entries,
            next: part.next,
        }
    }
}
