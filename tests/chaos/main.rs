//! `cargo xtask chaos`: a real line and its runners, each in a network of its own, rounds of pushes with trouble from a seed, and invariants that
//! hold after each. This program starts itself once for each line, in namespaces of its own, and tells what those say.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "tests end where something is not as it should be"
    )
)]

mod invariants;
mod packages;
mod place;
mod plan;
mod proxy;
mod report;
mod round;

use anyhow::{Context, Result, bail, ensure};
use invariants::Repositories;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use place::{ChaosLine, PATIENCE};
use plan::Plan;
use report::Report;
use round::RoundReport;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Rounds, if nobody says how many.
const ROUNDS: u64 = 50;

/// Lines at the same time, if nobody says how many: what takes long is waiting for the ends of leases.
const AT_ONCE: u64 = 4;

/// How soon Ctrl-C is seen.
const LOOK: Duration = Duration::from_millis(100);

/// How often is looked whether what was killed has ended: it takes milliseconds.
const LOOK_FOR_END: Duration = Duration::from_millis(5);

/// What Ctrl-C ends a program with, as shells have it.
const INTERRUPTED: u8 = 130;

/// Where libfaketime's distributions put it, below a folder for libraries.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// What was given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    rounds: Option<u64>,
    seed: Option<u64>,
    round: Option<u64>,
    at_once: u64,
    short: bool,
    /// The line that this process must play, and the folder for it: given by this program to itself.
    line: Option<(u64, PathBuf)>,
}

impl Options {
    fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            rounds: None,
            seed: None,
            round: None,
            at_once: AT_ONCE,
            short: false,
            line: None,
        };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} needs a value"))
            };
            let number = |text: String| {
                text.parse::<u64>()
                    .with_context(|| format!("`{text}` is no number"))
            };
            match word.as_str() {
                "--rounds" => options.rounds = Some(number(value()?)?),
                "--seed" => options.seed = Some(number(value()?)?),
                "--round" => options.round = Some(number(value()?)?),
                "--at-once" => options.at_once = number(value()?)?.max(1),
                "--short" => options.short = true,
                "--line" => options.line = Some((number(value()?)?, value()?.into())),
                other => {
                    bail!("`{other}` is no option; `cargo xtask chaos --help` lists what there is")
                }
            }
        }
        Ok(options)
    }

    fn seed(&self) -> u64 {
        // Short enough to be typed.
        self.seed.unwrap_or_else(|| fastrand::u64(0..1_000_000))
    }

    /// The numbers of the rounds, in order.
    fn rounds(&self) -> Vec<u64> {
        match self.round {
            Some(round) => (0..self.rounds.unwrap_or(1)).map(|_| round).collect(),
            None => (0..self.rounds.unwrap_or(ROUNDS)).collect(),
        }
    }
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            return ExitCode::from(2);
        }
    };
    let done = match &options.line {
        Some((number, folder)) => play_line(&options, *number, folder).map(|()| ExitCode::SUCCESS),
        None => play_all(&options),
    };
    done.unwrap_or_else(|error| {
        eprintln!("chaos: {error:#}");
        ExitCode::FAILURE
    })
}

// One line.

/// Plays the rounds of one line of several, and tells of each in a line of JSON.
fn play_line(options: &Options, number: u64, folder: &Path) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let seed = options.seed.context("a line is told its seed")?;
    let mut place = ChaosLine::new(folder, &library()?, seed.wrapping_add(number))
        .context("the place for chaos")?;
    let mut repositories = Repositories::default();
    let mine = options
        .rounds()
        .into_iter()
        .enumerate()
        .filter(|(at, _)| *at as u64 % options.at_once == number);
    for (at, round) in mine {
        let plan = Plan::of(seed, round, options.short);
        let told = round::play(&mut place, &mut repositories, &plan, round, at as u64);
        if told.as_ref().map_or(true, |told| !told.broken.is_empty()) {
            place.keep()?;
        }
        let told = told.with_context(|| format!("round {round} of seed {seed}"))?;
        println!("{}", serde_json::to_string(&told)?);
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn library() -> Result<PathBuf> {
    let folders = [
        format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH),
        "/usr/lib64".to_owned(),
        "/usr/lib".to_owned(),
    ];
    let places = folders.map(|folder| Path::new(&folder).join(LIBRARY));
    places
        .into_iter()
        .find(|place| place.exists())
        .context("there is no libfaketime: install faketime (on Fedora, libfaketime)")
}

