//! A terminal in the sandbox in which a task has failed.

use crate::actor;
use crate::arguments::Shell;
use crate::ending::Ending;
use crate::output::{Output, harmless, span, whole_lines};
use crate::state::{Folder, now};
use crate::store::Store;
use crate::terminal::{self, Escapes, Raw};
use anyhow::{Result, bail};
use millrace_control::build::find;
use millrace_control::hold::{self, SessionRequest};
use millrace_core::hold::{Hold, HoldEnd, SessionEnd, TYPED_BYTES_MAX, Typed, Wants};
use millrace_core::task::LeaseId;
use millrace_store::holds::{change_typed, load_hold, printed};
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::time::sleep;

/// How often to look for what was printed, while something happens, and while nothing does: an echo comes at once, and a terminal that is
/// left open for an hour costs no core.
const LOOK: Duration = Duration::from_millis(8);
const LOOK_IDLE: Duration = Duration::from_millis(30);

/// The same if each look is paid for: an hour costs a cent.
const LOOK_IN_CLOUD: Duration = Duration::from_millis(250);

/// How long after something has happened it is likely that more does.
const LIVELY: Duration = Duration::from_secs(2);

/// How often the runner hears at least that somebody is here.
const BEAT: Duration = Duration::from_secs(10);

/// How often to look whether the sandbox is still held.
const HOLD_LOOK: Duration = Duration::from_secs(1);

/// Bytes that were shown and not yet acknowledged: a quarter of what may wait to be shown.
const SHOWN_BYTES: u64 = 32 * 1024;

/// How long a runner may be silent, which says every ten seconds that it works.
const SILENCE: Duration = Duration::from_secs(45);

/// How long a runner may take to end a session or a hold; those that are there take a second or two.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long to wait for the last words of a shell that was left.
const GOODBYE: Duration = Duration::from_secs(3);

/// What the exit status is where something other than the shell has ended.
const ENDED_OTHERWISE: u8 = 4;

pub(super) async fn shell(folder: &Folder, output: Output, options: Shell) -> Result<Ending> {
    let store = folder.store().await?;
    let build = find(&options.build, &store).await?;
    let hold = hold::find(&build, options.task.as_ref(), &store, now()).await?;
    if options.end {
        return give_up(&store, output, &hold).await;
    }
    let wants = wanted(options.command)?;
    let request = SessionRequest {
        wants: wants.clone(),
        take: options.take,
    };
    let actor = actor::local();
    let number = hold::open_session(&actor, &hold.lease_id, request, &store, now()).await?;
    let looks = if store.is_in_cloud() {
        [LOOK_IN_CLOUD; 2]
    } else {
        [LOOK, LOOK_IDLE]
    };
    let mut sitting = Sitting {
        store: &store,
        lease_id: &hold.lease_id,
        number,
        typed: Typed::default(),
        told: 0,
        looks,
    };
    let is_shell = matches!(wants, Wants::Terminal { .. });
    if is_shell {
        eprint!("{}", harmless(&banner(&hold)));
    }
    let end = if is_shell {
        sitting.at_terminal().await
    } else {
        sitting.hear_command().await
    };
    // Whatever went wrong here, nobody sits there any more.
    let end = match end {
        Ok(end) => end,
        Err(error) => {
            sitting.leave().await;
            return Err(error);
        }
    };
    if is_shell || !matches!(end, End::Said(SessionEnd::Exited { .. })) {
        eprintln!(
            "millrace: {}",
            harmless(&last_words(&store, &hold.lease_id, &end).await?)
        );
    }
    Ok(Ending::Status(match end {
        End::Said(SessionEnd::Exited { status }) => status,
        End::Said(SessionEnd::Left) | End::Left => 0,
        End::Said(_) | End::Lost | End::Signalled => ENDED_OTHERWISE,
    }))
}

/// What is wanted: a command, or a shell at this terminal.
fn wanted(argv: Vec<String>) -> Result<Wants> {
    if !argv.is_empty() {
        return Ok(Wants::Command { argv });
    }
    if !terminal::is_there() {
        bail!(
            "a shell needs a terminal for input and output: `millrace shell BUILD TASK -- COMMAND` runs a command without one"
        );
    }
    let term = std::env::var("TERM")
        .ok()
        .filter(|term| !term.is_empty())
        .unwrap_or_else(|| "vt100".to_owned());
    Ok(Wants::Terminal {
        term,
        size: terminal::size(),
    })
}

fn banner(hold: &Hold) -> String {
    let LeaseId { build, task, .. } = &hold.lease_id;
    let left = span(hold.until.since_ms(now()));
    let failed = &hold.failed;
    format!(
        "{task} of build {build} has failed: in {} this {}\n  $ {}\n  again    sh /work/again.sh repeats it; it is in the \
         shell's history\n  files    all that the task had is in /work, rpmbuild's folders in /work/rpmbuild\n  held     until {}, for \
         {left}, by {}\n  leave    with exit, or ~. at the beginning of a line; `millrace shell {build} {task} --end` gives it up\n",
        failed.cwd,
        failed.ended,
        failed.line,
        hold.until.rfc3339(),
        hold.runner,
    )
}

