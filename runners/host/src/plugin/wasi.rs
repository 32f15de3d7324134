//! The part of WASI that the standard libraries of guests ask for, with nothing of the machine behind it.
//!
//! No folders, no sockets, no environment. Clocks start from the commit's time and move only when they are read or waited for;
//! random numbers follow from the task. So a second run of a task sees the same, and sleeping costs nothing. What is printed goes to
//! the log. Everything else of WASI may be imported, and ends the plugin with its name when it is called.

use super::job::Job;
use super::wasi_state::READING_NS;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};
use wasmtime::{Result, StoreContextMut};

/// Defined under this version; the ones that guests name (0.2.x) match it by the rules of semantic versions.
const VERSION: &str = "0.2.9";

/// Most random bytes in one call: a guest wants 16 of them for its hash tables.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

/// How much a guest may print at once, in bytes; it asks again for more.
const WRITE_BYTES_MAX: u64 = 1 << 16;

/// A guest ended itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it called exit({0})")]
pub struct Exit(pub i32);

type Guest<'a> = StoreContextMut<'a, Job>;

struct Input;
struct Output;
struct IoError;
struct Descriptor;
struct Terminal;
struct Other;
/// Ready at this reading of the task's clock.
struct Pollable(u64);

/// Names of resources that are defined below, each in the one interface that declares it.
const RESOURCES: [&str; 7] = [
    "error",
    "pollable",
    "input-stream",
    "output-stream",
    "terminal-input",
    "terminal-output",
    "descriptor",
];

#[derive(ComponentType, Lower, Lift)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    Failed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

#[derive(ComponentType, Lower, Lift)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

/// What became of writing to a stream.
type Done = (std::result::Result<(), StreamError>,);

/// Defines all of it.
pub fn add_to_linker(linker: &mut Linker<Job>) -> Result<()> {
    instance(linker, "io/error")?
        .resource("error", ResourceType::host::<IoError>(), |_, _| Ok(()))?;
    poll(&mut instance(linker, "io/poll")?)?;
    streams(&mut instance(linker, "io/streams")?)?;
    clocks(linker)?;
    random(linker)?;
    cli(linker)?;
    terminals(linker)?;
    let mut files = instance(linker, "filesystem/types")?;
    files.resource("descriptor", ResourceType::host::<Descriptor>(), |_, _| {
        Ok(())
    })?;
    let no_folders = |_: Guest<'_>, (): ()| Ok((Vec::<(Resource<Descriptor>, String)>::new(),));
    instance(linker, "filesystem/preopens")?.func_wrap("get-directories", no_folders)
}

fn instance<'a>(linker: &'a mut Linker<Job>, name: &str) -> Result<LinkerInstance<'a, Job>> {
    linker.instance(&format!("wasi:{name}@{VERSION}"))
}

fn poll(poll: &mut LinkerInstance<'_, Job>) -> Result<()> {
    poll.resource(
        "pollable",
        ResourceType::host::<Pollable>(),
        |mut guest, index| {
            guest
                .data_mut()
                .table
                .delete::<Pollable>(Resource::new_own(index))
                .map(drop)
                .map_err(Into::into)
        },
    )?;
    poll.func_wrap(
        "[method]pollable.ready",
        |mut guest: Guest<'_>, (pollable,): (Resource<Pollable>,)| {
            let job = guest.data_mut();
            Ok((job.table.get(&pollable)?.0 <= job.wasi.now_ns,))
        },
    )?;
    poll.func_wrap(
        "[method]pollable.block",
        |mut guest: Guest<'_>, (pollable,): (Resource<Pollable>,)| {
            let job = guest.data_mut();
            job.wasi.wait_until(job.table.get(&pollable)?.0);
            Ok(())
        },
    )?;
    poll.func_wrap(
        "poll",
        |mut guest: Guest<'_>, (list,): (Vec<Resource<Pollable>>,)| {
            let job = guest.data_mut();
            let due = list
                .iter()
                .map(|pollable| Ok(job.table.get(pollable)?.0))
                .collect::<Result<Vec<u64>>>()?;
            let Some(first) = due.iter().min() else {
                wasmtime::bail!("it polls nothing")
            };
            job.wasi.wait_until(*first);
            let ready = (0u32..)
                .zip(&due)
                .filter(|(_, due)| **due <= job.wasi.now_ns)
                .map(|(at, _)| at);
            Ok((ready.collect::<Vec<u32>>(),))
        },
    )
}

