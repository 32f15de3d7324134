//! Commands that start, follow and stop builds.

use super::{Ending, NotThere, verify};
use crate::arguments::{Build as BuildOptions, Builds, Logs, Watch, Wishes, is_whole};
use crate::output::{Output, span};
use crate::state::{Folder, now, random};
use crate::store::Store;
use crate::watch;
use anyhow::{Context, Result, bail};
use millrace_core::build::{Build, Event};
use millrace_core::order::Effect;
use millrace_core::push::{Announced, Commit, Package, PushRecord, PushState, Wish};
use millrace_core::task::TaskId;
use millrace_core::{BuildId, PackageName, PushId};
use millrace_store::builds::{load_build, load_push};
use millrace_store::index::{BUILDS, PUSHES, package_index};
use millrace_store::records::get;
use millrace_store::{Commit as Save, Expect, StateStore, Stored, Table, advance};
use millrace_web::view::BuildView;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Builds and pushes looked through for the beginning of an id or a commit.
const LOOKED_THROUGH: usize = 1000;

/// How long `watch --commit` waits for the line to hear of the commit.
const HEAR_MAX: Duration = Duration::from_secs(60);

pub(super) async fn build(
    folder: &Folder,
    output: Output,
    options: BuildOptions,
) -> Result<Ending> {
    let store = folder.store().await?;
    let name = options.package.as_str();
    let package: Option<(Package, _)> = get(&store, Table::Package, name).await?;
    let (package, _) = package.ok_or_else(|| {
        NotThere(format!(
            "no package `{name}`: `millrace package add {name} URL` registers it"
        ))
    })?;
    let wanted = options.reference.clone();
    let url = package.clone_url.clone();
    let (reference, commit) =
        tokio::task::spawn_blocking(move || remote_reference(&url, wanted.as_deref())).await??;
    let wish = wish(&store, options.wishes, &package.name).await?;
    let commit = options.commit.unwrap_or(commit);
    let (package, clone_url) = (package.name, package.clone_url);
    let announced = Announced {
        id: fresh_id()?,
        package,
        clone_url,
        reference,
        commit,
        pusher: whoever(),
        received: now(),
        wish,
    };
    wish_for(&store, output, announced, options.watch).await
}

/// Builds again what a build was made from.
pub(super) async fn clone(
    folder: &Folder,
    output: Output,
    build: &str,
    wishes: Wishes,
    watch: bool,
) -> Result<Ending> {
    let store = folder.store().await?;
    let build = find(&store, build).await?;
    let wish = wish(&store, wishes, &build.push.announced.package)
        .await?
        .of_clone(&build.push.announced.wish, &build.platform.name);
    let announced = Announced {
        id: fresh_id()?,
        pusher: whoever(),
        received: now(),
        wish,
        ..build.push.announced
    };
    wish_for(&store, output, announced, watch).await
}

async fn wish(store: &Store, wishes: Wishes, package: &PackageName) -> Result<Wish> {
    let Wishes {
        priority,
        mut platforms,
        architectures,
        macros,
        scratch,
        lock,
        hold: hold_s,
    } = wishes;
    let macros = macros.into_iter().collect();
    let lock = match lock {
        Some(path) => {
            let (lock, digest) = verify::keep(store, &path).await?;
            if lock.package != *package {
                bail!(
                    "{}: the lock is of package {}, not of {package}",
                    path.display(),
                    lock.package
                );
            }
            if platforms.is_empty() {
                platforms.push(lock.platform);
            } else if platforms != [lock.platform.clone()] {
                bail!(
                    "{}: the lock is of platform {}: its roots can be made for no other",
                    path.display(),
                    lock.platform
                );
            }
            Some(digest)
        }
        None => None,
    };
    Ok(Wish {
        priority,
        platforms,
        architectures,
        macros,
        scratch,
        lock,
        not_by: BTreeMap::new(),
        hold_s,
    })
}