/// How it ended, and what has become of the sandbox.
async fn last_words(store: &Store, lease_id: &LeaseId, end: &End) -> Result<String> {
    let said = match end {
        End::Said(end) => end.to_string(),
        End::Left => "you have left it; its runner has not yet said that it has ended".to_owned(),
        End::Signalled => "it was ended by a signal".to_owned(),
        End::Lost => format!(
            "its runner has said nothing for {} s: it may be gone, or cut off",
            SILENCE.as_secs()
        ),
    };
    if matches!(end, End::Said(SessionEnd::GivenUp { .. })) {
        return Ok(format!("{said}; the sandbox is held no more"));
    }
    let hold = load_hold(store, lease_id).await?;
    let over = hold.as_ref().and_then(|hold| hold.over(now()));
    Ok(match (hold, over) {
        (_, Some(HoldEnd { reason, .. })) => {
            format!("{said}; the sandbox is held no more: {reason}")
        }
        (Some(hold), None) => {
            let LeaseId { build, task, .. } = lease_id;
            format!(
                "{said}; the sandbox is held until {}: `millrace shell {build} {task}`",
                hold.until.rfc3339()
            )
        }
        (None, None) => said,
    })
}

/// Says that the sandbox is not wanted any more, and waits until it is gone.
async fn give_up(store: &Store, output: Output, hold: &Hold) -> Result<Ending> {
    let lease_id = &hold.lease_id;
    hold::give_up(&actor::local(), lease_id, store).await?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let end = load_hold(store, lease_id)
            .await?
            .and_then(|hold| hold.over(now()));
        if let Some(HoldEnd { reason, .. }) = end {
            output.one(&json!({"build": lease_id.build, "task": lease_id.task, "held": false, "reason": reason}), |_| {
                format!("the sandbox of {} is held no more", lease_id.task)
            })?;
            return Ok(Ending::Done);
        }
        sleep(LOOK_IN_CLOUD).await;
    }
    bail!(
        "runner {} has not yet given the sandbox up: it does when it next asks the line, or at {}",
        hold.runner,
        hold.until.rfc3339()
    )
}

/// How somebody's time at a sandbox ended.
enum End {
    Said(SessionEnd),
    /// They have left, and the runner has said nothing to it yet.
    Left,
    /// This command was told to end.
    Signalled,
    /// Nothing is heard of the runner.
    Lost,
}

/// Somebody at a sandbox.
struct Sitting<'a> {
    store: &'a Store,
    lease_id: &'a LeaseId,
    number: u32,
    /// What this end has to say, as it was or will be written down.
    typed: Typed,
    /// Bytes shown that the runner was told of.
    told: u64,
    looks: [Duration; 2],
}

/// What is known of the other end.
struct Other {
    beat: u32,
    heard: Instant,
    looked_at_hold: Instant,
}

impl Other {
    fn new() -> Self {
        Self {
            beat: 0,
            heard: Instant::now(),
            looked_at_hold: Instant::now(),
        }
    }
}