// All of them.

/// What comes from a line.
enum LineNews {
    Round(Box<RoundReport>),
    Ended,
}

/// The folders of a run: locked while it lives, so that a later one knows whose are nobody's.
struct Run {
    folder: PathBuf,
    _lock: File,
}

impl Run {
    /// Makes one, and removes what earlier ones left that were killed. Their processes, mounts and networks went with them.
    fn new(above: &Path) -> Result<Self> {
        fs::create_dir_all(above)?;
        // One that has just begun has no lock of its own yet.
        let beginning = File::open(above)?;
        beginning.lock()?;
        for entry in fs::read_dir(above)?.flatten() {
            let lock = File::open(entry.path().join("lock"));
            if entry.path().join("kept").exists()
                || lock.is_ok_and(|lock| lock.try_lock_shared().is_err())
            {
                continue;
            }
            fs::remove_dir_all(entry.path()).with_context(|| {
                format!(
                    "remove what an earlier run left, {}",
                    entry.path().display()
                )
            })?;
        }
        let folder = above.join(std::process::id().to_string());
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir(&folder)?;
        let lock = File::create(folder.join("lock"))?;
        lock.lock()?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    /// Leaves the logs.
    fn keep(&self) -> Result<()> {
        Ok(fs::write(self.folder.join("kept"), "")?)
    }

    fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.folder)
            .with_context(|| format!("remove {}", self.folder.display()))
    }
}

fn play_all(options: &Options) -> Result<ExitCode> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "namespaces, mounts and disks want root's rights: `cargo xtask chaos` asks for them"
    );
    library()?;
    let work = std::env::var_os("MILLRACE_TEST_WORK")
        .context("MILLRACE_TEST_WORK is not set: start this by `cargo xtask chaos`")?;
    let run = Run::new(&PathBuf::from(work).join("chaos"))?;
    let (seed, rounds) = (options.seed(), options.rounds());
    let lines = options.at_once.min(rounds.len() as u64);
    let mut report = Report::new(seed, rounds.len(), lines, options.short);
    report.begin();
    let stop = stopped()?;
    // What a line leaves when it is killed, such as a git that still writes, becomes this process's, which waits for its end.
    nix::sys::prctl::set_child_subreaper(true)?;
    let (say, said) = channel();
    let children = (0..lines)
        .map(|number| start(options, seed, lines, number, &run.folder, &say))
        .collect::<Result<Vec<_>>>()?;
    drop(say);
    let heard = hear(&said, &mut report, &stop, lines);
    end(children)?;
    let is_whole = heard? && report.heard() == rounds.len();
    if stop.load(Ordering::SeqCst) {
        run.remove()?;
        eprintln!("chaos: stopped; nothing is left of it");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    report.end();
    if is_whole {
        run.remove()?;
        return Ok(ExitCode::SUCCESS);
    }
    run.keep()?;
    eprintln!("chaos: logs and state are in {}", run.folder.display());
    Ok(ExitCode::FAILURE)
}