fn streams(streams: &mut LinkerInstance<'_, Job>) -> Result<()> {
    streams.resource("input-stream", ResourceType::host::<Input>(), |_, _| Ok(()))?;
    streams.resource("output-stream", ResourceType::host::<Output>(), |_, _| {
        Ok(())
    })?;
    let closed = |_: Guest<'_>, _: (Resource<Input>, u64)| {
        Ok((Err::<Vec<u8>, StreamError>(StreamError::Closed),))
    };
    streams.func_wrap("[method]input-stream.read", closed)?;
    streams.func_wrap("[method]input-stream.blocking-read", closed)?;
    streams.func_wrap(
        "[method]input-stream.subscribe",
        |guest: Guest<'_>, _: (Resource<Input>,)| at(guest, 0),
    )?;
    streams.func_wrap(
        "[method]output-stream.subscribe",
        |guest: Guest<'_>, _: (Resource<Output>,)| at(guest, 0),
    )?;
    let room =
        |_: Guest<'_>, _: (Resource<Output>,)| Ok((Ok::<u64, StreamError>(WRITE_BYTES_MAX),));
    streams.func_wrap("[method]output-stream.check-write", room)?;
    streams.func_wrap("[method]output-stream.write", write)?;
    streams.func_wrap("[method]output-stream.blocking-write-and-flush", write)?;
    let flush = |_: Guest<'_>, _: (Resource<Output>,)| -> Result<Done> { Ok((Ok(()),)) };
    streams.func_wrap("[method]output-stream.flush", flush)?;
    streams.func_wrap("[method]output-stream.blocking-flush", flush)
}

fn write(guest: Guest<'_>, (_, bytes): (Resource<Output>, Vec<u8>)) -> Result<Done> {
    guest.data().log.bytes(&bytes);
    Ok((Ok(()),))
}

fn at(mut guest: Guest<'_>, due_ns: u64) -> Result<(Resource<Pollable>,)> {
    Ok((guest.data_mut().table.push(Pollable(due_ns))?,))
}

fn clocks(linker: &mut Linker<Job>) -> Result<()> {
    let mut monotonic = instance(linker, "clocks/monotonic-clock")?;
    monotonic.func_wrap("now", |mut guest: Guest<'_>, (): ()| {
        Ok((guest.data_mut().wasi.read_clock(),))
    })?;
    monotonic.func_wrap("resolution", |_: Guest<'_>, (): ()| Ok((READING_NS,)))?;
    monotonic.func_wrap(
        "subscribe-instant",
        |guest: Guest<'_>, (due_ns,): (u64,)| at(guest, due_ns),
    )?;
    monotonic.func_wrap("subscribe-duration", |guest: Guest<'_>, (ns,): (u64,)| {
        let due_ns = guest.data().wasi.now_ns.saturating_add(ns);
        at(guest, due_ns)
    })?;
    let mut wall = instance(linker, "clocks/wall-clock")?;
    wall.func_wrap("now", |guest: Guest<'_>, (): ()| {
        Ok((Datetime {
            seconds: guest.data().wasi.epoch_s,
            nanoseconds: 0,
        },))
    })?;
    wall.func_wrap("resolution", |_: Guest<'_>, (): ()| {
        Ok((Datetime {
            seconds: 1,
            nanoseconds: 0,
        },))
    })
}

fn random(linker: &mut Linker<Job>) -> Result<()> {
    let mut random = instance(linker, "random/random")?;
    random.func_wrap(
        "get-random-bytes",
        |mut guest: Guest<'_>, (count,): (u64,)| {
            wasmtime::ensure!(
                count <= RANDOM_BYTES_MAX,
                "it wants {count} random bytes at once; there are {RANDOM_BYTES_MAX}"
            );
            Ok((guest.data_mut().wasi.random_bytes(usize::try_from(count)?),))
        },
    )?;
    random.func_wrap("get-random-u64", |mut guest: Guest<'_>, (): ()| {
        Ok((guest.data_mut().wasi.random(),))
    })?;
    instance(linker, "random/insecure-seed")?.func_wrap(
        "insecure-seed",
        |mut guest: Guest<'_>, (): ()| {
            let wasi = &mut guest.data_mut().wasi;
            Ok(((wasi.random(), wasi.random()),))
        },
    )
}

