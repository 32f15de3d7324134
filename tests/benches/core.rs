//! The rules alone, against a state column in a database, which is what build systems of the field keep.

use crate::row::{Better, Row, in_turn, seconds};
use millrace_core::platform::PackageConfig;
use millrace_core::rpm::Rpm;
use millrace_tests::line::{Line, platform, push, rpm};
use rusqlite::Connection;

/// Builds a run: some tenths of a second.
const BUILDS: u32 = 3000;

/// Events from plan to release with one architecture: three takes, three answers, signed, released.
const STEPS: u32 = 8;

const RUNS: usize = 7;

/// Goal for the state machine, in steps a second.
const STEPS_GOAL: f64 = 100_000.0;

/// What is measured, in this order.
pub const ROWS: [&str; 2] = [
    "steps through the state machine",
    "builds, each from plan to release",
];

pub fn rows() -> Vec<Row> {
    let (ours, theirs) = in_turn(RUNS, steps_a_second, || {
        f64::from(BUILDS * STEPS) / updates_s(false)
    });
    let (builds, rows) = in_turn(RUNS, builds_a_second, || {
        f64::from(BUILDS) / updates_s(true)
    });
    let row = |row, ours, unit, peer, theirs, goal| Row {
        row,
        ours,
        unit,
        peer,
        theirs,
        goal,
        better: Better::More,
    };
    vec![
        row(
            ROWS[0],
            ours,
            "step/s",
            "one UPDATE a step in an in-memory SQLite",
            theirs,
            Some(STEPS_GOAL),
        ),
        row(
            ROWS[1],
            builds,
            "build/s",
            "an INSERT and the UPDATEs, each committed",
            rows,
            None,
        ),
    ]
}

/// What the steps of a build hand over.
struct Packages {
    source: [Rpm; 1],
    built: [Rpm; 2],
}

impl Packages {
    fn new() -> Self {
        Self {
            source: [rpm("zlib", "src")],
            built: [rpm("zlib", "x86_64"), rpm("zlib-devel", "x86_64")],
        }
    }

    /// All steps of one build.
    fn go_through(&self, line: &mut Line) {
        line.passes("source", &self.source);
        line.passes("rpm@x86_64", &self.built);
        line.passes("check@x86_64", &[]);
        line.signed();
        line.released();
    }
}

/// The steps alone, over builds that are planned.
fn steps_a_second() -> f64 {
    let packages = Packages::new();
    let mut lines: Vec<Line> = (0..BUILDS)
        .map(|_| Line::of("zlib", r#""x86_64""#))
        .collect();
    let took = seconds(|| lines.iter_mut().for_each(|line| packages.go_through(line)));
    assert!(
        lines.iter().all(|line| line.build.word() == "released"),
        "every build must end released"
    );
    f64::from(BUILDS * STEPS) / took
}

/// Whole builds: the plan, and all that follows from it.
fn builds_a_second() -> f64 {
    let (packages, push, platform, config) = (
        Packages::new(),
        push("zlib", 1),
        platform(r#""x86_64""#),
        PackageConfig::default(),
    );
    let took = seconds(|| {
        for _ in 0..BUILDS {
            let mut line = Line::planned(&push, &platform, &config);
            packages.go_through(&mut line);
            assert_eq!(line.build.word(), "released");
        }
    });
    f64::from(BUILDS) / took
}

/// How long a database takes for as many builds, in seconds; with their rows, or over rows that are there.
fn updates_s(rows_too: bool) -> f64 {
    let mut database = Connection::open_in_memory().unwrap();
    database
        .execute_batch("CREATE TABLE build (id INTEGER PRIMARY KEY, state INTEGER NOT NULL)")
        .unwrap();
    let insert = |database: &Connection, id: u32| {
        database
            .prepare_cached("INSERT INTO build VALUES (?1, 0)")
            .unwrap()
            .execute([id])
            .unwrap();
    };
    if !rows_too {
        (0..BUILDS).for_each(|id| insert(&database, id));
    }
    seconds(|| {
        for id in 0..BUILDS {
            if rows_too {
                insert(&database, id);
            }
            for state in 0..STEPS {
                let step = database.transaction().unwrap();
                step.prepare_cached("UPDATE build SET state = ?2 + 1 WHERE id = ?1 AND state = ?2")
                    .unwrap()
                    .execute([id, state])
                    .unwrap();
                step.commit().unwrap();
            }
        }
    })
}
