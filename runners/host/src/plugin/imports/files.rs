//! `files`: the task's folder.

use super::trouble;
use crate::plugin::bindings::files::{Entry, Error, Host};
use crate::plugin::folder::FolderError;
use crate::plugin::job::Job;

type HostResult<T> = wasmtime::Result<Result<T, Error>>;

/// Tells what the plugin can do something about from trouble of the machine.
fn sorted<T>(result: Result<T, FolderError>) -> HostResult<T> {
    Ok(Err(match result {
        Ok(value) => return Ok(Ok(value)),
        Err(FolderError::Refused(path)) => Error::Refused(path),
        Err(FolderError::NotFound(path)) => Error::NotFound(path),
        Err(FolderError::NotAFile(path)) => Error::NotAFile(path),
        Err(FolderError::TooLarge(path)) => Error::TooLarge(path),
        Err(FolderError::Full(path)) => Error::Full(path),
        Err(error @ FolderError::Io { .. }) => {
            return Err(trouble(format!("the task's folder: {error}")));
        }
    }))
}

impl Host for Job {
    fn read(&mut self, path: String) -> HostResult<Vec<u8>> {
        self.trace_call(format_args!("files.read {path:?}"));
        sorted(self.folder.read(&path))
    }

    fn read_text(&mut self, path: String) -> HostResult<String> {
        self.trace_call(format_args!("files.read-text {path:?}"));
        let bytes = match sorted(self.folder.read(&path))? {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error)),
        };
        Ok(String::from_utf8(bytes).map_err(|_| Error::NotText(path)))
    }

    fn read_range(&mut self, path: String, offset: u64, length: u32) -> HostResult<Vec<u8>> {
        self.trace_call(format_args!("files.read-range {path:?} {offset} {length}"));
        sorted(self.folder.read_range(&path, offset, length))
    }

    fn write(&mut self, path: String, bytes: Vec<u8>) -> HostResult<()> {
        self.trace_call(format_args!("files.write {path:?} {} bytes", bytes.len()));
        sorted(self.folder.write(&path, &bytes, false))
    }

    fn write_text(&mut self, path: String, text: String) -> HostResult<()> {
        self.trace_call(format_args!(
            "files.write-text {path:?} {} bytes",
            text.len()
        ));
        sorted(self.folder.write(&path, text.as_bytes(), false))
    }

    fn append(&mut self, path: String, bytes: Vec<u8>) -> HostResult<()> {
        self.trace_call(format_args!("files.append {path:?} {} bytes", bytes.len()));
        sorted(self.folder.write(&path, &bytes, true))
    }

    fn make_folder(&mut self, path: String) -> HostResult<()> {
        self.trace_call(format_args!("files.make-folder {path:?}"));
        sorted(self.folder.make_folder(&path))
    }

    fn remove(&mut self, path: String) -> HostResult<()> {
        self.trace_call(format_args!("files.remove {path:?}"));
        sorted(self.folder.remove(&path))
    }

    fn find(&mut self, folder: String, pattern: String) -> HostResult<Vec<Entry>> {
        self.trace_call(format_args!("files.find {folder:?} {pattern:?}"));
        let entry = |entry: crate::plugin::folder::Entry| Entry {
            path: entry.path,
            size: entry.size,
            is_folder: entry.is_folder,
            executable: entry.executable,
        };
        sorted(
            self.folder
                .find(&folder, &pattern)
                .map(|found| found.into_iter().map(entry).collect()),
        )
    }

    fn hash(&mut self, path: String) -> HostResult<String> {
        self.trace_call(format_args!("files.hash {path:?}"));
        sorted(
            self.folder
                .hash(&path)
                .map(|(digest, _)| digest.to_string()),
        )
    }

    fn unpack(&mut self, archive: String, folder: String) -> HostResult<()> {
        self.trace_call(format_args!("files.unpack {archive:?} {folder:?}"));
        sorted(self.folder.unpack(&archive, &folder))
    }
}