impl Sitting<'_> {
    /// Writes down what this end has to say.
    async fn tell(&mut self) -> Result<()> {
        let typed = &self.typed;
        change_typed(self.store, self.lease_id, self.number, |kept| {
            kept.clone_from(typed)
        })
        .await?;
        self.told = self.typed.shown;
        Ok(())
    }

    async fn leave(&mut self) {
        self.typed.left = true;
        if let Err(error) = self.tell().await {
            eprintln!("millrace: {error:#}; the runner ends the session after a minute");
        }
    }

    /// Shows what is new; gives how it ended, if it did.
    async fn look(
        &mut self,
        other: &mut Other,
        show: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<(bool, Option<SessionEnd>)> {
        let Some(printed) = printed(self.store, self.lease_id, self.number).await? else {
            return Ok((false, self.look_at_hold(other).await?));
        };
        if printed.beat != other.beat {
            (other.beat, other.heard) = (printed.beat, Instant::now());
        }
        self.typed.keys.acknowledge(printed.typed);
        let new = printed.output.after(self.typed.shown);
        let is_news = !new.is_empty();
        if is_news {
            show(new)?;
            self.typed.shown = printed.output.end();
            if self.typed.shown - self.told >= SHOWN_BYTES {
                self.tell().await?;
            }
        }
        match printed.ended {
            Some(end) => Ok((is_news, Some(end))),
            None => Ok((is_news, self.look_at_hold(other).await?)),
        }
    }

    /// A runner that is gone says nothing any more, and of a session that was taken over before it began it never said anything; but the
    /// line knows.
    async fn look_at_hold(&self, other: &mut Other) -> Result<Option<SessionEnd>> {
        if other.looked_at_hold.elapsed() < HOLD_LOOK {
            return Ok(None);
        }
        other.looked_at_hold = Instant::now();
        let hold = load_hold(self.store, self.lease_id).await?;
        let over = hold.and_then(|hold| hold.end_of_session(self.number));
        // What the runner says itself is worth more, and was written first.
        match (
            over,
            printed(self.store, self.lease_id, self.number)
                .await?
                .and_then(|printed| printed.ended),
        ) {
            (Some(_), Some(said)) => Ok(Some(said)),
            (over, _) => Ok(over),
        }
    }

    /// What one command prints, until it has ended.
    async fn hear_command(&mut self) -> Result<End> {
        let (mut other, mut stops, mut told) = (Other::new(), Stops::new()?, Instant::now());
        let (is_terminal, mut unfinished) = (std::io::stdout().is_terminal(), Vec::new());
        let mut show = |bytes: &[u8]| show_plainly(bytes, is_terminal, &mut unfinished, false);
        self.tell().await?;
        let end = loop {
            if told.elapsed() >= BEAT {
                told = Instant::now();
                self.typed.beat += 1;
                self.tell().await?;
            }
            let (_, ended) = self.look(&mut other, &mut show).await?;
            if let Some(end) = ended {
                break End::Said(end);
            }
            if other.heard.elapsed() > SILENCE {
                break End::Lost;
            }
            tokio::select! {
                () = stops.come() => break End::Signalled,
                () = sleep(self.looks[0]) => {}
            }
        };
        show_plainly(&[], is_terminal, &mut unfinished, true)?;
        if matches!(end, End::Signalled | End::Lost) {
            self.leave().await;
        }
        Ok(end)
    }

    /// A shell at this terminal, until it has ended or was left.
    async fn at_terminal(&mut self) -> Result<End> {
        let (mut stops, mut resized) = (Stops::new()?, signal(SignalKind::window_change())?);
        self.typed.size = terminal::size();
        self.tell().await?;
        let _raw = Raw::begin()?;
        let end = self
            .type_and_show(&mut terminal::keys(), &mut stops, &mut resized)
            .await?;
        if matches!(end, End::Said(_)) {
            return Ok(end);
        }
        self.leave().await;
        let (until, mut other) = (Instant::now() + GOODBYE, Other::new());
        while matches!(end, End::Left) && Instant::now() < until {
            if let (_, Some(end)) = self.look(&mut other, &mut show_raw).await? {
                return Ok(End::Said(end));
            }
            sleep(self.looks[0]).await;
        }
        Ok(end)
    }

    async fn type_and_show(
        &mut self,
        keys: &mut Receiver<Vec<u8>>,
        stops: &mut Stops,
        resized: &mut Signal,
    ) -> Result<End> {
        let (mut other, mut escapes) = (Other::new(), Escapes::default());
        let (mut lively, mut told) = (Instant::now(), Instant::now());
        loop {
            let (is_news, ended) = self.look(&mut other, &mut show_raw).await?;
            if let Some(end) = ended {
                return Ok(End::Said(end));
            }
            if other.heard.elapsed() > SILENCE {
                return Ok(End::Lost);
            }
            if is_news {
                lively = Instant::now();
            }
            let pause = self.looks[usize::from(lively.elapsed() > LIVELY)];
            let has_room = self.typed.keys.bytes.len() < TYPED_BYTES_MAX / 2;
            let mut is_told = told.elapsed() < BEAT;
            tokio::select! {
                pressed = keys.recv(), if has_room => {
                    let (pressed, leaves) = escapes.take(&pressed.unwrap_or_else(|| b"~.".to_vec()));
                    self.typed.keys.add(self.typed.keys.end(), &pressed, TYPED_BYTES_MAX);
                    if leaves {
                        return Ok(End::Left);
                    }
                    (is_told, lively) = (pressed.is_empty(), Instant::now());
                }
                _ = resized.recv() => {
                    self.typed.size = terminal::size();
                    is_told = false;
                }
                () = stops.come() => return Ok(End::Signalled),
                () = sleep(pause) => {}
            }
            if !is_told {
                told = Instant::now();
                self.typed.beat += 1;
                self.tell().await?;
            }
        }
    }
}

/// Shows what comes, as it comes: for a person at a terminal only.
fn show_raw(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    Ok(out.write_all(bytes).and_then(|()| out.flush())?)
}

/// What a command has printed, byte by byte; a terminal gets lines that do nothing to it.
fn show_plainly(
    bytes: &[u8],
    is_terminal: bool,
    unfinished: &mut Vec<u8>,
    last: bool,
) -> Result<()> {
    if !is_terminal {
        return show_raw(bytes);
    }
    unfinished.extend_from_slice(bytes);
    for line in whole_lines(unfinished, last) {
        show_raw(format!("{}\n", harmless(&line)).as_bytes())?;
    }
    Ok(())
}

/// The signals that tell a command to end.
struct Stops([Signal; 3]);

impl Stops {
    fn new() -> Result<Self> {
        Ok(Self([
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::interrupt())?,
        ]))
    }

    async fn come(&mut self) {
        let [terminate, hangup, interrupt] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
