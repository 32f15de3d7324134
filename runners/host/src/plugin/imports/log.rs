//! `log`: what people see.

use crate::plugin::bindings::log::Host;
use crate::plugin::bindings::types::Severity;
use crate::plugin::job::Job;

impl Host for Job {
    fn section(&mut self, title: String) -> wasmtime::Result<()> {
        self.trace_call(format_args!("log.section {title:?}"));
        self.log.section(&title);
        Ok(())
    }

    fn line(&mut self, text: String) -> wasmtime::Result<()> {
        self.trace_call(format_args!("log.line {text:?}"));
        self.log.line(&text);
        Ok(())
    }

    /// In the form that compilers use and editors understand: `file:line: error: message`.
    fn annotate(
        &mut self,
        severity: Severity,
        file: String,
        line: u32,
        message: String,
    ) -> wasmtime::Result<()> {
        self.trace_call(format_args!(
            "log.annotate {severity:?} {file:?} {line} {message:?}"
        ));
        let severity = match severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let place = if line == 0 {
            file
        } else {
            format!("{file}:{line}")
        };
        self.log.line(&format!("{place}: {severity}: {message}"));
        Ok(())
    }
}
