//! wasmtime, set up so that a plugin comes out the same everywhere, and ends.

use super::bindings::{Plugin as Bindings, PluginPre};
use super::end::{End, Interrupt};
use super::image::Images;
use super::job::Job;
use super::limiter::MemoryLimiter;
use super::wasi;
use millrace_core::Digest;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, Store, Trap, UpdateDeadline};

/// How often a running plugin is looked at. A cancelled one stops after 5 ms on average; more often costs, later is felt.
const TICK: Duration = Duration::from_millis(10);

/// Stack of a plugin, in bytes: what a thread has elsewhere is 8 MiB, but recursion that deep is a mistake in a plugin.
const STACK_BYTES: usize = 1 << 20;

/// What plugins are compiled to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The processor's own instructions.
    Native,
    /// Those of Pulley, a machine that wasmtime has a portable interpreter for.
    Portable,
}

impl Code {
    /// What this machine takes.
    pub fn of_this_machine() -> Self {
        Self::on(std::env::consts::ARCH)
    }

    /// What a processor takes, by Rust's name for it: Cranelift compiles for a few, and not for POWER.
    fn on(processor: &str) -> Self {
        match processor {
            "x86_64" | "aarch64" | "s390x" | "riscv64" => Self::Native,
            _ => Self::Portable,
        }
    }
}

/// What one plugin may use of the runner itself. Its commands have the limits of the step.
#[derive(Debug, Clone, Copy)]
pub struct PluginLimits {
    /// Linear memory in bytes.
    pub memory_bytes: usize,
    /// How long it may think by itself, not counting the host's work for it.
    pub thinking: Duration,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20, // four of the largest files that `files.read` hands over
            thinking: Duration::from_secs(60), // a plugin decides: the first-party ones take milliseconds
        }
    }
}

/// A plugin that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the folder of compiled plugins: {0}")]
    Folder(#[from] io::Error),
    /// It is no component, or asks for what this host does not have; the plugin's author must act.
    #[error("this is no plugin that this host can run")]
    Unfit(#[source] Cause),
    /// wasmtime cannot be set up on this machine.
    #[error("wasmtime cannot be set up here")]
    Setup(#[source] Cause),
}

/// What wasmtime says.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A compiled plugin, ready to be run any number of times.
#[derive(Clone)]
pub struct Plugin(PluginPre<Job>);

/// The engine of a runner.
pub struct PluginEngine {
    engine: Engine,
    images: Images,
    limits: PluginLimits,
    loaded: Mutex<BTreeMap<Digest, Plugin>>,
    _ticker: Ticker,
}

/// The engine as every runner has it. What changes the machine code is part of an image's name.
pub(crate) fn wasmtime_engine(code: Code) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    if code == Code::Portable {
        let order = if cfg!(target_endian = "big") {
            "be"
        } else {
            ""
        };
        config.target(&format!("pulley{}{order}", usize::BITS))?;
    }
    config.epoch_interruption(true);
    config.max_wasm_stack(STACK_BYTES);
    // The last things that differ between processors.
    config.cranelift_nan_canonicalization(true);
    config
        .wasm_relaxed_simd(true)
        .relaxed_simd_deterministic(true);
    Engine::new(&config)
}

impl PluginEngine {
    /// An engine that keeps compiled plugins in a folder.
    pub fn new(folder: &Path, limits: PluginLimits) -> Result<Self, EngineError> {
        Self::with_code(folder, limits, Code::of_this_machine())
    }

    /// The same with what plugins are compiled to.
    pub fn with_code(folder: &Path, limits: PluginLimits, code: Code) -> Result<Self, EngineError> {
        let engine = wasmtime_engine(code).map_err(|error| EngineError::Setup(error.into()))?;
        let ticker = Ticker::start(&engine);
        Ok(Self {
            engine,
            images: Images::open(folder)?,
            limits,
            loaded: Mutex::default(),
            _ticker: ticker,
        })
    }

    /// A plugin from memory or disk; none if it must be compiled first.
    pub fn loaded(&self, digest: &Digest) -> Option<Plugin> {
        if let Some(plugin) = self
            .loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)
        {
            return Some(plugin.clone());
        }
        let component = self.images.load(&self.engine, digest)?;
        self.link(digest, &component).ok()
    }

    /// Compiles a plugin whose bytes have this digest, which the caller has checked.
    pub fn compile(&self, digest: &Digest, component: &[u8]) -> Result<Plugin, EngineError> {
        let unfit = |error: wasmtime::Error| EngineError::Unfit(error.into());
        let component = self
            .images
            .save(&self.engine, digest, component)
            .map_err(unfit)?;
        self.link(digest, &component).map_err(unfit)
    }

    fn link(&self, digest: &Digest, component: &Component) -> wasmtime::Result<Plugin> {
        let mut linker = Linker::new(&self.engine);
        Bindings::add_to_linker::<_, HasSelf<Job>>(&mut linker, |job| job)?;
        wasi::add_to_linker(&mut linker)?;
        wasi::trap_the_rest(&mut linker, component)?;
        let plugin = Plugin(PluginPre::new(linker.instantiate_pre(component)?)?);
        self.loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(*digest, plugin.clone());
        Ok(plugin)
    }

    /// Runs a plugin on a task in this thread, to its end. The job comes back with what was handed over.
    pub fn run(&self, plugin: &Plugin, mut job: Job) -> (End, Job) {
        job.memory = MemoryLimiter::of(self.limits.memory_bytes);
        let task = job.task();
        let mut store = self.store(job);
        let answer = plugin
            .0
            .instantiate(&mut store)
            .and_then(|instance| instance.call_run(&mut store, &task));
        let end = match answer {
            Ok(answer) => End::Answered(answer),
            Err(error) => end_of(&error, &store.data().memory),
        };
        let mut job = store.into_data();
        job.trace_call(format_args!("end {end:?}"));
        (end, job)
    }

    /// Makes an instance of a plugin and lets it go: what comes before a plugin's first instruction, to be measured.
    pub fn instantiate(&self, plugin: &Plugin, mut job: Job) -> Result<(), EngineError> {
        job.memory = MemoryLimiter::of(self.limits.memory_bytes);
        let made = plugin.0.instantiate(self.store(job));
        made.map(drop)
            .map_err(|error| EngineError::Unfit(error.into()))
    }

    fn store(&self, job: Job) -> Store<Job> {
        let mut store = Store::new(&self.engine, job);
        store.limiter(|job| &mut job.memory);
        store.set_epoch_deadline(1);
        // Ticks that pass while the host works for the plugin count as one: the callback runs only back in the plugin.
        let mut ticks_left = self.limits.thinking.as_millis() / TICK.as_millis();
        store.epoch_deadline_callback(move |context| {
            ticks_left = ticks_left.saturating_sub(1);
            let job = context.data();
            let interrupt = if job.stop.is_raised() {
                Interrupt::Stopped
            } else if Instant::now() >= job.end() {
                Interrupt::TimedOut
            } else if ticks_left == 0 {
                Interrupt::Loops
            } else {
                return Ok(UpdateDeadline::Continue(1));
            };
            Err(wasmtime::Error::new(interrupt))
        });
        store
    }
}