/// The id of a push that no forge has heard of.
pub(super) fn fresh_id() -> Result<PushId> {
    let number: String = random()?[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(PushId::of_delivery("command line", &number))
}

/// Announces a push, says so, and follows it where that is wanted.
async fn wish_for(
    store: &Store,
    output: Output,
    announced: Announced,
    watch: bool,
) -> Result<Ending> {
    announce(store, &announced).await?;
    output.one(&serde_json::json!({"push": announced.id, "commit": announced.commit, "reference": announced.reference}), |_| {
        format!("push {}: {} at {} ({})", announced.id, announced.package, announced.commit.short(), announced.reference)
    })?;
    if watch {
        ended(watch::push(store, output, &announced.id).await?)
    } else {
        Ok(Ending::Done)
    }
}

/// Writes a push down as a webhook would, with the wish to fetch it.
pub(super) async fn announce(store: &Store, announced: &Announced) -> Result<()> {
    let record = PushRecord {
        announced: announced.clone(),
        state: PushState::Fetching,
    };
    let kept = record.write(Expect::Absent)?;
    Ok(store
        .save(Save {
            writes: vec![kept],
            effects: vec![Effect::Fetch(announced.clone())],
        })
        .await?)
}

/// What a reference of a repository points at now.
fn remote_reference(url: &str, wanted: Option<&str>) -> Result<(String, Commit)> {
    millrace_listener::Fetcher::speak_http();
    let mut remote = git2::Remote::create_detached(url)?;
    remote
        .connect(git2::Direction::Fetch)
        .with_context(|| format!("asking {url} for its references"))?;
    let head = remote
        .default_branch()
        .ok()
        .and_then(|name| name.as_str().ok().map(str::to_owned));
    let names =
        match wanted {
            Some(name) if name.starts_with("refs/") => vec![name.to_owned()],
            Some(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
            None => vec![head.context(
                "the repository's HEAD points at nothing: name a branch with --reference",
            )?],
        };
    let listed = remote.list()?;
    // An annotated tag is listed twice; the second, with ^{}, is the commit.
    let find = |name: &String| {
        let peeled = format!("{name}^{{}}");
        listed
            .iter()
            .find(|head| head.name() == peeled)
            .or_else(|| listed.iter().find(|head| head.name() == *name))
    };
    match names
        .iter()
        .find_map(|name| Some((name.clone(), find(name)?.oid())))
    {
        Some((name, oid)) => Ok((name, Commit::new(&oid.to_string())?)),
        None => bail!(NotThere(format!("{url} has no {}", names.join(" and no ")))),
    }
}

pub(super) async fn watch(folder: &Folder, output: Output, options: &Watch) -> Result<Ending> {
    let store = folder.store().await?;
    let good = match (&options.push, &options.commit, &options.build) {
        (Some(push), _, _) => watch::push(&store, output, push).await?,
        (_, Some(commit), _) => {
            watch::push(&store, output, &heard_of(&store, commit).await?).await?
        }
        (_, _, Some(build)) => watch::build(&store, output, &find(&store, build).await?.id).await?,
        (None, None, None) => {
            let newest = store.index_entries(BUILDS, None, 1).await?;
            let newest = newest
                .first()
                .ok_or_else(|| NotThere("there is no build yet".to_owned()))?;
            watch::build(&store, output, &newest.key.id.parse()?).await?
        }
    };
    ended(good)
}

const fn ended(good: bool) -> Result<Ending> {
    Ok(if good {
        Ending::Done
    } else {
        Ending::BuildFailed
    })
}

/// The newest push of a commit, as soon as the line has heard of it.
async fn heard_of(store: &Store, commit: &str) -> Result<PushId> {
    let until = std::time::Instant::now() + HEAR_MAX;
    let mut waiting = watch::Waiting::default();
    loop {
        for hit in store.index_entries(PUSHES, None, LOOKED_THROUGH).await? {
            let Some((record, _)) = load_push(store, &hit.key.id.parse()?).await? else {
                continue;
            };
            if record.announced.commit.as_str().starts_with(commit) {
                return Ok(record.announced.id);
            }
        }
        if std::time::Instant::now() > until {
            bail!(NotThere(format!(
                "the line has not heard of commit {commit} in {}",
                span(60_000)
            )));
        }
        waiting.wait(store, Duration::from_millis(100)).await;
    }
}

/// The build that an id or its beginning means.
pub(super) async fn find(store: &Store, id: &str) -> Result<Build> {
    let mut found: Vec<BuildId> = match is_whole(id) {
        Some(id) => vec![id],
        None => {
            let all = store.index_entries(BUILDS, None, LOOKED_THROUGH).await?;
            all.iter()
                .filter(|hit| hit.key.id.starts_with(id))
                .filter_map(|hit| hit.key.id.parse().ok())
                .collect()
        }
    };
    if found.len() > 1 {
        bail!("{} builds begin with `{id}`: give more digits", found.len());
    }
    let missing = || NotThere(format!("no build `{id}`: `millrace builds` lists them"));
    let id = found.pop().ok_or_else(missing)?;
    Ok(load_build(store, &id).await?.ok_or_else(missing)?.0)
}

pub(super) async fn builds(folder: &Folder, output: Output, options: &Builds) -> Result<()> {
    let store = folder.store().await?;
    let index = options
        .package
        .as_ref()
        .map_or_else(|| BUILDS.to_owned(), package_index);
    let mut views = Vec::new();
    for hit in store.index_entries(&index, None, options.limit).await? {
        if let Some((build, _)) = load_build(&store, &hit.key.id.parse()?).await? {
            views.push((BuildView::of(&build, now()), build));
        }
    }
    let lines: Vec<_> = views
        .iter()
        .map(|(view, build)| Line { view, build })
        .collect();
    output.list(
        &lines,
        "no builds yet: push to a registered package, or `millrace build PACKAGE`",
        |line| {
            let build = line.build;
            let took = span(build.ended.unwrap_or_else(now).since_ms(build.created));
            let announced = &build.push.announced;
            format!(
                "{}  {:<10} {:<24} {} {:<14} {:>12}  {}",
                build.id,
                build.word(),
                announced.package,
                announced.commit.short(),
                build.platform.name,
                took,
                build.push.subject
            )
        },
    )
}

/// A build in a list: its view as JSON, its record for the line.
struct Line<'a> {
    view: &'a BuildView,
    build: &'a Build,
}

impl serde::Serialize for Line<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.view.serialize(serializer)
    }
}