fn cli(linker: &mut Linker<Job>) -> Result<()> {
    let mut environment = instance(linker, "cli/environment")?;
    environment.func_wrap("get-environment", |_: Guest<'_>, (): ()| {
        Ok((Vec::<(String, String)>::new(),))
    })?;
    environment.func_wrap("get-arguments", |_: Guest<'_>, (): ()| {
        Ok((Vec::<String>::new(),))
    })?;
    environment.func_wrap("initial-cwd", |_: Guest<'_>, (): ()| Ok((None::<String>,)))?;
    let exit = |_: Guest<'_>, (status,): (std::result::Result<(), ()>,)| -> Result<()> {
        Err(wasmtime::Error::new(Exit(i32::from(status.is_err()))))
    };
    instance(linker, "cli/exit")?.func_wrap("exit", exit)?;
    // Streams have no state, so any index will do.
    instance(linker, "cli/stdin")?.func_wrap("get-stdin", |_: Guest<'_>, (): ()| {
        Ok((Resource::<Input>::new_own(0),))
    })?;
    instance(linker, "cli/stdout")?.func_wrap("get-stdout", |_: Guest<'_>, (): ()| {
        Ok((Resource::<Output>::new_own(1),))
    })?;
    instance(linker, "cli/stderr")?.func_wrap("get-stderr", |_: Guest<'_>, (): ()| {
        Ok((Resource::<Output>::new_own(2),))
    })
}

fn terminals(linker: &mut Linker<Job>) -> Result<()> {
    for kind in ["input", "output"] {
        let mut terminal = instance(linker, &format!("cli/terminal-{kind}"))?;
        terminal.resource(
            &format!("terminal-{kind}"),
            ResourceType::host::<Terminal>(),
            |_, _| Ok(()),
        )?;
    }
    for stream in ["stdin", "stdout", "stderr"] {
        let none = |_: Guest<'_>, (): ()| Ok((None::<Resource<Terminal>>,));
        instance(linker, &format!("cli/terminal-{stream}"))?
            .func_wrap(&format!("get-terminal-{stream}"), none)?;
    }
    Ok(())
}

/// Defines what else of WASI a component imports, as functions that end it.
///
/// `Linker::define_unknown_imports_as_traps` would define again what an interface only uses of another one (`pollable` in
/// `monotonic-clock`), and the types would differ.
pub fn trap_the_rest(linker: &mut Linker<Job>, component: &Component) -> Result<()> {
    let engine = component.engine().clone();
    for (import, item) in component.component_type().imports(&engine) {
        let ComponentItem::ComponentInstance(exports) = item.ty else {
            continue;
        };
        let Some((interface, version)) = import
            .split_once('@')
            .filter(|_| import.starts_with("wasi:"))
        else {
            continue;
        };
        // Beside what is defined above: an instance under the guest's own version would hide that one.
        let instance = if version.starts_with("0.2.") {
            format!("{interface}@{VERSION}")
        } else {
            import.to_owned()
        };
        for (name, item) in exports.exports(&engine) {
            trap_one(linker, &instance, name, &item.ty)?;
        }
    }
    Ok(())
}

fn trap_one(
    linker: &mut Linker<Job>,
    import: &str,
    name: &str,
    item: &ComponentItem,
) -> Result<()> {
    let mut instance = linker.instance(import)?;
    // An error says that the name has its definition, which stands.
    match item {
        ComponentItem::ComponentFunc(_) => {
            let what = format!("{import}#{name}");
            let _ = instance.func_new(name, move |_, _, _, _| {
                wasmtime::bail!("it called {what}, which plugins do not have")
            });
        }
        ComponentItem::Resource(_) if !RESOURCES.contains(&name) => {
            let _ = instance.resource(name, ResourceType::host::<Other>(), |_, _| Ok(()));
        }
        _ => {}
    }
    Ok(())
}
