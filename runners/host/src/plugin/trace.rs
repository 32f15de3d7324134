//! What a plugin asks the host for, a line a call, if somebody wants to know: what a plugin decides is seen in nothing else as well.
//!
//! A line has the call's name and what it was asked with. What would be another on every machine stands there as what it is for: an
//! input by its name, bytes by their number. So the same plugin on the same task gives the same lines wherever it is run.

use std::fmt::Arguments;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Most bytes of a trace: one of a first-party plugin has some kilobytes, and a plugin that asks without end fills no disk.
const TRACE_BYTES_MAX: usize = 16 << 20;

/// A file that calls are written to, or none.
#[derive(Debug, Default)]
pub struct Trace {
    file: Option<File>,
    bytes: usize,
}

impl Trace {
    /// Begins one of this name, if there is a folder for them.
    pub fn begin(folder: Option<&Path>, name: &str) -> io::Result<Self> {
        let Some(folder) = folder else {
            return Ok(Self::default());
        };
        fs::create_dir_all(folder)?;
        Ok(Self {
            file: Some(File::create(folder.join(format!("{name}.calls")))?),
            bytes: 0,
        })
    }

    /// Adds a line. A trace that cannot be written ends here: the task goes on without it.
    pub(crate) fn line(&mut self, line: Arguments<'_>) {
        let Some(file) = &mut self.file else { return };
        let line = format!("{line}\n");
        self.bytes += line.len();
        if self.bytes > TRACE_BYTES_MAX || file.write_all(line.as_bytes()).is_err() {
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_ends_where_it_has_its_bytes_and_nobody_is_harmed() {
        let folder = tempfile::tempdir().unwrap();
        let mut trace = Trace::begin(Some(folder.path()), "b1-rpm@s390x-1").unwrap();
        let long = "x".repeat(TRACE_BYTES_MAX / 2);
        (0..4).for_each(|_| trace.line(format_args!("{long}")));
        let kept = fs::metadata(folder.path().join("b1-rpm@s390x-1.calls"))
            .unwrap()
            .len();
        assert_eq!(kept, long.len() as u64 + 1);
    }
}
