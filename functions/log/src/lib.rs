//! The log of a program of the line: lines for people, JSON for programs, and which levels are written.
//!
//! Parts of the line open a span for what they work on (a delivery, a message, a task, a request), with the ids of it: `delivery`,
//! `push`, `build`, `task`, `lease`, `order`, `runner`, `actor`. Every event in a span carries them, so that the log of all functions,
//! filtered by one id, is the story of one build.
#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::io::{self, Write};
use std::str::FromStr;
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::{Layer, SubscriberExt};

/// The variable that says which levels are written: a level for all of millrace (`debug`), or levels by module
/// (`info,millrace_signer=debug,hyper=info`).
pub const VARIABLE: &str = "MILLRACE_LOG";

/// Where the runtime of AWS Lambda logs what a function failed with, which the function has logged with its ids.
const LOGGED_TWICE: &str = "lambda_runtime::layers::panic";

/// What the modules of all crates of millrace begin with.
const OUR_MODULES: &str = "millrace";

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One line per event: time, level, what happened, then the ids of what it happened to.
    Lines,
    /// One JSON object per line: `timestamp`, `level`, `fields`, `target`, and `spans`, the outermost first.
    Json,
}

/// [`VARIABLE`] makes no sense. The person who started the program must mend it.
#[derive(Debug, thiserror::Error)]
#[error(
    "MILLRACE_LOG=`{value}` makes no sense: give a level (error, warn, info, debug, trace) or levels by module, such as `info,millrace_signer=debug`"
)]
pub struct LevelsError {
    value: String,
}

/// Writes events to standard error from now on: those that [`VARIABLE`] asks for; without it, millrace's own from `usual` on, and warnings
/// and errors of libraries, also if [`VARIABLE`] makes no sense. Only the first call in a process counts.
pub fn start(format: Format, usual: LevelFilter) -> Result<(), LevelsError> {
    let value = std::env::var(VARIABLE).unwrap_or_default();
    let (levels, understood) = match levels(&value, usual) {
        Ok(levels) => (levels, Ok(())),
        Err(error) => (ours(usual), Err(error)),
    };
    let _ = match format {
        Format::Lines => tracing::subscriber::set_global_default(lines(levels, io::stderr)),
        Format::Json => tracing::subscriber::set_global_default(json(levels, io::stderr)),
    };
    understood
}

fn levels(value: &str, usual: LevelFilter) -> Result<Targets, LevelsError> {
    if value.is_empty() {
        return Ok(ours(usual));
    }
    let parts: Option<Vec<(String, LevelFilter)>> = value.split(',').map(part).collect();
    let parts = parts.ok_or_else(|| LevelsError {
        value: value.to_owned(),
    })?;
    let of_all = parts.iter().rev().find(|(module, _)| module.is_empty());
    let named = parts.iter().filter(|(module, _)| !module.is_empty());
    let levels = ours(of_all.map_or(usual, |(_, level)| *level));
    Ok(named.fold(levels, |levels, (module, level)| {
        levels.with_target(module.clone(), *level)
    }))
}

/// One level for all of millrace. Libraries never get more than warnings by it: what they trace has requests in it, with tokens.
fn ours(level: LevelFilter) -> Targets {
    Targets::new()
        .with_target(OUR_MODULES, level)
        .with_target(LOGGED_TWICE, LevelFilter::OFF)
        .with_default(level.min(LevelFilter::WARN))
}

/// Which events are written. Spans of millrace are always open: an error without its ids would tell nobody whose it is.
fn wanted(levels: Targets) -> impl Fn(&Metadata<'_>) -> bool + Clone + Send + Sync + 'static {
    move |about| {
        about.is_span() && about.target().starts_with(OUR_MODULES)
            || levels.would_enable(about.target(), about.level())
    }
}

/// A level by itself, which is for all of millrace, or that of a module. A word that is no level is none of a module's either, as it is in
/// `Targets`: a level with a typing error would silence all others.
fn part(text: &str) -> Option<(String, LevelFilter)> {
    let (module, level) = text.trim().split_once('=').unwrap_or(("", text.trim()));
    let is_module = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let is_sane = !level.is_empty() && module.chars().all(is_module);
    let level = LevelFilter::from_str(level).ok()?;
    is_sane.then(|| (module.to_owned(), level))
}

/// Writes one event as one line, whatever somebody has pushed: with a line break in it a stranger could write events of their own, and
/// with other control characters change what a terminal shows.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    /// To be called with a whole event, as the layer does.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let mut line = String::with_capacity(text.len());
        for character in text.trim_end_matches('\n').chars() {
            match character.is_control() {
                true => line.extend(character.escape_default()),
                false => line.push(character),
            }
        }
        line.push('\n');
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn lines<W: Write + 'static>(
    levels: Targets,
    to: impl Fn() -> W + Send + Sync + 'static,
) -> impl Subscriber + Send + Sync {
    let layer = layer()
        .compact()
        .with_ansi(false)
        .with_target(false)
        .with_writer(move || OneLine(to()));
    Registry::default().with(layer.with_filter(filter_fn(wanted(levels))))
}

