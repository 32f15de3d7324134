//! `cargo xtask bench [NAME…]`: what the line costs, each row side by side in one run with what a person would use instead.
#![allow(
    clippy::unwrap_used,
    reason = "a measurement that cannot be made ends the run"
)]

mod core;
mod flow;
mod leases;
mod line;
mod plugin;
mod row;
mod runner;

use row::Row;

/// Rows of a bench by its name.
type Bench = (&'static str, fn() -> Vec<Row>);

const BENCHES: [Bench; 6] = [
    ("core", core::rows),
    ("plugin", plugin::rows),
    ("line", line::rows),
    ("runner", runner::rows),
    ("runner", leases::rows),
    ("runner", flow::rows),
];

fn main() {
    millrace_host::sandbox::main_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let names: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    if let Some(unknown) = names
        .iter()
        .find(|name| !BENCHES.iter().any(|(known, _)| known == *name))
    {
        let mut known = BENCHES.map(|(name, _)| name).to_vec();
        known.dedup();
        let known = known.join(", ");
        eprintln!("bench: there is no `{unknown}`; there are {known}");
        std::process::exit(2);
    }
    let chosen = BENCHES
        .into_iter()
        .filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == name));
    if !json {
        println!("{}", Row::heading());
    }
    for (name, rows) in chosen {
        for row in rows() {
            println!("{}", if json { row.json(name) } else { row.line(name) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use row::{Better, Figures};

    #[test]
    fn what_is_measured_has_names_that_readers_of_earlier_runs_know() {
        let core = core::ROWS.map(|row| format!("core: {row}"));
        let plugin = plugin::ROWS.map(|row| format!("plugin: {row}"));
        let line = line::ROWS.map(|row| format!("line: {row}"));
        let runner = runner::ROWS.map(|row| format!("runner: {row}"));
        let leases = leases::ROWS.map(|row| format!("runner: {row}"));
        let flow = flow::ROWS.map(|row| format!("runner: {row}"));
        let all = [&core[..], &plugin, &line, &runner, &leases, &flow].concat();
        let expected = [
            "core: steps through the state machine",
            "core: builds, each from plan to release",
            "plugin: compile, once a runner",
            "plugin: load the compiled component, once a process",
            "plugin: instantiate",
            "plugin: from task to verdict of a warm plugin",
            "plugin: one host call and back",
            "line: push to released, an empty package",
            "line: of that the line's own: less the script's time",
            "runner: warm start of a sandbox, all switched on",
            "runner: the same, at most twice bubblewrap's",
            "runner: the same, a fifth of systemd-nspawn's",
            "runner: the same, a fifteenth of podman's",
            "runner: the same, where the host has mock",
            "runner: rpmbuild of zlib in it, 3 % over outside",
            "runner: handed back to leased, 99th of 100, 1 idle",
            "runner: handed back to leased, 99th of 100, 10 idle",
            "runner: handed back to leased, 99th of 100, 100 idle",
            "runner: leases, each taken and handed back",
            "runner: ready to first instruction, 99th of 100, 1 idle",
            "runner: ready to first instruction, 99th of 100, 10 idle",
            "runner: ready to first instruction, 99th of 100, 100 idle",
            "runner: a line of a log, printed to read, 99th of 100",
            "runner: kill -9 of a runner to the next lease, the longest",
        ];
        assert_eq!(all, expected);
        assert_eq!(
            BENCHES.map(|(name, _)| name),
            ["core", "plugin", "line", "runner", "runner", "runner"]
        );
    }

    #[test]
    fn a_row_for_programs_has_these_keys_and_says_where_a_goal_is_missed() {
        let row = Row {
            row: "a row",
            ours: Figures::new(vec![3.0, 1.0, 2.0]),
            unit: "ms",
            peer: "another",
            theirs: Figures::new(vec![4.0]),
            goal: Some(1.5),
            better: Better::Less,
        };
        let json: serde_json::Value = serde_json::from_str(&row.json("core")).unwrap();
        let expected = serde_json::json!({
            "bench": "core", "row": "a row", "ours": 2.0, "unit": "ms", "peer": "another", "theirs": 4.0, "ratio": 0.5,
            "goal": 1.5, "met": false,
        });
        assert_eq!(json, expected);
        assert!(row.line("core").contains(" NO "), "{}", row.line("core"));
        let met = Row {
            better: Better::More,
            ..row
        };
        assert!(met.line("core").contains(" yes "), "{}", met.line("core"));
    }
}
