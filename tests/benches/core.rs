//! The rules alone, against a state column in a database, which is what build systems of the field keep.

use crate::row::{Better, Row, in_turn, seconds};
use millrace_tests::line::{Line, rpm};
use rusqlite::Connection;

/// Builds a run: some tenths of a second.
const BUILDS: u32 = 3000;

/// Events from plan to release with one architecture: three takes, three answers, signed, released.
const STEPS: u32 = 8;

const RUNS: usize = 7;

/// Goal for the state machine, in steps a second.
const STEPS_GOAL: f64 = 100_000.0;

pub fn rows() -> Vec<Row> {
    let (ours, theirs) = in_turn(RUNS, steps_a_second, updates_a_second);
    let (builds, rows) = in_turn(RUNS, || steps_a_second() / f64::from(STEPS), || updates_a_second() / f64::from(STEPS));
    let peer = "one UPDATE a step in an in-memory SQLite";
    vec![
        Row {
            row: "steps through the state machine",
            ours,
            unit: "step/s",
            peer,
            theirs,
            goal: Some(STEPS_GOAL),
            better: Better::More,
        },
        Row {
            row: "builds from push to release",
            ours: builds,
            unit: "build/s",
            peer,
            theirs: rows,
            goal: None,
            better: Better::More,
        },
    ]
}

fn steps_a_second() -> f64 {
    let packages = [rpm("zlib", "x86_64"), rpm("zlib-devel", "x86_64")];
    let source = [rpm("zlib", "src")];
    let mut lines: Vec<Line> = (0..BUILDS).map(|_| Line::of("zlib", r#""x86_64""#)).collect();
    let took = seconds(|| {
        for line in &mut lines {
            line.passes("source", &source);
            line.passes("rpm@x86_64", &packages);
            line.passes("check@x86_64", &[]);
            line.signed();
            line.released();
        }
    });
    assert!(lines.iter().all(|line| line.build.word() == "released"), "every build must end released");
    f64::from(BUILDS * STEPS) / took
}

fn updates_a_second() -> f64 {
    let mut database = Connection::open_in_memory().unwrap();
    database.execute_batch("CREATE TABLE build (id INTEGER PRIMARY KEY, state INTEGER NOT NULL)").unwrap();
    for id in 0..BUILDS {
        database.execute("INSERT INTO build VALUES (?1, 0)", [id]).unwrap();
    }
    let took = seconds(|| {
        for id in 0..BUILDS {
            for state in 0..STEPS {
                let step = database.transaction().unwrap();
                step.prepare_cached("UPDATE build SET state = ?2 + 1 WHERE id = ?1 AND state = ?2")
                    .unwrap()
                    .execute([id, state])
                    .unwrap();
                step.commit().unwrap();
            }
        }
    });
    f64::from(BUILDS * STEPS) / took
}