fn json<W: Write + 'static>(
    levels: Targets,
    to: impl Fn() -> W + Send + Sync + 'static,
) -> impl Subscriber + Send + Sync {
    let layer = layer().json().with_current_span(false).with_writer(to);
    Registry::default().with(layer.with_filter(filter_fn(wanted(levels))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::{debug, info, info_span, warn};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }

        fn writer(&self) -> impl Fn() -> Self + Send + Sync + 'static {
            let written = self.clone();
            move || written.clone()
        }
    }

    #[test]
    fn who_has_a_builds_id_finds_what_happened_to_it() {
        let written = Written::default();
        let subscriber = json(levels("", LevelFilter::INFO).unwrap(), written.writer());
        tracing::subscriber::with_default(subscriber, || {
            let _message = info_span!("message", build = "b-1").entered();
            let _task = info_span!("task", task = "check").entered();
            info!(target: "millrace_host", packages = 2, "done");
        });
        let event: serde_json::Value = serde_json::from_str(&written.text()).unwrap();
        assert_eq!(event["fields"]["message"], "done");
        assert_eq!(event["fields"]["packages"], 2);
        assert_eq!(event["spans"][0]["build"], "b-1");
        assert_eq!(event["spans"][1]["task"], "check");
    }

    #[test]
    fn a_line_for_people_is_one_line_whatever_somebody_pushed() {
        let written = Written::default();
        let subscriber = lines(levels("", LevelFilter::INFO).unwrap(), written.writer());
        tracing::subscriber::with_default(subscriber, || {
            let reference = "refs/heads/\u{1b}[2J\nINFO all is well";
            let _push = info_span!("push", %reference).entered();
            warn!(target: "millrace_listener", problem = "x\ny\u{1b}[0m", "refused: {reference}");
        });
        let text = written.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn a_level_is_millraces_and_libraries_stay_quiet() {
        let heard = |value: &str| {
            let written = Written::default();
            let subscriber = lines(levels(value, LevelFilter::WARN).unwrap(), written.writer());
            tracing::subscriber::with_default(subscriber, || {
                debug!(target: "millrace_signer::order", "ours");
                debug!(target: "hyper::client", "theirs");
            });
            written.text().lines().count()
        };
        assert_eq!(heard(""), 0);
        assert_eq!(heard("debug"), 1);
        assert_eq!(heard("millrace_store=trace"), 0);
        assert_eq!(heard("debug,hyper=debug"), 2);
    }

    #[test]
    fn a_warning_has_its_ids_whatever_the_level_is() {
        for value in ["warn", "error,millrace_cli=warn"] {
            let written = Written::default();
            let subscriber = json(levels(value, LevelFilter::INFO).unwrap(), written.writer());
            tracing::subscriber::with_default(subscriber, || {
                let _message =
                    info_span!(target: "millrace_store", "message", build = "b-1").entered();
                info!(target: "millrace_cli", "not written");
                warn!(target: "millrace_cli", "written");
            });
            let event: serde_json::Value = serde_json::from_str(&written.text()).unwrap();
            assert_eq!(event["spans"][0]["build"], "b-1", "{value}");
        }
    }

    #[test]
    fn a_library_traces_only_if_it_is_named() {
        for value in ["trace", " trace", "trace,millrace_web=info"] {
            let levels = levels(value, LevelFilter::INFO).unwrap();
            assert!(levels.would_enable("millrace_signer", &tracing::Level::TRACE));
            assert!(
                !levels.would_enable("lambda_runtime", &tracing::Level::INFO),
                "{value}"
            );
        }
    }

    #[test]
    fn levels_that_are_none_are_refused_with_what_to_say_instead() {
        for value in [
            "loud",
            "inof",
            "info,millrace_signer=very",
            "info,,debug",
            "a b=info",
        ] {
            let error = levels(value, LevelFilter::WARN).unwrap_err();
            assert!(error.to_string().contains("give a level"), "{error}");
        }
    }
}