pub(super) async fn logs(folder: &Folder, output: Output, options: &Logs) -> Result<()> {
    let store = folder.store().await?;
    let id = find(&store, &options.build).await?.id;
    let (mut printed, mut unfinished, mut waiting) = (0, Vec::new(), watch::Waiting::default());
    loop {
        let build = find(&store, id.as_str()).await?;
        let tasks = || {
            build
                .tasks
                .iter()
                .map(|task| task.id.to_string())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let task = build.task(&options.task).ok_or_else(|| {
            NotThere(format!(
                "build {id} has no task {}; it has {}",
                options.task,
                tasks()
            ))
        })?;
        let latest = task.latest_number().map_or(0, |number| number.0);
        if let Some(wanted) = options
            .attempt
            .filter(|wanted| *wanted == 0 || *wanted > latest)
        {
            bail!(NotThere(format!(
                "task {} of build {id} has no attempt {wanted}; it has had {latest}",
                options.task
            )));
        }
        let attempt = options.attempt.or((latest > 0).then_some(latest));
        let index = match attempt {
            Some(attempt) => watch::log_index(&store, &build, task, attempt).await?,
            None => None,
        };
        let ended = index.as_ref().is_some_and(|index| index.ended) || task.is_settled();
        if let Some(index) = index {
            let bytes = watch::read_from(&store, &index, printed).await?;
            printed = index.size();
            // Into a file or a pipe goes what the task has printed, byte by byte; a terminal gets lines that do nothing to it.
            if output.is_json() || std::io::stdout().is_terminal() {
                unfinished.extend(bytes);
                let last = ended || !options.follow;
                for line in whole_lines(&mut unfinished, last) {
                    output
                        .one(&serde_json::json!({"build": id, "task": options.task, "attempt": attempt, "line": line}), |_| {
                            line.clone()
                        })?;
                }
            } else {
                std::io::stdout().lock().write_all(&bytes)?;
                std::io::stdout().lock().flush()?;
            }
        }
        if ended || !options.follow {
            return Ok(());
        }
        waiting.wait(&store, Duration::from_millis(300)).await;
    }
}

/// Takes the lines that have come to their end, and at the last call what is left.
pub(super) fn whole_lines(bytes: &mut Vec<u8>, last: bool) -> Vec<String> {
    let end = if last {
        bytes.len()
    } else {
        bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1)
    };
    let taken: Vec<u8> = bytes.drain(..end).collect();
    String::from_utf8_lossy(&taken)
        .lines()
        .map(str::to_owned)
        .collect()
}

pub(super) async fn cancel(folder: &Folder, output: Output, id: &str) -> Result<()> {
    decide(folder, output, id, Event::Cancel { by: whoever() }).await
}

pub(super) async fn retry(
    folder: &Folder,
    output: Output,
    id: &str,
    task: Option<TaskId>,
    hold_s: Option<u32>,
) -> Result<()> {
    decide(
        folder,
        output,
        id,
        Event::Retry {
            task,
            by: whoever(),
            hold_s,
        },
    )
    .await
}

/// Tells a build what somebody has decided, and them what it is now.
async fn decide(folder: &Folder, output: Output, id: &str, event: Event) -> Result<()> {
    let store = folder.store().await?;
    let build = find(&store, id).await?;
    if let Event::Retry {
        task: Some(task), ..
    } = &event
        && build.task(task).is_none()
    {
        bail!(NotThere(format!("build {} has no task {task}", build.id)));
    }
    let build = advance::<Build>(&store, &build.id, event, now()).await?;
    output.one(
        &serde_json::json!({"build": build.id, "state": build.word()}),
        |_| format!("build {} is {}", build.id, build.word()),
    )
}

/// Who types this.
pub(super) fn whoever() -> String {
    std::env::var("SUDO_USER")
        .or_else(|_| std::env::var("USER"))
        .unwrap_or_else(|_| "somebody".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_log_is_told_when_it_is_whole() {
        let mut bytes = b"one\ntw".to_vec();
        assert_eq!(whole_lines(&mut bytes, false), ["one"]);
        bytes.extend(b"o\n\nthree");
        assert_eq!(whole_lines(&mut bytes, false), ["two", ""]);
        assert_eq!(whole_lines(&mut bytes, true), ["three"]);
        assert!(whole_lines(&mut bytes, true).is_empty());
    }
}