/// Hears of rounds until there are no more, or one has broken an invariant; whether all was well.
fn hear(
    said: &Receiver<LineNews>,
    report: &mut Report,
    stop: &AtomicBool,
    lines: u64,
) -> Result<bool> {
    let mut ended = 0;
    while ended < lines && !stop.load(Ordering::SeqCst) {
        match said.recv_timeout(LOOK) {
            Ok(LineNews::Round(told)) => {
                let is_broken = !told.broken.is_empty();
                report.round(*told);
                if is_broken {
                    return Ok(false);
                }
            }
            Ok(LineNews::Ended) => ended += 1,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(true)
}

/// Ends lines with all that they started. One that is still there has nothing left to do, or nothing that matters now.
fn end(lines: Vec<Child>) -> Result<()> {
    for line in lines {
        match killpg(Pid::from_raw(i32::try_from(line.id())?), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).context("end a line"),
        }
    }
    let until = Instant::now() + PATIENCE;
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return Ok(()),
            Ok(WaitStatus::StillAlive) if Instant::now() < until => {
                std::thread::sleep(LOOK_FOR_END)
            }
            Ok(WaitStatus::StillAlive) => bail!(
                "what a line started still runs {} s after its end",
                PATIENCE.as_secs()
            ),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait for the end of the lines"),
        }
    }
}

/// Starts this program once more, for a line. In a process group of its own: Ctrl-C reaches this process alone, which ends the others.
fn start(
    options: &Options,
    seed: u64,
    lines: u64,
    number: u64,
    folder: &Path,
    say: &Sender<LineNews>,
) -> Result<Child> {
    let folder = folder.join(format!("line{number}"));
    fs::create_dir(&folder)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args([
        "--seed",
        &seed.to_string(),
        "--at-once",
        &lines.to_string(),
        "--rounds",
        &options.rounds().len().to_string(),
    ]);
    command.args(
        options
            .round
            .map(|round| ["--round".to_owned(), round.to_string()])
            .into_iter()
            .flatten(),
    );
    command
        .args(options.short.then_some("--short"))
        .args(["--line", &number.to_string()])
        .arg(folder);
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start a line")?;
    let (output, say) = (
        child.stdout.take().context("a pipe was asked for")?,
        say.clone(),
    );
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // What is no round is printed for people.
            match serde_json::from_str(&line) {
                Ok(told) => drop(say.send(LineNews::Round(Box::new(told)))),
                Err(_) => eprintln!("{line}"),
            }
        }
        drop(say.send(LineNews::Ended));
    });
    Ok(child)
}

/// Becomes true with Ctrl-C, or when a service manager wants the end.
fn stopped() -> Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (stop, runtime) = (
        Arc::new(AtomicBool::new(false)),
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
    );
    let told = Arc::clone(&stop);
    let mut signals = runtime.block_on(async {
        anyhow::Ok((
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        ))
    })?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = signals.0.recv() => {} _ = signals.1.recv() => {} }
        });
        told.store(true, Ordering::SeqCst);
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn fifty_rounds_are_played_unless_one_is_wanted_alone() {
        assert_eq!(parse("").unwrap().rounds(), (0..50).collect::<Vec<_>>());
        assert_eq!(parse("--rounds 3 --seed 7").unwrap().rounds(), [0, 1, 2]);
        assert_eq!(parse("--round 9").unwrap().rounds(), [9]);
        assert_eq!(parse("--round 9 --rounds 2").unwrap().rounds(), [9, 9]);
        assert!(
            parse("--rounds x").is_err() && parse("--seed").is_err() && parse("--often").is_err()
        );
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_lives_or_is_kept_is_not() {
        let above = tempfile::tempdir().unwrap();
        let names = ["killed", "kept", "alive"].map(|name| above.path().join(name));
        for folder in &names {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("lock"), "").unwrap();
        }
        fs::write(names[1].join("kept"), "").unwrap();
        let alive = File::open(names[2].join("lock")).unwrap();
        alive.lock().unwrap();
        let run = Run::new(above.path()).unwrap();
        assert_eq!(names.map(|folder| folder.exists()), [false, true, true]);
        run.remove().unwrap();
        assert_eq!(fs::read_dir(above.path()).unwrap().count(), 2);
    }
}
