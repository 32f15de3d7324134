//! `cargo xtask bench [NAME…]`: what the line costs, each row side by side in one run with what a person would use instead.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made ends the run")]

mod core;
mod line;
mod plugin;
mod row;

use row::Row;

/// A bench by its name.
type Bench = (&'static str, fn() -> Vec<Row>);

const BENCHES: [Bench; 3] = [("core", core::rows), ("plugin", plugin::rows), ("line", line::rows)];

fn main() {
    millrace_host::sandbox::main_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let names: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = names.iter().find(|name| !BENCHES.iter().any(|(known, _)| known == *name)) {
        let known = BENCHES.map(|(name, _)| name).join(", ");
        eprintln!("bench: there is no `{unknown}`; there are {known}");
        std::process::exit(2);
    }
    let chosen = BENCHES.into_iter().filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == name));
    if !json {
        println!("{}", Row::heading());
    }
    for (name, rows) in chosen {
        for row in rows() {
            println!("{}", if json { row.json(name) } else { row.line(name) });
        }
    }
}
