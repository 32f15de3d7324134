//! A plugin that does what plugins must not do, and a few things that they may: the host's tests run it.

use millrace_sdk::prelude::*;

#[derive(serde::Deserialize)]
struct Config {
    what: String,
}

fn run(task: Task) -> Result<Outcome, Failure> {
    let config: Config = config(&task)?;
    let said = match config.what.as_str() {
        "nothing" => String::new(),
        "loop" => loop {
            std::hint::black_box(());
        },
        "print-and-loop" => loop {
            log::line("still here");
        },
        "memory" => eat(),
        "stack" => deep(1).to_string(),
        "panic" => panic!("as asked"),
        "exit" => std::process::exit(3),
        "print" => {
            println!("to standard output");
            eprintln!("to standard error");
            String::new()
        }
        "log" => {
            log::section("a part");
            log::line("a line");
            log::annotate(Severity::Warning, "tree/x.spec", 12, "a finding");
            String::new()
        }
        "environment" => outside(),
        "files" => files_and_folders()?,
        "escape" => escapes(),
        "publish" => {
            files::write_text("result.txt", "the result")?;
            artifacts::publish("result.txt")?.digest
        }
        "fetch" => {
            fetch(&task.inputs[0], "in/here")?;
            files::read_text("in/here")?
        }
        "fetch-unknown" => format!(
            "{:?}",
            artifacts::fetch(&format!("sha256:{}", "0".repeat(64)), "x")
        ),
        "calls" => {
            for _ in 0..10_000 {
                let _ = files::read_range("x", 0, 0);
            }
            String::new()
        }
        "excluded" => return Ok(Outcome::Excluded("as asked".to_owned())),
        "fail" => return Err(Failure::package("as asked")),
        other => {
            return Err(Failure::configuration(format!(
                "`{other}` is nothing that this plugin does"
            )));
        }
    };
    Ok(Outcome::Passed(said))
}

fn eat() -> String {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        all.push(vec![1; 1 << 20]);
        std::hint::black_box(&all);
    }
}

#[allow(unconditional_recursion)]
#[inline(never)]
fn deep(n: u64) -> u64 {
    std::hint::black_box(deep(std::hint::black_box(n + 1)) + 1)
}

/// What a plugin sees of the machine: nothing, and the same every time.
fn outside() -> String {
    let file = std::fs::read("/etc/passwd").is_ok();
    let variables = std::env::vars().count();
    let clock = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let hashes: std::collections::HashMap<u32, u32> = (0..1000).map(|n| (n, n)).collect();
    let order = hashes
        .keys()
        .fold(0u32, |sum, key| sum.wrapping_mul(31).wrapping_add(*key));
    std::thread::sleep(std::time::Duration::from_secs(3600));
    format!("file {file}, variables {variables}, clock {clock}, order {order}")
}

fn files_and_folders() -> Result<String, Failure> {
    files::make_folder("a/b")?;
    files::write_text("a/b/c.txt", "one")?;
    files::append("a/b/c.txt", b" two")?;
    let found = files::find("a", "*.txt")?;
    let range = files::read_range("a/b/c.txt", 4, 100)?;
    let text = files::read_text("a/b/c.txt")?;
    files::remove("a/b")?;
    let left = files::find("a", "*")?.len();
    Ok(format!(
        "{} {} {text:?} {:?} {left}",
        found[0].path,
        found[0].size,
        String::from_utf8_lossy(&range)
    ))
}

fn escapes() -> String {
    [
        "/etc/passwd",
        "../outside",
        "a/../../outside",
        "",
        "link/passwd",
        "link",
    ]
    .map(|path| match files::read(path) {
        Ok(_) => format!("{path}: read"),
        Err(error) => format!("{error:?}"),
    })
    .join("; ")
}

millrace_sdk::plugin!(run);