/// What an error of wasmtime means. The outermost words are only the plugin's backtrace.
fn end_of(error: &wasmtime::Error, memory: &MemoryLimiter) -> End {
    if let Some(interrupt) = error.downcast_ref::<Interrupt>() {
        return match interrupt.clone() {
            Interrupt::Stopped => End::Stopped,
            Interrupt::TimedOut => End::TimedOut,
            Interrupt::Loops => End::Loops,
            Interrupt::Trouble(problem) => End::Trouble(problem),
        };
    }
    if let Some(wasi::Exit(status)) = error.downcast_ref() {
        return End::Exited(*status);
    }
    // A guest's allocator traps like a panic does; only the limiter knows.
    if memory.refused {
        return End::OutOfMemory(memory.bytes_max);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => End::StackOverflow,
        Some(trap) => End::Trapped(trap.to_string()),
        None => End::Trapped(error.root_cause().to_string()),
    }
}

/// Wakes the stores of an engine every [`TICK`] until it is dropped.
struct Ticker(Arc<AtomicBool>);

impl Ticker {
    fn start(engine: &Engine) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (engine, seen) = (engine.weak(), ended.clone());
        std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                let Some(engine) = engine.upgrade() else {
                    return;
                };
                engine.increment_epoch();
            }
        });
        Self(ended)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_no_compiler_the_interpreter_serves() {
        assert_eq!(
            ["x86_64", "aarch64", "s390x"].map(Code::on),
            [Code::Native; 3]
        );
        assert_eq!(Code::on("powerpc64"), Code::Portable);
        let compiles = |code| wasmtime_engine(code).unwrap().is_pulley();
        assert_eq!(
            (compiles(Code::of_this_machine()), compiles(Code::Portable)),
            (Code::of_this_machine() == Code::Portable, true)
        );
    }
}
